"""The one result of an analysis, in plain data: what every report shows, and how it is made from histories."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from otpilot.analysis.compare import Comparison
from otpilot.analysis.findings import Finding
from otpilot.analysis.postmortem import PostMortem
from otpilot.analysis.settings import KeySettings, Setting
from otpilot.analysis.statistics import MetricStatistics, Stability
from otpilot.analysis.thresholds import Thresholds
from otpilot.runs.history import Curve, Event, State


@dataclass(frozen=True, kw_only=True, eq=False)
class RunReport:
    """What is said about one run.

    Metrics go by their canonical names. `settings` is the whole config, flattened to dotted keys (terms by name:
    `ot.loss_config.features[action].weight_label`), without paths and names. `statistics` holds all metrics, those of a
    summary without curves as well (endpoint only, `tail.points` is 0 then). `shared` holds the stability of the label cost and
    of the evaluation loss on the rows that have both (seed report 000's data summary); empty where they share none.
    `curves` are thinned for drawing (extremes of every stretch are kept, NaN and infinities left out).
    """

    id: str
    name: str
    source: str
    state: State
    reason: str
    config: KeySettings
    settings: Mapping[str, Setting]
    statistics: Mapping[str, MetricStatistics]
    shared: Mapping[str, Stability]
    findings: tuple[Finding, ...]
    curves: Mapping[str, Curve]
    events: tuple[Event, ...] = ()
    url: str | None = None
    group: str | None = None
    tags: tuple[str, ...] = ()
    updated: float | None = None
    notes: tuple[str, ...] = ()
    is_baseline: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Analysis:
    """Everything that a report says: runs in the order given (baselines too), comparisons, post-mortems, limits.

    `baselines` are ids of runs. `generated` is in seconds since the epoch. `notes` hold for the whole, such as
    that only a validation loss exists.
    """

    runs: tuple[RunReport, ...]
    baselines: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    postmortems: tuple[PostMortem, ...]
    thresholds: Thresholds
    generated: float
    notes: tuple[str, ...] = field(default=())

    def run(self, run_id: str) -> RunReport:
        """Return the report of one run, by id."""
        return next(run for run in self.runs if run.id == run_id)
