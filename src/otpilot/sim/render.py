"""Pictures of B tabletops, drawn as projected polygons on a ready background; no OpenGL."""

import math

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from otpilot.errors import ConfigError
from otpilot.sim.arrays import Array
from otpilot.sim.background import add_noise, brightness, top_background, wrist_backgrounds
from otpilot.sim.camera import CAMERAS, camera_matrices, check_camera, project
from otpilot.sim.domain import Domain
from otpilot.sim.world import GOAL_RADIUS, World

MIN_SIZE, MAX_SIZE = 32, 256
_SHIFT = 4  # fractional bits of OpenCV's fixed-point coordinates
_BLOCK_HALF = 0.05
_FINGER_HALF_WIDTH, _FINGER_HALF_LENGTH = 0.018, 0.045
_GAP_CLOSED, _GAP_OPEN = 0.066, 0.115  # from the hand's middle to a finger's middle
_SHADOW_OFFSET = (0.022, -0.022)

_SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
_ANGLES = np.linspace(0.0, 2.0 * math.pi, 20, endpoint=False)
_CIRCLE = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)


def check_size(size: int) -> None:
    """Raise ConfigError unless `size` is a possible image size in pixels."""
    if not MIN_SIZE <= size <= MAX_SIZE:
        raise ConfigError(f"image_size is {size}; allowed: {MIN_SIZE} to {MAX_SIZE} pixels.")


def _rectangle(
    centre: Float[Array, "b 2"], half_width: float, half_height: float, lift: Float[Array, "b"] | float = 1.0
) -> Float[Array, "b 4 2"]:
    """Return rectangles around `centre`, scaled by `lift`."""
    scale = np.broadcast_to(np.asarray(lift), len(centre))[:, None, None]
    corners: Float[Array, "b 4 2"] = centre[:, None] + scale * _SQUARE * np.array([half_width, half_height])
    return corners


def _parts(world: World, domain: Domain) -> list[tuple[Float[Array, "b n 2"], Float[Array, "3"]]]:
    """Return what lies on the table as (corners, colour), from below to above; part 2 is the held block's shadow."""
    palette = domain.palette
    table, block, goal, gripper = (
        np.asarray(colour, dtype=np.float64) for colour in (palette.table, palette.block, palette.goal, palette.gripper)
    )
    lift = np.where(world.held, 1.12, 1.0)
    gap = _GAP_OPEN + (_GAP_CLOSED - _GAP_OPEN) * world.gripper
    aside = np.stack([gap, np.zeros_like(gap)], axis=1)
    bar_at = world.hand + np.array([0.0, _FINGER_HALF_LENGTH + 0.012])
    half_bar = gap + _FINGER_HALF_WIDTH
    bar = bar_at[:, None] + _SQUARE * np.stack([half_bar, np.full_like(half_bar, 0.018)], axis=1)[:, None]
    return [
        (world.goal[:, None] + GOAL_RADIUS * _CIRCLE, goal),
        (world.goal[:, None] + 0.62 * GOAL_RADIUS * _CIRCLE, 0.75 * table + 0.25 * goal),
        (_rectangle(world.block + np.asarray(_SHADOW_OFFSET), _BLOCK_HALF, _BLOCK_HALF, lift), 0.35 * table),
        (_rectangle(world.block, _BLOCK_HALF, _BLOCK_HALF, lift), 0.6 * block),
        (_rectangle(world.block, 0.75 * _BLOCK_HALF, 0.75 * _BLOCK_HALF, lift), block),
        (_rectangle(world.hand - aside, _FINGER_HALF_WIDTH, _FINGER_HALF_LENGTH), gripper),
        (_rectangle(world.hand + aside, _FINGER_HALF_WIDTH, _FINGER_HALF_LENGTH), gripper),
        (bar, gripper),
        (_rectangle(world.hand + np.array([0.0, 0.095]), 0.024, 0.04), gripper),
    ]


def _pixels(matrices: Float[Array, "b 3 3"], corners: Float[Array, "b n 2"], size: int) -> Int[Array, "b n 2"]:
    """Return corners as OpenCV's fixed-point pixel coordinates (pixel centres are whole numbers)."""
    scaled = (project(matrices, corners) * size - 0.5) * (1 << _SHIFT)
    return np.ascontiguousarray(np.rint(scaled).astype(np.int32))


def render(world: World, domain: Domain, *, camera: str = "top", size: int = 64) -> UInt8[Array, "b h w 3"]:
    """Return one RGB picture of every tabletop, `size` pixels wide and high.

    The picture is a function of the world and the domain: the sensor noise follows from episode and step.

    Raises:
        ConfigError: the camera is unknown or the size is outside MIN_SIZE to MAX_SIZE.
    """
    check_camera(camera)
    check_size(size)
    matrices = camera_matrices(domain, camera, world.hand)
    parts = _parts(world, domain)
    corners = [_pixels(matrices, points, size) for points, _ in parts]
    colours = [
        np.clip(colour * brightness(domain.light, points.mean(axis=1))[:, None], 0, 255).tolist()
        for points, colour in parts
    ]
    if camera == "wrist":
        images = wrist_backgrounds(domain, world.hand, size)
    else:
        images = np.repeat(top_background(domain, size)[None], len(world.hand), axis=0)
    keys = (world.stream + world.step * 7919 + CAMERAS.index(camera) * 104729).tolist()
    for row, image in enumerate(images):
        for part, (polygons, shades) in enumerate(zip(corners, colours, strict=True)):
            if part != 2 or world.held[row]:
                cv2.fillConvexPoly(image, polygons[row], shades[row], cv2.LINE_AA, _SHIFT)
        if domain.noise_std > 0.0:
            add_noise(image, domain.noise_std, keys[row])
    return images
