"""Small arrays and pictures that a report shows: transport plans, films of the first closed-loop episodes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from lerobot.utils.constants import OBS_IMAGE
from numpy.typing import NDArray
from torch import Tensor

from otpilot.data.batches import Batch
from otpilot.report.figures import frames_grid, pairs_figure, plan_figure
from otpilot.runs.paths import RunPaths
from otpilot.training.envs import CellResult
from otpilot.training.views import SourceViews
from otpilot.transport.plan import Plan

LONGEST_SIDE = 96
"""Pixels that a kept camera picture has at most; 64 rows of 640 x 480 would take 60 MB otherwise."""
SAMPLE_PAIRS = 6

Pictures = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class PlanPictures:
    """Where the pictures of a plan lie: its heat map, and some of its pairs."""

    plan: Path
    pairs: Path

    def by_name(self) -> dict[str, Path]:
        """Return the pictures by the name that a tracker shows them under."""
        return {"ot_plan": self.plan, "ot_pairs": self.pairs}


def save_plan(paths: RunPaths, plan: Plan, batch: Batch, *, step: int | None = None) -> None:
    """Write plan.npz, the newest plan: unit_plan (n, m), mass, and the pictures (n, h, w, 3) uint8 of both sides.

    With a step the same is written as plan_<step>.npz, too.
    """
    arrays = _arrays(plan, batch)
    paths.artifacts.mkdir(exist_ok=True)
    for name in ["plan", *([f"plan_{step:06d}"] if step is not None else [])]:
        np.savez_compressed(paths.artifacts / f"{name}.npz", allow_pickle=False, **arrays)


def draw_plan(paths: RunPaths, plan: Plan, batch: Batch, *, step: int) -> PlanPictures:
    """Draw plan_<step>.png, the plan's heat map, and pairs_<step>.png, some pairs with what the plan gives them."""
    arrays = _arrays(plan, batch)
    paths.artifacts.mkdir(exist_ok=True)
    found = PlanPictures(plan=paths.artifacts / f"plan_{step:06d}.png", pairs=paths.artifacts / f"pairs_{step:06d}.png")
    unit_plan, source, target = arrays["unit_plan"], arrays["source"], arrays["target"]
    found.plan.write_bytes(plan_figure(unit_plan, source, target, mass=float(arrays["mass"])))
    count = min(SAMPLE_PAIRS, len(source), len(target))
    uniform = 1.0 / unit_plan.size
    labels = [f"{unit_plan[i, i] / uniform:.2g} x uniform" for i in range(count)]
    found.pairs.write_bytes(pairs_figure(source[:count], target[:count], labels))
    return found


def save_evaluation_films(paths: RunPaths, results: Sequence[CellResult]) -> None:
    """Write films.npz: for each cell the frames (steps, h, w, 3) of its first episodes, and whether they succeeded."""
    paths.artifacts.mkdir(exist_ok=True)
    arrays = {}
    for result in results:
        for number, frames in enumerate(result.rollout.frames):
            arrays[f"{result.cell.name}/{number}/{int(result.rollout.success[number])}"] = frames
    np.savez_compressed(paths.artifacts / "films.npz", allow_pickle=False, **arrays)


def draw_views(folder: Path, views: SourceViews) -> dict[str, Path]:
    """Draw view_<camera>.png: source pictures, the same in the target's view, and the target's that they pair with.

    Those of a further source are called view_<source>_<camera>.png.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    found = [(n, camera, sample) for n, samples in views.samples.items() for camera, sample in samples.items()]
    for number, camera, sample in found:
        name = camera.rpartition(".")[2] if number == 1 else f"{views.names[number]}_{camera.rpartition('.')[2]}"
        rows = (("source", sample.source), ("in the target's view", sample.seen), ("target, paired", sample.target))
        path = folder / f"view_{name}.png"
        path.write_bytes(frames_grid([(label, _pictures(pictures)) for label, pictures in rows]))
        drawn[f"ot_view_{name}"] = path
    return drawn


def _arrays(plan: Plan, batch: Batch) -> dict[str, Any]:
    arrays = {"unit_plan": plan.unit_plan.float().cpu().numpy(), "mass": plan.mass.float().cpu().numpy()}
    images = next((value for key, value in batch.rows.items() if key.startswith(OBS_IMAGE) and value.ndim >= 4), None)
    for side, places in (("source", batch.map.pair_src), ("target", batch.map.pair_tgt)):
        blank = np.full((len(places), 8, 8, 3), 128, np.uint8)  # a policy without camera has nothing to show
        arrays[side] = _pictures(images[places]) if images is not None else blank
    return arrays


def _pictures(images: Tensor) -> Pictures:
    """Return the newest observation of each row, channels last, three of them, uint8, at most LONGEST_SIDE pixels."""
    newest = images[:, -1] if images.ndim == 5 else images
    scaled = (newest * 255.0).round().clamp(0.0, 255.0) if newest.dtype.is_floating_point else newest
    frames: Pictures = scaled.byte().permute(0, 2, 3, 1).cpu().numpy()
    frames = np.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else frames[..., :3]
    high, wide = frames.shape[1:3]
    factor = LONGEST_SIDE / max(high, wide)
    if factor >= 1.0:
        return frames
    size = (max(1, round(wide * factor)), max(1, round(high * factor)))
    return np.stack([np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA)) for frame in frames])
