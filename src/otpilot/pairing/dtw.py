"""Dynamic time warping of vector sequences: which source frame goes with which target frame, and at what distance.

Sakoe and Chiba (1978), with the steps (1, 0), (0, 1), (1, 1) of equal weight. The inner loop is `kernel.py`.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int32, Int64

from otpilot.errors import PairingError, closest
from otpilot.pairing.arrays import Array

METRICS = ("l1", "l2", "linf")
Progress = Callable[[int, int], None]
_BLOCK = 16


@dataclass(frozen=True, kw_only=True)
class DTWOptions:
    """How two episodes are aligned.

    Attributes:
        window: Half-width of the Sakoe-Chiba band, in frames of the shorter episode; None is no band. The band lies
            around the line that joins the two corners, so it holds a path for any two lengths, even with 0.
        stride: Align every stride-th frame (the last one always belongs to them) and join the matches by straight
            lines. The cost is still summed over all frames, so it bounds the exact one from above.
        metric: Distance of two frames: l1, l2 (Euclidean, not squared) or linf.
    """

    window: int | None = None
    stride: int = 1
    metric: str = "l2"

    def __post_init__(self) -> None:
        """Check words and ranges."""
        if self.metric not in METRICS:
            hint = closest(str(self.metric), METRICS)
            raise PairingError(f"dtw metric is {self.metric!r}; allowed: {', '.join(METRICS)}.{hint}")
        if self.window is not None and self.window < 0:
            raise PairingError(f"dtw window is {self.window}; allowed: a number of frames >= 0, or null for no band.")
        if self.stride < 1:
            raise PairingError(f"dtw stride is {self.stride}; allowed: a number of frames >= 1.")


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """One source episode warped onto one target episode.

    Attributes:
        cost: Sum of the local distances along the path.
        distance: cost over the larger Frobenius norm of the two sequences (the reports' raw_dtw_dist); 0 for cost 0.
        path: Pairs (source frame, target frame) from (0, 0) to both last frames; each step adds 0 or 1 to either.
    """

    cost: float
    distance: float
    path: Int32[Array, "steps 2"]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Episode:
    """A checked sequence in the two layouts that the kernel reads, whole and strided, with its Frobenius norm."""

    frames: Float64[Array, "frames dims"]
    columns: Float64[Array, "dims frames"]
    picked: Int64[Array, " knots"]
    norm: float


def align(
    source: Float[Array, "..."],
    target: Float[Array, "..."],
    options: DTWOptions = DTWOptions(),
) -> Alignment:
    """Return the cheapest warping of one source episode onto one target episode.

    Args:
        source: Features of the source episode (frames, dims), normalised already (see `features.joint_zscore`).
        target: Features of the target episode (frames, dims), of the same dims.
        options: Band, stride and metric.

    Raises:
        PairingError: an episode is empty, not two-dimensional, not finite, or the dims differ.
    """
    dims = _dims(target, "target episode 0")
    src = _prepare(source, dims, options.stride, "source episode 0")
    return _align_prepared(src, _prepare(target, dims, options.stride, "target episode 0"), options)


def align_all(
    sources: Sequence[Float[Array, "..."]],
    targets: Sequence[Float[Array, "..."]],
    options: DTWOptions = DTWOptions(),
    *,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[list[Alignment]]:
    """Return the warpings of every source episode onto every target episode, as result[target][source].

    Pairs do not depend on each other, so the result is the same for any number of workers.

    Args:
        sources: Features of the source episodes, each (frames, dims), normalised already.
        targets: Features of the target episodes, of the same dims.
        options: Band, stride and metric.
        workers: Threads; None is one per core this process may use. The kernel releases the GIL.
        progress: Called in this thread with (pairs done, pairs in all) after each block of pairs.

    Raises:
        PairingError: a side is empty; an episode is empty, not two-dimensional, not finite, or the dims differ;
            workers is below 1.
    """
    if not sources or not targets:
        raise PairingError(
            f"cannot align {len(sources)} source with {len(targets)} target episodes; allowed: at least one of each."
        )
    dims = _dims(targets[0], "target episode 0")
    src = [_prepare(array, dims, options.stride, f"source episode {i}") for i, array in enumerate(sources)]
    tgt = [_prepare(array, dims, options.stride, f"target episode {i}") for i, array in enumerate(targets)]
    blocks = [(t, s) for t in range(len(tgt)) for s in range(0, len(src), _BLOCK)]

    def run(block: tuple[int, int]) -> list[Alignment]:
        t, s = block
        return [_align_prepared(episode, tgt[t], options) for episode in src[s : s + _BLOCK]]

    result: list[list[Alignment]] = [[] for _ in tgt]
    done, total = 0, len(src) * len(tgt)
    pool = ThreadPoolExecutor(_workers(workers))
    try:
        for (t, _), alignments in zip(blocks, pool.map(run, blocks), strict=True):
            result[t] += alignments
            done += len(alignments)
            if progress is not None:
                progress(done, total)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted run ends after the blocks at hand, not after all
    return result


def band(rows: int, columns: int, window: int | None) -> tuple[Int64[Array, " rows"], Int64[Array, " rows"]]:
    """Return the first and last allowed column of every row.

    A cell is allowed when its index along the shorter axis lies within `window` of the rounded diagonal; None allows
    all. The diagonal steps by 0 or 1 along the shorter axis, so a valid path exists for every window >= 0.
    """
    if window is None:
        return np.zeros(rows, np.int64), np.full(rows, columns - 1, np.int64)
    longer, shorter = max(rows, columns), min(rows, columns)
    span = max(longer - 1, 1)
    centre = (2 * np.arange(longer) * (shorter - 1) + span) // (2 * span)
    if rows >= columns:
        return np.maximum(centre - window, 0), np.minimum(centre + window, columns - 1)
    index = np.arange(rows)
    return np.searchsorted(centre, index - window, "left"), np.searchsorted(centre, index + window, "right") - 1


def _workers(workers: int | None) -> int:
    """Return the number of threads to use, or raise PairingError."""
    if workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 1:
        raise PairingError(f"workers is {workers}; allowed: >= 1, or null for one per core.")
    return workers


def _dims(array: Float[Array, "..."], where: str) -> int:
    """Return the number of dims of a sequence, or raise PairingError when it is not (frames, dims)."""
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0:
        raise PairingError(f"{where} has shape {array.shape}; allowed: (frames, dims), both at least 1.")
    return int(array.shape[1])


def _prepare(array: Float[Array, "..."], dims: int, stride: int, where: str) -> _Episode:
    """Return the sequence as the kernel wants it, or raise PairingError."""
    if _dims(array, where) != dims:
        raise PairingError(f"{where} has {array.shape[1]} dims; allowed: {dims}, as in target episode 0.")
    frames = np.ascontiguousarray(array, np.float64)
    finite = np.isfinite(frames).all(axis=1)
    if not finite.all():
        raise PairingError(f"{where} is not finite at frame {int(np.argmin(finite))}: {frames[np.argmin(finite)]}.")
    picked = np.unique(np.append(np.arange(0, len(frames), stride), len(frames) - 1))
    columns = np.ascontiguousarray(frames.T)
    return _Episode(frames=frames, columns=columns, picked=picked, norm=float(np.linalg.norm(frames)))


def _align_prepared(source: _Episode, target: _Episode, options: DTWOptions) -> Alignment:
    """Return the warping of one checked pair."""
    kernel = _kernel()
    metric = METRICS.index(options.metric)
    x, y, window = source.frames, target.columns, options.window
    if options.stride > 1:
        x, y = x[source.picked], np.ascontiguousarray(y[:, target.picked])
        window = None if window is None else -(-window // options.stride)
    first, last = band(x.shape[0], y.shape[1], window)
    cost, path = kernel.warp(x, y, first, last, metric)
    if options.stride > 1:
        knots = np.stack([source.picked[path[:, 0]], target.picked[path[:, 1]]], axis=1).astype(np.int32)
        path = kernel.fill_path(knots)
        cost = kernel.path_cost(source.frames, target.columns, path, metric)
    norm = max(source.norm, target.norm)
    return Alignment(cost=float(cost), distance=float(cost / norm) if cost > 0 else 0.0, path=path)


def _kernel() -> Any:
    """Return the compiled loops, imported on first use: importing numba takes longer than most commands."""
    from otpilot.pairing import kernel

    return kernel
