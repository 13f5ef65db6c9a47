"""A proposal: what to change, why, what should follow, and how to tell that it failed. Plain data."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from otpilot.analysis.findings import Number
from otpilot.config.edits import Edit
from otpilot.errors import ConfigError
from otpilot.pilot.knobs import knobs_of

Group = Literal["ot", "bc", "run"]
Risk = Literal["low", "medium", "high"]
GROUPS: tuple[Group, ...] = ("ot", "bc", "run")
RISKS: tuple[Risk, ...] = ("low", "medium", "high")


@dataclass(frozen=True, kw_only=True)
class Failure:
    """How to tell that a change failed: a metric, by canonical name, beyond a threshold at the end of the trial.

    `relative` compares the metric divided by the parent's. It marks the remedy as failed, no more: whether a trial is
    accepted or rolled back is for the verdict over seeds.
    """

    metric: str
    relation: Literal["above", "below"]
    threshold: float
    relative: bool = False

    def occurred(self, value: float, parent: float | None = None) -> bool | None:
        """Return whether the value is beyond the threshold; None if it needs the parent's and there is none."""
        if self.relative:
            if not parent:
                return None
            value /= parent
        return value > self.threshold if self.relation == "above" else value < self.threshold

    def __str__(self) -> str:
        """Return a short reading, such as `train/ot_pi_sum below 0.05`."""
        return f"{self.metric} {self.relation} {self.threshold:g}{' of the parent' if self.relative else ''}"


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """Edits with their reason.

    `group` says what they touch: the transport (ot), behaviour cloning (bc), or only how a run is watched and fed
    (run), which changes nothing that is learned. `together` marks edits of several knobs that make sense only as one.
    `rule` and `source` (seed and line of thought) are filled in from the table of rules when left empty.
    """

    edits: tuple[Edit, ...]
    reason: str
    expected: str
    failure: Failure
    group: Group
    evidence: Mapping[str, Number] = field(default_factory=dict)
    risk: Risk = "low"
    together: bool = False
    rule: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        """Check that there is something to do, and a reason for it."""
        if not self.edits:
            raise ConfigError(f"Proposal of {self.rule or 'a rule'} has no edits; a rule without one returns None.")
        if not self.reason.strip():
            raise ConfigError(f"Proposal of {self.rule or 'a rule'} has no reason.")
        for name, value, allowed in (("group", self.group, GROUPS), ("risk", self.risk, RISKS)):
            if value not in allowed:
                raise ConfigError(f"Proposal.{name} is {value!r}; allowed: {', '.join(allowed)}.")

    @property
    def touched(self) -> str:
        """What the edits touch, in words: ot, bc, run, or ot and bc where a search turned knobs of both."""
        both = self.group == "bc" and any(edit.path.startswith("ot.") for edit in self.edits)
        return "ot and bc" if both else self.group

    @property
    def knobs(self) -> frozenset[str]:
        """Names of the knobs that the edits turn."""
        return knobs_of(edit.path for edit in self.edits)
