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
def _distance_row(  # noqa: PLR0917 - numba takes no keywords
    point: Float64[Array, " dims"],
    other: Float64[Array, "dims frames"],
    first: int,
    last: int,
    metric: int,
    out: Float64[Array, " frames"],
) -> None:
    """Write the distances of one point to frames first..last of `other` (dims first: the loop is contiguous)."""
    for j in range(first, last + 1):
        out[j] = 0.0
    for d in range(point.shape[0]):
        value = point[d]
        if metric == 0:
            for j in range(first, last + 1):
                out[j] += abs(other[d, j] - value)
        elif metric == 1:
            for j in range(first, last + 1):
                out[j] += (other[d, j] - value) ** 2
        else:
            for j in range(first, last + 1):
                out[j] = max(out[j], abs(other[d, j] - value))
    if metric == 1:
        for j in range(first, last + 1):
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
def warp(
    x: Float64[Array, "rows dims"],
    y: Float64[Array, "dims columns"],
    first: Int64[Array, " rows"],
    last: Int64[Array, " rows"],
    metric: int,
) -> tuple[float, Int32[Array, "steps 2"]]:
    """Return the cost and the path of the cheapest warping of x onto y (y dims first) inside the band first..last."""
    rows, columns = x.shape[0], y.shape[1]
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    local = np.empty(columns)
    for i in range(rows):
        _distance_row(x[i], y, first[i], last[i], metric, local)
        above, row = total[i], total[i + 1]
        # The two predecessors in the finished row first: what is left is one minimum and one sum per cell in a chain.
        for j in range(first[i], last[i] + 1):
            row[j + 1] = min(above[j], above[j + 1])
        left = np.inf
        for j in range(first[i], last[i] + 1):
            left = min(row[j + 1], left) + local[j]
            row[j + 1] = left
    return total[rows, columns], _trace_back(total)


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
    local = np.empty(y.shape[1])
    cost = 0.0
    for k in range(path.shape[0]):
        j = path[k, 1]
        _distance_row(x[path[k, 0]], y, j, j, metric, local)
        cost += local[j]
    return cost
