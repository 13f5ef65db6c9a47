"""Arms: all trials of one config with one number of steps, as decisions and rules see them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otpilot.analysis.findings import Finding
from otpilot.errors import OtpilotError
from otpilot.pilot.campaign.scoring import Assessment, assess, called, read_assessment
from otpilot.pilot.decisions import DIVERGED, Arm, common_problems, tag_counts
from otpilot.pilot.ledger import Trial
from otpilot.pilot.parents import Parent
from otpilot.pilot.proposal import Failure
from otpilot.pilot.rules import RuleContext
from otpilot.runs.metric_names import Direction

ENDED_WELL = ("finished", "stopped_early")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Which config an arm is: its name in reports, its hash, and its number in the line of incumbents."""

    name: str
    hash: str
    era: int = 0
    ground: str = "baseline"

    def plain(self) -> dict[str, Any]:
        """Return it as the ledger keeps it."""
        return {"name": self.name, "hash": self.hash, "era": self.era, "ground": self.ground}


def arm_of(name: str, trials: Sequence[Trial], metric: str) -> Arm:
    """Return the arm of some trials of one config: scores, ends without one, and the problems that most runs have."""
    scores: dict[int, float] = {}
    failed: dict[int, str] = {}
    tags: list[frozenset[str]] = []
    for trial in trials:
        found = read_assessment(trial.metrics)
        if trial.state in ENDED_WELL and found is not None and metric in found.scores:
            scores[trial.seed] = found.scores[metric]
        else:
            failed[trial.seed] = trial.state if trial.state not in ENDED_WELL else "no score"
        if found is not None:
            tags.append(found.problems)
        elif trial.state == DIVERGED:  # it has no score, and so was not assessed
            tags.append(frozenset({DIVERGED}))
    return Arm(
        name=name,
        scores=scores,
        failed=failed,
        problems=common_problems(tags) if tags else frozenset(),
        tagged=tag_counts(tags),
        looked=len(tags),
    )


def parent_of(
    identity: Identity,
    trials: Sequence[Trial],
    config: Mapping[str, Any],
    *,
    metric: str,
    direction: Direction,
    folder: Path | None = None,
) -> Parent:
    """Return the arm as something to derive from: findings that most of its runs have, told by the first that has it.

    `folder` holds run folders, where trials that ended without a score are looked into.
    """
    arm = arm_of(identity.name, trials, metric)
    found = [item for trial in trials if (item := _assessment(trial, folder)) is not None]
    return Parent(
        id=identity.name,
        config=config,
        findings=_common_findings(found),
        context=called(found[0], identity.name).context if found else RuleContext(run=identity.name),
        score=arm.mean,
        direction=direction,
        state="diverged" if arm.breaks() else "finished",
    )


def failure_occurred(failure: Failure, trials: Sequence[Trial], parents: Sequence[Trial]) -> bool | None:
    """Return whether a rule's sign of failure is there, by the mean level over seeds; None where it was not logged."""
    ours, its = _level(trials, failure.metric), _level(parents, failure.metric)
    return None if ours is None else failure.occurred(ours, its)


def _level(trials: Sequence[Trial], metric: str) -> float | None:
    found = [item.context.recent for trial in trials if (item := read_assessment(trial.metrics)) is not None]
    levels = [recent[metric] for recent in found if metric in recent]
    return sum(levels) / len(levels) if levels else None


def _assessment(trial: Trial, folder: Path | None) -> Assessment | None:
    found = read_assessment(trial.metrics)
    if found is not None or folder is None or trial.state not in ("diverged", "invalid"):
        return found
    try:
        return read_assessment(assess(folder / trial.folder_name, budget=trial.budget))
    except (OSError, OtpilotError):
        return None


def _common_findings(found: Iterable[Assessment]) -> tuple[Finding, ...]:
    """Return the findings whose tag more than half of the runs have, each as the first such run says it."""
    runs = list(found)
    common = common_problems([[finding.tag for finding in run.findings] for run in runs]) if runs else frozenset()
    first: dict[str, Finding] = {}
    for run in runs:
        for finding in run.findings:
            if finding.tag in common:
                first.setdefault(finding.tag, finding)
    rank = {"problem": 0, "warning": 1, "info": 2}
    return tuple(sorted(first.values(), key=lambda finding: rank[finding.severity]))


@dataclass(frozen=True, kw_only=True)
class Known:
    """Everything that the ledger says about trials, grouped once."""

    by_arm: Mapping[tuple[str, int], tuple[Trial, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, trials: Iterable[Trial]) -> "Known":
        """Return the trials grouped by config and number of steps, in the order of their ids."""
        groups: dict[tuple[str, int], list[Trial]] = {}
        for trial in trials:
            groups.setdefault((trial.config_hash, trial.budget), []).append(trial)
        return cls(by_arm={key: tuple(items) for key, items in groups.items()})

    def on(self, config_hash: str, budget: int, seeds: Sequence[int]) -> tuple[Trial, ...]:
        """Return the trials of a config on some seeds, in the order of the seeds."""
        found = {trial.seed: trial for trial in self.by_arm.get((config_hash, budget), ())}
        return tuple(found[seed] for seed in seeds if seed in found)
