"""Curves small enough to draw: the extremes of every stretch stay, so no spike is lost."""

from collections.abc import Iterable

import numpy as np

from otpilot.analysis.view import COST, PROGRESS, is_success
from otpilot.runs.history import Curve

FIRST_DRAWN = (*PROGRESS, "train/ot_loss", "train/ot_pi_sum", "train/ot_pi_diag", "train/grad_norm", "train/lr")


def thin(curve: Curve, points: int) -> Curve:
    """Return at most `points` finite rows: first, last, and the lowest and highest of each of equal stretches.

    `points` is at least 4. A curve that is small enough loses its NaN and infinite rows only.
    """
    curve = curve.ordered()
    good = np.flatnonzero(np.isfinite(curve.values))
    if len(good) > points:
        values = curve.values[good]
        inner = values[1:-1]
        size = -(-len(inner) // ((points - 2) // 2))
        padded = np.append(inner, np.full(-len(inner) % size, inner[-1])).reshape(-1, size)
        starts = 1 + size * np.arange(len(padded))
        lows, highs = starts + padded.argmin(axis=1), starts + padded.argmax(axis=1)
        kept = np.unique(np.concatenate(([0, len(good) - 1], lows, highs)))
        good = good[np.minimum(kept, len(good) - 1)]
    elif len(good) == len(curve.values):
        return curve
    times = None if curve.times is None else curve.times[good]
    return Curve(name=curve.name, steps=curve.steps[good].copy(), values=curve.values[good].copy(), times=times)


def drawing_order(names: Iterable[str]) -> list[str]:
    """Return metric names, most telling first: success, losses, transport, then as given."""

    def rank(name: str) -> int:
        if is_success(name):
            return 0
        if name in FIRST_DRAWN:
            return 1 + FIRST_DRAWN.index(name)
        return len(FIRST_DRAWN) + (1 if name.startswith((COST, "train/ot_")) else 2)

    return sorted(names, key=rank)
