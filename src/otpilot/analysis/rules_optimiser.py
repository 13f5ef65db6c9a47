"""Rules about the optimiser: gradient norm, jitter, and a learning rate that does not follow its schedule."""

import math

import numpy as np

from otpilot.analysis.findings import Finding
from otpilot.analysis.statistics import jitter as jitter_of
from otpilot.analysis.statistics import median, tail_points
from otpilot.analysis.view import TRAINING_LOSSES, RunView, Window, chunk_levels

GRAD_NORM = "train/grad_norm"


def grad_norm_high(view: RunView) -> Finding | None:
    """Say that the gradient norm is over 100 for long: the median of the last 500 steps."""
    limits = view.limits
    whole = view.window(GRAD_NORM, at_least=int(limits.min_points))
    if whole is None:
        return None
    first, last = whole.span
    window = whole.between(last - limits.grad_norm_steps - 1, last)
    window = window if len(window) >= limits.min_points else whole.last(int(limits.min_points))
    long = last - first + (last - first) / (len(whole) - 1) >= limits.grad_norm_steps
    if not long or window.level <= limits.grad_norm:
        return None
    share = float((window.values > limits.grad_norm).mean())
    return Finding(
        tag="grad_norm_high",
        severity="warning",
        metric=GRAD_NORM,
        window=window.span,
        evidence={"level": window.level, "share": share, "rows": len(window)},
        thresholds=limits.limits("grad_norm", "grad_norm_steps"),
    )


def grad_norm_spiking(view: RunView) -> Finding | None:
    """Say that the gradient norm spikes again and again: three times five-fold its local median, the start left out."""
    limits = view.limits
    whole = view.window(GRAD_NORM, at_least=max(20, int(limits.spike_count) * 3))
    if whole is None:
        return None
    later = whole.last(len(whole) - len(whole) // 10)
    size = max(5, len(later) // 20)
    levels = chunk_levels(later, size)[1]
    later = later.last(len(levels) * size)
    # Against the neighbours too: a chunk that consists of spikes must not hide them.
    local = np.minimum(levels, np.minimum(np.append(levels[1:], levels[-1]), np.append(levels[0], levels[:-1])))
    spikes = later.values > limits.spike_factor * np.repeat(local, size)
    count = int(spikes.sum())
    # More than a third of all rows is another level, not spikes.
    if count < limits.spike_count or count > len(later) / 3:
        return None
    level = median(later.values)
    return Finding(
        tag="grad_norm_spiking",
        severity="warning",
        metric=GRAD_NORM,
        window=(int(later.steps[spikes][0]), int(later.steps[spikes][-1])),
        evidence={"count": count, "largest": float(later.values.max()), "level": level, "rows": len(later)},
        thresholds=limits.limits("spike_factor", "spike_count"),
    )


def jitter(view: RunView) -> Finding | None:
    """Say that the training loss jitters at the end: std of its steps over its median, and not by single spikes."""
    limits = view.limits
    for name in TRAINING_LOSSES:
        whole = view.window(name, at_least=int(limits.jitter_points))
        if whole is None or not view.depends_on_model(name):
            continue
        window = whole.last(max(int(limits.jitter_points), tail_points(len(whole))))
        value = jitter_of(window.values)
        robust = robust_jitter(window)
        if value is not None and robust is not None and value > limits.jitter and robust > limits.jitter / 2:
            return Finding(
                tag="jitter",
                severity="warning",
                metric=name,
                window=window.span,
                evidence={"jitter": value, "robust": robust, "level": window.level, "rows": len(window)},
                thresholds=limits.limits("jitter", "jitter_points"),
            )
    return None


def lr_flat(view: RunView) -> Finding | None:
    """Say that the logged learning rate stays the same although a schedule should have moved it by now."""
    limits, settings = view.limits, view.settings
    whole = view.window("train/lr", at_least=int(limits.min_points))
    scheduler = settings.scheduler or ""
    if whole is None or not scheduler or "constant" in scheduler or scheduler == "none":
        return None
    warmup = settings.warmup_steps or 0
    if whole.span[1] > warmup:  # the warm-up moves it; what is asked is whether the schedule behind does
        whole = whole.between(max(warmup, whole.span[0] - 1), whole.span[1])
    if len(whole) < limits.min_points:
        return None
    expected = expected_change(whole.span[1], settings.horizon, warmup, scheduler)
    # Without the extreme values: one garbled row is no schedule.
    ordered = np.sort(whole.values)[len(whole) // 20 + 1 : -(len(whole) // 20) - 1]
    if len(ordered) == 0:
        return None
    high, low = float(ordered[-1]), float(ordered[0])
    change = (high - low) / high if high > 0 else 0.0
    if change >= limits.lr_change or expected < limits.lr_expected:
        return None
    return Finding(
        tag="lr_flat",
        severity="warning",
        metric="train/lr",
        window=whole.span,
        evidence={"lr": high, "change": change, "expected": expected, "scheduler": scheduler},
        thresholds=limits.limits("lr_change", "lr_expected"),
    )


def expected_change(step: int, horizon: int | None, warmup: int, scheduler: str) -> float:
    """Return by which share a schedule has lowered the learning rate at `step`; 1 where the horizon is not known."""
    if step <= warmup:
        return 0.0
    if horizon is None:
        return 1.0 if step - warmup >= 1000 else 0.0
    progress = min(1.0, (step - warmup) / max(1, horizon - warmup))
    return progress if "linear" in scheduler else (1 - math.cos(math.pi * progress)) / 2


def robust_jitter(window: Window) -> float | None:
    """Return the jitter with a robust scale (1.4826 times the median absolute change) in place of the std."""
    level = abs(window.level)
    if len(window) < 2 or level == 0:
        return None
    changes = np.diff(window.values)
    return 1.4826 * median(np.abs(changes - median(changes))) / level
