"""Pictures of transport plans and of the rows they match, from the artifacts of run folders."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otpilot.analysis.result import Analysis, RunReport
from otpilot.errors import OtpilotError
from otpilot.report.analysis import rows
from otpilot.report.analysis.page_words import said
from otpilot.report.analysis.words import Lang
from otpilot.report.result import Picture
from otpilot.runs.paths import RunPaths

MOST_RUNS = 4
MOST_PAIRS = 6
LARGEST_SIDE = 96
"""Plans and pictures are drawn up to this many rows, columns and pixels; larger ones are sampled."""


def pictures(analysis: Analysis, lang: Lang) -> tuple[list[Picture], list[str]]:
    """Return pictures of the runs that have a plan, baselines last, and a sentence for each that cannot be shown."""
    found: list[Picture] = []
    problems: list[str] = []
    left_out = 0
    called = rows.labels(analysis)
    for run in sorted(analysis.runs, key=lambda run: run.is_baseline):
        path = plan_path(run)
        if path is None:
            continue
        if len(found) >= 2 * MOST_RUNS:
            left_out += 1
            continue
        try:
            found += list(_of_run(called[run.id], path, lang))
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError, OtpilotError) as error:
            problems.append(said("no picture", lang).format(run=called[run.id], error=error))
    if left_out:
        problems.append(said("more plans", lang).format(count=left_out))
    return found, problems


def plan_path(run: RunReport) -> Path | None:
    """Return the plan that a run folder keeps, or None."""
    path = RunPaths(Path(run.source)).artifacts / "plan.npz"
    try:
        return path if path.is_file() else None
    except (OSError, ValueError):
        return None


def _of_run(name: str, path: Path, lang: Lang) -> Iterator[Picture]:
    from otpilot.report.figures import pairs_figure, plan_figure

    # Opened here, because numpy forgets to close a damaged file.
    with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
        arrays: dict[str, NDArray[Any]] = {name: file[name] for name in ("unit_plan", "mass", "source", "target")}
    rows, columns = (_sample(length) for length in arrays["unit_plan"].shape)
    plan = arrays["unit_plan"][np.ix_(rows, columns)]
    source, target = (_smaller(arrays[name][keep]) for name, keep in (("source", rows), ("target", columns)))
    yield Picture(
        title=said("plan of", lang).format(run=name),
        caption=said("plan", lang),
        png=plan_figure(plan / (plan.sum() or 1.0), source, target, mass=float(arrays["mass"])),
    )
    chosen = np.unique(np.linspace(0, len(rows) - 1, MOST_PAIRS).round().astype(int))
    best = plan[chosen].argmax(axis=1)
    shares = plan[chosen, best] / np.maximum(plan[chosen].sum(axis=1), 1e-300)
    labels = [
        f"{int(rows[row])} - {int(columns[column])}: {share:.0%}"
        for row, column, share in zip(chosen, best, shares, strict=True)
    ]
    yield Picture(
        title=said("pairs of", lang).format(run=name),
        caption=said("pairs", lang),
        png=pairs_figure(source[chosen], target[best], labels, scale=_scale(source)),
    )


def _sample(length: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, length - 1, min(length, LARGEST_SIDE)).round().astype(np.int64))


def _smaller(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return every k-th pixel, so that the longer side is at most LARGEST_SIDE."""
    every = -(-max(frames.shape[1:3]) // LARGEST_SIDE)
    return frames[:, ::every, ::every]


def _scale(frames: NDArray[np.uint8]) -> int:
    return max(1, 128 // max(frames.shape[1:3]))
