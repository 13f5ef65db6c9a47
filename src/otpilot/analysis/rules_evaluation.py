"""Rules about evaluation: an early optimum from which the run drifts, and how much the evaluation can tell."""

import math

import numpy as np

from otpilot.analysis.findings import Finding
from otpilot.analysis.rules_training import slow_start, too_short
from otpilot.analysis.view import EVALUATION_LOSSES, SUCCESS_MEAN, RunView, single_noise

SMOOTH = 3  # a rolling median over three evaluations: one lucky one is no optimum


def early_optimum_then_drift(view: RunView) -> Finding | None:
    """Say that the evaluation was clearly better well before the end; closed-loop success is asked first."""
    rates = view.success_metrics[:1] if SUCCESS_MEAN in view.success_metrics else view.success_metrics
    for name in rates:
        found = _drift(view, name, higher_is_better=True, among=len(rates))
        if found is not None:
            return found
    loss = view.first_of(EVALUATION_LOSSES)
    return None if loss is None else _drift(view, loss, higher_is_better=False, among=1)


def evaluation_improving(view: RunView) -> Finding | None:
    """Say that the evaluation still gets better: `converging` on its metric, a reason not to act on the mass alone.

    A run that started slowly is not called converging; that finding says what the evaluation does.
    """
    name = view.evaluation_metric
    window = None if name is None else view.window(name)
    if window is None or view.evaluation != "improving" or view.once(too_short) is not None:
        return None
    slow = view.once(slow_start)
    if slow is not None and slow.severity != "info":
        return None
    before, now = view.evaluation_levels
    return Finding(
        tag="converging",
        severity="info",
        metric=name,
        window=window.span,
        evidence={"before": before, "level": now, "evaluations": len(window), "evaluation": view.evaluation},
        thresholds=() if view.success_metrics else view.limits.limits("plateau_fall"),
    )


def loss_only(view: RunView) -> Finding | None:
    """Say that a validation loss is all there is to rank this run by; it can rank methods backwards."""
    name = view.first_of(EVALUATION_LOSSES)
    window = None if name is None else view.window(name)
    if view.success_metrics or window is None:
        return None
    return Finding(
        tag="loss_only", severity="info", metric=name, window=window.span, evidence={"evaluations": len(window)}
    )


def _drift(view: RunView, name: str, *, higher_is_better: bool, among: int) -> Finding | None:
    """Return the drift of one curve; of several curves that are looked at (`among`), some drift by chance."""
    limits = view.limits
    whole = view.window(name, at_least=max(SMOOTH, int(limits.min_points)))
    if whole is None:
        return None
    sign = -1.0 if higher_is_better else 1.0
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(sign * whole.values, SMOOTH), axis=1)
    place = int(smooth.argmin())
    best, last = float(smooth[place]), float(smooth[-1])
    first_step, last_step = whole.span
    best_step = int(whole.steps[place + 1])
    if best_step > first_step + limits.drift_share * (last_step - first_step):
        return None
    rise = last - best
    least = limits.drift_success if higher_is_better else limits.drift_rise * abs(best)
    noise = single_noise(whole)
    if not (rise > least and rise > limits.drift_noise * noise * math.sqrt(1 + math.log(among))):
        return None
    severe = not higher_is_better and best > 0 and last >= limits.drift_severe * best
    outranked = not higher_is_better and bool(view.success_metrics)
    return Finding(
        tag="early_optimum_then_drift",
        severity="info" if outranked else "problem" if severe else "warning",
        metric=name,
        window=(best_step, last_step),
        evidence={
            "best": sign * best,
            "best_step": best_step,
            "last": sign * last,
            "change": None if best == 0 else (last - best) / best,
            "noise": noise,
            "outranked": "success does not drift" if outranked else None,
        },
        thresholds=limits.limits(
            "drift_success" if higher_is_better else "drift_rise", "drift_share", "drift_noise", "drift_severe"
        ),
    )
