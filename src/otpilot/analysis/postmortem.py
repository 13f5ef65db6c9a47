"""Why a run is worse than another: what differs in its config, ranked by what could explain it, and the first test."""

from dataclasses import dataclass
from typing import Literal

from otpilot.analysis.settings import Setting

Area = Literal["optimiser", "schedule", "data", "model", "transport", "evaluation", "other"]
Mechanism = Literal["optimiser mismatch", "transport noise", "diverged", "unclear", "no difference"]


@dataclass(frozen=True, kw_only=True)
class ConfigDifference:
    """One setting in which two runs differ; `factor` is worse / better for positive numbers, else None.

    `could_explain` is False where the difference is too small for the regression; `limit` is the factor from which a
    difference of this setting counts (None: any).
    """

    key: str
    area: Area
    worse: Setting
    better: Setting
    factor: float | None
    could_explain: bool
    limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class JitterEvidence:
    """Jitter of one metric over the tail of both runs; `exploded` is None where it could not be measured."""

    metric: str | None
    worse: float | None
    better: float | None
    exploded: bool | None
    limit: float


@dataclass(frozen=True, kw_only=True)
class SingleChange:
    """The one edit of the worse run's config that would test the first suspect."""

    key: str
    value: Setting
    instead_of: Setting


@dataclass(frozen=True, kw_only=True)
class PostMortem:
    """What explains that `run` is worse than `baseline` on `metric`; `differences` come ranked, suspects first."""

    run: str
    baseline: str
    metric: str | None
    worse: float | None
    better: float | None
    percent: float | None
    differences: tuple[ConfigDifference, ...]
    jitter: JitterEvidence
    mechanism: Mechanism
    test: SingleChange | None
    follow_up: tuple[SingleChange, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def suspects(self) -> tuple[ConfigDifference, ...]:
        """The differences that could explain the regression, most likely first."""
        return tuple(item for item in self.differences if item.could_explain)
