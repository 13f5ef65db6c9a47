"""The compiled inner loops of dynamic time warping (numba, without the GIL). Import lazily: numba takes its time.

Inputs are trusted: `dtw.py` has checked shapes, types and finiteness. Metrics are numbered as in `dtw.METRICS`.
"""

import inspect
from collections.abc import Callable
from typing import cast

import numpy as np
from jaxtyping import Float64, Int32, Int64
from numba import njit

from otpilot.pairing.arrays import Array


def _compiled[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Return the function compiled by numba on first use and cached on disk (without the shape checks of pytest)."""
    return cast("Callable[P, R]", njit(nogil=True, cache=True)(inspect.unwrap(function)))


@_compiled
def _add_distances(
    point: Float64[Array, " dims"],
    other: Float64[Array, "dims frames"],
    first: int,
    out: Float64[Array, " run"],
    metric: int,
) -> None:
    """Write the distances of one point to the frames of `other` from `first` on (dims first: the loops are contiguous).

    Loops over slices that begin at 0: only those does numba turn into vector instructions (4 times as fast here).
    """
    out[:] = 0.0
    for d in range(point.shape[0]):
        value = point[d]
        run = other[d, first : first + out.shape[0]]
        if metric == 0:
            for j in range(run.shape[0]):
                out[j] += abs(run[j] - value)
        elif metric == 1:
            for j in range(run.shape[0]):
                difference = run[j] - value
                out[j] += difference * difference
        else:
            for j in range(run.shape[0]):
                out[j] = max(out[j], abs(run[j] - value))
    if metric == 1:
        for j in range(out.shape[0]):
            out[j] = np.sqrt(out[j])


@_compiled
def _trace_back(total: Float64[Array, "rows columns"]) -> Int32[Array, "steps 2"]:
    """Return the cheapest path through the padded costs; ties prefer the diagonal, then a step in the source."""
    i, j = total.shape[0] - 1, total.shape[1] - 1
    path = np.empty((i + j - 1, 2), np.int32)
    at = i + j - 1
    while True:
        at -= 1
        path[at, 0] = i - 1
        path[at, 1] = j - 1
        if i == 1 and j == 1:
            return path[at:].copy()
        diagonal, up, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        if diagonal <= up and diagonal <= left:
            i, j = i - 1, j - 1
        elif up <= left:
            i -= 1
        else:
            j -= 1


@_compiled
def _two_rows(
    above: Float64[Array, " run_and_one"],
    upper: Float64[Array, " run"],
    lower: Float64[Array, " run"],
    upper_distance: Float64[Array, " run"],
    lower_distance: Float64[Array, " run"],
) -> None:
    """Fill two rows of path costs from the finished row above them (which begins one column earlier).

    Each cell waits for the one to its left, about 8 cycles for a minimum and a sum. The second row runs one column
    behind the first, so that the two chains of waiting overlap. The numbers are those of one row after the other.
    """
    run = upper.shape[0]
    for j in range(run):
        upper[j] = min(above[j], above[j + 1])
    before, left, left_below = np.inf, upper[0] + upper_distance[0], np.inf
    upper[0] = left
    for j in range(1, run):
        here = min(upper[j], left) + upper_distance[j]
        left_below = min(before, left, left_below) + lower_distance[j - 1]
        lower[j - 1] = left_below
        upper[j] = here
        before, left = left, here
    lower[run - 1] = min(before, left, left_below) + lower_distance[run - 1]


@_compiled
def warp(
    x: Float64[Array, "rows dims"],
    y: Float64[Array, "dims columns"],
    first: Int64[Array, " rows"],
    last: Int64[Array, " rows"],
    metric: int,
) -> tuple[float, Int32[Array, "steps 2"]]:
    """Return the cost and the path of the cheapest warping of x onto y (y dims first) inside the band first..last.

    Neither end of the band may move back from one row to the next. Cells outside cost infinity.
    """
    rows, columns = x.shape[0], y.shape[1]
    total = np.full(
        (rows + 2, columns + 1), np.inf
    )  # a row and a column of borders, and the partner of an odd last row
    total[0, 0] = 0.0
    distance = np.empty((2, columns))
    for i in range(0, rows, 2):
        begin, end = first[i], last[min(i + 1, rows - 1)] + 1
        distance[:, begin:end] = np.inf
        for k in range(i, min(i + 2, rows)):
            _add_distances(x[k], y, first[k], distance[k - i, first[k] : last[k] + 1], metric)
        _two_rows(
            total[i, begin : end + 1],
            total[i + 1, begin + 1 : end + 1],
            total[i + 2, begin + 1 : end + 1],
            distance[0, begin:end],
            distance[1, begin:end],
        )
    return total[rows, columns], _trace_back(total[: rows + 1])


@_compiled
def fill_path(knots: Int32[Array, "knots 2"]) -> Int32[Array, "steps 2"]:
    """Return the path with unit steps that joins the knots by straight lines (rounded half up)."""
    length = 1
    for k in range(1, knots.shape[0]):
        length += max(knots[k, 0] - knots[k - 1, 0], knots[k, 1] - knots[k - 1, 1])
    path = np.empty((length, 2), np.int32)
    path[0] = knots[0]
    at = 0
    for k in range(1, knots.shape[0]):
        rise = knots[k, 0] - knots[k - 1, 0]
        run = knots[k, 1] - knots[k - 1, 1]
        steps = max(rise, run)
        for s in range(1, steps + 1):
            at += 1
            path[at, 0] = knots[k - 1, 0] + (2 * s * rise + steps) // (2 * steps)
            path[at, 1] = knots[k - 1, 1] + (2 * s * run + steps) // (2 * steps)
    return path


@_compiled
def path_cost(
    x: Float64[Array, "rows dims"],
    y: Float64[Array, "dims columns"],
    path: Int32[Array, "steps 2"],
    metric: int,
) -> float:
    """Return the sum of the local distances along a path (y dims first)."""
    local = np.empty(1)
    cost = 0.0
    for k in range(path.shape[0]):
        _add_distances(x[path[k, 0]], y, path[k, 1], local, metric)
        cost += local[0]
    return cost
