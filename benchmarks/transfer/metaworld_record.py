"""Demonstrations of Meta-World's scripted expert, through LeRobot's environment, as LeRobotDatasets."""

import os
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.transfer.metaworld_look import TASK, draw_without_screen
from benchmarks.transfer.metaworld_place import ACTION_DIMS, FPS, IMAGE_SIZE, MAX_STEPS, STATE_DIMS, Place
from otpilot.errors import DatasetError, OtpilotError

NOISE = 0.3
"""Spread of what is added to the executed motion, of 1; the recorded action is the expert's own."""
AXES = ("x", "y", "z", "gripper")


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One episode of t steps; `button` is where the button stood (its x, y, z at the first step)."""

    pictures: NDArray[np.uint8]
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    button: NDArray[np.float64]


def demonstrations(
    place: Place, *, episodes: int, seed: int, image_size: int = IMAGE_SIZE, noise: float = NOISE
) -> Iterator[Demonstration]:
    """Yield the expert's episodes; episode i of a seed is the same in every domain.

    Raises:
        OtpilotError: If the expert fails, which means that the noise is too large.
    """
    draw_without_screen()
    from benchmarks.transfer.metaworld_env import DomainMetaworldEnv

    env = DomainMetaworldEnv(place, image_size=image_size)
    try:
        for episode in range(episodes):
            yield _play(env, np.random.SeedSequence([seed, episode]), f"episode {episode} of seed {seed}", noise)
    finally:
        env.close()


def record(root: Path, place: Place, *, episodes: int, seed: int, repo_id: str, image_size: int = IMAGE_SIZE) -> Path:
    """Write demonstrations as a LeRobotDataset and return its folder, which appears only when it is complete.

    Raises:
        DatasetError: If the folder exists.
    """
    if root.exists():
        raise DatasetError(f"{root} exists; give another folder, or remove it first. Nothing was written.")
    from lerobot.datasets import LeRobotDataset

    partial = root.with_name(f".{root.name}.partial-{os.getpid()}")
    root.parent.mkdir(parents=True, exist_ok=True)
    try:
        dataset = LeRobotDataset.create(
            repo_id,
            fps=FPS,
            features=_features(place, image_size),
            root=partial,
            robot_type="metaworld_sawyer",
            use_videos=False,
        )
        try:
            for episode in demonstrations(place, episodes=episodes, seed=seed, image_size=image_size):
                for picture, state, action in zip(episode.pictures, episode.state, episode.action, strict=True):
                    frame = {"observation.images.top": picture, "observation.state": state, "action": action}
                    dataset.add_frame({**frame, "task": TASK})
                dataset.save_episode()
        finally:
            dataset.finalize()
        partial.rename(root)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return root


def _features(place: Place, image_size: int) -> dict[str, dict[str, Any]]:
    state = [*AXES, *(["token"] if place.indicator else [])]
    shape = (image_size, image_size, 3)
    return {
        "observation.images.top": {"dtype": "image", "shape": shape, "names": ["height", "width", "channels"]},
        "observation.state": {"dtype": "float32", "shape": (STATE_DIMS + len(place.indicator),), "names": state},
        "action": {"dtype": "float32", "shape": (ACTION_DIMS,), "names": list(AXES)},
    }


def _play(env: Any, seeds: np.random.SeedSequence, name: str, noise: float) -> Demonstration:
    """Return one episode, up to the step that succeeds."""
    episode_seed, noise_seed = (int(word) for word in seeds.generate_state(2, np.uint32))
    shakes = np.random.default_rng(noise_seed)
    observation, _ = env.reset(seed=episode_seed)
    button = env.raw[4:7].copy()
    pictures, states, actions = [], [], []
    for _ in range(MAX_STEPS):
        action = expert_action(env)
        pictures.append(observation["pixels"]["top"])
        states.append(observation["agent_pos"])
        actions.append(action)
        shake = np.append(shakes.normal(0.0, noise, ACTION_DIMS - 1), 0.0)
        observation, _, _, _, info = env.step(np.clip(action + shake, -1.0, 1.0).astype(np.float32))
        if info["is_success"]:
            return Demonstration(
                pictures=np.stack(pictures), state=np.stack(states), action=np.stack(actions), button=button
            )
    raise OtpilotError(f"the expert failed in {name}, domain {env.place.domain}, with noise {noise}; lower the noise.")


def expert_action(env: Any) -> NDArray[np.float32]:
    """Return what Meta-World's scripted expert does now, within the range that the environment executes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Constant\(s\) may be too high")  # it says that it clips
        action = env.expert_policy.get_action(env.raw)
    return np.clip(action, -1.0, 1.0).astype(np.float32)
