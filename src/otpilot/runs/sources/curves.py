"""Builds the curves of a run from single values or from columns, under canonical names."""

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otpilot.runs.counting import agree, counted
from otpilot.runs.history import Curve
from otpilot.runs.lines import INT64
from otpilot.runs.metric_names import canonical

PERCENT = "eval/pc_success"


def canonical_curves(found: Iterable[tuple[str, Curve]]) -> tuple[dict[str, Curve], list[str]]:
    """Return curves by canonical name, and notes.

    A run that logged one metric under two names (the fork wrote `train/ot_loss` and `train/ot_ot_loss`) keeps the
    longer curve, or the one already spelled canonically; a note is made only where the two differ.
    """
    curves: dict[str, Curve] = {}
    spelled: dict[str, str] = {}
    notes: list[str] = []
    for raw, curve in found:
        name = canonical(raw)
        if name in curves:
            other = curves[name]
            keep_new = (len(curve.values), raw == name) > (len(other.values), spelled[name] == name)
            kept, dropped = (raw, spelled[name]) if keep_new else (spelled[name], raw)
            if not _equal(curve, other, unit=100.0 if name.startswith(PERCENT) else 1.0):
                notes.append(f"{kept} and {dropped} are one metric with different rows; {kept} is used.")
            if not keep_new:
                continue
        spelled[name] = raw
        curves[name] = Curve(name=name, steps=curve.steps, values=_as_rate(raw, name, curve.values), times=curve.times)
    return curves, notes


def _as_rate(raw: str, name: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return LeRobot's percentages of success as rates from 0 to 1, which every limit and report is meant for."""
    if not name.startswith(PERCENT) or not (raw.startswith(PERCENT) or bool((values > 1.0).any())):
        return values
    return values / 100.0


def _equal(one: Curve, other: Curve, *, unit: float = 1.0) -> bool:
    """Whether a curve says what one that was read before says, whose values may have been divided by `unit`."""
    same = np.array_equal(one.values, other.values, equal_nan=True)
    return np.array_equal(one.steps, other.steps) and (
        same or np.allclose(one.values, other.values * unit, equal_nan=True)
    )


@dataclass(kw_only=True, eq=False)
class _Rows:
    steps: array[int] = field(default_factory=lambda: array("q"))
    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))


@dataclass(kw_only=True, eq=False)
class CurveBuilder:
    """Collects values one by one, in the order in which they were logged."""

    lost: int = 0
    _rows: dict[str, _Rows] = field(default_factory=dict)

    def add(self, name: str, *, step: int, value: float, time: float | None = None) -> None:
        """Add one value; a step beyond 64 bits is counted as lost."""
        if not INT64.min <= step <= INT64.max:
            self.lost += 1
            return
        rows = self._rows.setdefault(name, _Rows())
        rows.steps.append(step)
        rows.values.append(value)
        rows.times.append(np.nan if time is None else time)

    def build(self) -> tuple[dict[str, Curve], list[str]]:
        """Return curves by canonical name, and notes."""
        curves, notes = canonical_curves((name, _curve(name, rows)) for name, rows in self._rows.items())
        if self.lost:
            told = agree(self.lost, "has a step beyond 64 bits and is", "have a step beyond 64 bits and are")
            notes.append(f"{counted(self.lost, 'value')} {told} left out.")
        return curves, notes


def _curve(name: str, rows: _Rows) -> Curve:
    times = np.array(rows.times, dtype=float)
    return Curve(
        name=name,
        steps=np.array(rows.steps, dtype=np.int64),
        values=np.array(rows.values, dtype=float),
        times=None if np.isnan(times).any() else times,
    )


def flat_items(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Yield the leaves of nested values by dotted name, as trackers do: {"a": {"b": 1}} is a.b = 1."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flat_items(value, f"{name}.")
        else:
            yield name, value
