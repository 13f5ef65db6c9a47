"""Rules about the training loss: converging, plateau, diverged, too short to say."""

import math

import numpy as np

from otpilot.analysis.findings import Finding
from otpilot.analysis.statistics import median
from otpilot.analysis.view import (
    EVALUATION_LOSSES,
    PROGRESS,
    TRAINING_LOSSES,
    RunView,
    Window,
    chunk_levels,
    relative_fall,
    robust_slope,
)


def too_short(view: RunView) -> Finding | None:
    """Say that no curve of progress has enough rows or reaches far enough for the other rules."""
    limits = view.limits
    found = [(name, view.window(name)) for name in PROGRESS]
    name, window = max(
        ((name, window) for name, window in found if window is not None),
        key=lambda item: (len(item[1]), -PROGRESS.index(item[0])),
        default=(None, None),
    )
    if window is not None and len(window) >= limits.min_points and window.steps[-1] >= limits.min_steps:
        return None
    return Finding(
        tag="too_short",
        severity="info",
        metric=name,
        window=None if window is None else window.span,
        evidence={"rows": 0 if window is None else len(window), "steps": 0 if window is None else window.span[1]},
        thresholds=limits.limits("min_points", "min_steps"),
    )


def converging(view: RunView) -> Finding | None:
    """Say that the training loss fell far enough within the first 2,000 steps, and stayed there."""
    limits = view.limits
    name = view.first_of(TRAINING_LOSSES, at_least=int(limits.min_points))
    whole = None if name is None else view.window(name)
    if name is None or whole is None or view.once(diverged) is not None or view.once(too_short) is not None:
        return None
    early = whole.between(-1, limits.converging_steps)
    if len(early) < limits.min_points:
        return None
    first, then = float(early.values[0]), _end(early, view).level
    now = _end(whole, view).level
    fall, still = relative_fall(first, then), relative_fall(first, now)
    if fall is None or still is None or min(fall, still) < limits.converging_fall:
        return None
    return Finding(
        tag="converging",
        severity="info",
        metric=name,
        window=early.span,
        evidence={"first": first, "then": then, "fall": fall, "now": now, "fall_now": still},
        thresholds=limits.limits("converging_steps", "converging_fall"),
    )


def plateau(view: RunView) -> Finding | None:
    """Say that the loss falls less than 2 % per 500 steps at the end, by a robust line through the last window.

    The window is wider than 500 steps where the log is sparser than 10 rows, or the noise hides 2 %; the fall is always
    given per 500 steps. First against last would hide a plateau behind the early fall.
    """
    limits = view.limits
    name = view.progress
    whole = None if name is None else view.window(name, at_least=int(limits.plateau_points))
    if name is None or whole is None or view.once(diverged) is not None:
        return None
    first, last = whole.span
    spacing = (last - first) / max(1, len(whole) - 1)
    if last - first + spacing < limits.plateau_steps:
        return None
    width = limits.plateau_steps
    while True:
        window = whole.between(last - width - 1, last)
        complete = last - width <= first
        if len(window) >= limits.plateau_points:
            fall, error = _fall_per_window(window, limits.plateau_steps)
            if error <= limits.plateau_fall / 2 or width * 2 >= last - first or complete:
                break
        width = width * 2 if width > 0 else last - first
    if not fall < limits.plateau_fall:
        return None
    return Finding(
        tag="plateau",
        severity="warning",
        metric=name,
        window=window.span,
        evidence={"fall": fall, "error": error, "level": window.level, "rows": len(window)},
        thresholds=limits.limits("plateau_steps", "plateau_fall"),
    )


def diverged(view: RunView) -> Finding | None:
    """Say that training broke: NaN or infinity at the end, an explosion of the loss, or the run's own word."""
    limits = view.limits
    for name in (*TRAINING_LOSSES, "train/grad_norm", *EVALUATION_LOSSES):
        rows, curve = view.rows(name), view.curve(name)
        if rows is None or curve is None or rows.rows == len(rows.values):
            continue
        last_good = int(rows.steps[-1]) if len(rows.steps) else None
        bad = curve.steps[curve.steps > last_good] if last_good is not None else curve.steps
        if len(bad) >= limits.diverged_tail:
            return Finding(
                tag="diverged",
                severity="problem",
                metric=name,
                window=(int(bad[0]), int(bad[-1])),
                evidence={"rows": len(bad), "last_finite": float(rows.values[-1]) if len(rows.values) else None},
                thresholds=limits.limits("diverged_tail"),
            )
    for name in TRAINING_LOSSES:
        window = view.tail(name)
        whole = view.window(name)
        if window is None or whole is None:
            continue
        best = float(chunk_levels(whole, min(len(window), max(1, len(whole) // 5)))[1].min())
        first, now = float(whole.values[0]), window.level
        if best > 0 and now >= limits.diverged_factor * best and now >= first:
            return Finding(
                tag="diverged",
                severity="problem",
                metric=name,
                window=window.span,
                evidence={"now": now, "best": best, "first": first, "factor": now / best},
                thresholds=limits.limits("diverged_factor"),
            )
    if view.history.state == "diverged":
        reason = view.history.reason[:200]
        return Finding(tag="diverged", severity="problem", evidence={"state": "diverged", "reason": reason})
    return None


def _end(window: Window, view: RunView) -> Window:
    """Return the last rows of a window: up to `min_points`, a third of it at most."""
    return window.last(max(1, min(int(view.limits.min_points), len(window) // 3)))


def _fall_per_window(window: Window, steps: float) -> tuple[float, float]:
    """Return the relative fall per `steps` steps and its standard error.

    Losses are fitted on the log scale, where a steady decay is a line however wide the window is; values that are not
    all positive as they are, relative to the start of the line.
    """
    if window.values.min() > 0:
        slope, error = robust_slope(Window(steps=window.steps, values=np.log(window.values)))
        return -math.expm1(slope * steps), error * steps
    slope, error = robust_slope(window)
    start = abs(median(window.values - slope * (window.steps - window.steps[0])))
    if start == 0:
        return (0.0, 0.0) if slope == 0 else (math.nan, 0.0)
    return -slope * steps / start, error * steps / start
