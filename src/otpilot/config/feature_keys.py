"""What a config says, held against the datasets that lie on this machine: keys of terms, and sizes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lerobot.utils.constants import HF_LEROBOT_HOME, OBS_IMAGES

from otpilot.config.ot import TermConfig
from otpilot.config.schema import TrainConfig
from otpilot.errors import closest

ALL_IMAGES, FUSED = OBS_IMAGES, "fused"
"""Keys that stand for all cameras, and for what the policy makes of everything."""
FAINT = 0.02
"""Below this part of all frames, statistics of all frames hardly know the target (docs/log.md, 2026-11-22)."""


def wrong_keys(config: TrainConfig) -> Iterator[str]:
    """Yield a sentence for each key of a term that a dataset on this machine does not hold; the others are not known.

    A source is asked for `src_key`, the target for `tgt_key` (or `src_key`, where there is none).
    """
    if not config.ot.enable or config.ot.method == "none":
        return
    for side, folder in _folders(config):
        held = _keys(folder, config.rename_map)
        if held is None:
            continue
        for number, term in enumerate(config.ot.loss_config.features):
            name, key = _asked(term, side)
            if key not in held and key.removesuffix("_is_pad") not in held:
                shown = [one for one in held if one == "action" or one.startswith("observation.") or one == FUSED]
                yield (
                    f"ot.loss_config.features.{number}.{name} is {key!r}, which the {side} dataset in {folder} does "
                    f"not hold; allowed: {', '.join(shown)}.{closest(key, shown)}"
                )


def faint_target(config: TrainConfig) -> Iterator[str]:
    """Yield a note if the target's pictures are normalised by statistics in which they hardly count."""
    if not config.ot.enable or config.ot.stats != "shared" or config.dataset.use_imagenet_stats:
        return
    frames = {"target": 0, "source": 0}
    for side, folder in _folders(config):
        info = _info(folder)
        if info is None or not any(key.startswith(f"{ALL_IMAGES}.") for key in info["features"]):
            return
        frames[side] += int(info.get("total_frames") or 0)
    part = frames["target"] / max(1, sum(frames.values()))
    if 0.0 < part < FAINT:
        yield (
            f"{part:.1%} of all frames are the target's, so its pictures lie far from the statistics of all frames by "
            "which they are normalised; set ot.stats to rows, or dataset.use_imagenet_stats to true."
        )


def _folders(config: TrainConfig) -> Iterator[tuple[str, Path]]:
    """Yield side and folder of each dataset that the config names."""
    ot = config.ot
    named = [("target", config.dataset.root, config.dataset.repo_id), ("source", ot.src_root, ot.src_repo_id)]
    named += [("source", source.root, source.repo_id) for source in ot.more_sources]
    for side, root, repo_id in named:
        if root or repo_id:
            yield side, Path(root) if root else HF_LEROBOT_HOME / repo_id


def _asked(term: TermConfig, side: str) -> tuple[str, str]:
    """Return which setting says what a term compares on a side, and the key."""
    if side == "source" or term.tgt_key is None:
        return "src_key", term.src_key
    return "tgt_key", term.tgt_key


def _keys(folder: Path, renamed: dict[str, str]) -> list[str] | None:
    """Return the keys that terms may name, or None where no dataset lies there that can be read."""
    info = _info(folder)
    if info is None:
        return None
    features = list(info["features"])
    cameras = any(key.startswith(f"{ALL_IMAGES}.") for key in features)
    return [*dict.fromkeys(renamed.get(key, key) for key in features), *([ALL_IMAGES] if cameras else []), FUSED]


def _info(folder: Path) -> dict[str, Any] | None:
    """Return a dataset's own description, or None where none lies there that can be read."""
    try:
        info: Any = json.loads((folder / "meta" / "info.json").read_text(encoding="utf-8"))
        return {**info, "features": dict(info["features"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
