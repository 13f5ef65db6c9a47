"""The table without anything on it, drawn once per domain, camera and size and then only copied."""

import math
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from otpilot.sim.arrays import Array
from otpilot.sim.camera import WRIST_VIEW, top_matrix, wrist_matrices
from otpilot.sim.domain import Domain, Light

_OVERSAMPLE = 4
_NOISE_SPAN = 2**18
_MARGIN = 0.5  # of table around the table that the wrist camera's canvas keeps, in table widths


def brightness(light: Light, points: Float[Array, "*shape 2"]) -> Float[Array, "*shape"]:
    """Return the factor by which the light scales colours at `points` (table coordinates)."""
    turn = math.radians(light.direction_deg)
    along = (points[..., 0] - 0.5) * math.cos(turn) + (points[..., 1] - 0.5) * math.sin(turn)
    factor: Float[Array, "*shape"] = np.clip(light.gain * (1.0 + light.strength * along), 0.0, None)
    return factor


def _pattern_share(domain: Domain, points: Float[Array, "h w 2"]) -> Float[Array, "h w"]:
    """Return how much of the pattern's colour shows at each point, 0 to 1."""
    x, y = points[..., 0], points[..., 1]
    scale = 2.0 * math.pi * domain.texture_scale
    share: Float[Array, "h w"] = np.zeros_like(x)
    if domain.texture == "stripes":
        share = 0.5 + 0.5 * np.sin(scale * x + 1.5 * np.sin(5.0 * y))
    elif domain.texture == "checker":
        share = (np.sin(scale * x) * np.sin(scale * y) > 0).astype(np.float64)
    elif domain.texture == "grain":
        wobble = np.sin(7.0 * x + 1.0) + 0.5 * np.sin(17.0 * x + 3.0 * y)
        share = 0.5 + 0.25 * np.sin(scale * y + 2.0 * wobble) + 0.25 * np.sin(2.7 * scale * y + 5.0 * x)
    return share


def _paint(domain: Domain, points: Float[Array, "h w 2"]) -> UInt8[Array, "h w 3"]:
    """Return the colour of the bare scene at each table coordinate."""
    share = _pattern_share(domain, points)[..., None]
    table = (1.0 - share) * np.asarray(domain.palette.table) + share * np.asarray(domain.palette.pattern)
    table = table * brightness(domain.light, points)[..., None]
    inside = ((points >= 0.0) & (points <= 1.0)).all(axis=-1, keepdims=True)
    scene = np.where(inside, table, np.asarray(domain.palette.backdrop))
    return np.clip(scene, 0, 255).astype(np.uint8)


def _grid(width: int, matrix: Float[Array, "3 3"]) -> Float[Array, "h w 2"]:
    """Return the table coordinates under the centres of a square image's pixels."""
    centres = (np.arange(width) + 0.5) / width
    image = np.stack([*np.meshgrid(centres, centres), np.ones((width, width))], axis=-1)
    mapped = image @ np.linalg.inv(matrix).T
    grid: Float[Array, "h w 2"] = mapped[..., :2] / mapped[..., 2:]
    return grid


@lru_cache(maxsize=32)
def top_background(domain: Domain, size: int) -> UInt8[Array, "h w 3"]:
    """Return the bare scene as the top camera sees it, `size` pixels wide and high."""
    fine = _paint(domain, _grid(size * _OVERSAMPLE, top_matrix(domain.camera)))
    image: UInt8[Array, "h w 3"] = cv2.resize(fine, (size, size), interpolation=cv2.INTER_AREA)
    return image


@lru_cache(maxsize=32)
def _wrist_canvas(domain: Domain, size: int) -> UInt8[Array, "h w 3"]:
    """Return table and surroundings, straight from above, at the wrist camera's own resolution."""
    span = 1.0 + 2.0 * _MARGIN
    width = round(size / WRIST_VIEW * span)
    matrix = np.array([[1 / span, 0.0, _MARGIN / span], [0.0, 1 / span, _MARGIN / span], [0.0, 0.0, 1.0]])
    fine = _paint(domain, _grid(2 * width, matrix))
    image: UInt8[Array, "h w 3"] = cv2.resize(fine, (width, width), interpolation=cv2.INTER_AREA)
    return image


def wrist_backgrounds(domain: Domain, hand: Float[Array, "b 2"], size: int) -> UInt8[Array, "b h w 3"]:
    """Return the bare scene as each row's wrist camera sees it."""
    canvas = _wrist_canvas(domain, size)
    span, width = 1.0 + 2.0 * _MARGIN, canvas.shape[0]
    to_canvas = np.array([[width / span, 0.0, width * _MARGIN / span], [0.0, width / span, width * _MARGIN / span]])
    images = np.empty((len(hand), size, size, 3), dtype=np.uint8)
    for image, matrix in zip(images, wrist_matrices(domain.camera, hand), strict=True):
        unit = np.array([[1 / size, 0.0, 0.5 / size], [0.0, 1 / size, 0.5 / size], [0.0, 0.0, 1.0]])
        warp = to_canvas @ np.linalg.inv(matrix) @ unit
        warp[:, 2] -= 0.5
        cv2.warpAffine(
            canvas,
            warp,
            (size, size),
            dst=image,
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=domain.palette.backdrop,
        )
    return images


@lru_cache(maxsize=8)
def _noise_bank(std: float, length: int) -> Array:
    """Return sensor noise in grey levels, from which frames take overlapping slices."""
    rng = np.random.default_rng(20250918)
    return np.rint(rng.normal(scale=std, size=_NOISE_SPAN + length)).astype(np.int16)


def add_noise(image: UInt8[Array, "h w 3"], std: float, key: int) -> None:
    """Add the sensor noise that `key` names to `image`, in place; the same key gives the same noise."""
    start = key * 40503 % _NOISE_SPAN
    noise = _noise_bank(std, image.size)[start : start + image.size].reshape(image.shape)
    cv2.add(image, noise, dst=image, dtype=cv2.CV_8U)
