"""Verdicts: honest with few seeds, and right as often as they claim."""

import math

import numpy as np
import pytest
from scipy.stats import ttest_rel

from otpilot.analysis.verdict import common_scale, judge_floor, judge_pairs, noise_floor


def test_the_interval_is_that_of_the_paired_t_test():
    ours, theirs = [0.41, 0.39, 0.36], [0.45, 0.44, 0.38]
    found = judge_pairs(list(zip(ours, theirs, strict=True)), scale="log", direction="min")
    interval = ttest_rel(np.log(ours), np.log(theirs)).confidence_interval(0.95)
    assert found.low == pytest.approx(math.expm1(interval.low))
    assert found.high == pytest.approx(math.expm1(interval.high))
    assert found.basis == "t-interval"


@pytest.mark.parametrize(("direction", "word"), [("min", "better"), ("max", "worse")])
def test_the_direction_of_the_metric_decides_the_word(direction, word):
    pairs = [(0.80, 1.0), (0.81, 1.0), (0.82, 1.0)]
    assert judge_pairs(pairs, scale="log", direction=direction).word == word
    assert judge_pairs([(b, a) for a, b in pairs], scale="log", direction=direction).word != word


def test_one_seed_decides_nothing_unless_a_noise_floor_is_known():
    alone = judge_floor([0.30], [0.40], scale="log", direction="min")
    assert (alone.word, alone.basis, alone.low) == ("not distinguishable", "no seeds", None)
    assert alone.mean == pytest.approx(-0.25)
    known = judge_floor([0.30], [0.40], scale="log", direction="min", noise=0.02)
    assert (known.word, known.basis) == ("better", "noise floor")
    assert judge_floor([0.39], [0.40], scale="log", direction="min", noise=0.02).word == "not distinguishable"
    repeated = judge_floor([0.30], [0.40, 0.405, 0.395], scale="log", direction="min")
    assert (repeated.word, repeated.basis) == ("better", "noise floor")
    assert repeated.noise == pytest.approx(noise_floor([0.40, 0.405, 0.395], "log"))


def test_equal_differences_give_no_estimate_of_the_noise():
    pairs = [(0.52, 0.50), (0.54, 0.52), (0.56, 0.54)]  # rates of 50 episodes
    found = judge_pairs(pairs, scale="difference", direction="max")
    assert (found.word, found.basis) == ("not distinguishable", "no spread")
    same = judge_pairs([(0.5, 0.5)] * 3, scale="log", direction="min")
    assert (same.word, same.mean) == ("not distinguishable", 0.0)


def test_equal_differences_far_beyond_the_noise_of_a_rate_are_a_verdict():
    total = judge_pairs([(1.0, 0.0)] * 3, scale="difference", direction="max", rates=True)
    assert (total.word, total.basis) == ("better", "noise floor")
    assert judge_pairs([(0.0, 1.0)] * 3, scale="difference", direction="max", rates=True).word == "worse"
    small = judge_pairs([(0.52, 0.50)] * 3, scale="difference", direction="max", rates=True)
    assert (small.word, small.basis) == ("not distinguishable", "no spread")
    noisy = judge_pairs([(0.6, 0.3)] * 3, scale="difference", direction="max", rates=True, noise=0.2)
    assert noisy.word == "not distinguishable"
    rng = np.random.default_rng(1)
    for chance, seeds in ((0.5, 2), (0.5, 3), (0.9, 3), (0.98, 5)):  # ten episodes: equal differences are frequent
        rates = rng.binomial(10, chance, (4000, seeds, 2)) / 10
        told = [
            judge_pairs([tuple(p) for p in runs], scale="difference", direction="max", rates=True) for runs in rates
        ]
        assert np.mean([verdict.word == "better" for verdict in told]) <= 0.04


@pytest.mark.parametrize(("scale", "rates"), [("difference", True), ("log", False)])
def test_scores_that_differ_by_rounding_alone_are_equal(scale, rates):
    assert np.mean([0.1, 0.2, 0.3]) != np.mean([0.3, 0.2, 0.1]), "one sum, two floats: so such scores occur"
    pairs = [(0.38 + count * math.ulp(0.38), 0.38) for count in (1, 1, 1, 1, 2)]
    found = judge_pairs(pairs, scale=scale, direction="max", rates=rates)
    assert (found.word, found.basis) == ("not distinguishable", "no spread")
    floor = judge_floor([0.4], [0.38, 0.38 + math.ulp(0.38)], scale=scale, direction="max")
    assert (floor.word, floor.basis) == ("not distinguishable", "no seeds")


def test_success_rates_and_what_is_not_positive_are_compared_by_differences():
    assert common_scale([0.5, 0.0], rates=True) == "difference"
    assert common_scale([0.5, 0.4], rates=False) == "log"
    assert common_scale([0.5, 0.0], rates=False) == "difference"


@pytest.mark.parametrize(("seeds", "spread"), [(2, 0.12), (3, 0.12), (3, 0.006), (5, 0.12)])
def test_the_interval_covers_and_equal_runs_are_rarely_told_apart(seeds, spread):
    rng = np.random.default_rng(0)
    trials, truth = 4000, -0.03
    level = np.exp(rng.normal(math.log(0.4), 0.05, (trials, seeds)))  # what a seed has in common
    ours = level * np.exp(truth + rng.normal(0, spread, (trials, seeds)))
    equal = level * np.exp(rng.normal(0, spread, (trials, seeds)))
    theirs = level * np.exp(rng.normal(0, spread, (trials, seeds)))

    def judged(mine):
        return [
            judge_pairs(list(zip(a, b, strict=True)), scale="log", direction="min")
            for a, b in zip(mine, theirs, strict=True)
        ]

    covered = np.mean([v.low <= math.expm1(truth) <= v.high for v in judged(ours)])
    wrong = np.mean([v.word != "not distinguishable" for v in judged(equal)])
    error = 3 * math.sqrt(0.05 * 0.95 / trials)  # three standard errors of the simulation
    assert abs(covered - 0.95) < error
    assert wrong < 0.05 + error


def test_the_noise_floor_of_repeated_baselines_covers_too():
    rng = np.random.default_rng(1)
    scores = np.exp(rng.normal(-1, 0.1, (4000, 5)))
    words = [judge_floor([row[0]], list(row[1:]), scale="log", direction="min").word for row in scores]
    wrong = np.mean([word != "not distinguishable" for word in words])
    assert abs(wrong - 0.05) < 3 * math.sqrt(0.05 * 0.95 / 4000)
