"""Small arrays that a report shows: the last transport plan, films of the first closed-loop episodes."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from otpilot.data.batches import Batch
from otpilot.runs.paths import RunPaths
from otpilot.training.envs import CellResult
from otpilot.transport.plan import Plan


def save_plan(paths: RunPaths, plan: Plan, batch: Batch) -> None:
    """Write plan.npz: unit_plan (n, m), mass, and the images (n, h, w, c) uint8 of the rows on both sides."""
    paths.artifacts.mkdir(exist_ok=True)
    images = next(
        value for key, value in batch.rows.items() if key.startswith("observation.images") and value.ndim >= 4
    )
    np.savez_compressed(
        paths.artifacts / "plan.npz",
        unit_plan=plan.unit_plan.float().cpu().numpy(),
        mass=plan.mass.float().cpu().numpy(),
        source=_pictures(images[batch.map.pair_src]),
        target=_pictures(images[batch.map.pair_tgt]),
    )


def save_evaluation_films(paths: RunPaths, results: Sequence[CellResult]) -> None:
    """Write films.npz: for each cell the frames (steps, h, w, 3) of its first episodes, and whether they succeeded."""
    paths.artifacts.mkdir(exist_ok=True)
    arrays = {}
    for result in results:
        for number, frames in enumerate(result.rollout.frames):
            arrays[f"{result.cell.name}/{number}/{int(result.rollout.success[number])}"] = frames
    np.savez_compressed(paths.artifacts / "films.npz", allow_pickle=False, **arrays)


def _pictures(images: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return the newest observation of each row, channels last, uint8."""
    newest = images[:, -1] if images.ndim == 5 else images
    scaled = newest if newest.dtype.is_floating_point is False else (newest * 255.0).round()
    pictures: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = scaled.byte().permute(0, 2, 3, 1).cpu().numpy()
    return pictures
