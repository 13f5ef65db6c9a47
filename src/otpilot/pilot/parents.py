"""Which runs to derive from: the best, and the one whose problems tell most."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from otpilot.analysis.findings import Finding, Severity
from otpilot.errors import ConfigError
from otpilot.pilot.rules import RuleContext
from otpilot.pilot.rules.base import concerns
from otpilot.runs.history import State
from otpilot.runs.metric_names import Direction

Choice = Literal["best", "problem"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
WEIGHT: Mapping[Severity, int] = {"problem": 10, "warning": 1, "info": 0}
"""A problem tells more than any number of warnings that a run can have."""


@dataclass(frozen=True, kw_only=True)
class Parent:
    """A run to derive from: its config, what was found, what rules may know, and its score with its direction."""

    id: str
    config: Mapping[str, Any]
    findings: tuple[Finding, ...] = ()
    context: RuleContext = field(default_factory=RuleContext)
    score: float | None = None
    direction: Direction = "min"
    state: State = "unknown"

    @property
    def telling(self) -> int:
        """How much its problems tell: ten for each problem, one for each warning."""
        return sum(WEIGHT[finding.severity] for finding in self.problems)

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings of problems and warnings about what was learned."""
        return tuple(concerns(self.findings))

    @property
    def failed(self) -> bool:
        """Whether it broke; then it is nobody's best, but its problems may tell something."""
        return self.state in ("diverged", "crashed") or any(finding.tag == "diverged" for finding in self.findings)


@dataclass(frozen=True, kw_only=True)
class ChosenParent:
    """A parent, and why it was chosen."""

    parent: Parent
    reason: str


def choose_parents(
    candidates: Sequence[Parent], *, how: Sequence[Choice] = ("best", "problem"), limit: int = 2
) -> tuple[ChosenParent, ...]:
    """Return up to `limit` parents: in turn the best and the one whose problems tell most, none twice.

    Raises:
        ConfigError: If `how` has an unknown word, or scores of both directions are mixed.
    """
    for word in how:
        if word not in CHOICES:
            raise ConfigError(f"Parents are chosen by {word!r}; allowed: {', '.join(CHOICES)}.")
    if len({c.direction for c in candidates if c.score is not None}) > 1:
        raise ConfigError("Some candidates' scores are better when low, others when high; they cannot be compared.")
    ranked = {"best": _by_score(candidates), "problem": _by_problems(candidates)}
    chosen: list[ChosenParent] = []
    while len(chosen) < limit and any(ranked[word] for word in how):
        for word in how:
            taken = {c.parent.id for c in chosen}
            ranked[word] = [c for c in ranked[word] if c.parent.id not in taken]
            if ranked[word] and len(chosen) < limit:
                chosen.append(ranked[word].pop(0))
    return tuple(chosen)


def _by_score(candidates: Sequence[Parent]) -> list[ChosenParent]:
    scored = [c for c in candidates if c.score is not None and not c.failed]
    sign = -1.0 if scored and scored[0].direction == "max" else 1.0
    ranked = sorted(scored, key=lambda c: sign * (c.score or 0.0))
    return [
        ChosenParent(parent=c, reason=f"rank {place} of {len(ranked)} by score ({c.score:.4g})")
        for place, c in enumerate(ranked, start=1)
    ]


def _by_problems(candidates: Sequence[Parent]) -> list[ChosenParent]:
    troubled = sorted((c for c in candidates if c.telling > 0), key=lambda c: -c.telling)
    return [
        ChosenParent(
            parent=c,
            reason="tells most: " + ", ".join(f.tag for f in c.problems),
        )
        for c in troubled
    ]
