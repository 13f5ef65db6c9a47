"""Curves packed for a page: base64 of short integers or floats, step axes stored once, within a size in bytes."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otpilot.runs.history import Curve

BUDGET = 1_650_000
"""Bytes of all curves together before base64, which adds a third: 20 runs x 20 metrics x 2,000 points still fit."""
OFF_CHART = 1e30
"""Larger numbers are gaps in a drawing (and counted): beside them nothing else could be seen."""
THINNER = (None, 4000, 2000, 1000, 500, 250, 120, 60)
"""Points a curve may keep, tried in turn until all curves fit."""
FLOAT_RANGE = (1e-36, 1e36)
WIDE = 4.0
"""Curves of one sign whose largest value is more than this times the smallest are stored by their logarithm."""
CODES = 65533
GAP = 65535

type Array = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What the page's script needs, as JSON values, and what was lost on the way.

    `axes` are the distinct (steps, times), `curves` maps metric -> list of curves, each with its run's position.
    `error` is the largest relative error of a stored value against the value, or against the curve's range where it
    crosses zero; `kept` is how many points the longest curve kept, None where all did.
    """

    axes: list[dict[str, Any]]
    curves: dict[str, list[dict[str, Any]]]
    error: float
    kept: int | None
    bytes: int


@dataclass
class _Draft:
    """A packing under way: axes by content, so that each is stored once."""

    short: bool
    axes: list[dict[str, Any]] = field(default_factory=list)
    known: dict[tuple[bytes, bytes], int] = field(default_factory=dict)
    error: float = 0.0
    bytes: int = 0

    def axis(self, curve: Curve, start: float | None) -> int:
        times = None if curve.times is None else curve.times - (0.0 if start is None else start)
        key = (curve.steps.tobytes(), b"" if times is None else times.tobytes())
        if key not in self.known:
            self.known[key] = len(self.axes)
            self.axes.append({"steps": self.steps(curve.steps), "times": None if times is None else self.times(times)})
        return self.known[key]

    def steps(self, steps: NDArray[np.int64]) -> dict[str, Any]:
        gaps = np.diff(steps)
        head = {"n": len(steps), "first": int(steps[0])}
        if len(gaps) == 0 or bool((gaps == gaps[0]).all()):
            return {**head, "by": int(gaps[0]) if len(gaps) else 1}
        # Steps ascend, so gaps are positive; one beyond 32 bits is not a training step, but must do no harm.
        kind = "<u2" if int(gaps.max()) < 2**16 else "<u4" if int(gaps.max()) < 2**32 else "<f8"
        return {**head, "gaps": self.text(gaps.astype(kind)), "type": kind[1:]}

    def times(self, times: NDArray[np.float64]) -> dict[str, Any] | None:
        if not bool(np.isfinite(times).all()):
            return None
        low, high = float(times.min()), float(times.max())
        span = high - low or 1.0
        return {"low": low, "high": high, "codes": self.text(np.rint((times - low) / span * 65535).astype("<u2"))}

    def values(self, values: NDArray[np.float64]) -> dict[str, Any]:
        fine = np.isfinite(values) & (np.abs(values) <= OFF_CHART)
        sizes = np.abs(values[fine & (values != 0)])
        holds = len(sizes) == 0 or (FLOAT_RANGE[0] < sizes.min() and sizes.max() < FLOAT_RANGE[1])
        if not self.short and holds:
            self.error = max(self.error, 2.0**-24)
            return {"as": "f4", "data": self.text(np.where(fine, values, np.nan).astype("<f4"))}
        return self.codes(values, fine, sizes)

    def codes(self, values: Array, fine: Array, sizes: Array) -> dict[str, Any]:
        """Return 16-bit codes: by logarithm where all values have one sign and differ in size, else by value."""
        good = values[fine]
        sign = 0 if len(sizes) == 0 or good.min() < 0 < good.max() else (1 if good.max() > 0 else -1)
        codes = np.full(len(values), GAP, dtype="<u2")
        if sign and sizes.max() > WIDE * sizes.min():
            low, high = math.log2(sizes.min()), math.log2(sizes.max())
            logs = np.log2(np.where(good == 0, sizes.min(), np.abs(good)))
            codes[fine] = np.where(good == 0, 0, 1 + np.rint((logs - low) / (high - low) * (CODES - 1)))
            self.error = max(self.error, 2.0 ** ((high - low) / (CODES - 1) / 2) - 1)
            return {"as": "log", "low": low, "high": high, "sign": sign, "data": self.text(codes)}
        low, high = (float(good.min()), float(good.max())) if len(good) else (0.0, 0.0)
        span = high - low or 1.0
        codes[fine] = np.rint((good - low) / span * CODES)
        if high > low:
            nearest = min(abs(low), abs(high)) if sign else span
            self.error = max(self.error, span / CODES / 2 / nearest if nearest else 0.5 / CODES)
        return {"as": "lin", "low": low, "high": high, "data": self.text(codes)}

    def text(self, array: Array) -> str:
        self.bytes += array.nbytes
        return base64.b64encode(array.tobytes()).decode("ascii")


def pack(
    curves: Mapping[str, Sequence[tuple[int, Curve]]], *, starts: Sequence[float | None], budget: int = BUDGET
) -> Packed:
    """Return curves packed within `budget` bytes: 32-bit floats if they fit, else 16-bit codes, else fewer points.

    Args:
        curves: By metric, each with the position of its run; in ascending order of step (see `Curve.ordered`).
        starts: When each run began, seconds since the epoch; times are stored relative to it.
        budget: Bytes before base64. The coarsest packing is returned even if it is larger.
    """
    longest = max((len(curve.steps) for group in curves.values() for _, curve in group), default=0)
    sizes = [len(curve.steps) for group in curves.values() for _, curve in group]
    ways = [(False, None), *((True, points) for points in THINNER if points is None or points < longest)]
    for short, points in ways:
        # What cannot fit is not encoded first: the values alone would already be too many.
        least = sum(min(size, points or longest) for size in sizes) * (2 if short else 4)
        if least > budget and (short, points) != ways[-1]:
            continue
        draft = _Draft(short=short)
        packed = {
            metric: [_packed(draft, run, curve, starts[run], points) for run, curve in group if len(curve.steps)]
            for metric, group in curves.items()
        }
        if draft.bytes <= budget:
            break
    return Packed(axes=draft.axes, curves=packed, error=draft.error, kept=points, bytes=draft.bytes)


def _packed(draft: _Draft, run: int, curve: Curve, start: float | None, points: int | None) -> dict[str, Any]:
    gaps = int((~np.isfinite(curve.values)).sum())
    far = int((np.abs(curve.values[np.isfinite(curve.values)]) > OFF_CHART).sum())
    if points is not None:
        curve = thinned(curve, points)
    body = {"run": run, "axis": draft.axis(curve, start), **draft.values(curve.values)}
    return body | ({"gaps": gaps} if gaps else {}) | ({"far": far} if far else {})


def thinned(curve: Curve, points: int) -> Curve:
    """Return at most `points` rows of a curve: its ends and the extremes of equal stretches, and a gap where one is."""
    count = len(curve.values)
    if count <= points:
        return curve
    # Three rows a stretch: smallest, largest, and the first that is not finite, lest a gap be drawn over.
    edges = np.linspace(0, count, max(1, (points - 2) // 3) + 1).astype(int)
    finite = np.isfinite(curve.values)
    low = np.where(finite, curve.values, np.inf)
    high = np.where(finite, curve.values, -np.inf)
    kept = {0, count - 1}
    for first, last in pairwise(edges):
        kept |= {first + int(low[first:last].argmin()), first + int(high[first:last].argmax())}
        if not finite[first:last].all():
            kept.add(first + int((~finite[first:last]).argmax()))
    rows = np.array(sorted(kept))
    times = None if curve.times is None else curve.times[rows]
    return Curve(name=curve.name, steps=curve.steps[rows], values=curve.values[rows], times=times)
