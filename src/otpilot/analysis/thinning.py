"""Curves small enough to draw: the extremes of every stretch stay, so no spike is lost."""

from collections.abc import Iterable

import numpy as np

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
    good = np.flatnonzero(finite)
    gaps = np.flatnonzero(~finite & np.append(True, finite[:-1]))[:points]
    if len(good) > points:
        values = curve.values[good]
        inner = values[1:-1]
        size = -(-len(inner) // ((points - 2) // 2))
        padded = np.append(inner, np.full(-len(inner) % size, inner[-1])).reshape(-1, size)
        starts = 1 + size * np.arange(len(padded))
        lows, highs = starts + padded.argmin(axis=1), starts + padded.argmax(axis=1)
        kept = np.unique(np.concatenate(([0, len(good) - 1], lows, highs)))
        good = good[np.minimum(kept, len(good) - 1)]
    rows = np.union1d(good, gaps)
    times = None if curve.times is None else curve.times[rows]
    return Curve(name=curve.name, steps=curve.steps[rows].copy(), values=curve.values[rows].copy(), times=times)


def drawing_order(names: Iterable[str]) -> list[str]:
    """Return metric names, most telling first: success, losses, transport, then as given."""

    def rank(name: str) -> int:
        if is_success(name):
            return 0
        if name in FIRST_DRAWN:
            return 1 + FIRST_DRAWN.index(name)
        return len(FIRST_DRAWN) + (1 if name.startswith((COST, "train/ot_")) else 2)

    return sorted(names, key=rank)
