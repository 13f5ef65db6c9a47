"""Runs against baselines: one score fixed before looking, at an equal step, and the best and last values beside it.

The score is the mean of the last five evaluations up to the last step that both runs reached. It is taken from
closed-loop success where both runs have it (each evaluated cell by itself), else from the loss on held-out episodes,
with a note that such a loss can rank methods backwards.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from otpilot.analysis.scorecard import ScoreCard
from otpilot.analysis.verdict import Scale, Verdict, common_scale, judge_floor, judge_pairs, noise_floor
from otpilot.analysis.view import SUCCESS_MEAN, is_success
from otpilot.runs.history import Curve
from otpilot.runs.metric_names import Direction, metric_info

ScoreKind = Literal["success", "loss"]

NAMED = 10
LOSS_ONLY = (
    "Only a validation loss exists for both, no closed-loop success. Such a loss can rank methods backwards: in one "
    "measured case it put source-only training last where its success was highest."
)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two values side by side: ours at `step`, the baseline's at `baseline_step`; `percent` is None where undefined.

    Steps are None where figures came without a curve.
    """

    ours: float
    baseline: float
    percent: float | None
    step: int | None
    baseline_step: int | None


@dataclass(frozen=True, kw_only=True)
class PairComparison:
    """One run against one baseline run.

    `score`: mean of the last `evaluations` evaluations up to an equal step. `last` and `best`: each at its own step.
    `best_to_last`: our best against the baseline's last (report 002 compares so).
    """

    run: str
    baseline: str
    seed: int | None
    score: Difference | None
    last: Difference | None
    best: Difference | None
    evaluations: int
    best_to_last: Difference | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A group of runs that differ by seed only against a group of baselines, on one metric.

    `metric` is what the verdict is about, `kind` whether it is closed-loop success or only a validation loss.
    """

    name: str
    runs: tuple[str, ...]
    baseline_name: str
    baselines: tuple[str, ...]
    metric: str
    kind: ScoreKind
    direction: Direction
    pairs: tuple[PairComparison, ...]
    verdict: Verdict
    notes: tuple[str, ...] = ()


def group_by_seed(cards: Iterable[ScoreCard]) -> list[list[ScoreCard]]:
    """Return the runs in groups that differ by nothing but the seed; a run without config stands alone."""
    groups: dict[object, list[ScoreCard]] = {}
    for card in cards:
        items = frozenset((key, repr(value)) for key, value in card.settings.items() if key != "seed")
        groups.setdefault(items or card.id, []).append(card)
    return list(groups.values())


def score_metrics(ours: Sequence[ScoreCard], baselines: Sequence[ScoreCard]) -> tuple[str, ...]:
    """Return the metrics to compare by: the mean success rate, or all rates, or a loss, whichever every run has.

    A run without any evaluation (it crashed, or has just begun) does not hinder the others.
    """
    everyone = [card for card in (*ours, *baselines) if card.successes or card.losses]
    if not any(card in everyone for card in ours) or not any(card in everyone for card in baselines):
        return ()
    successes = [name for name in everyone[0].successes if all(name in card.successes for card in everyone)]
    losses = [name for name in everyone[0].losses if all(name in card.losses for card in everyone)]
    if SUCCESS_MEAN in successes:
        return (SUCCESS_MEAN,)
    return tuple(successes) or tuple(losses[:1])


def compare_groups(
    ours: Sequence[ScoreCard],
    baselines: Sequence[ScoreCard],
    *,
    metric: str,
    evaluations: int = 5,
    noise: float | None = None,
) -> Comparison:
    """Return the comparison of two groups on one metric.

    With two common seeds or more, every run is compared with the baseline of its seed, and the verdict pairs by seed.
    Else every run is compared with every baseline, and the verdict asks the noise floor: that of repeated baselines,
    or
    `noise` (a standard deviation on the verdict's scale, from elsewhere).
    """
    rates = is_success(metric)
    direction: Direction = "max" if metric_info(metric).direction == "max" else "min"
    common = {card.keys.seed for card in ours} & {card.keys.seed for card in baselines} - {None}
    pairs = tuple(
        compare_pair(card, other, metric=metric, evaluations=evaluations)
        for card in ours
        for other in _partners(card, baselines, paired=len(common) >= 2)
    )
    notes = [] if rates else [LOSS_ONLY]
    scored = {name for pair in pairs if pair.score is not None for name in (pair.run, pair.baseline)}
    without = [card.id for card in (*ours, *baselines) if card.id not in scored]
    if without:
        notes.append(f"Left out of the verdict, for want of finite evaluations near an equal step: {_listed(without)}.")
    verdict = _judge(pairs, rates=rates, direction=direction, noise=noise)
    broken = [card.id for card in ours if card.diverged]
    if broken and verdict.word == "better" and not any(card.diverged for card in baselines):
        verdict = replace(verdict, word="not distinguishable", basis="diverged")
        notes.append(f"Diverged: {_listed(broken)}. What breaks on some seeds is not better by those that are left.")
    return Comparison(
        name=ours[0].name,
        runs=tuple(card.id for card in ours),
        baseline_name=baselines[0].name,
        baselines=tuple(card.id for card in baselines),
        metric=metric,
        kind="success" if rates else "loss",
        direction=direction,
        pairs=pairs,
        verdict=verdict,
        notes=tuple(notes),
    )


def compare_pair(ours: ScoreCard, baseline: ScoreCard, *, metric: str, evaluations: int = 5) -> PairComparison:
    """Return one run against one baseline run on one metric."""
    mine, its = ours.evaluations.get(metric), baseline.evaluations.get(metric)
    score, used = (None, 0) if mine is None or its is None else _score(mine, its, evaluations)
    a, b = ours.endpoints.get(metric), baseline.endpoints.get(metric)
    last = best = best_to_last = None
    if a is not None and b is not None:
        last = difference(a.last, b.last, a.last_step, b.last_step)
        best = difference(a.best, b.best, a.best_step, b.best_step)
        best_to_last = difference(a.best, b.last, a.best_step, b.last_step)
    return PairComparison(
        run=ours.id,
        baseline=baseline.id,
        seed=ours.keys.seed if ours.keys.seed == baseline.keys.seed else None,
        score=score,
        last=last,
        best=best,
        evaluations=used,
        best_to_last=best_to_last,
    )


def at_equal_step(pair: PairComparison) -> Difference | None:
    """Return the score, else the last values if both are known to lie at one step; None where nothing is comparable."""
    if pair.score is not None or pair.last is None:
        return pair.score
    return pair.last if pair.last.step is not None and pair.last.step == pair.last.baseline_step else None


def difference(
    ours: float | None, baseline: float | None, step: int | None, baseline_step: int | None
) -> Difference | None:
    """Return both values with their percent difference, or None where one is missing."""
    if ours is None or baseline is None:
        return None
    percent = 100 * (ours - baseline) / abs(baseline) if baseline else math.nan
    return Difference(
        ours=ours,
        baseline=baseline,
        percent=percent if math.isfinite(percent) else None,
        step=step,
        baseline_step=baseline_step,
    )


def _score(mine: Curve, its: Curve, evaluations: int) -> tuple[Difference | None, int]:
    """Return the scores at the last step that both reached, and how many evaluations they are a mean of.

    Evaluations of both at the same steps count, if these reach to the end; else as many of the last of each, if they
    lie equally far apart, else the last one. Only finite values count, and a run without any near the end has no score.
    """
    if len(mine.steps) == 0 or len(its.steps) == 0:
        return None, 0
    step = int(min(mine.steps[-1], its.steps[-1]))
    ends = [_up_to(curve, step) for curve in (mine, its)]
    if any(len(steps) == 0 or step - steps[-1] > slack for steps, _, slack in ends):
        return None, 0
    (steps, values, slack), (other_steps, other_values, other_slack) = ends
    shared, *rows = np.intersect1d(steps, other_steps, return_indices=True)
    recent = min(found[-min(evaluations, len(found))] for found in (steps, other_steps))
    count = min(evaluations, int((shared >= recent).sum()))
    if count and step - shared[-1] <= max(slack, other_slack) / 2:
        taken = [found[own[-count:]] for found, own in zip((values, other_values), rows, strict=True)]
        return difference(_average(taken[0]), _average(taken[1]), int(shared[-1]), int(shared[-1])), count
    count = min(evaluations, len(steps), len(other_steps)) if _equally_spaced(steps, other_steps) else 1
    ours, baseline = _average(values[-count:]), _average(other_values[-count:])
    return difference(ours, baseline, int(steps[-1]), int(other_steps[-1])), count


def _up_to(curve: Curve, step: int) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Return the finite evaluations up to a step, and how far behind it the last of them may lie: two spacings."""
    end = int(np.searchsorted(curve.steps, step, side="right"))
    slack = 2.0 * float(np.median(np.diff(curve.steps))) if len(curve.steps) > 1 else 0.0
    good = np.isfinite(curve.values[:end])
    return curve.steps[:end][good], curve.values[:end][good], slack


def _average(values: NDArray[np.float64]) -> float:
    with np.errstate(all="ignore"):
        return float(values.mean())


def _listed(names: Sequence[str]) -> str:
    """Return names in words, the first ten of them."""
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _equally_spaced(one: NDArray[np.int64], other: NDArray[np.int64]) -> bool:
    """Whether two runs were evaluated about equally often."""
    if len(one) < 2 or len(other) < 2:
        return len(one) == len(other)
    ratio = float(np.median(np.diff(one)) / np.median(np.diff(other)))
    return 0.8 <= ratio <= 1.25


def _partners(card: ScoreCard, baselines: Sequence[ScoreCard], *, paired: bool) -> Sequence[ScoreCard]:
    same = [other for other in baselines if card.keys.seed is not None and other.keys.seed == card.keys.seed]
    return same if paired and same else baselines


def _judge(pairs: Sequence[PairComparison], *, rates: bool, direction: Direction, noise: float | None) -> Verdict:
    scored = [(pair, pair.score) for pair in pairs if pair.score is not None]
    if not scored:
        return Verdict(word="not distinguishable", basis="no scores", scale="difference" if rates else "log", pairs=0)
    scale = common_scale([value for _, score in scored for value in (score.ours, score.baseline)], rates=rates)
    baselines = _means((pair.baseline, score.baseline) for pair, score in scored)
    by_seed = {}
    for seed in {pair.seed for pair, _ in scored if pair.seed is not None}:
        of_seed = [score for pair, score in scored if pair.seed == seed]
        by_seed[seed] = tuple(_mean([value(score) for score in of_seed], scale) for value in (_OURS, _THEIRS))
    if len(by_seed) >= 2:
        both = [(ours, theirs) for ours, theirs in by_seed.values()]
        floor = noise_floor(list(baselines.values()), scale)
        known = floor if floor is not None else noise
        return judge_pairs(both, scale=scale, direction=direction, noise=known, rates=rates)
    ours = _means((pair.run, score.ours) for pair, score in scored)
    return judge_floor(
        list(ours.values()),
        list(baselines.values()),
        scale=scale,
        direction=direction,
        noise=noise,
        pairs=len(by_seed),
    )


_OURS: Callable[[Difference], float] = lambda score: score.ours
_THEIRS: Callable[[Difference], float] = lambda score: score.baseline


def _means(rows: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return one score per run; its value differs between pairs where the equal step does."""
    found: dict[str, list[float]] = {}
    for name, value in rows:
        found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def _mean(values: Sequence[float], scale: Scale) -> float:
    """Return the mean of repeated runs of one seed, geometric on the log scale."""
    if scale == "log":
        return math.exp(sum(map(math.log, values)) / len(values))
    return sum(values) / len(values)
