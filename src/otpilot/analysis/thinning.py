"""Curves small enough to draw: the extremes of every stretch stay, so no spike is lost."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from otpilot.analysis.view import COST, PROGRESS, is_success
from otpilot.runs.history import Curve

FIRST_DRAWN = (*PROGRESS, "train/ot_loss", "train/ot_pi_sum", "train/ot_pi_diag", "train/grad_norm", "train/lr")


def thin(curve: Curve, points: int) -> Curve:
    """Return the curve if it has at most `points` rows, else its first, last, and each equal stretch's extremes.

    `points` is at least 4 and counts finite rows. Where values are NaN or infinite, the first row of each such gap
    stays (at most `points` of them), so that a drawing does not bridge it.
    """
    curve = curve.ordered()
    if len(curve.values) <= points:
        return curve
    finite = np.isfinite(curve.values)
    if finite.all():
        rows = _extremes(curve.values, points)
    else:
        good = np.flatnonzero(finite)
        gaps = np.flatnonzero(~finite & np.append(True, finite[:-1]))[:points]
        rows = np.union1d(good[_extremes(curve.values[good], points)], gaps)
    times = None if curve.times is None else curve.times[rows]
    return Curve(name=curve.name, steps=curve.steps[rows], values=curve.values[rows], times=times)


def _extremes(values: NDArray[np.float64], points: int) -> NDArray[np.int64]:
    """Return the places of the first, the last, and the lowest and highest of each of equal stretches, ascending."""
    n = len(values)
    if n <= points:
        return np.arange(n)
    stretches = (points - 2) // 2
    size = -(-n // stretches)
    whole = n // size
    blocks = values[: whole * size].reshape(whole, size)
    starts = size * np.arange(whole)
    low, high = starts + blocks.argmin(axis=1), starts + blocks.argmax(axis=1)
    places = np.empty(2 * whole + 4, dtype=np.int64)
    places[0], places[-1] = 0, n - 1
    np.minimum(low, high, out=places[1:-3:2])
    np.maximum(low, high, out=places[2:-2:2])
    rest = values[whole * size :]
    ends = (
        sorted((whole * size + int(rest.argmin()), whole * size + int(rest.argmax()))) if len(rest) else [n - 1, n - 1]
    )
    places[-3:-1] = ends
    kept: NDArray[np.int64] = places[np.append(True, places[1:] > places[:-1])]
    return kept


def drawing_order(names: Iterable[str]) -> list[str]:
    """Return metric names, most telling first: success, losses, transport, then as given."""

    def rank(name: str) -> int:
        if is_success(name):
            return 0
        if name in FIRST_DRAWN:
            return 1 + FIRST_DRAWN.index(name)
        return len(FIRST_DRAWN) + (1 if name.startswith((COST, "train/ot_")) else 2)

    return sorted(names, key=rank)
