"""Two LeRobot datasets, checked against each other before anything is trained or written."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.configs.policies import PreTrainedConfig
from lerobot.datasets.compute_stats import aggregate_stats
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.transforms import ImageTransforms
from lerobot.utils.constants import HF_LEROBOT_HOME, IMAGENET_STATS
from numpy.typing import NDArray

from otpilot.config.ot import SourceConfig
from otpilot.config.schema import TrainConfig
from otpilot.data.frames import FrameReader
from otpilot.data.mixing import source_share
from otpilot.errors import DatasetError

COUNTED = 1_000_000
"""Rows that make up the statistics by rows, over all datasets."""


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One dataset as training sees it: its reader, which episodes train and which are held out.

    `weight` is a source's part of the source rows relative to other sources; `pair_info_path` its pair table.
    """

    name: str
    repo_id: str
    reader: FrameReader
    train_episodes: tuple[int, ...]
    eval_episodes: tuple[int, ...]
    weight: float = 1.0
    pair_info_path: str | None = None

    def frames(self, episodes: tuple[int, ...], drop_last: int = 0) -> NDArray[np.int64]:
        """Return the absolute indices of all frames of some episodes, without the last `drop_last` of each."""
        parts = [
            np.arange(self.reader.episode_starts[e], max(self.reader.episode_starts[e], stop - drop_last))
            for e in episodes
            for stop in [self.reader.episode_stops[e]]
        ]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Domains:
    """The target domain, the sources if there are any, and the statistics that normalise them.

    `stats` normalise every row, or with `source_stats` those of the target alone, and these the source rows.
    """

    target: Domain
    sources: tuple[Domain, ...]
    stats: dict[str, Any]
    source_stats: dict[str, Any] | None = None


def open_domains(config: TrainConfig) -> Domains:
    """Open and check the datasets that a config names.

    Raises:
        DatasetError: If one is missing, is no LeRobot dataset, is empty, or does not fit the other.
    """
    dataset = config.dataset
    target_root = check_dataset_folder("dataset.root", dataset.root, dataset.repo_id)
    check_numbers_of_episodes(target_root, dataset.episodes, "dataset.episodes")
    roots = []
    for setting, wanted in _wanted_sources(config):
        roots.append(check_dataset_folder(f"{setting}root", wanted.root, wanted.repo_id))
        check_compatible(target_root, roots[-1])
        check_numbers_of_episodes(roots[-1], wanted.episodes, f"{setting}episodes")
    target = _open(config, "target", SourceConfig(repo_id=dataset.repo_id, episodes=dataset.episodes), target_root)
    sources = tuple(
        _open(config, "source" if number == 0 else f"source_{number + 1}", wanted, root)
        for number, ((_, wanted), root) in enumerate(zip(_wanted_sources(config), roots, strict=True))
    )
    stats, source_stats = _statistics(config, target, sources)
    return Domains(target=target, sources=sources, stats=stats, source_stats=source_stats)


def _wanted_sources(config: TrainConfig) -> list[tuple[str, SourceConfig]]:
    """Return the setting's prefix and the description of each source dataset."""
    ot = config.ot
    if not ot.enable:
        return []
    first = SourceConfig(
        repo_id=ot.src_repo_id,
        root=ot.src_root,
        episodes=ot.src_episodes,
        pair_info_path=ot.pair_info_path,
        weight=ot.src_weight,
    )
    return [("ot.src_", first)] + [(f"ot.more_sources.{i}.", source) for i, source in enumerate(ot.more_sources)]


def check_dataset_folder(setting: str, root: str | Path | None, repo_id: str) -> Path:
    """Return the folder of a dataset that is there and looks like a LeRobotDataset v3.

    Raises:
        DatasetError: If it is not, with the setting to change.
    """
    folder = Path(root) if root else HF_LEROBOT_HOME / repo_id
    if not root and not repo_id:
        raise DatasetError(f"{setting} is not set; give the folder of a LeRobot dataset.")
    if not folder.is_dir():
        raise DatasetError(f"No dataset folder at {folder}; set {setting} to the folder of a LeRobot dataset.")
    info = read_info(folder)
    version = str(info.get("codebase_version", "none"))
    if not version.startswith("v3"):
        raise DatasetError(
            f"{folder} is a LeRobot dataset of version {version}; v3.x is needed. Convert it with LeRobot's "
            "convert_dataset_v21_to_v30 script."
        )
    if not info.get("total_episodes") or not info.get("total_frames"):
        raise DatasetError(f"{folder} holds no episodes; record some, or set {setting} to another dataset.")
    return folder


def read_info(folder: Path) -> dict[str, Any]:
    """Return meta/info.json of a dataset folder.

    Raises:
        DatasetError: If the folder is not a LeRobot dataset.
    """
    path = folder / "meta" / "info.json"
    try:
        info: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(f"{folder} is not a LeRobot dataset: it has no meta/info.json.") from error
    except ValueError as error:
        raise DatasetError(f"{path} is damaged: {error}.") from error
    return info


def check_numbers_of_episodes(folder: Path, episodes: list[int] | None, setting: str) -> None:
    """Raise DatasetError if a chosen episode does not exist, or none is chosen."""
    total = int(read_info(folder)["total_episodes"])
    if episodes is not None and not episodes:
        raise DatasetError(f"{setting} is empty, so {folder} trains nothing; give episode numbers, or null for all.")
    wrong = [episode for episode in episodes or [] if not 0 <= episode < total]
    if wrong:
        raise DatasetError(f"{setting} names episode {wrong[0]}, but {folder} has {total} (0 to {total - 1}).")


def check_compatible(target: Path, source: Path) -> None:
    """Raise DatasetError unless both datasets have the same cameras, image sizes, dimensions and frame rate."""
    target_info, source_info = read_info(target), read_info(source)
    if target_info["fps"] != source_info["fps"]:
        raise DatasetError(
            f"{target} runs at {target_info['fps']} frames/s but {source} at {source_info['fps']}; "
            "resample one of them."
        )
    theirs, ours = _shapes(source_info), _shapes(target_info)
    for key in sorted(set(theirs) ^ set(ours)):
        here, there = (target, source) if key in ours else (source, target)
        raise DatasetError(
            f"{here} has {key!r} but {there} has not; drop or rename it so that both have the same keys."
        )
    for key, shape in ours.items():
        if shape != theirs[key]:
            raise DatasetError(
                f"{key!r} is {list(shape)} in {target} but {list(theirs[key])} in {source}; "
                "both domains need the same sizes."
            )


def held_out(episodes: list[int], tasks: list[Any], eval_split: float) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return (train, held-out) episodes, split as LeRobot does: of each task the last ceil(n * eval_split)."""
    groups: dict[str, list[int]] = {}
    for episode in episodes:
        task = tasks[episode][0] if len(tasks[episode]) else ""
        groups.setdefault(str(task), []).append(episode)
    train: list[int] = []
    evaluation: list[int] = []
    for group in groups.values():
        keep = len(group) - math.ceil(len(group) * eval_split)
        train += group[:keep]
        evaluation += group[keep:]
    return tuple(train), tuple(evaluation)


def _shapes(info: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    return {
        key: tuple(feature["shape"])
        for key, feature in info["features"].items()
        if key == "action" or key.startswith("observation.")
    }


def _open(config: TrainConfig, name: str, wanted: SourceConfig, root: Path) -> Domain:
    dataset = LeRobotDataset(
        wanted.repo_id or root.name,
        root=root,
        video_backend=config.dataset.video_backend,
        return_uint8=True,
        tolerance_s=config.tolerance_s,
    )
    policy: PreTrainedConfig = config.policy
    transforms = config.dataset.image_transforms
    reader = FrameReader(
        dataset,
        observation_deltas=policy.observation_delta_indices,
        action_deltas=policy.action_delta_indices,
        cache_bytes=int(config.frame_cache_gb * 2**30),
        image_transforms=ImageTransforms(transforms) if transforms.enable else None,
    )
    chosen = list(range(dataset.meta.total_episodes)) if wanted.episodes is None else sorted(wanted.episodes)
    train, evaluation = held_out(chosen, dataset.meta.episodes["tasks"], config.dataset.eval_split)
    if not train:
        remedy = "lower it" if len(chosen) > 1 else "set it and eval_steps to 0"
        raise DatasetError(
            f"dataset.eval_split = {config.dataset.eval_split} leaves no episode of {root} to train on "
            f"({len(chosen)} in all); {remedy}, or record more."
        )
    return Domain(
        name=name,
        repo_id=wanted.repo_id,
        reader=reader,
        train_episodes=train,
        eval_episodes=evaluation,
        weight=wanted.weight,
        pair_info_path=wanted.pair_info_path,
    )


def _statistics(
    config: TrainConfig, target: Domain, sources: tuple[Domain, ...]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return the statistics that `ot.stats` asks for, and those of the sources where they have their own."""
    ours = [target.reader.meta.stats]
    theirs = [source.reader.meta.stats for source in sources]
    choice = config.ot.stats if sources else "target"
    if choice == "rows":
        return _complete(config, target, _by_rows(config, target, sources)), None
    if choice == "per_domain":
        return _complete(config, target, ours), _complete(config, target, theirs)
    return _complete(config, target, {"target": ours, "source": theirs, "shared": ours + theirs}[choice]), None


def _by_rows(config: TrainConfig, target: Domain, sources: tuple[Domain, ...]) -> list[dict[str, Any]]:
    """Return the statistics of each dataset that has rows, its count in proportion to its rows in a batch.

    With bc_src_weight = auto the rows are those with views, if any are asked for: whether they are worth it is known
    only when they are fitted.
    """
    ot = config.ot
    frames = [len(domain.frames(domain.train_episodes)) for domain in (target, *sources)]
    share = source_share(
        ot.source_weight(viewed=ot.view_share != 0 and any(source.pair_info_path for source in sources)),
        source_frames=sum(frames[1:]),
        target_frames=frames[0],
        by_size=ot.normalize_bc_weights_by_ds_size,
    )
    weights = np.asarray([source.weight for source in sources])
    counts = np.round(COUNTED * np.concatenate([[1.0 - share], share * weights / weights.sum()])).astype(np.int64)
    return [
        {key: {**value, "count": np.asarray([count])} for key, value in domain.reader.meta.stats.items()}
        for domain, count in zip((target, *sources), counts, strict=True)
        if count > 0
    ]


def _complete(config: TrainConfig, target: Domain, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the statistics of several datasets together, with ImageNet's for the cameras if the config wants them."""
    stats = {key: dict(value) for key, value in (aggregate_stats(parts) if len(parts) > 1 else parts[0]).items()}
    if config.dataset.use_imagenet_stats:
        for camera in target.reader.meta.camera_keys:
            stats[camera] |= {name: np.asarray(value, dtype=np.float32) for name, value in IMAGENET_STATS.items()}
    return stats
