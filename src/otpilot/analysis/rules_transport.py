"""Rules about the transport: its mass, its diagonal, its cost, its labels, and whether it acts at all."""

import math

import numpy as np

from otpilot.analysis.findings import Finding, Severity
from otpilot.analysis.statistics import tail_points
from otpilot.analysis.view import COST, MASS, RunView, Window, chunk_levels, relative_fall, robust_slope

DIAGONAL, DIAGONAL_SHARE = "train/ot_pi_diag", "train/ot_diag_share"
GRAD_SHARE, WEIGHT, COST_SHARE = "train/ot_grad_share", "train/ot_weight", "train/ot_cost_share/"
START_ROWS, END_ROWS = 3, 25


def mass_too_low(view: RunView) -> Finding | None:
    """Say that the plan carries under 1e-3 and does not rise.

    Only a warning while the evaluation improves, and only information under the energy objective, whose gradient has
    unit mass at any scale.
    """
    window = view.tail(MASS) if view.transport_on else None
    if window is None or window.level >= view.limits.mass_low:
        return None
    before = _before(view, window)
    if _rising(view, before, window):
        return None
    if view.settings.objective == "energy":
        severity: Severity = "info"
    else:
        severity = "warning" if view.evaluation == "improving" else "problem"
    return _mass_finding(view, "mass_too_low", severity, window, before, "mass_low", "mass_rising")


def mass_too_high(view: RunView) -> Finding | None:
    """Say that the plan carries over 0.6; only information where the evaluation improves.

    Silent where a hard marginal fixes the mass at 1, and where the cost is in its own unit (`energy`, or costs divided
    by their mean), unless the evaluation worsens: there 0.7 is what the defaults aim at.
    """
    settings = view.settings
    window = view.tail(MASS) if view.transport_on else None
    if window is None or window.level <= view.limits.mass_high or settings.hard_src or settings.hard_tgt:
        return None
    own_unit = settings.objective == "energy" or settings.cost_normalization == "ema"
    if own_unit and view.evaluation != "worsening":
        return None
    severity: Severity = "info" if view.evaluation == "improving" else "warning"
    return _mass_finding(view, "mass_too_high", severity, window, _before(view, window), "mass_high")


def mass_collapsing(view: RunView) -> Finding | None:
    """Say that the mass fell tenfold below its highest level, and below the good window."""
    whole = view.window(MASS, at_least=2 * int(view.limits.min_points)) if view.transport_on else None
    if whole is None:
        return None
    size = max(int(view.limits.min_points), tail_points(len(whole)))
    steps, levels = chunk_levels(whole, size)
    place = int(levels.argmax())
    peak, now = float(levels[place]), float(levels[-1])
    if now >= view.limits.mass_good_low or peak <= 0 or now * view.limits.collapse_factor > peak:
        return None
    return Finding(
        tag="mass_collapsing",
        severity="warning" if view.evaluation == "improving" else "problem",
        metric=MASS,
        window=(int(steps[place]), whole.span[1]),
        evidence={"peak": peak, "level": now, "factor": peak / now if now > 0 else None, "evaluation": view.evaluation},
        thresholds=view.limits.limits("collapse_factor", "mass_good_low"),
    )


def off_diagonal(view: RunView) -> Finding | None:
    """Say that under half of the transported mass lies on the paired rows; information while evaluation improves."""
    if not view.transport_on:
        return None
    mass = view.tail(MASS)
    if mass is not None and mass.level < view.limits.mass_low:
        return None  # the share of nothing
    window = view.tail(DIAGONAL_SHARE)
    metric = DIAGONAL_SHARE
    if window is None:
        window, metric = _diagonal_share(view), DIAGONAL
    if window is None or window.level >= view.limits.diagonal_share:
        return None
    return Finding(
        tag="off_diagonal",
        severity="info" if view.evaluation == "improving" else "warning",
        metric=metric,
        window=window.span,
        evidence={"share": window.level, "mass": None if mass is None else mass.level, "evaluation": view.evaluation},
        thresholds=view.limits.limits("diagonal_share"),
    )


def cost_not_falling(view: RunView) -> Finding | None:
    """Say that a learned term of the cost has not fallen by 10 % within 1k to 3k steps, nor since.

    Terms that no model can move (labels) are never asked. Of several such terms the one that fell least is named.
    """
    names = [name for name in view.costs if view.depends_on_model(name)] if view.transport_on else []
    found = [(name, *fallen) for name in names if (fallen := _cost_fall(view, name)) is not None]
    flat = [item for item in found if item[1] < view.limits.cost_fall]
    if not flat:
        return None
    name, fall, first, window = min(flat, key=lambda item: item[1])
    return Finding(
        tag="cost_not_falling",
        severity="warning",
        metric=name,
        window=window.span,
        evidence={"fall": fall, "first": first, "level": window.level, "terms": len(flat), "of": len(found)},
        thresholds=view.limits.limits("cost_from_step", "cost_to_step", "cost_fall"),
    )


def label_dominates(view: RunView) -> Finding | None:
    """Say that labels, which send no gradient to the model, make up most of the cost."""
    costs = _term_costs(view) if view.transport_on else {}
    labels = {name: cost for name, cost in costs.items() if not view.depends_on_model(COST + name)}
    total = sum(costs.values())
    if not labels or len(labels) == len(costs) or not total > 0:
        return None
    share = sum(labels.values()) / total
    if share <= view.limits.label_share:
        return None
    largest = max(labels, key=lambda name: labels[name])
    window = view.tail(COST + largest) or view.tail(COST_SHARE + largest)
    return Finding(
        tag="label_dominates",
        severity="warning",
        metric=COST + largest,
        window=None if window is None else window.span,
        evidence={
            "share": share,
            "label_cost": sum(labels.values()),
            "learned_cost": total - sum(labels.values()),
            "weight_label": view.settings.weight_label,
            "weight_embed": view.settings.weight_embed,
        },
        thresholds=view.limits.limits("label_share"),
    )


def transport_dead(view: RunView) -> Finding | None:
    """Say that the transport does not act: no share in the gradient, or no mass where the mass is the gradient."""
    weight = view.tail(WEIGHT)
    if not view.transport_on or (weight is not None and weight.level <= 0):
        return None
    alarm = _alarm(view, "dead")
    share, mass = view.tail(GRAD_SHARE), view.tail(MASS)
    if share is not None:
        if share.level >= view.limits.dead_grad_share:
            return None
        return Finding(
            tag="transport_dead",
            severity="problem",
            metric=GRAD_SHARE,
            window=share.span,
            evidence={"share": share.level, "mass": None if mass is None else mass.level, "alarm_step": alarm},
            thresholds=view.limits.limits("dead_grad_share"),
        )
    massless = mass is not None and view.settings.objective != "energy" and mass.level < view.limits.dead_mass
    if mass is not None and massless and not _rising(view, _before(view, mass), mass):
        return Finding(
            tag="transport_dead",
            severity="problem",
            metric=MASS,
            window=mass.span,
            evidence={"share": None, "mass": mass.level, "alarm_step": alarm},
            thresholds=view.limits.limits("dead_mass"),
        )
    return None if alarm is None or mass is not None else _from_alarm("transport_dead", alarm)


def transport_eating(view: RunView) -> Finding | None:
    """Say that the transport takes more than half of the encoder's gradient."""
    share = view.tail(GRAD_SHARE) if view.transport_on else None
    alarm = _alarm(view, "eating")
    if share is None or share.level <= view.limits.eating_grad_share:
        return None if alarm is None else _from_alarm("transport_eating", alarm)
    return Finding(
        tag="transport_eating",
        severity="problem",
        metric=GRAD_SHARE,
        window=share.span,
        evidence={"share": share.level, "alarm_step": alarm, "evaluation": view.evaluation},
        thresholds=view.limits.limits("eating_grad_share"),
    )


def _mass_finding(
    view: RunView, tag: str, severity: Severity, window: Window, before: float | None, *limits: str
) -> Finding:
    settings = view.settings
    return Finding(
        tag=tag,
        severity=severity,
        metric=MASS,
        window=window.span,
        evidence={
            "level": window.level,
            "before": before,
            "evaluation": view.evaluation,
            "objective": settings.objective,
            "reg": settings.reg,
            "tau_src": settings.tau_src,
            "tau_tgt": settings.tau_tgt,
            "weight_label": settings.weight_label,
        },
        thresholds=view.limits.limits(*limits, "mass_good_low", "mass_good_high"),
    )


def _before(view: RunView, window: Window) -> float | None:
    """Return the level of the stretch before the tail, of the same number of rows."""
    whole = view.window(MASS)
    if whole is None or len(whole) < 2 * len(window):
        return None
    return whole.last(2 * len(window)).first(len(window)).level


def _rising(view: RunView, before: float | None, window: Window) -> bool:
    """Whether the mass doubled from one tenth to the last, or within the last two thirds of the run and still rises."""
    if before is None or window.level <= 0:
        return False
    if window.level >= view.limits.mass_rising * before:
        return True
    whole = view.window(MASS)
    later = None if whole is None else whole.last(2 * len(whole) // 3)
    if later is None or len(later) < 2 * len(window) or later.values.min() <= 0 or window.level < 1.05 * before:
        return False
    slope, _ = robust_slope(Window(steps=later.steps, values=np.log(later.values)))
    return slope * (later.span[1] - later.span[0]) >= math.log(view.limits.mass_rising)


def _diagonal_share(view: RunView) -> Window | None:
    """Return pi_diag / pi_sum over the last tenth of the rows that have both."""
    mass, diagonal = view.window(MASS), view.window(DIAGONAL)
    if mass is None or diagonal is None:
        return None
    steps, carried, on = mass.steps, mass.values, diagonal.values
    if not np.array_equal(steps, diagonal.steps):
        steps, mine, theirs = np.intersect1d(steps, diagonal.steps, assume_unique=True, return_indices=True)
        carried, on = carried[mine], on[theirs]
    good = carried > 0
    if good.sum() < view.limits.min_points:
        return None
    share = Window(steps=steps[good], values=on[good] / carried[good])
    return share.last(max(int(view.limits.min_points), tail_points(len(share))))


def _cost_fall(view: RunView, name: str) -> tuple[float, float, Window] | None:
    """Return the larger of the falls within 3k steps and up to now, the first level, and the rows that gave it."""
    limits = view.limits
    whole = view.window(name, at_least=START_ROWS + int(limits.min_points))
    if whole is None:
        return None
    first_step, last_step = whole.span
    start = 0 if first_step < limits.cost_from_step else first_step
    early = whole.between(first_step - 1, start + limits.cost_to_step)
    if last_step - start < limits.cost_from_step or len(early) < START_ROWS + limits.min_points:
        return None
    first = whole.first(START_ROWS).level
    falls = []
    for stretch in (early, whole):
        end = stretch.last(max(int(limits.min_points), min(END_ROWS, len(stretch) // 4)))
        fall = relative_fall(first, end.level)
        if fall is not None:
            falls.append((fall, first, end))
    return max(falls, key=lambda item: item[0], default=None)


def _term_costs(view: RunView) -> dict[str, float]:
    """Return each term's mean part of the cost at the end, by the logged shares where there are any."""
    shares = [name for name in view.history.curves if name.startswith(COST_SHARE)]
    if not shares and view.settings.cost_normalization == "ema":
        return {}  # raw costs say nothing about terms that are each divided by their mean
    prefix, names = (COST_SHARE, shares) if shares else (COST, list(view.costs))
    tails = {name.removeprefix(prefix): view.tail(name) for name in names}
    return {name: tail.level for name, tail in tails.items() if tail is not None and tail.level >= 0}


def _alarm(view: RunView, kind: str) -> int | None:
    """Return the step of the run's own last alarm of this kind."""
    events = [event for event in view.history.events if kind in (event.kind, event.values.get("alarm"))]
    return events[-1].step if events else None


def _from_alarm(tag: str, step: int) -> Finding:
    return Finding(tag=tag, severity="warning", window=(step, step), evidence={"share": None, "alarm_step": step})
