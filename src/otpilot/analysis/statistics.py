"""Statistics of a curve, exactly as defined for the five older reports: endpoint, stability and tail families.

Every function takes plain arrays in ascending step order and uses the finite values only. A statistic is None where no
finite value supports it, and where it does not fit into a float (values near 1e308); it is never made up as 0.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otpilot.runs.history import Curve
from otpilot.runs.metric_names import Direction, metric_info

Steps = NDArray[np.int64]
Values = NDArray[np.float64]

EPS_ENDPOINT = 1e-12
EPS_STABILITY = 1e-8
TAIL_POINTS = 100
TAIL_SHARE = 0.1
RECENT_POINTS = 20
RECENT_SHARE = 0.2


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """First, last and best value of a curve (reports 001 and 003).

    `rows` counts all rows, `nan` and `inf` those that are not finite. `best` is the minimum, or the maximum where the
    metric's direction says so; `delta` and `pct` are None where `first` is 0.
    """

    rows: int
    nan: int
    inf: int
    first: float | None = None
    last: float | None = None
    best: float | None = None
    first_step: int | None = None
    last_step: int | None = None
    best_step: int | None = None
    delta: float | None = None
    pct: float | None = None


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Spread and recent trend of a curve (report 000); `slope_recent` is per training step."""

    rows: int
    nan: int
    inf: int
    last: float | None = None
    mean: float | None = None
    std: float | None = None
    cv: float | None = None
    med_abs_rel_change: float | None = None
    min: float | None = None
    min_step: int | None = None
    delta_last_min: float | None = None
    slope_recent: float | None = None


@dataclass(frozen=True, kw_only=True)
class Tail:
    """Level, trend and jitter of the last `points` finite values (report 002); `slope_last` is per point."""

    rows: int
    nan: int
    inf: int
    points: int = 0
    last_mean: float | None = None
    last_std: float | None = None
    slope_last: float | None = None
    jitter: float | None = None


@dataclass(frozen=True, kw_only=True)
class MetricStatistics:
    """All three families of one metric."""

    endpoint: Endpoint
    stability: Stability
    tail: Tail


@dataclass(frozen=True, kw_only=True, eq=False)
class FiniteRows:
    """The finite rows of a curve, and how many were NaN or infinite."""

    steps: Steps
    values: Values
    rows: int
    nan: int
    inf: int


def finite_rows(steps: Steps, values: Values) -> FiniteRows:
    """Return the rows whose value is finite."""
    good = np.isfinite(values)
    rows = len(values)
    if good.all():
        return FiniteRows(steps=steps, values=values, rows=rows, nan=0, inf=0)
    kept = values[good]
    nan = int(np.isnan(values).sum())
    return FiniteRows(steps=steps[good], values=kept, rows=rows, nan=nan, inf=rows - len(kept) - nan)


def endpoint(steps: Steps, values: Values, *, direction: Direction | None = "min") -> Endpoint:
    """Return the endpoint statistics; `direction` "max" makes `best` the maximum, anything else the minimum."""
    return _endpoint(finite_rows(steps, values), direction)


def stability(steps: Steps, values: Values) -> Stability:
    """Return the stability statistics; give rows in which both compared keys are present (see `shared_rows`)."""
    with np.errstate(all="ignore"):
        return _stability(finite_rows(steps, values))


def tail(values: Values) -> Tail:
    """Return the tail statistics: the last min(100, max(1, round(0.1 n))) finite values."""
    with np.errstate(all="ignore"):
        return _tail(finite_rows(np.arange(len(values)), values))


def curve_statistics(curve: Curve) -> MetricStatistics:
    """Return all three families of a curve, by ascending step, repeated steps resolved."""
    curve = curve.ordered()
    return rows_statistics(curve.name, finite_rows(curve.steps, curve.values))


def rows_statistics(name: str, rows: FiniteRows) -> MetricStatistics:
    """Return all three families from the finite rows of the metric `name`, which stand in step order."""
    with np.errstate(all="ignore"):
        return MetricStatistics(
            endpoint=_endpoint(rows, metric_info(name).direction), stability=_stability(rows), tail=_tail(rows)
        )


def shared_rows(one: Curve, other: Curve) -> tuple[Curve, Curve]:
    """Return both curves on the steps that both have."""
    one, other = one.ordered(), other.ordered()
    _, mine, theirs = np.intersect1d(one.steps, other.steps, assume_unique=True, return_indices=True)
    return _take(one, mine), _take(other, theirs)


def tail_points(n: int) -> int:
    """Return how many of n points make the tail."""
    return min(TAIL_POINTS, max(1, round(TAIL_SHARE * n)))


def slope(x: NDArray[Any], y: Values) -> float | None:
    """Return the least-squares slope of y over x, or None with fewer than two distinct x."""
    if len(y) < 2:
        return None
    centred = x - mean(x)
    spread = float(centred @ centred)
    return _number(float(centred @ (y - mean(y))) / spread) if spread > 0 else None


def jitter(values: Values) -> float | None:
    """Return std(diff(y)) / |median(y)|, or None with fewer than two values or a median of 0."""
    if len(values) < 2:
        return None
    middle = abs(median(values))
    return _number(deviation(values[1:] - values[:-1]) / middle) if middle > 0 else None


def _endpoint(rows: FiniteRows, direction: Direction | None) -> Endpoint:
    counts = {"rows": rows.rows, "nan": rows.nan, "inf": rows.inf}
    values, steps = rows.values, rows.steps
    if len(values) == 0:
        return Endpoint(**counts)
    place = int(values.argmax() if direction == "max" else values.argmin())
    first, last = float(values[0]), float(values[-1])
    delta = last - first
    base = first + EPS_ENDPOINT
    return Endpoint(
        **counts,
        first=first,
        last=last,
        best=float(values[place]),
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        best_step=int(steps[place]),
        delta=None if first == 0 else _number(delta),
        # In this order of operations all 42 stored percentages of the seed file come out to the last bit.
        pct=None if first == 0 or base == 0 else _number(100 * delta / base),
    )


def _stability(rows: FiniteRows) -> Stability:
    counts = {"rows": rows.rows, "nan": rows.nan, "inf": rows.inf}
    values, steps = rows.values, rows.steps
    n = len(values)
    if n == 0:
        return Stability(**counts)
    middle, std = _number(mean(values)), _number(deviation(values))
    place = int(values.argmin())
    low, last = float(values[place]), float(values[-1])
    recent = min(n, max(RECENT_POINTS, math.floor(RECENT_SHARE * n)))
    return Stability(
        **counts,
        last=last,
        mean=middle,
        std=std,
        cv=None if middle is None or std is None else _number(std / (abs(middle) + EPS_STABILITY)),
        med_abs_rel_change=_med_abs_rel_change(values),
        min=low,
        min_step=int(steps[place]),
        delta_last_min=_number(last - low),
        slope_recent=slope(steps[n - recent :], values[n - recent :]),
    )


def _tail(rows: FiniteRows) -> Tail:
    counts = {"rows": rows.rows, "nan": rows.nan, "inf": rows.inf}
    n = len(rows.values)
    if n == 0:
        return Tail(**counts)
    points = tail_points(n)
    last = rows.values[n - points :]
    return Tail(
        **counts,
        points=points,
        last_mean=_number(mean(last)),
        last_std=_number(deviation(last)),
        slope_last=slope(np.arange(points), last),
        jitter=jitter(last),
    )


def _med_abs_rel_change(values: Values) -> float | None:
    if len(values) < 2:
        return None
    return _number(median(np.abs(values[1:] - values[:-1]) / (np.abs(values[:-1]) + EPS_STABILITY)))


def median(values: Values) -> float:
    """Return the median of at least one value; np.median spends most of its time on cases that cannot occur here."""
    half = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, half)[half])
    low, high = np.partition(values, [half - 1, half])[half - 1 : half + 1]
    return float(low / 2 + high / 2)


def mean(values: NDArray[Any]) -> float:
    """Return the mean; numpy's own method costs three times as much on a few hundred values."""
    return float(np.add.reduce(values)) / len(values)


def deviation(values: Values) -> float:
    """Return the population standard deviation (ddof 0)."""
    centred = values - mean(values)
    return math.sqrt(float(centred @ centred) / len(values))


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _take(curve: Curve, places: NDArray[np.int64]) -> Curve:
    times = None if curve.times is None else curve.times[places]
    return Curve(name=curve.name, steps=curve.steps[places], values=curve.values[places], times=times)
