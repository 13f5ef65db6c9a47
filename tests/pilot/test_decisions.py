"""Decisions: what the numbers allow to say, and what they do not."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpilot.pilot.decisions import (
    Arm,
    RoundOutcome,
    Yardstick,
    choose_candidates,
    common_problems,
    confirm,
    fresh_seeds,
    judge_stop,
    keep_after_promotion,
    measure_noise,
    resolvable,
    review,
)

LOSS = Yardstick(direction="min", rates=False, noise=0.01)
RATE = Yardstick(direction="max", rates=True, noise=0.03)
DEAD = frozenset({"transport_dead"})


def arm(name="v", scores=(), *, failed=None, problems=frozenset(), tagged=None, first=1) -> Arm:
    values = {"failed": failed or {}, "problems": frozenset(problems), "tagged": tagged or {}, "looked": len(scores)}
    return Arm(name=name, scores=dict(enumerate(scores, first)), **values)


BASE = arm("base", (1.0, 1.01, 0.99, 1.0))


def test_a_gain_beyond_noise_is_promising_in_either_direction():
    lower = review(arm(scores=(0.9, 0.91, 0.89, 0.905)), BASE, LOSS)
    assert (lower.verdict.word, lower.promising) == ("better", True)
    assert lower.gain == pytest.approx(0.105, abs=0.01)
    rates = review(arm(scores=(0.7, 0.72, 0.69)), arm(scores=(0.5, 0.51, 0.5)), RATE)
    assert (rates.verdict.word, rates.promising) == ("better", True)
    assert rates.gain == pytest.approx(0.2, abs=0.01)


def test_a_gain_within_a_standard_error_is_no_candidate():
    made = review(arm(scores=(1.02, 0.99, 0.985, 1.0)), BASE, LOSS)
    assert made.gain is not None
    assert 0 < made.gain < made.error
    assert not made.is_candidate


def test_a_cure_makes_a_candidate_unless_it_is_worse_or_brings_a_problem():
    sick = arm("base", (1.0, 1.01, 0.99, 1.0), problems=DEAD)
    same = (1.02, 0.995, 1.0, 0.99)
    assert review(arm(scores=same), sick, LOSS).heals
    assert review(arm(scores=same), sick, LOSS).cured == ("transport_dead",)
    assert not review(arm(scores=same, problems={"diverged"}), sick, LOSS).heals
    assert not review(arm(scores=(1.2, 1.22, 1.19, 1.2)), sick, LOSS).heals
    assert not review(arm(scores=same, problems=DEAD), sick, LOSS).heals


def test_a_cure_at_a_price_is_no_candidate_even_where_seeds_are_too_few_to_call_it_worse():
    """Scores of a real campaign (docs/log.md): the interval of two seeds that lost 24 points each excludes nothing."""
    sick = arm("base", (0.57, 0.46), problems=DEAD)
    yard = Yardstick(direction="max", rates=True, noise=0.078)
    made = review(arm("energy", (0.33, 0.22)), sick, yard)
    assert (made.verdict.word, made.cured) == ("not distinguishable", ("transport_dead",))
    assert not made.is_candidate
    assert "cures transport_dead, at a price of more than 2 standard errors" in made.reason
    assert review(arm("mild", (0.5, 0.39)), sick, yard).heals
    gains = review(arm("gains", (0.7, 0.59), problems=DEAD), sick, yard)
    assert gains.error == pytest.approx(0.078), "gains that are equal but for rounding show no spread"
    assert [r.variant for r in choose_candidates([made, gains])] == ["gains"]


def test_one_that_breaks_on_some_seeds_does_not_win_by_those_that_are_left():
    made = review(arm(scores=(0.5, 0.5, 0.51), failed={4: "diverged"}), BASE, LOSS)
    assert made.broken
    assert not made.is_candidate
    crashed = review(arm(scores=(0.5, 0.5, 0.51), failed={4: "crashed"}), BASE, LOSS)
    assert not crashed.broken, "a crash tells about the machine"
    assert crashed.promising
    both = review(
        arm(scores=(0.5, 0.5, 0.51), failed={4: "diverged"}),
        arm(scores=(1.0, 1.01, 0.99), failed={4: "diverged"}),
        LOSS,
    )
    assert not both.broken


@pytest.mark.parametrize("scores", [(), (0.9,)])
def test_fewer_than_two_common_seeds_say_nothing(scores):
    made = review(arm(scores=scores, failed={9: "crashed"}), BASE, LOSS)
    assert made.verdict.word == "not distinguishable"
    assert made.gain is None
    assert not made.is_candidate
    assert "common seeds" in made.reason
    assert "1 crashed" in made.reason


def test_candidates_that_cure_come_first_then_the_largest_gain():
    sick = arm("base", (1.0, 1.01, 0.99), problems=DEAD)
    cures = review(arm("cures", (1.0, 1.012, 0.99)), sick, LOSS)
    gains = review(arm("gains", (0.9, 0.91, 0.9), problems=DEAD), sick, LOSS)
    more = review(arm("more", (0.8, 0.81, 0.8), problems=DEAD), sick, LOSS)
    worse = review(arm("worse", (1.3, 1.31, 1.3)), sick, LOSS)
    assert [r.variant for r in choose_candidates([gains, worse, more, cures], 3)] == ["cures", "more", "gains"]
    assert choose_candidates([worse]) == ()


def test_confirmation_counts_fresh_seeds_only():
    flattered = review(arm(scores=(0.9, 0.91, 0.89, 0.9)), BASE, LOSS)
    equal = review(arm(scores=(1.0, 1.02, 0.98, 1.005), first=10), arm("base", (1.0, 1.01, 0.99, 1.0), first=10), LOSS)
    better = review(arm(scores=(0.9, 0.91, 0.89, 0.9), first=10), arm("base", (1.0, 1.01, 0.99, 1.0), first=10), LOSS)
    assert not confirm(flattered, equal).accepted
    assert (confirm(flattered, better).accepted, confirm(flattered, better).ground) == (True, "score")


def test_health_is_accepted_without_a_claim_and_only_if_the_cure_holds():
    sick = arm("base", (1.0, 1.01, 0.99, 1.0), problems=DEAD, tagged={"transport_dead": 4})
    same = (1.02, 0.995, 1.0, 0.99)
    screened = review(arm(scores=same), sick, LOSS)
    held = confirm(screened, review(arm(scores=same), sick, LOSS))
    assert (held.accepted, held.ground) == (True, "health")
    assert held.reason.endswith("nothing is claimed about it.")
    lower = confirm(screened, review(arm(scores=(1.06, 1.0, 1.03, 1.01)), sick, LOSS))
    assert (lower.accepted, lower.ground) == (True, "health")
    assert "may well have got worse" in lower.reason
    price = confirm(screened, review(arm(scores=(1.08, 1.01, 1.06, 1.04)), sick, LOSS))
    assert not price.accepted
    assert "cures transport_dead, but at a price" in price.reason
    flickers = review(arm(scores=same, tagged={"transport_dead": 2}), sick, LOSS)
    assert "chance is" in confirm(screened, flickers).reason
    assert not confirm(screened, review(arm(scores=same, problems=DEAD), sick, LOSS)).accepted
    assert not confirm(screened, review(arm(scores=(1.2, 1.21, 1.19, 1.2)), sick, LOSS)).accepted
    lost = review(arm(scores=(), failed=dict.fromkeys(range(1, 5), "crashed")), sick, LOSS)
    assert "cannot be judged" in confirm(screened, lost).reason


def test_only_worse_beyond_noise_or_breaking_takes_an_acceptance_back():
    assert keep_after_promotion(review(arm(scores=(1.01, 1.02, 1.0, 0.99)), BASE, LOSS)).accepted
    assert not keep_after_promotion(review(arm(scores=(1.2, 1.21, 1.19, 1.2)), BASE, LOSS)).accepted
    broken = keep_after_promotion(review(arm(failed=dict.fromkeys(range(1, 5), "diverged")), BASE, LOSS))
    assert not broken.accepted
    machine = keep_after_promotion(review(arm(failed=dict.fromkeys(range(1, 5), "crashed")), BASE, LOSS))
    assert machine.accepted, "the machine's crashes say nothing about the variant"


def test_a_config_that_trains_replaces_one_that_diverges_though_few_scores_can_be_compared():
    tags = frozenset({"diverged"})
    failed = {2: "diverged", 3: "diverged", 4: "diverged", 5: "diverged"}
    broken = replace(arm("base", (1.0,), failed=failed, problems=tags, tagged={"diverged": 4}), looked=5)
    sound = arm(scores=(1.02, 1.0, 0.99, 1.01, 1.0))
    made = review(sound, broken, LOSS)
    assert made.heals
    taken = confirm(made, made)
    assert (taken.accepted, taken.ground) == (True, "health")
    assert "trains where the incumbent diverges" in taken.reason
    assert not confirm(made, review(broken, sound, LOSS)).accepted


def test_a_cure_that_shows_its_price_with_more_steps_is_taken_back():
    yard = Yardstick(direction="max", rates=True, noise=0.06)
    late = review(arm(scores=(0.3, 0.2, 0.35)), arm("base", (0.5, 0.6, 0.55)), yard)
    assert (late.verdict.word, late.costly) == ("not distinguishable", True)
    assert keep_after_promotion(late, "score").accepted
    undone = keep_after_promotion(late, "health")
    assert not undone.accepted
    assert "with more steps that has a price" in undone.reason


def test_rates_that_agree_exactly_still_have_the_noise_of_a_rate():
    yard = Yardstick(direction="max", rates=True, noise=0.0)
    sick = arm("base", (1.0,) * 5, problems=DEAD, tagged={"transport_dead": 5})
    cure = review(arm(scores=(0.99,) * 5), sick, yard)
    assert not cure.costly
    assert confirm(cure, cure).ground == "health"
    all_or_nothing = review(arm(scores=(1.0,) * 3), arm("base", (0.0,) * 3), yard)
    assert confirm(all_or_nothing, all_or_nothing).ground == "score"
    assert resolvable(0.0, 5) is None


def outcomes(*accepted):
    return [RoundOutcome(number=n, variants=3, accepted=a, largest_gain=0.01) for n, a in enumerate(accepted, 1)]


def stop(ended, **changes):
    given = {"problems": (), "patience": 2, "rounds": 9, "noise": 0.01, "pairs": 5, **changes}
    made = judge_stop(ended, **given)
    return None if made is None else made.kind


def test_it_stops_when_patience_is_over_and_nothing_is_left_to_cure():
    assert stop(outcomes(True, False)) is None
    assert stop(outcomes(True, False, False)) == "nothing to gain"
    assert stop(outcomes(True, False, False), problems=("transport_dead",)) is None
    assert stop(outcomes(False, False), rounds=2) == "rounds"
    unjudged = [RoundOutcome(number=n, variants=3, accepted=False) for n in (1, 2)]
    assert stop(unjudged) is None, "a full disk says nothing about what is left to gain"
    assert stop([*unjudged, *outcomes(False, False)]) == "nothing to gain"
    assert stop([], best_possible=True) == "at the ceiling"
    assert stop([], best_possible=True, problems=("transport_dead",)) is None
    told = judge_stop(outcomes(False, False), problems=(), patience=2, rounds=9, noise=0.01, pairs=5)
    assert told is not None
    assert "1.8 %" in told.reason, "what five seeds tell from 1 % of noise"
    assert resolvable(0.01, 5) == pytest.approx(2.776 * 0.01 * math.sqrt(2 / 5), rel=1e-3)
    assert resolvable(None, 5) is None


@given(st.integers(0, 50), st.integers(0, 5), st.integers(2, 9))
def test_fresh_seeds_are_the_same_again_and_never_used_ones(seed, era, count):
    used = set(fresh_seeds(seed, era, 2, set()))
    found = fresh_seeds(seed, era, count, used)
    assert len(set(found)) == count
    assert used.isdisjoint(found)
    assert found == fresh_seeds(seed, era, count, used)
    assert set(fresh_seeds(seed, era + 1, count, used)) != set(found)


def test_problems_are_those_of_most_runs():
    assert common_problems([["a", "b"], ["a"], ["a", "c"]]) == {"a"}
    assert common_problems([["a"], ["b"]]) == frozenset()
    assert common_problems([]) == frozenset()


def test_equal_configs_are_accepted_in_no_more_than_the_stated_share():
    """A small share of the simulation in docs/pilot.md: 3 equal variants, screened and confirmed, 400 times."""
    luck = random.Random(4)

    def draw(name, seeds):
        return Arm(name=name, scores={s: math.exp(luck.gauss(0, 0.01)) for s in seeds})

    accepted = 0
    for _ in range(400):
        base = draw("base", range(3))
        noise = measure_noise(list(base.scores.values()), rates=False)
        yard = Yardstick(direction="min", rates=False, noise=noise)
        for candidate in choose_candidates([review(draw(f"v{n}", range(3)), base, yard) for n in range(3)]):
            fresh = review(draw("v", range(10, 15)), draw("base", range(10, 15)), yard)
            accepted += confirm(candidate, fresh).accepted
    assert accepted / 400 <= 0.04
