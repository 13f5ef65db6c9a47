"""What a policy is shown, under LeRobot's names, for B tabletops at once."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from otpilot.errors import ConfigError
from otpilot.sim.arrays import Array
from otpilot.sim.camera import check_camera
from otpilot.sim.domain import Domain
from otpilot.sim.render import check_size, render
from otpilot.sim.world import World

TASK = "Put the block on the goal."
STATE_KEY = "observation.state"
ACTION_KEY = "action"
AXES = ("x", "y", "gripper")
FPS = 10
DEFAULT_IMAGE_SIZE = 64
DEFAULT_MAX_STEPS = 80


def image_key(camera: str) -> str:
    """Return the name under which LeRobot stores the camera's pictures."""
    return f"observation.images.{camera}"


def check_views(cameras: Sequence[str], image_size: int) -> tuple[str, ...]:
    """Return the cameras as a tuple.

    Raises:
        ConfigError: no camera, an unknown or doubled one, or an image size out of range.
    """
    names = tuple(cameras)
    for name in names:
        check_camera(name)
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"cameras is {names}; allowed: at least one camera, each once.")
    check_size(image_size)
    return names


def state_axes(domain: Domain) -> tuple[str, ...]:
    """Return the names of the state's columns: x, y, gripper, and the domain's token if it has one."""
    return AXES if domain.token is None else (*AXES, "domain")


def state(world: World, domain: Domain) -> Float[Array, "b axes"]:
    """Return the state as the policy sees it, float32."""
    if domain.token is None:
        return world.agent_pos
    column = np.full((len(world.hand), 1), domain.token, dtype=np.float32)
    return np.concatenate([world.agent_pos, column], axis=1)


def observe(world: World, domain: Domain, *, cameras: Sequence[str], image_size: int) -> dict[str, Array]:
    """Return {"observation.images.<camera>": uint8 (b, h, w, 3), "observation.state": float32 (b, 3 or 4)}."""
    views = {image_key(camera): render(world, domain, camera=camera, size=image_size) for camera in cameras}
    return {**views, STATE_KEY: state(world, domain)}
