"""When a running trial cannot become good any more: measured against the baseline's own curves."""

from collections.abc import Mapping, Sequence
from typing import Any

from otpilot.analysis.view import is_success
from otpilot.pilot.guard import Hopeless
from otpilot.runs.metric_names import canonical


def hopeless_of(baselines: Sequence[Mapping[str, Any]], metrics: Sequence[str], *, factor: float) -> Hopeless | None:
    """Return a function that says why a trial is hopeless, or None where nothing can be said.

    A trial is hopeless when its loss on held-out episodes is more than `factor` times the worst that any baseline had
    at its nearest earlier evaluation. Success rates say nothing early on.

    Args:
        baselines: What the ledger keeps of the baseline trials.
        metrics: The metrics that rank trials, the first that all baselines have counts.
        factor: How many times worse.
    """
    curves = [body.get("curves", {}) for body in baselines]
    name = next((name for name in metrics if curves and all(curve.get(name) for curve in curves)), None)
    if name is None or is_success(name):
        return None
    rows = [[(int(step), float(value)) for step, value in curve[name]] for curve in curves]

    def hopeless(step: int, latest: Mapping[tuple[str, str], float]) -> str | None:
        value = next((v for (kind, short), v in latest.items() if canonical(f"{kind}/{short}") == name), None)
        before = [next((v for s, v in reversed(curve) if s <= step), None) for curve in rows]
        known = [v for v in before if v is not None]
        if value is None or not known or not value > factor * max(known):
            return None
        return f"{name} is {value:.4g}, more than {factor:g} times the baseline's worst at that step ({max(known):.4g})"

    return hopeless
