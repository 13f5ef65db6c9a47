"""How points on the table become pixels: one homography per frame."""

import math

import numpy as np
from jaxtyping import Float

from otpilot.errors import ConfigError, closest
from otpilot.sim.arrays import Array
from otpilot.sim.domain import CameraPose, Domain

CAMERAS: tuple[str, ...] = ("top", "wrist")
WRIST_VIEW = 0.5  # what the wrist camera sees, in table widths


def check_camera(name: str) -> None:
    """Raise ConfigError unless `name` is a camera."""
    if name not in CAMERAS:
        raise ConfigError(f"camera is {name!r}; allowed: {', '.join(CAMERAS)}.{closest(name, CAMERAS)}")


def top_matrix(pose: CameraPose) -> Float[Array, "3 3"]:
    """Return the homography from table coordinates to the image (0 to 1, right and down) of a fixed camera."""
    turn = math.radians(pose.rotation_deg)
    cos, sin = pose.zoom * math.cos(turn), pose.zoom * math.sin(turn)
    centre = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
    view = np.array([[cos, -sin, 0.0], [-sin, -cos, 0.0], [pose.tilt[0], pose.tilt[1], 1.0]])
    shift = np.array([[1.0, 0.0, 0.5 + pose.shift[0]], [0.0, 1.0, 0.5 + pose.shift[1]], [0.0, 0.0, 1.0]])
    matrix: Float[Array, "3 3"] = shift @ view @ centre
    return matrix


def wrist_matrices(pose: CameraPose, hand: Float[Array, "b 2"]) -> Float[Array, "b 3 3"]:
    """Return per row the homography of a camera that looks straight down on WRIST_VIEW around the hand.

    It turns with the domain's rotation, and has neither its tilt nor its shift.
    """
    turn = math.radians(pose.rotation_deg)
    cos, sin = math.cos(turn) / WRIST_VIEW, math.sin(turn) / WRIST_VIEW
    matrices = np.tile(np.array([[cos, -sin, 0.5], [-sin, -cos, 0.5], [0.0, 0.0, 1.0]]), (len(hand), 1, 1))
    matrices[:, :2, 2] -= np.einsum("bij,bj->bi", matrices[:, :2, :2], hand)
    return matrices


def camera_matrices(domain: Domain, camera: str, hand: Float[Array, "b 2"]) -> Float[Array, "b 3 3"]:
    """Return the homography of every row from table coordinates to the unit image of `camera`."""
    if camera == "wrist":
        return wrist_matrices(domain.camera, hand)
    return np.broadcast_to(top_matrix(domain.camera), (len(hand), 3, 3))


def project(matrices: Float[Array, "b 3 3"], points: Float[Array, "b n 2"]) -> Float[Array, "b n 2"]:
    """Return the image of `points` under the homography of their row."""
    mapped = points @ matrices[:, :, :2].transpose(0, 2, 1) + matrices[:, None, :, 2]
    found: Float[Array, "b n 2"] = mapped[..., :2] / mapped[..., 2:]
    return found
