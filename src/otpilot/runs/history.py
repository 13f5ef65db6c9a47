"""What a run's curves are, wherever they were read from: the one form that sources produce and analysis takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from otpilot.errors import RunError

State = Literal["running", "finished", "stopped_early", "diverged", "crashed", "killed", "unknown"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One metric as it was logged: steps (rows,) and values (rows,), in file order; NaN and infinities are kept.

    `times` are seconds since the epoch, (rows,), or None where the source has none.
    """

    name: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    times: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        """Check that the columns have equal lengths."""
        lengths = {len(self.steps), len(self.values), len(self.values if self.times is None else self.times)}
        if len(lengths) != 1:
            raise RunError(f"Curve {self.name!r} has columns of different lengths: {sorted(lengths)}.")

    def ordered(self) -> "Curve":
        """Return the curve by ascending step; of rows with one step the last logged stays (a resumed run repeats)."""
        if len(self.steps) < 2 or bool((np.diff(self.steps) > 0).all()):
            return self
        order = np.argsort(self.steps, kind="stable")
        steps = self.steps[order]
        rows = order[np.append(steps[1:] != steps[:-1], True)]
        times = None if self.times is None else self.times[rows]
        return Curve(name=self.name, steps=self.steps[rows], values=self.values[rows], times=times)


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something a run told about itself in words, such as an alarm of its transport."""

    step: int
    kind: str
    message: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class RunHistory:
    """One run: who it is, how it ended, its config (nested, as it was written) and its curves by canonical name.

    `summary` holds figures that came without a curve (the reports' compare_runs files): by metric, then by statistic.
    `notes` says what was lost or unusual while reading, one sentence each.
    """

    id: str
    name: str
    source: str
    state: State = "unknown"
    reason: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    summary: Mapping[str, Mapping[str, float | int | None]] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    url: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    updated: float | None = None
    notes: tuple[str, ...] = ()
