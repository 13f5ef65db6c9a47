"""What a trial's run folder says, in the form that the ledger keeps: scores, findings, levels, curves of evaluations.

With it every decision can be made from the ledger alone, on any machine.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from otpilot.analysis.findings import Finding, Threshold
from otpilot.analysis.result import report_run
from otpilot.analysis.scorecard import ScoreCard
from otpilot.analysis.thresholds import Thresholds
from otpilot.analysis.view import EVALUATION_LOSSES, is_success
from otpilot.config.plain import plain
from otpilot.errors import RunError
from otpilot.pilot.rules import RuleContext, context_of
from otpilot.pilot.worker import Score
from otpilot.runs.history import RunHistory
from otpilot.runs.metric_names import MACHINE
from otpilot.runs.sources.run_folder import read_run_folder

CURVE_POINTS = 100


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """What was found in one run, as the ledger gives it back."""

    scores: Mapping[str, float]
    findings: tuple[Finding, ...]
    context: RuleContext

    @property
    def problems(self) -> frozenset[str]:
        """Tags of its problems."""
        return frozenset(finding.tag for finding in self.findings if finding.severity == "problem")


def assess(run: Path, *, budget: int) -> dict[str, Any]:
    """Return what a run folder says, as plain data: `scores` by metric, `findings`, `recent` levels, `curves`."""
    return assess_history(read_run_folder(run), budget=budget)


def assess_history(history: RunHistory, *, budget: int) -> dict[str, Any]:
    """Return what `assess` does, of a history that was read or made elsewhere."""
    limits = Thresholds()
    report, card = report_run(history, limits)
    context = context_of(report)
    return {
        "scores": _scores(card, int(limits.score_evaluations), budget),
        "evaluations": {name: len(curve.steps) for name, curve in card.evaluations.items()},
        "curves": {name: _points(card, name) for name in card.evaluations if _ranks(name)},
        "findings": plain(report.findings),
        "recent": {name: level for name, level in sorted(context.recent.items()) if _lasts(name, level)},
        "last_step": context.last_step,
        "notes": list(report.notes),
    }


def score(run: Path, *, budget: int, metrics: Sequence[str]) -> Score:
    """Return the score of a run that ended well, with everything else that is worth keeping.

    Raises:
        RunError: If it has none of the metrics.
    """
    found = assess(run, budget=budget)
    value = next((found["scores"][name] for name in metrics if name in found["scores"]), None)
    if value is None:
        raise RunError(f"none of {', '.join(metrics)} was measured; the log has {_listed(found['scores'])}")
    return Score(value=value, metrics=found)


def read_assessment(metrics: Mapping[str, Any], *, run: str = "") -> Assessment | None:
    """Return what `assess` put into the ledger, or None where a trial ended without it."""
    if "findings" not in metrics:
        return None
    findings = tuple(_finding(body) for body in metrics["findings"])
    recent = {str(name): float(level) for name, level in metrics.get("recent", {}).items()}
    context = RuleContext(run=run, last_step=int(metrics.get("last_step", 0)), recent=recent)
    scores = {str(name): float(value) for name, value in metrics.get("scores", {}).items()}
    return Assessment(scores=scores, findings=findings, context=context)


def called(assessment: Assessment, run: str) -> Assessment:
    """Return the assessment under another run's name."""
    return replace(assessment, context=replace(assessment.context, run=run))


def _scores(card: ScoreCard, evaluations: int, budget: int) -> dict[str, float]:
    """Return the mean of the last evaluations up to the budget, for every metric that ranks runs."""
    scores = {}
    for name, curve in card.evaluations.items():
        if not _ranks(name):
            continue
        values = curve.values[curve.steps <= budget][-evaluations:]
        with np.errstate(all="ignore"):
            mean = float(values.mean()) if len(values) else math.nan
        if math.isfinite(mean):
            scores[name] = mean
    return scores


def _points(card: ScoreCard, name: str) -> list[list[float]]:
    curve = card.evaluations[name]
    stride = max(1, math.ceil(len(curve.steps) / CURVE_POINTS))
    places = sorted({*range(0, len(curve.steps), stride), len(curve.steps) - 1} - {-1})
    return [[int(curve.steps[place]), float(curve.values[place])] for place in places]


def _ranks(name: str) -> bool:
    return name in EVALUATION_LOSSES or (is_success(name) and name.startswith("sim/"))


def _lasts(name: str, level: float) -> bool:
    """Whether a level is the config's, not the machine's: two runs of one trial must leave the same in the ledger."""
    return math.isfinite(level) and not name.startswith(MACHINE)


def _listed(scores: Mapping[str, float]) -> str:
    return ", ".join(scores) or "no evaluation at all"


def _finding(body: Mapping[str, Any]) -> Finding:
    window = body.get("window")
    return Finding(
        tag=body["tag"],
        severity=body["severity"],
        metric=body.get("metric"),
        window=None if window is None else (int(window[0]), int(window[1])),
        evidence=dict(body.get("evidence") or {}),
        thresholds=tuple(Threshold(**limit) for limit in body.get("thresholds") or ()),
    )
