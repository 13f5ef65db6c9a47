"""Runs that were read, as candidates to derive from: diagnosed, scored at an equal step, with what is known of them."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from otpilot.analysis.result import RunReport, report_run
from otpilot.analysis.rules_baseline import underfitting
from otpilot.analysis.scorecard import ScoreCard
from otpilot.analysis.thresholds import Thresholds
from otpilot.config.canonical import canonical, config_hash, diff
from otpilot.config.compat import translate
from otpilot.errors import ConfigError, RunError, closest
from otpilot.pilot.parents import Parent
from otpilot.pilot.proposers.request import Observation, observe
from otpilot.pilot.rules import context_of
from otpilot.pilot.rules.base import EVALUATIONS
from otpilot.pilot.variants import TrialKey, own_seed
from otpilot.runs.history import RunHistory
from otpilot.runs.metric_names import Direction, metric_info

TOLD = 4
"""Differences between base and run that a note names."""
FAILED = ("crashed", "killed", "diverged")


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """What can be derived from, on which metric it is scored, and what was tried already."""

    parents: tuple[Parent, ...]
    known: frozenset[TrialKey]
    metric: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def observations(self) -> tuple[Observation, ...]:
        """What the candidates say to proposers that learn from scores."""
        return observe(self.parents)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Read:
    report: RunReport
    card: ScoreCard
    config: Mapping[str, Any]


def read_candidates(
    histories: Iterable[RunHistory],
    *,
    thresholds: Thresholds | None = None,
    baseline: str | None = None,
    base: Mapping[str, Any] | None = None,
) -> Candidates:
    """Return the runs as candidates; those without a usable config are left out, with a note.

    Args:
        histories: The runs, taken one at a time.
        thresholds: Limits of the diagnosis; the documented ones unless given.
        baseline: Id or name of the run that others are compared with, for what only a comparison shows.
        base: Config that variants are made of, whatever the runs' own configs say; theirs unless given.

    Raises:
        RunError: If there is no run called `baseline`.
        ConfigError: If `base` does not hold together.
    """
    limits = thresholds or Thresholds()
    if base is not None:
        config_hash(base)
    read = [
        _Read(report=report, card=card, config=history.config)
        for history in histories
        for report, card in [report_run(history, limits)]
    ]
    compared = None if baseline is None else _find(read, baseline)
    metric = _metric([item.card for item in read])
    notes: list[str] = []
    broken = {item.card.id for item in read if item.report.state in FAILED}
    scores = _scores([item.card for item in read], metric, int(limits.score_evaluations), broken, notes)
    if scores and not any(metric in item.card.evaluations for item in read):
        notes.append(f"No run has curves; they are ranked by the last value of {metric}, at whatever step it was.")
    parents: list[Parent] = []
    known: set[TrialKey] = set()
    for item in read:
        own = _usable(item, notes) if item.config else None
        if own is not None:
            known.add(TrialKey(config_hash(own), own_seed(own)))
        config = base if base is not None else own
        if config is None:
            if not item.config:
                notes.append(f"{item.report.id} has no config, so nothing can be derived from it; give a base config.")
            continue
        if base is not None and own is not None:
            notes += _told_apart(item.report.id, own, base)
        findings = item.report.findings
        if compared is not None and compared is not item:
            found = underfitting(item.card, compared.card, limits)
            findings = (*findings, *(() if found is None else (found,)))
        direction: Direction = "max" if metric and metric_info(metric).direction == "max" else "min"
        parents.append(
            Parent(
                id=item.report.id,
                config=translate(config).config,
                findings=findings,
                context=context_of(item.report),
                score=scores.get(item.report.id),
                direction=direction,
                state=item.report.state,
            )
        )
    return Candidates(parents=tuple(parents), known=frozenset(known), metric=metric, notes=tuple(notes))


def _find(read: Sequence[_Read], name: str) -> _Read:
    for item in read:
        if name in (item.report.id, item.report.name):
            return item
    names = [word for item in read for word in (item.report.id, item.report.name)]
    raise RunError(f"There is no run {name!r} to compare with.{closest(name, names)}")


def _usable(item: _Read, notes: list[str]) -> Mapping[str, Any] | None:
    try:
        config_hash(item.config)
    except ConfigError as error:
        notes.append(f"The config of {item.report.id} cannot be used: {error}")
        return None
    return item.config


def _metric(cards: Sequence[ScoreCard]) -> str | None:
    """Return the evaluation that most runs have; of those that as many have, the one that counts most."""
    have = [set(card.evaluations) or {n for n, e in card.endpoints.items() if e.last is not None} for card in cards]
    counts = {name: sum(name in names for names in have) for name in EVALUATIONS}
    best = max(counts.values(), default=0)
    return next((name for name, count in counts.items() if count == best), None) if best else None


def _scores(
    cards: Sequence[ScoreCard], metric: str | None, evaluations: int, broken: Collection[str], notes: list[str]
) -> dict[str, float]:
    """Return the mean of the last evaluations up to the last step that all have reached, by run.

    Where no run has curves (summary files), the last value stands in. A run that broke does not set the step, unless
    there are no others; if it ends before that, it has no score.
    """
    if metric is not None and not any(metric in card.evaluations for card in cards):
        last = {card.id: card.endpoints[metric].last for card in cards if metric in card.endpoints}
        return {name: value for name, value in last.items() if value is not None}
    curves = {card.id: card.evaluations[metric] for card in cards if metric is not None and metric in card.evaluations}
    curves = {name: curve for name, curve in curves.items() if len(curve.steps)}
    ends = {name: int(curve.steps[-1]) for name, curve in curves.items()}
    whole = {name: end for name, end in ends.items() if name not in broken} or ends
    until = min(whole.values(), default=0)
    if whole and 2 * until < max(whole.values()):
        first = min(whole, key=lambda name: whole[name])
        notes.append(f"Runs are ranked at step {until}, where {first} ends; others go on to {max(whole.values())}.")
    scores = {}
    for name, curve in curves.items():
        if ends[name] < until:
            continue
        values = curve.values[curve.steps <= until][-evaluations:]
        with np.errstate(all="ignore"):
            mean = float(values.mean()) if len(values) else math.nan
        if math.isfinite(mean):
            scores[name] = mean
    return scores


def _told_apart(run: str, own: Mapping[str, Any], base: Mapping[str, Any]) -> list[str]:
    """Return a note on what the base says otherwise than the run whose findings are used."""
    differences = [
        d for d in diff(canonical(own), canonical(base)) if d.path.startswith(("ot.", "policy.optimizer", "optimizer"))
    ]
    if not differences:
        return []
    named = "; ".join(f"{d.path} {d.left} there, {d.right} here" for d in differences[:TOLD])
    more = f" and {len(differences) - TOLD} more" if len(differences) > TOLD else ""
    return [f"The findings come from {run}, which had other settings than the base config: {named}{more}."]
