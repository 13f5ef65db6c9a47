"""Demonstrations of the scripted expert as a genuine LeRobotDataset v3 folder."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from otpilot.errors import ConfigError, DatasetError, OtpilotError
from otpilot.sim.arrays import Array
from otpilot.sim.domain import Domain, get_domain
from otpilot.sim.expert import disturbed, expert_action
from otpilot.sim.observation import (
    ACTION_KEY,
    AXES,
    DEFAULT_IMAGE_SIZE,
    DEFAULT_MAX_STEPS,
    FPS,
    STATE_KEY,
    TASK,
    check_views,
    image_key,
    observe,
    state_axes,
)
from otpilot.sim.region import Region, get_region
from otpilot.sim.world import reset_world, step_world

DEFAULT_NOISE = 0.01  # of the executed hand position, in table widths
DEFAULT_FUMBLES = 0.25  # share of episodes in which the fingers close too early once
SETTLE_STEPS = 3  # recorded behind success, so that opening fingers are no rarity
_CHUNK = 16  # episodes simulated at once; bounds the memory


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    """One episode: what was seen, and the expert's action at each of its t steps."""

    observation: dict[str, Array]
    action: Float[Array, "t 3"]


def demonstrations(
    *,
    domain: str | Domain,
    region: str | Region,
    episodes: int,
    seed: int,
    cameras: tuple[str, ...] = ("top",),
    image_size: int = DEFAULT_IMAGE_SIZE,
    noise_std: float = DEFAULT_NOISE,
    fumble_share: float = DEFAULT_FUMBLES,
) -> Iterator[Demonstration]:
    """Yield the expert's episodes 0 to `episodes` - 1 of `seed`, each ending SETTLE_STEPS behind success.

    What is executed is `disturbed` by `noise_std` and `fumble_share`, while the recorded action is the expert's own.

    Raises:
        OtpilotError: the expert failed, which means that the noise is too large.
    """
    look, box = get_domain(domain), get_region(region)
    for start in range(0, episodes, _CHUNK):
        numbers = range(start, min(start + _CHUNK, episodes))
        world = reset_world(look, box, seed=seed, episodes=numbers)
        seen, actions, solved = [], [], []
        while True:
            seen.append(observe(world, look, cameras=cameras, image_size=image_size))
            actions.append(expert_action(world))
            executed = disturbed(actions[-1], world, noise_std=noise_std, fumble_share=fumble_share)
            world = step_world(world, executed)
            solved.append(world.success)
            lengths = np.argmax(solved, axis=0) + 1 + SETTLE_STEPS
            if world.success.all() and len(solved) >= lengths.max():
                break
            if len(solved) >= DEFAULT_MAX_STEPS + SETTLE_STEPS:
                failed = numbers[int(np.argmin(world.success))]
                raise OtpilotError(
                    f"the expert failed in episode {failed} of seed {seed}, domain {look.name}, with noise_std "
                    f"{noise_std}; allowed: about 0 to 0.015 table widths."
                )
        for row, length in enumerate(lengths.tolist()):
            yield Demonstration(
                observation={key: np.stack([view[key][row] for view in seen[:length]]) for key in seen[0]},
                action=np.stack([action[row] for action in actions[:length]]).astype(np.float32),
            )


def record(
    root: Path | str,
    *,
    domain: str | Domain,
    region: str | Region,
    episodes: int,
    seed: int,
    cameras: tuple[str, ...] = ("top",),
    image_size: int = DEFAULT_IMAGE_SIZE,
    fps: int = FPS,
    use_videos: bool = False,
    repo_id: str | None = None,
    noise_std: float = DEFAULT_NOISE,
    fumble_share: float = DEFAULT_FUMBLES,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write demonstrations as a LeRobotDataset v3 and return its folder; `progress(done, episodes)` after each.

    The folder appears only when it is complete: until then everything lies in a sibling folder, removed on failure.
    Reload with `LeRobotDataset(repo_id, root=folder)`; the default repo_id is `default_repo_id(domain, region)`.

    Raises:
        DatasetError: `root` exists.
        ConfigError: a name or number is not allowed.
    """
    target = Path(root)
    if target.exists():
        raise DatasetError(f"{target} exists; give another folder, or remove it first. Nothing was written.")
    if episodes < 1 or fps < 1:
        raise ConfigError(f"{episodes} episodes at {fps} frames/s; allowed: at least 1 of each.")
    names = check_views(cameras, image_size)
    made = demonstrations(
        domain=domain,
        region=region,
        episodes=episodes,
        seed=seed,
        cameras=names,
        image_size=image_size,
        noise_std=noise_std,
        fumble_share=fumble_share,
    )
    repo = repo_id or default_repo_id(domain, region)
    partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _writer(partial, repo, fps, _features(get_domain(domain), names, image_size, use_videos)) as dataset:
            for done, episode in enumerate(made, start=1):
                _append(dataset, episode)
                if progress is not None:
                    progress(done, episodes)
        partial.rename(target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def default_repo_id(domain: str | Domain, region: str | Region) -> str:
    """Return the repo_id under which a recording is known if none is given."""
    return f"otpilot/tabletop_{get_domain(domain).name}_{get_region(region).name}".replace("+", "_")


def _features(domain: Domain, cameras: tuple[str, ...], image_size: int, use_videos: bool) -> dict[str, dict[str, Any]]:
    """Return LeRobot's description of what one frame holds."""
    image = {
        "dtype": "video" if use_videos else "image",
        "shape": (image_size, image_size, 3),
        "names": ["height", "width", "channels"],
    }
    action, axes = {"dtype": "float32", "shape": (3,), "names": list(AXES)}, state_axes(domain)
    return {
        **{image_key(camera): dict(image) for camera in cameras},
        STATE_KEY: {"dtype": "float32", "shape": (len(axes),), "names": list(axes)},
        ACTION_KEY: action,
    }


@contextmanager
def _writer(root: Path, repo_id: str, fps: int, features: dict[str, dict[str, Any]]) -> Iterator[Any]:
    """Yield a fresh LeRobotDataset in write mode and finalise it; the progress bars of its parts stay quiet."""
    import datasets
    from lerobot.datasets import LeRobotDataset

    use_videos = any(feature["dtype"] == "video" for feature in features.values())
    bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        dataset = LeRobotDataset.create(
            repo_id,
            fps=fps,
            features=features,
            root=root,
            robot_type="otpilot_tabletop",
            use_videos=use_videos,
            streaming_encoding=use_videos,  # straight into the encoder, not by way of PNG files
        )
        try:
            yield dataset
        finally:
            dataset.finalize()
    finally:
        if bars:
            datasets.enable_progress_bars()


def _append(dataset: Any, episode: Demonstration) -> None:
    """Write one episode through LeRobot's own writer."""
    for step, action in enumerate(episode.action):
        frame = {key: value[step] for key, value in episode.observation.items()}
        dataset.add_frame({**frame, ACTION_KEY: action, "task": TASK})
    dataset.save_episode()
