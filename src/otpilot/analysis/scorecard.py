"""What is kept of a run to compare it with others: evaluations, settings, jitter. Small, unlike a history."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from otpilot.analysis.rules_training import diverged
from otpilot.analysis.settings import KeySettings, Setting, comparable, key_settings, nested, preset_in_effect
from otpilot.analysis.statistics import Endpoint, MetricStatistics, Stability, Tail, curve_statistics
from otpilot.analysis.view import COST, EVALUATION_LOSSES, RunView, is_success
from otpilot.runs.history import Curve, RunHistory

JITTER_METRICS = ("train/ot_loss", "train/l1_loss", "train/loss")


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreCard:
    """One run in short.

    `evaluations` are the curves by which runs are ranked, in step order, NaN kept; `endpoints` the first, last and
    best values of the same metrics (also of a summary without curves); `jitters` the tail jitter of training metrics.
    `config` is the whole one, nested.
    """

    id: str
    name: str
    settings: Mapping[str, Setting]
    keys: KeySettings
    preset: bool
    evaluations: Mapping[str, Curve]
    endpoints: Mapping[str, Endpoint]
    jitters: Mapping[str, float]
    diverged: bool
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def successes(self) -> tuple[str, ...]:
        """Names of its closed-loop success rates."""
        return tuple(name for name in self.endpoints if is_success(name) and self.endpoints[name].last is not None)

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of its evaluation losses, most telling first."""
        return tuple(
            name for name in EVALUATION_LOSSES if name in self.endpoints and self.endpoints[name].last is not None
        )


def ranks(name: str) -> bool:
    """Whether runs are ranked by a metric: closed-loop success, or the loss on held-out episodes."""
    return name in EVALUATION_LOSSES or is_success(name)


def score_card(view: RunView, statistics: Mapping[str, MetricStatistics]) -> ScoreCard:
    """Return the score card of a run, given the statistics of its metrics."""
    history = view.history
    jitters = {name: statistics[name].tail.jitter for name in statistics if _shows_jitter(name)}
    return ScoreCard(
        id=history.id,
        name=history.name,
        settings=comparable(history.config),
        keys=key_settings(history.config),
        preset=preset_in_effect(history.config),
        evaluations={name: curve.ordered() for name, curve in history.curves.items() if ranks(name)},
        endpoints={name: found.endpoint for name, found in statistics.items() if ranks(name)},
        jitters={name: value for name, value in jitters.items() if value is not None},
        diverged=view.once(diverged) is not None,
        config=nested(history.config),
    )


def card_of(view: RunView) -> ScoreCard:
    """Return the score card of a run; works out only the statistics that it needs."""
    curves = view.history.curves.items()
    needed = {name: curve_statistics(curve) for name, curve in curves if ranks(name) or _shows_jitter(name)}
    return score_card(view, needed | summary_statistics(view.history, skip=needed))


def summary_statistics(history: RunHistory, *, skip: Mapping[str, object]) -> dict[str, MetricStatistics]:
    """Return the statistics of metrics that came without a curve: end points only."""
    found = {}
    for name, figures in history.summary.items():
        if name in skip:
            continue
        rows = int(figures.get("rows") or figures.get("steps") or 0)
        best_step, last_step = figures.get("best_step"), _last_step(name, figures)
        found[name] = MetricStatistics(
            endpoint=Endpoint(
                rows=rows,
                nan=0,
                inf=0,
                first=figures.get("first"),
                last=figures.get("last"),
                best=figures.get("best"),
                last_step=None if last_step is None else int(last_step),
                best_step=None if best_step is None else int(best_step),
                delta=figures.get("delta"),
                pct=figures.get("pct"),
            ),
            stability=Stability(rows=rows, nan=0, inf=0),
            tail=Tail(rows=rows, nan=0, inf=0),
        )
    return found


def _last_step(name: str, figures: Mapping[str, float | int | None]) -> float | int | None:
    """Return the step of the last value: where it is the best one, and no rate (which can be best more than once)."""
    last = figures.get("last")
    repeats = is_success(name) or last == figures.get("first")
    return figures.get("best_step") if last is not None and last == figures.get("best") and not repeats else None


def _shows_jitter(name: str) -> bool:
    return name in JITTER_METRICS or name.startswith(COST)
