"""What is wrong with a run, and how one sees it: one rule per tag, in one table."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from otpilot.analysis import rules_evaluation, rules_log, rules_optimiser, rules_training, rules_transport
from otpilot.analysis.findings import Finding, Number, Severity
from otpilot.analysis.rules_baseline import underfitting_after_optimiser_change
from otpilot.analysis.rules_summary import summary_findings
from otpilot.analysis.thresholds import Thresholds
from otpilot.analysis.view import RunView
from otpilot.runs.history import RunHistory

Rule = Callable[[RunView], Finding | None]

# By tag; `evaluation_improving` raises the tag `converging` too, on the evaluation.
RULES: Mapping[str, Rule] = {
    "diverged": rules_training.diverged,
    "transport_dead": rules_transport.transport_dead,
    "transport_eating": rules_transport.transport_eating,
    "mass_too_low": rules_transport.mass_too_low,
    "mass_collapsing": rules_transport.mass_collapsing,
    "mass_too_high": rules_transport.mass_too_high,
    "early_optimum_then_drift": rules_evaluation.early_optimum_then_drift,
    "loss_rising": rules_training.loss_rising,
    "plateau": rules_training.plateau,
    "slow_start": rules_training.slow_start,
    "non_finite": rules_training.non_finite,
    "grad_norm_high": rules_optimiser.grad_norm_high,
    "grad_norm_spiking": rules_optimiser.grad_norm_spiking,
    "jitter": rules_optimiser.jitter,
    "lr_flat": rules_optimiser.lr_flat,
    "cost_not_falling": rules_transport.cost_not_falling,
    "label_dominates": rules_transport.label_dominates,
    "off_diagonal": rules_transport.off_diagonal,
    "data_loading_bottleneck": rules_log.data_loading_bottleneck,
    "converging": rules_training.converging,
    "evaluation_improving": rules_evaluation.evaluation_improving,
    "stale_metric": rules_log.stale_metric,
    "loss_only": rules_evaluation.loss_only,
    "too_short": rules_training.too_short,
}
BASELINE_TAG = "underfitting_after_optimiser_change"
TAGS = (*(name for name in RULES if name != "evaluation_improving"), BASELINE_TAG)
_RANK: Mapping[Severity, int] = {"problem": 0, "warning": 1, "info": 2}


def diagnose(
    history: RunHistory, thresholds: Thresholds | None = None, *, baseline: RunHistory | None = None
) -> tuple[Finding, ...]:
    """Return what the rules say about a run, problems first; the rule about the optimiser needs a baseline.

    A run without curves is judged by its summary, as far as first, last and best values allow.
    """
    view = RunView(history, thresholds or Thresholds())
    return diagnose_view(view, baseline=None if baseline is None else RunView(baseline, view.limits))


def diagnose_view(view: RunView, *, baseline: RunView | None = None) -> tuple[Finding, ...]:
    """Return what the rules say about a run as they see it."""
    # Values near the ends of the floating-point range overflow; rules compare, and a NaN fires none of them.
    with np.errstate(all="ignore"):
        if view.history.curves or not view.history.summary:
            found = [finding for rule in RULES.values() if (finding := view.once(rule)) is not None]
        else:
            found = list(summary_findings(view.history, view.limits))
        against = None if baseline is None else underfitting_after_optimiser_change(view, baseline)
    return sort_findings([*found, *([] if against is None else [against])])


def sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings with problems first, else in the order given; numbers that overflowed become None."""
    return tuple(sorted(map(_finite, findings), key=lambda finding: _RANK[finding.severity]))


def _finite(finding: Finding) -> Finding:
    """Put None in place of numbers that overflowed."""
    evidence: dict[str, Number] = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in finding.evidence.items()
    }
    return replace(finding, evidence=evidence)
