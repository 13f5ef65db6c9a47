"""Rules about the training loss: converging, slow, plateau, rising, diverged, not finite, too short to say."""

import math
from dataclasses import dataclass

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

CLONING_LOSSES = ("train/l1_loss", "train/bc_loss", "train/loss")
"""What shows that cloning converges; the whole loss, which has the transport's in it, where nothing else was logged."""
GRAD_NORM = "train/grad_norm"
CLEARLY = 3
"""So many times over the limit, a loss has exploded even where its first value was as high."""


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
    early = _early_fall(view)
    limits = view.limits
    if early is None:
        return None
    fall, still = relative_fall(early.first, early.then), relative_fall(early.first, early.now)
    if fall is None or still is None or min(fall, still) < limits.converging_fall:
        return None
    return Finding(
        tag="converging",
        severity="info",
        metric=early.metric,
        window=early.window.span,
        evidence={"first": early.first, "then": early.then, "fall": fall, "now": early.now, "fall_now": still},
        thresholds=limits.limits("converging_steps", "converging_fall"),
    )


def slow_start(view: RunView) -> Finding | None:
    """Say that the training loss fell by less than 40 % within the first 2,000 steps; only information if it has since.

    Silent where these steps were not seen whole, and where a slow start is no surprise: the run began from weights that
    were trained before, or its learning rate was still warming up for half of them.
    """
    early, limits = _early_fall(view), view.limits
    if early is None or view.settings.from_weights or not early.is_whole(limits.converging_steps):
        return None
    if 2 * (view.settings.warmup_steps or 0) >= limits.converging_steps:
        return None
    # One low batch at the beginning must not make the fall look small.
    first = max(early.first, early.window.first(int(limits.min_points)).level)
    fall, still = relative_fall(first, early.then), relative_fall(first, early.now)
    if fall is None or still is None or fall >= limits.converging_fall:
        return None
    late = still >= limits.converging_fall
    return Finding(
        tag="slow_start",
        severity="info" if late else "warning",
        metric=early.metric,
        window=early.window.span,
        evidence={
            "first": first,
            "then": early.then,
            "fall": fall,
            "now": early.now,
            "fall_late" if late else "fall_now": still,
            "evaluation": view.evaluation,
        },
        thresholds=limits.limits("converging_steps", "converging_fall"),
    )


@dataclass(frozen=True, kw_only=True)
class _EarlyFall:
    """How cloning began: its loss over the first 2,000 steps, the first value and the levels at their end and now."""

    metric: str
    window: Window
    first: float
    then: float
    now: float
    last_step: int

    def is_whole(self, steps: float) -> bool:
        """Whether the log has the beginning, its first quarter at least, and reaches over that many steps."""
        begin, end = self.window.span
        spacing = (end - begin) / max(1, len(self.window) - 1)
        return begin <= max(steps / 4, spacing) and self.last_step + spacing >= steps


def _early_fall(view: RunView) -> _EarlyFall | None:
    limits = view.limits
    name = view.first_of(CLONING_LOSSES, at_least=int(limits.min_points))
    whole = None if name is None else view.window(name)
    if name is None or whole is None or view.once(diverged) is not None or view.once(too_short) is not None:
        return None
    early = whole.between(-1, limits.converging_steps)
    if len(early) < limits.min_points:
        return None
    return _EarlyFall(
        metric=name,
        window=early,
        first=float(early.values[0]),
        then=_end(early, view).level,
        now=_end(whole, view).level,
        last_step=whole.span[1],
    )


def plateau(view: RunView) -> Finding | None:
    """Say that the loss falls less than 2 % per 500 steps at the end, by a robust line through the last window.

    The window is wider than 500 steps where the log is sparser than 10 rows, or the noise hides 2 %; the fall is always
    given per 500 steps. First against last would hide a plateau behind the early fall.
    """
    end = _end_slope(view)
    if end is None or end.rises(view) or not end.fall < view.limits.plateau_fall:
        return None
    return end.finding("plateau", view)


def loss_rising(view: RunView) -> Finding | None:
    """Say that the loss rises at the end by over 2 % per 500 steps, and by over twice the line's standard error."""
    end = _end_slope(view)
    return end.finding("loss_rising", view) if end is not None and end.rises(view) else None


@dataclass(frozen=True, kw_only=True)
class _EndSlope:
    """How fast the metric of progress falls at the end: a share per 500 steps, with its standard error."""

    metric: str
    window: Window
    fall: float
    error: float

    def rises(self, view: RunView) -> bool:
        return -self.fall > max(view.limits.plateau_fall, 2 * self.error)

    def finding(self, tag: str, view: RunView) -> Finding:
        window = self.window
        return Finding(
            tag=tag,
            severity="warning",
            metric=self.metric,
            window=window.span,
            evidence={"fall": self.fall, "error": self.error, "level": window.level, "rows": len(window)},
            thresholds=view.limits.limits("plateau_steps", "plateau_fall"),
        )


def _end_slope(view: RunView) -> _EndSlope | None:
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
                return _EndSlope(metric=name, window=window, fall=fall, error=error)
        width = width * 2 if width > 0 else last - first


def non_finite(view: RunView) -> Finding | None:
    """Say that more than one in twenty rows of a loss or of the gradient norm, three at least, are NaN or infinite."""
    limits = view.limits
    if view.once(diverged) is not None:
        return None
    for name in (*TRAINING_LOSSES, GRAD_NORM, *EVALUATION_LOSSES):
        curve = view.curve(name)
        if curve is None or len(curve.steps) == 0:
            continue
        bad = curve.steps[~np.isfinite(curve.values)]
        share = len(bad) / len(curve.steps)
        if len(bad) >= limits.non_finite_rows and share > limits.non_finite_share:
            return Finding(
                tag="non_finite",
                severity="warning",
                metric=name,
                window=(int(bad[0]), int(bad[-1])),
                evidence={"count": len(bad), "rows": len(curve.steps), "share": share},
                thresholds=limits.limits("non_finite_rows", "non_finite_share"),
            )
    return None


def diverged(view: RunView) -> Finding | None:
    """Say that training broke: NaN or infinity at the end, an explosion of the loss, or the run's own word."""
    limits = view.limits
    for name in (*TRAINING_LOSSES, GRAD_NORM, *EVALUATION_LOSSES):
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
        # An early best deep below the end says it alone; else the end must also be above the beginning.
        least = limits.diverged_factor * best
        if best > 0 and now >= least and (now >= first or now >= CLEARLY * least):
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
