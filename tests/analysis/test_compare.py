"""Comparison: equal steps, the mean of the last five, the seeds' printed percentages, grouping by seed."""

import numpy as np
import pytest

from otpilot.analysis.compare import compare_groups, compare_pair, group_by_seed, score_metrics
from otpilot.analysis.scorecard import card_of
from otpilot.analysis.thresholds import Thresholds
from otpilot.analysis.view import RunView

from .build import changed, curve, history

EVAL, LOSS, RATE = "eval/offline_eval/avg_l1", "eval/offline_eval/avg_loss", "sim/success_target_ood"


def card(curves, **fields):
    return card_of(RunView(history(curves, **fields), Thresholds()))


def seeded(values, seed, **edits):
    return card([curve(EVAL, values)], id=f"s{seed}{edits}", config=changed(seed=seed, **edits))


def test_the_score_is_the_mean_of_the_last_five_at_an_equal_step():
    ours = card([curve(EVAL, np.arange(1.0, 21.0))])
    base = card([curve(EVAL, np.full(10, 4.0))], id="base")
    pair = compare_pair(ours, base, metric=EVAL)
    assert (pair.score.ours, pair.score.baseline, pair.score.step) == (np.mean([6, 7, 8, 9, 10]), 4.0, 500)
    assert pair.score.percent == pytest.approx(100)
    assert (pair.last.ours, pair.last.step, pair.last.baseline_step) == (20.0, 1000, 500)
    assert (pair.best.ours, pair.evaluations) == (1.0, 5)


def test_with_fewer_evaluations_both_are_means_of_as_many():
    pair = compare_pair(card([curve(EVAL, [9, 8, 7, 6, 5, 4, 3])]), card([curve(EVAL, [1, 2])]), metric=EVAL)
    assert (pair.evaluations, pair.score.ours, pair.score.baseline) == (2, 8.5, 1.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_run_whose_evaluations_end_in_nan_has_no_score(bad):
    ours, base = card([curve(EVAL, [1, 2, bad, bad, bad])]), card([curve(EVAL, [1, 2, 3, 4, 5])], id="base")
    found = compare_groups([ours], [base], metric=EVAL)
    assert found.pairs[0].score is None
    assert (found.verdict.word, found.verdict.basis) == ("not distinguishable", "no scores")
    assert any("finite evaluations near an equal step: run, base" in note for note in found.notes)


def test_a_single_nan_does_not_cost_the_score():
    ours, base = card([curve(EVAL, [1, 2, 3, 4, np.nan])]), card([curve(EVAL, [1, 2, 3, 4, 5])], id="base")
    pair = compare_pair(ours, base, metric=EVAL)
    assert (pair.score.ours, pair.score.baseline, pair.score.step, pair.evaluations) == (2.5, 2.5, 200, 4)


def test_common_steps_count_only_where_they_reach_to_the_end():
    """The only common step, 2800, is where ours was best; it ended twice as bad as the baseline."""
    ours = card([curve(EVAL, [0.6, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8], every=400)])
    base = card([curve(EVAL, [0.6, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4], every=700)], id="base")
    pair = compare_pair(ours, base, metric=EVAL)
    assert (pair.score.ours, pair.score.baseline) == (0.8, 0.4)
    assert (pair.score.step, pair.score.baseline_step) == (4800, 4200)
    early = compare_pair(
        card([curve(EVAL, [0.9, 0.6, 0.5, 0.4, 0.3], steps=range(0, 5000, 1000))]),
        card([curve(EVAL, [0.9, 0.8, 0.6], steps=[0, 1500, 3500])], id="base"),
        metric=EVAL,
    )
    assert (early.score.ours, early.score.baseline) == (0.4, 0.6), "step 0 is the only one that both have"


def test_a_seed_without_evaluations_hinders_no_comparison_and_one_that_broke_is_not_hidden():
    base = [seeded(np.full(5, 0.4 + 0.001 * seed), seed) for seed in range(4)]
    ours = [seeded(np.full(5, 0.3 + 0.002 * seed), seed, ot__lambda_ot=0.2) for seed in range(3)]
    begun = card([curve("train/l1_loss", [0.5] * 5)], id="begun", config=changed(seed=3, ot__lambda_ot=0.2))
    assert score_metrics([*ours, begun], base) == (EVAL,)
    assert score_metrics([begun], base) == ()
    found = compare_groups([*ours, begun], base, metric=EVAL)
    assert (found.verdict.word, found.verdict.pairs) == ("better", 3)
    assert any("begun" in note for note in found.notes)
    broken = card([curve(EVAL, [0.6, 0.9, *[np.nan] * 8])], id="broken", config=changed(seed=3, ot__lambda_ot=0.2))
    found = compare_groups([*ours, broken], base, metric=EVAL)
    assert (found.verdict.word, found.verdict.basis) == ("not distinguishable", "diverged")
    assert any("Diverged: broken" in note for note in found.notes)


SEED_002 = [
    ("8dfuhytp", 0.413, 0.3813, 4000, "+4.7", "-7.3", "-3.3"),
    ("avj1u2ok", 0.3982, 0.3849, 5000, "+1.0", "-10.7", "-2.4"),
]


@pytest.mark.parametrize(("run", "last", "best", "step", "to_4g", "to_80", "best_to_4g"), SEED_002)
def test_seed_report_002_prints_the_same_percentages(run, last, best, step, to_4g, to_80, best_to_4g):
    ours = card([curve(EVAL, [0.46, best, last], steps=[1000, step, 20000])], id=run)
    first, second = (
        card([curve(EVAL, [0.5, value], steps=[1000, 20000])], id=str(value)) for value in (0.3944, 0.4457)
    )
    one, other = compare_pair(ours, first, metric=EVAL), compare_pair(ours, second, metric=EVAL)
    assert f"{one.last.percent:+.1f}" == to_4g
    assert f"{other.last.percent:+.1f}" == to_80
    assert f"{one.best_to_last.percent:+.1f}" == best_to_4g
    assert one.best.step == step


def test_what_is_evaluated_less_often_is_compared_at_common_steps():
    """Of a falling curve the last five of 5,000 steps each lie much higher than the last five of 1,000."""
    often, seldom, never = np.arange(1000, 20_001, 1000), np.arange(5000, 20_001, 5000), np.arange(4500, 20_001, 5000)
    cards = [card([curve(EVAL, 0.2 + np.exp(-steps / 8000), steps=steps)]) for steps in (often, seldom, never)]
    same = compare_pair(cards[0], cards[1], metric=EVAL)
    assert same.score.percent == pytest.approx(0.0)
    assert same.evaluations == 4
    last = compare_pair(cards[0], cards[2], metric=EVAL)
    assert last.evaluations == 1
    assert last.score.percent == pytest.approx(0.0, abs=3.0)


def test_runs_are_grouped_where_only_the_seed_differs():
    cards = [
        seeded([1, 2], 1),
        seeded([1, 2], 2),
        seeded([1, 2], 1, ot__lambda_ot=0.2),
        card([curve(EVAL, [1])], config={}),
    ]
    assert [len(group) for group in group_by_seed(cards)] == [2, 1, 1]


def test_seeds_are_paired_and_the_verdict_says_so():
    rng = np.random.default_rng(0)
    base = [seeded(np.full(5, 0.4 + 0.05 * s), s) for s in range(3)]
    ours = [
        seeded(np.full(5, (0.4 + 0.05 * s) * 0.9 * rng.uniform(0.99, 1.01)), s, ot__lambda_ot=0.2) for s in range(3)
    ]
    found = compare_groups(ours, base, metric=EVAL)
    assert [(pair.run[:2], pair.baseline[:2], pair.seed) for pair in found.pairs] == [
        ("s0", "s0", 0),
        ("s1", "s1", 1),
        ("s2", "s2", 2),
    ]
    assert (found.verdict.word, found.verdict.basis, found.verdict.pairs) == ("better", "t-interval", 3)
    assert found.verdict.noise > 0.05  # the seeds themselves differ by far more


def test_one_seed_is_judged_against_the_repeated_baselines():
    base = [seeded(np.full(5, value), s) for s, value in enumerate((0.40, 0.41, 0.42))]
    found = compare_groups([seeded(np.full(5, 0.2), 0, ot__lambda_ot=0.2)], base, metric=EVAL)
    assert (found.verdict.word, found.verdict.basis, len(found.pairs)) == ("better", "noise floor", 3)
    alone = compare_groups([seeded(np.full(5, 0.2), 0, ot__lambda_ot=0.2)], base[:1], metric=EVAL)
    assert (alone.verdict.word, alone.verdict.basis) == ("not distinguishable", "no seeds")
    told = compare_groups([seeded(np.full(5, 0.2), 0, ot__lambda_ot=0.2)], base[:1], metric=EVAL, noise=0.01)
    assert (told.verdict.word, told.verdict.basis) == ("better", "noise floor")


def test_success_comes_first_and_a_loss_alone_is_told():
    both = card([curve(EVAL, [1, 2]), curve(RATE, [0.1, 0.2]), curve("sim/success_target_ood_low", [0.0, 0.1])])
    loss = card([curve(EVAL, [1, 2]), curve(LOSS, [1, 2])])
    assert score_metrics([both], [both]) == (RATE,)
    assert score_metrics([both], [loss]) == (EVAL,)
    mean = card([curve(RATE, [0.1, 0.2]), curve("sim/success_mean", [0.1, 0.2])])
    assert score_metrics([mean], [mean]) == ("sim/success_mean",)
    assert score_metrics([loss], [card([curve("train/loss", [1.0])])]) == ()
    found = compare_groups([loss], [loss], metric=EVAL)
    assert (found.kind, found.direction) == ("loss", "min")
    assert any("rank methods backwards" in note for note in found.notes)


def test_rates_of_zero_can_be_compared():
    base = [card([curve(RATE, [0.0])], id=f"b{s}", config=changed(seed=s)) for s in range(3)]
    ours = [
        card([curve(RATE, [r])], id=f"o{s}", config=changed(seed=s, ot__lambda_ot=0.2))
        for s, r in enumerate((0.5, 0.55, 0.52))
    ]
    found = compare_groups(ours, base, metric=RATE)
    assert (found.kind, found.direction, found.verdict.scale, found.verdict.word) == (
        "success",
        "max",
        "difference",
        "better",
    )
    assert found.pairs[0].score.percent is None


def test_figures_without_curves_are_compared_by_last_and_best():
    base = card((), id="base", summary={EVAL: {"first": 0.6, "last": 0.4, "best": 0.38, "best_step": 900}})
    pair = compare_pair(card((), summary={EVAL: {"first": 0.6, "last": 0.5, "best": 0.3}}), base, metric=EVAL)
    assert pair.score is None
    assert pair.last.percent == pytest.approx(25)
    assert (pair.best.step, pair.best.baseline_step) == (None, 900)
