"""The one result of an analysis, in plain data: what every report shows, and how it is made from histories."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from otpilot.analysis.compare import LOSS_ONLY, Comparison, compare_groups, group_by_seed, score_metrics
from otpilot.analysis.diagnosis import diagnose_view, sort_findings
from otpilot.analysis.findings import Finding
from otpilot.analysis.postmortem import PostMortem, explain
from otpilot.analysis.rules_baseline import looks_regressed, regressed, underfitting
from otpilot.analysis.scorecard import ScoreCard, ranks, score_card, summary_statistics
from otpilot.analysis.settings import KeySettings, Setting, comparable, key_settings
from otpilot.analysis.statistics import MetricStatistics, Stability, rows_statistics, shared_rows, stability
from otpilot.analysis.thinning import drawing_order, thin
from otpilot.analysis.thresholds import Thresholds
from otpilot.analysis.view import EVALUATION_LOSSES, SUCCESS_MEAN, RunView
from otpilot.errors import RunError, closest
from otpilot.runs.counting import agree, counted
from otpilot.runs.history import Curve, Event, RunHistory, State
from otpilot.runs.metric_names import canonical

CURVE_POINTS = 2000
ALL_POINTS = 800_000  # 20 runs of 20 metrics; with more of either, all curves are thinned further
LEAST_POINTS = 20
DRAWN_CURVES = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class RunReport:
    """What is said about one run.

    Metrics go by their canonical names. `settings` is the config, flattened to dotted keys (terms by name:
    `ot.loss_config.features[action].weight_label`), without paths, names and logging. `statistics` holds all metrics,
    those of a summary without curves as well (endpoint only, `tail.points` is 0 then). `shared` holds the stability of
    the label cost and of the evaluation loss on the rows that have both (report 000); empty where they share
    none.
    `curves` are thinned for drawing: extremes of every stretch are kept, and one row of each gap (NaN, infinity).
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
        """Return the report of one run, by id.

        Raises:
            RunError: If there is no such run.
        """
        for run in self.runs:
            if run.id == run_id:
                return run
        raise RunError(f"No run {run_id!r} in this analysis.{closest(run_id, [run.id for run in self.runs])}")


def analyze(
    histories: Iterable[RunHistory],
    *,
    baselines: Sequence[str] = (),
    thresholds: Thresholds | None = None,
    metric: str | None = None,
    noise: float | None = None,
    points: int = CURVE_POINTS,
) -> Analysis:
    """Return the analysis of runs that are taken one at a time; full curves are dropped after each.

    Args:
        histories: The runs, baselines among them.
        baselines: Ids or names of the runs to compare the others with.
        thresholds: The limits; the documented ones unless given.
        metric: What to compare by (canonical name); success where all have it, else a validation loss, unless given.
        noise: Standard deviation of repeated runs, on the log scale for losses; used where nothing better is known.
        points: Points kept of each curve for drawing; fewer where there are many runs.

    Raises:
        RunError: If a baseline is not among the runs, or `metric` is no evaluation.
    """
    limits = thresholds or Thresholds()
    metric = None if metric is None else _ranking_metric(metric)
    reports: list[RunReport] = []
    cards: list[ScoreCard] = []
    held = 0
    for history in histories:
        named = _distinct(history, {report.id for report in reports})
        report, card = report_run(named, limits, points=points)
        reports.append(report)
        cards.append(card)
        held += sum(len(curve.steps) for curve in report.curves.values())
        if held > 2 * ALL_POINTS:
            reports, points = _within_budget(reports, points)
            held = ALL_POINTS
    chosen = _resolve(baselines, reports)
    ours = [card for card in cards if card.id not in chosen]
    theirs = [card for card in cards if card.id in chosen]
    comparisons = _comparisons(ours, theirs, limits, metric, noise)
    postmortems, found = _explanations(ours, theirs, limits)
    reports, _ = _within_budget(reports, points)
    reports = [
        replace(
            report,
            is_baseline=report.id in chosen,
            findings=sort_findings((*report.findings, *found.get(report.id, ()))),
        )
        for report in reports
    ]
    return Analysis(
        runs=tuple(reports),
        baselines=tuple(report.id for report in reports if report.is_baseline),
        comparisons=comparisons,
        postmortems=postmortems,
        thresholds=limits,
        generated=time.time(),
        notes=(*_notes(cards), *_not_explained(ours, theirs, limits)),
    )


def report_run(history: RunHistory, limits: Thresholds, *, points: int = CURVE_POINTS) -> tuple[RunReport, ScoreCard]:
    """Return what is said about one run, and what is kept to compare it with others."""
    view = RunView(history, limits)
    statistics = {n: rows_statistics(n, rows) for n in history.curves if (rows := view.rows(n)) is not None}
    statistics |= summary_statistics(history, skip=statistics)
    drawn = drawing_order(history.curves)[:DRAWN_CURVES]
    notes = list(history.notes)
    left = len(history.curves) - len(drawn)
    if left:
        notes.append(f"{left} of {len(history.curves)} metrics {agree(left, 'is', 'are')} not drawn.")
    report = RunReport(
        id=history.id,
        name=history.name,
        source=history.source,
        state=history.state,
        reason=history.reason,
        config=key_settings(history.config),
        settings=comparable(history.config),
        statistics=statistics,
        shared=_shared(view),
        findings=diagnose_view(view),
        curves={name: thin(curve, points) for name in drawn if (curve := view.curve(name)) is not None},
        events=history.events,
        url=history.url,
        group=history.group,
        tags=history.tags,
        updated=history.updated,
        notes=tuple(notes),
    )
    return report, score_card(view, statistics)


def _shared(view: RunView) -> dict[str, Stability]:
    """Return the stability of the label cost and of the evaluation loss on the rows that have both."""
    curves = view.history.curves
    label = next((name for name in view.costs if not view.depends_on_model(name)), None)
    loss = next((name for name in reversed(EVALUATION_LOSSES) if name in curves), None)
    if label is None or loss is None:
        return {}
    pair = shared_rows(curves[label], curves[loss])
    return {curve.name: stability(curve.steps, curve.values) for curve in pair if len(curve.steps)}


def _comparisons(
    ours: list[ScoreCard], theirs: list[ScoreCard], limits: Thresholds, metric: str | None, noise: float | None
) -> tuple[Comparison, ...]:
    found = []
    for group in group_by_seed(ours):
        for base in group_by_seed(theirs):
            for name in (metric,) if metric else score_metrics(group, base):
                evaluations = int(limits.score_evaluations)
                found.append(compare_groups(group, base, metric=name, evaluations=evaluations, noise=noise))
    return tuple(found)


def _explanations(
    ours: list[ScoreCard], theirs: list[ScoreCard], limits: Thresholds
) -> tuple[tuple[PostMortem, ...], dict[str, list[Finding]]]:
    """Return a post-mortem of every run that is 10 % worse than a baseline at an equal step, against the nearest."""
    postmortems: list[PostMortem] = []
    findings: dict[str, list[Finding]] = {}
    for card in ours:
        better = [base for base in theirs if card.diverged or regressed(card, base, limits)]
        if not better:
            continue
        explained = [(base, explain(card, base, limits)) for base in better]
        base, nearest = min(explained, key=lambda item: (not item[0].settings, len(item[1].differences)))
        postmortems.append(nearest)
        finding = underfitting(card, base, limits)
        if finding is not None:
            findings[card.id] = [finding]
    return tuple(postmortems), findings


def _not_explained(ours: list[ScoreCard], theirs: list[ScoreCard], limits: Thresholds) -> Iterator[str]:
    """Yield a note for each run that is worse than a baseline only by last values of different or unknown steps."""
    for card in ours:
        bases = [base.id for base in theirs if not card.diverged and looks_regressed(card, base, limits)]
        if bases:
            yield (
                f"The last value of {card.id} is worse than that of {', '.join(bases)}, but at a different or unknown "
                "step, so it does not count as a regression."
            )


def _ranking_metric(metric: str) -> str:
    name = canonical(metric)
    if not ranks(name):
        allowed = [*EVALUATION_LOSSES, SUCCESS_MEAN]
        raise RunError(
            f"Runs cannot be ranked by {metric!r}; allowed: {', '.join(allowed)}, sim/success_<cell>."
            f"{closest(name, allowed)}"
        )
    return name


def _resolve(baselines: Sequence[str], reports: Sequence[RunReport]) -> frozenset[str]:
    """Return the ids of the baselines, which may be given by id or by name."""
    chosen: set[str] = set()
    for wanted in baselines:
        ids = [report.id for report in reports if report.id == wanted]
        ids = ids or [report.id for report in reports if report.name == wanted]
        if not ids:
            known = [name for report in reports for name in (report.id, report.name)]
            hint = closest(wanted, known) or f" Runs read: {', '.join(dict.fromkeys(known)) or 'none'}."
            raise RunError(f"Baseline {wanted!r} is not among the runs.{hint}")
        chosen.update(ids)
    return frozenset(chosen)


def _distinct(history: RunHistory, taken: set[str]) -> RunHistory:
    """Return the history under an id that no earlier run has."""
    if history.id not in taken:
        return history
    number = next(n for n in range(2, len(taken) + 3) if f"{history.id}#{n}" not in taken)
    note = f"A run with id {history.id!r} was read before; this one is called {history.id}#{number}."
    return replace(history, id=f"{history.id}#{number}", notes=(*history.notes, note))


def _within_budget(reports: list[RunReport], points: int) -> tuple[list[RunReport], int]:
    """Thin all curves alike where together they hold more points than a page can carry.

    Returns the reports and the points that each further curve may keep.
    """
    sizes = [len(curve.steps) for report in reports for curve in report.curves.values()]
    if sum(sizes) <= ALL_POINTS:
        return reports, points
    points = max(LEAST_POINTS, ALL_POINTS // len(sizes))
    thinned = [replace(r, curves={name: thin(curve, points) for name, curve in r.curves.items()}) for r in reports]
    return thinned, points


def _notes(cards: Sequence[ScoreCard]) -> tuple[str, ...]:
    notes = []
    judged = [card for card in cards if card.losses or card.successes]
    if judged and not any(card.successes for card in judged):
        notes.append(LOSS_ONLY.replace("for both", "for these runs"))
    elif any(not card.successes for card in judged):
        notes.append(
            "Closed-loop success exists for some runs only; it outranks the validation loss where both have it."
        )
    if cards and len(judged) < len(cards):
        left = len(cards) - len(judged)
        notes.append(f"{left} of {counted(len(cards), 'run')} {agree(left, 'holds', 'hold')} no evaluation at all.")
    return tuple(notes)
