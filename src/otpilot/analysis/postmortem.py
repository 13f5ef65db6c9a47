"""Why a run is worse than another: what differs in its config, ranked by what could explain it, and the first test.

The reasoning is that of report 002: a jitter that did not explode speaks against noise from the transport;
learning rate and weight decay that moved by factors of 20 and 500 come before a transport whose settings moved by two;
and one knob is turned at a time.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from otpilot.analysis.compare import at_equal_step, compare_pair, score_metrics
from otpilot.analysis.scorecard import JITTER_METRICS, ScoreCard, card_of
from otpilot.analysis.settings import Setting
from otpilot.analysis.single_change import ABSENT, SingleChange, single_changes
from otpilot.analysis.thresholds import Thresholds
from otpilot.analysis.view import RunView, is_success
from otpilot.runs.history import RunHistory

Area = Literal["optimiser", "schedule", "data", "model", "transport", "evaluation", "seed", "other"]
Mechanism = Literal["optimiser mismatch", "transport noise", "diverged", "unclear", "no difference", "unknown"]

# First match wins; within an area, settings come in this order, then by how far they moved.
AREAS: tuple[tuple[str, Area], ...] = (
    (r"optimizer\.lr|policy\.optimizer_lr", "optimiser"),
    (r"optimizer\.weight_decay", "optimiser"),
    (r"optimizer\.type", "optimiser"),
    (r"optimizer\.grad_clip_norm", "optimiser"),
    (r"optimizer\.|policy\.optimizer_|batch_size|.*accum|ema(\.|$)", "optimiser"),
    (r"scheduler\.type", "schedule"),
    (r"scheduler|policy\.scheduler|steps$|schedule_horizon", "schedule"),
    (r"seed$", "seed"),
    (r"eval|max_eval_samples|dataset\.eval_split|env(\.|$)", "evaluation"),
    (r"policy", "model"),
    (r"ot\.(src_|more_sources|pair_info|bc_src_weight|normalize_bc|stats|topk|base_index|src_weight|rows)", "data"),
    (r"ot\.(method|enable)", "transport"),
    (r"ot\.(lambda_ot|loss_config\.(objective|cost_norm|embed_norm|prior|heuristic|reg|tau))", "transport"),
    (r"ot(\.|$)", "transport"),
    (r"dataset|data", "data"),
)
ORDER: tuple[Area, ...] = ("optimiser", "schedule", "model", "data", "transport", "other", "evaluation", "seed")
NOISY_ORDER: tuple[Area, ...] = ("transport", "optimiser", "schedule", "model", "data", "other", "evaluation", "seed")
UNEQUAL_STEPS = "The values are the last ones of each run, at different or unknown steps: a shorter run can look worse."
NO_SINGLE_EDIT = "No single setting of this run's config would test:"
NAMED = 10
SEED_SPREAD = 12
"""Percent by which one long configuration varied over three seeds (docs/pilot-statistics.md)."""


@dataclass(frozen=True, kw_only=True)
class ConfigDifference:
    """One setting in which two runs differ; `factor` is worse / better for positive numbers, else None.

    `could_explain` is False where the difference is too small for the regression; `limit` is the factor from which a
    difference of this setting counts (None: any).
    """

    key: str
    area: Area
    worse: Setting
    better: Setting
    factor: float | None
    could_explain: bool
    limit: float | None = None


@dataclass(frozen=True, kw_only=True)
class JitterEvidence:
    """Jitter of one metric over the tail of both runs; `exploded` is None where it could not be measured."""

    metric: str | None
    worse: float | None
    better: float | None
    exploded: bool | None
    limit: float


@dataclass(frozen=True, kw_only=True)
class PostMortem:
    """What explains that `run` is worse than `baseline` on `metric`; `differences` come ranked, suspects first.

    `worse` and `better` are the two scores at an equal step, or the last values where there is no score. `test` is the
    single change that would test the first suspect, `follow_up` those for the next, each by itself. Without the
    configs of both runs there are no differences, and the mechanism is unknown.
    """

    run: str
    baseline: str
    metric: str | None
    worse: float | None
    better: float | None
    percent: float | None
    differences: tuple[ConfigDifference, ...]
    jitter: JitterEvidence
    mechanism: Mechanism
    test: SingleChange | None
    follow_up: tuple[SingleChange, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def suspects(self) -> tuple[ConfigDifference, ...]:
        """The differences that could explain the regression, most likely first."""
        return tuple(item for item in self.differences if item.could_explain)


def postmortem(run: RunHistory, baseline: RunHistory, thresholds: Thresholds | None = None) -> PostMortem:
    """Return what explains that `run` is worse than `baseline`."""
    limits = thresholds or Thresholds()
    return explain(card_of(RunView(run, limits)), card_of(RunView(baseline, limits)), limits)


def explain(worse: ScoreCard, better: ScoreCard, limits: Thresholds) -> PostMortem:
    """Return what explains that one run is worse than another, from their score cards."""
    jitter = compare_jitter(worse, better, limits)
    recorded = bool(worse.settings and better.settings)
    noisy = bool(jitter.exploded)
    differences = rank_differences(worse.settings, better.settings, limits, noisy=noisy) if recorded else ()
    suspects = [item for item in differences if item.could_explain]
    changes, untested = single_changes(suspects, worse, better)
    metrics = score_metrics([worse], [better])
    pair = (
        compare_pair(worse, better, metric=metrics[0], evaluations=int(limits.score_evaluations)) if metrics else None
    )
    fair = None if pair is None else at_equal_step(pair)
    values = fair if pair is None or fair is not None else pair.last
    return PostMortem(
        run=worse.id,
        baseline=better.id,
        metric=metrics[0] if metrics else None,
        worse=None if values is None else values.ours,
        better=None if values is None else values.baseline,
        percent=None if values is None else values.percent,
        differences=differences,
        jitter=jitter,
        mechanism=_mechanism(worse, differences, jitter) if recorded or worse.diverged else "unknown",
        test=changes[0] if changes else None,
        follow_up=changes[1:],
        notes=(
            *([] if values is fair else [UNEQUAL_STEPS]),
            *(
                [f"{NO_SINGLE_EDIT} {', '.join(untested[:NAMED])}{' ...' if untested[NAMED:] else ''}."]
                if untested
                else []
            ),
            *_notes(differences, metrics[0] if metrics else None, jitter, None if values is None else values.percent),
        ),
    )


def rank_differences(
    worse: Mapping[str, Setting], better: Mapping[str, Setting], limits: Thresholds, *, noisy: bool = False
) -> tuple[ConfigDifference, ...]:
    """Return the settings that differ, possible causes first; `noisy` puts the transport before the optimiser."""
    keys = [*worse, *(key for key in better if key not in worse)]
    found = [
        _difference(key, worse.get(key, ABSENT), better.get(key, ABSENT), limits)
        for key in keys
        if not _same(worse.get(key, ABSENT), better.get(key, ABSENT))
    ]
    order = NOISY_ORDER if noisy else ORDER

    def rank(item: ConfigDifference) -> tuple[bool, int, int, float]:
        moved = math.inf if item.factor is None else abs(math.log(item.factor))
        return not item.could_explain, order.index(item.area), _place(item.key), -moved

    return tuple(sorted(found, key=rank))


def compare_jitter(worse: ScoreCard, better: ScoreCard, limits: Thresholds) -> JitterEvidence:
    """Return the tail jitter of the first training metric that both runs have: losses before costs."""
    shared = [name for name in worse.jitters if name in better.jitters]
    order = sorted(shared, key=lambda name: (JITTER_METRICS.index(name) if name in JITTER_METRICS else 99, name))
    if not order:
        return JitterEvidence(metric=None, worse=None, better=None, exploded=None, limit=limits.jitter_exploded)
    mine, its = worse.jitters[order[0]], better.jitters[order[0]]
    return JitterEvidence(
        metric=order[0],
        worse=mine,
        better=its,
        exploded=mine > limits.jitter_exploded * its,
        limit=limits.jitter_exploded,
    )


def area_of(key: str) -> Area:
    """Return what part of a run a setting belongs to."""
    return next((area for pattern, area in AREAS if re.match(pattern, key)), "other")


def _difference(key: str, worse: Setting, better: Setting, limits: Thresholds) -> ConfigDifference:
    area = area_of(key)
    limit = _limit(key, area, limits)
    factor = _factor(worse, better)
    if area in ("seed", "evaluation"):
        explains = False  # told in a note: not a cause, but a reason why the runs may not compare
    else:
        explains = limit is None or factor is None or max(factor, 1 / factor) >= limit * (1 - 1e-9)
    return ConfigDifference(
        key=key, area=area, worse=worse, better=better, factor=factor, could_explain=explains, limit=limit
    )


def _limit(key: str, area: Area, limits: Thresholds) -> float | None:
    if key in ("optimizer.lr", "policy.optimizer_lr_backbone"):
        return limits.optimiser_lr_factor
    if key == "optimizer.weight_decay":
        return limits.optimiser_wd_factor
    return None if area in ("model", "data", "seed", "evaluation") else limits.other_factor


def _mechanism(worse: ScoreCard, differences: tuple[ConfigDifference, ...], jitter: JitterEvidence) -> Mechanism:
    if worse.diverged:
        return "diverged"
    if not differences:
        return "no difference"
    if jitter.exploded:
        return "transport noise"
    areas = [item.area for item in differences if item.could_explain]
    return "optimiser mismatch" if areas and areas[0] in ("optimiser", "schedule") else "unclear"


def _notes(
    differences: tuple[ConfigDifference, ...], metric: str | None, jitter: JitterEvidence, percent: float | None
) -> tuple[str, ...]:
    notes = []
    rates = metric is not None and is_success(metric)
    if percent is not None and (-percent if rates else percent) <= 0:
        notes.append("The run is not worse than the baseline, so there is nothing to explain; the differences stand.")
    elif percent is not None and abs(percent) < SEED_SPREAD:
        notes.append(f"Between seeds, scores of one configuration have varied by {SEED_SPREAD} %: this may be noise.")
    if any(item.area == "evaluation" for item in differences):
        notes.append("The two runs were not evaluated alike, so their scores may not compare.")
    if any(item.area == "seed" for item in differences):
        notes.append(f"The seeds differ; between seeds, scores of one configuration have varied by {SEED_SPREAD} %.")
    if metric is not None and not rates:
        notes.append("The ranking rests on a validation loss, which can rank methods backwards.")
    if jitter.exploded is None:
        notes.append("Jitter could not be compared: no training metric has a tail in both runs.")
    return tuple(notes)


def _place(key: str) -> int:
    return next((place for place, (pattern, _) in enumerate(AREAS) if re.match(pattern, key)), len(AREAS))


def _factor(worse: Setting, better: Setting) -> float | None:
    if isinstance(worse, bool | str) or isinstance(better, bool | str) or worse is None or better is None:
        return None
    if worse <= 0 or better <= 0:
        return None
    factor = worse / better
    return factor if 0 < factor < math.inf else None


def _same(one: Setting, other: Setting) -> bool:
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    if numbers and not isinstance(one, bool) and not isinstance(other, bool):
        return math.isclose(float(one), float(other), rel_tol=1e-9)  # type: ignore[arg-type]
    if {one, other} <= {None, ABSENT}:
        return True  # not given and null are the same setting
    return one == other
