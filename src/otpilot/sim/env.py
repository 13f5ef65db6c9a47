"""The task for closed-loop use: one gymnasium environment, and many episodes side by side for evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float

from otpilot.errors import ConfigError, OtpilotError
from otpilot.sim.arrays import Array
from otpilot.sim.domain import Domain, get_domain
from otpilot.sim.observation import (
    DEFAULT_IMAGE_SIZE,
    DEFAULT_MAX_STEPS,
    FPS,
    TASK,
    check_views,
    observe,
    state,
    state_axes,
)
from otpilot.sim.region import Region, get_region
from otpilot.sim.render import render
from otpilot.sim.world import World, keep_rows, reset_world, step_world

ENV_ID = "otpilot/Tabletop-v0"


class TabletopEnv(gymnasium.Env[dict[str, Any], Array]):
    """One episode at a time, in LeRobot's convention.

    Observations are {"pixels": {camera: uint8 (h, w, 3)}, "agent_pos": float32 (3,)}; an action is the absolute target
    (x, y, gripper) in [0, 1]; info carries "is_success"; an episode terminates at success and is truncated at
    `max_steps`. Reward is 1 in the step that succeeds.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": FPS}

    def __init__(
        self,
        *,
        domain: str | Domain = "source",
        region: str | Region = "full",
        cameras: Sequence[str] = ("top",),
        image_size: int = DEFAULT_IMAGE_SIZE,
        max_steps: int = DEFAULT_MAX_STEPS,
        render_mode: str | None = None,
    ) -> None:
        self.domain = get_domain(domain)
        self.region = get_region(region)
        self.cameras = check_views(cameras, image_size)
        self.image_size = image_size
        self.render_mode = render_mode
        # Names that lerobot's evaluation looks up.
        self.task = self.task_description = TASK
        self._max_episode_steps = max_steps
        image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        pixels = spaces.Dict(dict.fromkeys(self.cameras, image))
        agent_pos = spaces.Box(0.0, 1.0, (len(state_axes(self.domain)),), np.float32)
        self.observation_space = spaces.Dict({"pixels": pixels, "agent_pos": agent_pos})
        self.action_space = spaces.Box(0.0, 1.0, (3,), np.float32)
        self._world: World | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode; equal seeds give equal episodes."""
        super().reset(seed=seed, options=options)
        episode_seed = int(self.np_random.integers(2**31))
        self._world = reset_world(self.domain, self.region, seed=episode_seed, episodes=[0])
        return self._observation(), {"is_success": False}

    def step(self, action: Array) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Advance one control step."""
        before = self._require_world()
        self._world = step_world(before, check_action(action[None], np.array([True]), int(before.step[0])))
        success = bool(self._world.success[0])
        truncated = not success and int(self._world.step[0]) >= self._max_episode_steps
        reward = float(success and not before.success[0])
        return self._observation(), reward, success, truncated, {"is_success": success}

    def render(self) -> Array:
        """Return the first camera's picture, uint8 (h, w, 3), with 256 pixels to a side."""
        picture: Array = render(self._require_world(), self.domain, camera=self.cameras[0], size=256)[0]
        return picture

    def _require_world(self) -> World:
        if self._world is None:
            raise OtpilotError("the tabletop has no episode yet: call reset() before step() or render().")
        return self._world

    def _observation(self) -> dict[str, Any]:
        world = self._require_world()
        pictures = {
            camera: render(world, self.domain, camera=camera, size=self.image_size)[0] for camera in self.cameras
        }
        return {"pixels": pictures, "agent_pos": state(world, self.domain)[0]}


@dataclass(frozen=True, kw_only=True)
class BatchStep:
    """Where B episodes stand: what they show, which have succeeded, and which are over (success or out of steps)."""

    observation: dict[str, Array]
    success: Bool[Array, "b"]
    done: Bool[Array, "b"]
    step: int


class TabletopBatch:
    """B episodes in lockstep. Rows stay where they are: one that is over keeps its last state and picture.

    Observations are {"observation.images.<camera>": uint8 (b, h, w, 3), "observation.state": float32 (b, 3)}, the names
    under which LeRobot stores them. Episode i is the same whatever the other rows are.
    """

    def __init__(
        self,
        *,
        domain: str | Domain,
        region: str | Region,
        episodes: Sequence[int],
        seed: int,
        cameras: Sequence[str] = ("top",),
        image_size: int = DEFAULT_IMAGE_SIZE,
        max_steps: int = DEFAULT_MAX_STEPS,
    ) -> None:
        if len(episodes) == 0 or max_steps < 1:
            raise ConfigError(f"{len(episodes)} episodes of {max_steps} steps; allowed: at least 1 of each.")
        self.domain = get_domain(domain)
        self.region = get_region(region)
        self.episodes = tuple(episodes)
        self.seed = seed
        self.cameras = check_views(cameras, image_size)
        self.image_size = image_size
        self.max_steps = max_steps
        self.reset()

    def reset(self) -> BatchStep:
        """Start all episodes anew; every reset gives the same ones."""
        self.world = reset_world(self.domain, self.region, seed=self.seed, episodes=self.episodes)
        self._observation = observe(self.world, self.domain, cameras=self.cameras, image_size=self.image_size)
        self._step = 0
        return self._standing()

    def step(self, action: Array) -> BatchStep:
        """Advance the episodes that are not over by `action`, shape (b, 3); actions of the others are ignored.

        Raises:
            OtpilotError: the actions have another shape than (b, 3), or one of a running episode is not finite.
        """
        active = ~self._standing().done
        checked = check_action(action, active, self._step)
        self.world = keep_rows(self.world, step_world(self.world, checked), active)
        self._step += 1
        index = np.flatnonzero(active)
        seen = observe(self.world.rows(index), self.domain, cameras=self.cameras, image_size=self.image_size)
        observation = {}
        for key, value in seen.items():
            observation[key] = self._observation[key].copy()
            observation[key][index] = value
        self._observation = observation
        return self._standing()

    def _standing(self) -> BatchStep:
        success = self.world.success.copy()
        done = success | (self._step >= self.max_steps)
        return BatchStep(observation=self._observation, success=success, done=done, step=self._step)


def check_action(action: Array, active: Bool[Array, "b"], step: int) -> Float[Array, "b 3"]:
    """Return the actions as float64, with zeros in the rows that are not active.

    Raises:
        OtpilotError: the shape is not (b, 3), or a value of an active row is not finite.
    """
    if action.shape != (len(active), 3):
        raise OtpilotError(
            f"actions have the shape {action.shape}; allowed: ({len(active)}, 3), x, y and gripper per episode."
        )
    bad = active & ~np.isfinite(action).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise OtpilotError(
            f"the action of row {row} at step {step} is {action[row].tolist()}; allowed: finite numbers."
        )
    return np.where(active[:, None], action, 0.0).astype(np.float64)


def register() -> None:
    """Make the environment known to gymnasium as ENV_ID; doing it twice changes nothing."""
    if ENV_ID not in gymnasium.registry:
        gymnasium.register(id=ENV_ID, entry_point="otpilot.sim.env:TabletopEnv")
