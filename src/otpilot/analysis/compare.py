"""Runs against baselines: one score fixed before looking, at an equal step, and the best and last values beside it."""

from dataclasses import dataclass
from typing import Literal

from otpilot.analysis.verdict import Verdict
from otpilot.runs.metric_names import Direction

ScoreKind = Literal["success", "loss"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two values side by side: ours at `step`, the baseline's at `baseline_step`; `percent` is None where undefined."""

    ours: float
    baseline: float
    percent: float | None
    step: int
    baseline_step: int


@dataclass(frozen=True, kw_only=True)
class PairComparison:
    """One run against one baseline run.

    `score`: mean of the last `evaluations` evaluations up to an equal step. `last` and `best`: each at its own step.
    """

    run: str
    baseline: str
    seed: int | None
    score: Difference | None
    last: Difference | None
    best: Difference | None
    evaluations: int


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A group of runs that differ by seed only against a group of baselines, on one metric.

    `metric` is what the verdict is about, `kind` whether it is closed-loop success or only a validation loss.
    """

    name: str
    runs: tuple[str, ...]
    baseline_name: str
    baselines: tuple[str, ...]
    metric: str
    kind: ScoreKind
    direction: Direction
    pairs: tuple[PairComparison, ...]
    verdict: Verdict
    notes: tuple[str, ...] = ()
