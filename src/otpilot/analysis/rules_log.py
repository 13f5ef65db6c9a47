"""Rules about the log itself: metrics that stand still, and a loader that training waits for."""

import numpy as np

from otpilot.analysis.findings import Finding
from otpilot.analysis.view import RunView
from otpilot.runs.metric_names import MACHINE

# Counters, settings, rates and solver counts repeat by nature.
MAY_REPEAT = (
    *MACHINE,
    "train/lr", "train/steps", "train/samples", "train/episodes", "train/epochs", "train/ot_weight", "train/ot_lambda",
    "train/ot_reg", "train/ot_iterations", "train/ot_converged", "train/ot_cost_scale", "train/ema", "sim/", "health/",
    "eval/pc_success", "_",
)  # fmt: skip
LOADING, UPDATE = "train/dataloading_s", "train/update_s"
NAMED = 5


def stale_metric(view: RunView) -> Finding | None:
    """Say that at least half of the values of some metrics repeat (report 000: med_abs_rel_change 0)."""
    limits = view.limits
    stale: dict[str, float] = {}
    for name in view.history.curves:
        if name.startswith(MAY_REPEAT) or name.endswith("/n_batches"):
            continue
        window = view.window(name, at_least=int(limits.stale_points))
        if window is None:
            continue
        repeats = int(np.count_nonzero(window.values[1:] == window.values[:-1]))
        if repeats > (len(window) - 1) // 2:
            stale[name] = repeats / (len(window) - 1)
    if not stale:
        return None
    worst = max(stale, key=lambda name: stale[name])
    window = view.window(worst)
    assert window is not None
    return Finding(
        tag="stale_metric",
        severity="info",
        metric=worst,
        window=window.span,
        evidence={
            "share": stale[worst],
            "med_abs_rel_change": 0.0,
            "metrics": len(stale),
            "names": ", ".join(list(stale)[:NAMED]) + (" ..." if len(stale) > NAMED else ""),
        },
        thresholds=limits.limits("stale_points"),
    )


def data_loading_bottleneck(view: RunView) -> Finding | None:
    """Say that training waits for data more than it computes."""
    loading, update = view.tail(LOADING), view.tail(UPDATE)
    if loading is None or update is None:
        return None
    wait, work = loading.level, update.level
    share = wait / (wait + work) if wait + work > 0 else 0.0
    if share <= view.limits.loading_share:
        return None
    return Finding(
        tag="data_loading_bottleneck",
        severity="warning",
        metric=LOADING,
        window=loading.span,
        evidence={"loading_s": wait, "update_s": work, "share": share},
        thresholds=view.limits.limits("loading_share"),
    )
