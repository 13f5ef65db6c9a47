"""LeRobot's Meta-World environment with a domain's look, a region of the button, small pictures and short episodes."""

from functools import cache
from typing import Any

import gymnasium
import metaworld
import numpy as np
from gymnasium import spaces
from lerobot.envs.metaworld import MetaworldEnv
from lerobot.envs.utils import freeze_after_episode_end
from numpy.typing import NDArray

from benchmarks.transfer.metaworld_look import CAMERA, TASK, Pictures, apply_look, get_look, region_box
from benchmarks.transfer.metaworld_place import ACTION_DIMS, IMAGE_SIZE, MAX_STEPS, STATE_DIMS, Place

TASK_SEED = 42
"""Of Meta-World's own list of tasks, as in LeRobot; the button's place comes from the seed of the episode."""


class DomainMetaworldEnv(MetaworldEnv):
    """The button press in one place; resets, steps and success are LeRobot's.

    Observations are {"pixels": {"top": uint8 (size, size, 3)}, "agent_pos": float32 (4,), or (5,) with a token}.
    Equal seeds give equal episodes in every domain. `raw` is Meta-World's own last observation, which its scripted
    expert needs: hand, fingers, button.
    """

    def __init__(
        self,
        place: Place,
        *,
        image_size: int = IMAGE_SIZE,
        max_steps: int = MAX_STEPS,
        picture_every: int = 1,
        pictures: Pictures | None = None,
    ) -> None:
        super().__init__(TASK, camera_name=CAMERA, obs_type="pixels_agent_pos")
        self.place = place
        self.raw: NDArray[np.float64] = np.zeros(0)
        self._max_episode_steps = max_steps
        self._picture_every = picture_every
        self._pictures = pictures or Pictures(image_size)
        self._picture: NDArray[np.uint8] | None = None
        self._count = 0
        image = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        state = spaces.Box(-np.inf, np.inf, (STATE_DIMS + len(place.indicator),), np.float32)
        self.observation_space = spaces.Dict({"pixels": spaces.Dict({"top": image}), "agent_pos": state})
        self.action_space = spaces.Box(-1.0, 1.0, (ACTION_DIMS,), np.float32)

    def reset(self, seed: int | None = None, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Start an episode."""
        self._count = 0
        observation, info = super().reset(seed=seed, **options)
        return observation, info

    def step(self, action: NDArray[np.float32]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Advance one control step of 1/80 s."""
        self._count += 1
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, float(reward), terminated, truncated, info

    def render(self) -> NDArray[np.uint8]:
        """Return the present picture."""
        self._ensure_env()
        return self._pictures.take(self._env.model, self._env.data)

    def close(self) -> None:
        """Give the renderer back."""
        self._pictures.close()
        super().close()

    def _ensure_env(self) -> None:
        """Make Meta-World's environment as LeRobot does, then give it the domain's look and the button's region."""
        if self._env is not None:
            return
        tasks = _tasks()
        env = tasks.train_classes[TASK](render_mode="rgb_array", camera_name=CAMERA)
        env.set_task(tasks.train_tasks[0])
        env.model.cam_pos[2] = [0.75, 0.075, 0.7]  # LeRobot's place of this camera, which is not Meta-World's
        apply_look(env.model, get_look(self.place.domain))
        env.reset()
        env._freeze_rand_vec = False
        env.seeded_rand_vec = True
        env._random_reset_space = spaces.Box(*region_box(self.place.region), dtype=np.float64)
        self._env = env

    def _format_raw_obs(self, raw_obs: NDArray[np.float64]) -> dict[str, Any]:
        self.raw = np.asarray(raw_obs, dtype=np.float64)
        if self._picture is None or self._count % self._picture_every == 0:
            self._picture = self.render()
        state = np.concatenate([self.raw[:STATE_DIMS], self.place.indicator]).astype(np.float32)
        return {"pixels": {"top": self._picture.copy()}, "agent_pos": state}


def make_batch(place: Place, count: int, *, image_size: int, max_steps: int, picture_every: int) -> Any:
    """Return `count` episodes side by side in one process, with one renderer; one that is over costs nothing more."""
    pictures = Pictures(image_size)
    make = freeze_after_episode_end(
        lambda: DomainMetaworldEnv(
            place, image_size=image_size, max_steps=max_steps, picture_every=picture_every, pictures=pictures
        )
    )
    return gymnasium.vector.SyncVectorEnv([make] * count)


@cache
def _tasks() -> Any:
    """Return Meta-World's description of the task; drawing its list of goals takes a second."""
    return metaworld.MT1(TASK, seed=TASK_SEED)
