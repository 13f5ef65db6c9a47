"""The rule that needs a baseline: worse after the optimiser was changed, without more noise."""

from otpilot.analysis.compare import Difference, at_equal_step, compare_pair, score_metrics
from otpilot.analysis.findings import Finding
from otpilot.analysis.postmortem import ConfigDifference, explain
from otpilot.analysis.scorecard import ScoreCard, card_of
from otpilot.analysis.thresholds import Thresholds
from otpilot.analysis.view import RunView
from otpilot.runs.metric_names import metric_info


def underfitting_after_optimiser_change(view: RunView, baseline: RunView) -> Finding | None:
    """Say that a run is 10 % worse than its baseline, its optimiser differs much, and its jitter did not explode."""
    return underfitting(card_of(view), card_of(baseline), view.limits)


def underfitting(card: ScoreCard, baseline: ScoreCard, limits: Thresholds) -> Finding | None:
    """Return the finding from two score cards (report 002's conclusion as a rule)."""
    found = explain(card, baseline, limits)
    if found.mechanism != "optimiser mismatch" or found.metric is None or found.jitter.exploded:
        return None
    if not regressed(card, baseline, limits):
        return None
    changed = [item for item in found.suspects if item.area in ("optimiser", "schedule")]
    steps = [endpoint.last_step for endpoint in (card.endpoints[found.metric], baseline.endpoints[found.metric])]
    known = [step for step in steps if step is not None]
    return Finding(
        tag="underfitting_after_optimiser_change",
        severity="problem",
        metric=found.metric,
        window=(0, min(known)) if known else None,
        evidence={
            "score": found.worse,
            "baseline_score": found.better,
            "percent": found.percent,
            "baseline": baseline.id,
            "lr_factor": _factor(changed, "optimizer.lr"),
            "wd_factor": _factor(changed, "optimizer.weight_decay"),
            "changed": ", ".join(item.key for item in changed),
            "jitter": found.jitter.worse,
            "baseline_jitter": found.jitter.better,
        },
        thresholds=limits.limits("regression", "optimiser_lr_factor", "optimiser_wd_factor", "jitter_exploded"),
    )


def regressed(card: ScoreCard, baseline: ScoreCard, limits: Thresholds) -> bool:
    """Whether a run is 10 % worse than a baseline at an equal step."""
    return _is_worse(card, baseline, limits, fair=True)


def looks_regressed(card: ScoreCard, baseline: ScoreCard, limits: Thresholds) -> bool:
    """Whether only its last values, at different or unknown steps, make a run 10 % worse than a baseline."""
    return not regressed(card, baseline, limits) and _is_worse(card, baseline, limits, fair=False)


def _is_worse(card: ScoreCard, baseline: ScoreCard, limits: Thresholds, *, fair: bool) -> bool:
    metrics = score_metrics([card], [baseline])
    if not metrics:
        return False
    pair = compare_pair(card, baseline, metric=metrics[0], evaluations=int(limits.score_evaluations))
    found: Difference | None = at_equal_step(pair)
    if found is None and not fair:
        found = pair.last
    if found is None or found.percent is None:
        return False
    worse = -found.percent if metric_info(metrics[0]).direction == "max" else found.percent
    return worse >= 100 * limits.regression


def _factor(differences: list[ConfigDifference], key: str) -> float | None:
    return next((item.factor for item in differences if item.key == key), None)
