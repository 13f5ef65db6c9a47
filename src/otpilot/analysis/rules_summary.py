"""What first, last and best values alone allow to say, for runs that come as a summary without curves.

Single values instead of levels: every finding here is at most a warning, and says that it rests on end points.
"""

from collections.abc import Mapping

from otpilot.analysis.findings import Finding, Number, Severity
from otpilot.analysis.rules_training import CLONING_LOSSES
from otpilot.analysis.settings import key_settings
from otpilot.analysis.thresholds import Thresholds
from otpilot.analysis.view import COST, EVALUATION_LOSSES, MASS, is_success
from otpilot.runs.history import RunHistory
from otpilot.runs.metric_names import metric_info

Figures = Mapping[str, float | int | None]


def summary_findings(history: RunHistory, limits: Thresholds) -> tuple[Finding, ...]:
    """Return the findings on a run of which only first, last and best values are known."""
    rules = (_loss, _mass, _cost, _loading, _ranking)
    return tuple(finding for rule in rules if (finding := rule(history, limits)) is not None)


def _loss(history: RunHistory, limits: Thresholds) -> Finding | None:
    falls = {name: fall for name in CLONING_LOSSES if (fall := _fall(history.summary.get(name, {}))) is not None}
    name = next(iter(falls), None)
    if name is None:
        return None
    if falls[name] >= limits.converging_fall:
        return _finding("converging", "info", name, history, limits, ("converging_fall",), fall=falls[name])
    slow = _slow(name, history, limits)
    if slow is None:
        return None
    names = ("converging_steps", "converging_fall")
    return _finding("slow_start", "warning", name, history, limits, names, fall=falls[name], fall_best=slow)


def _slow(name: str, history: RunHistory, limits: Thresholds) -> float | None:
    """Return the fall of a loss to its best value where even that is too small, in a run known to reach 2,000 steps."""
    figures = history.summary.get(name, {})
    reached = max((one.get("best_step") or 0 for one in history.summary.values()), default=0)
    fall = _fall({"first": figures.get("first"), "last": figures.get("best")})
    if fall is None or reached < limits.converging_steps or fall >= limits.converging_fall:
        return None
    return None if key_settings(history.config).from_weights else fall


def _mass(history: RunHistory, limits: Thresholds) -> Finding | None:
    figures = history.summary.get(MASS, {})
    first, last = figures.get("first"), figures.get("last")
    if last is None:
        return None
    low = last < limits.mass_low and not (first is not None and last >= limits.mass_rising * first and last > 0)
    if low:
        return _finding("mass_too_low", "warning", MASS, history, limits, ("mass_low", "mass_good_low"), level=last)
    fell = first is not None and 0 < last <= first / limits.collapse_factor and last < limits.mass_good_low
    if fell and first is not None:
        names = ("collapse_factor", "mass_good_low")
        return _finding("mass_collapsing", "warning", MASS, history, limits, names, peak=first, level=last)
    settings = key_settings(history.config)
    own_unit = settings.objective == "energy" or settings.cost_normalization == "ema"
    if last > limits.mass_high and not (own_unit or settings.hard_src or settings.hard_tgt):
        names = ("mass_high", "mass_good_high")
        return _finding("mass_too_high", "info", MASS, history, limits, names, level=last)
    return None


def _cost(history: RunHistory, limits: Thresholds) -> Finding | None:
    labels = key_settings(history.config).label_terms
    falls = {
        name: fall
        for name, figures in history.summary.items()
        if name.startswith(COST)
        and metric_info(name).depends_on_model
        and name.removeprefix(COST) not in labels
        and (fall := _fall(figures)) is not None
    }
    name = min(falls, key=lambda item: falls[item], default=None)
    if name is None or falls[name] >= limits.cost_fall:
        return None
    return _finding("cost_not_falling", "warning", name, history, limits, ("cost_fall",), fall=falls[name])


def _loading(history: RunHistory, limits: Thresholds) -> Finding | None:
    wait = history.summary.get("train/dataloading_s", {}).get("last")
    work = history.summary.get("train/update_s", {}).get("last")
    if not wait or not work or wait / (wait + work) <= limits.loading_share:
        return None
    return _finding(
        "data_loading_bottleneck",
        "warning",
        "train/dataloading_s",
        history,
        limits,
        ("loading_share",),
        loading_s=wait,
        update_s=work,
        share=wait / (wait + work),
    )


def _ranking(history: RunHistory, limits: Thresholds) -> Finding | None:
    name = next((name for name in EVALUATION_LOSSES if name in history.summary), None)
    if name is None or any(map(is_success, history.summary)):
        return None
    return _finding("loss_only", "info", name, history, limits, ())


def _fall(figures: Figures) -> float | None:
    first, last = figures.get("first"), figures.get("last")
    return None if not first or last is None else (first - last) / abs(first)


def _finding(  # noqa: PLR0917 - figures follow by name
    tag: str,
    severity: Severity,
    metric: str,
    history: RunHistory,
    limits: Thresholds,
    names: tuple[str, ...],
    **evidence: Number,
) -> Finding:
    figures = history.summary[metric]
    ends = {"first": figures.get("first"), "last": figures.get("last"), "rests_on": "end points"}
    return Finding(
        tag=tag, severity=severity, metric=metric, evidence={**ends, **evidence}, thresholds=limits.limits(*names)
    )
