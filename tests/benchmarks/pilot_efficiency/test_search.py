"""Searches go through the product's proposers, keep to their budget, and are counted as the page says."""

import json
import re

import pytest

from benchmarks.pilot_efficiency import confirmation, page, results
from benchmarks.pilot_efficiency.recorded import load
from benchmarks.pilot_efficiency.search import Search
from benchmarks.pilot_efficiency.starts import BY_NAME


def search(proposer, *, budget, repetition=0, start="wrong_rate"):
    made = Search(start=BY_NAME[start], proposer=proposer, repetition=repetition, noise="quiet", recorded=load())
    return made.run(budget)


@pytest.mark.parametrize("proposer", ["rules", "random", "grid"])
def test_a_search_keeps_to_its_budget_and_comes_out_the_same_again(proposer):
    one, again = search(proposer, budget=8), search(proposer, budget=8)
    assert len(one.steps) == len(one.trials) == 8
    assert one.steps == again.steps
    assert len({trial.config_hash for trial in one.trials}) == 8
    measured = min(one.measured.values())
    assert one.measured[one.incumbent.hash] == measured


def test_the_incumbent_counts_by_its_true_score():
    found = search("random", budget=6)
    assert found.steps[-1].incumbent == found.truths[found.incumbent.hash].score


def line(incumbents, *, proposer="rules", repetition=0, budget=5, noise="quiet", start="wrong_rate"):
    return {
        "start": start, "proposer": proposer, "noise": noise, "repetition": repetition, "budget": budget,
        "healthy": 2.0, "config_hash": "c0ffee", "scores": list(incumbents), "incumbents": list(incumbents),
        "rules": ["baseline"] * len(incumbents), "dry_after": None,
        "date": "2026-11-21", "versions": {"python": "3"}, "rules_hash": "new",
    }  # fmt: skip


def test_reaching_is_for_good_and_the_best_known_is_anybodys():
    ours, theirs = line([3.0, 1.0, 1.5, 1.01]), line([3.0, 2.5], proposer="random")
    best = results.best_known([ours, theirs])
    assert best == {("wrong_rate", 0, "quiet"): 1.0}
    assert results.trials_until(ours, 1.0) == 4
    assert results.trials_until(theirs, 1.0) is None
    assert results.gap_curve(theirs, 1.0, 4) == [2.0, 1.5, 1.5, 1.5]


def test_the_median_is_censored_where_half_of_them_do_not_get_there():
    lines = [line([3.0, 1.0], repetition=0), *(line([3.0, 2.5], repetition=n) for n in (1, 2))]
    best = dict.fromkeys([("wrong_rate", n, "quiet") for n in range(3)], 1.0)
    found = results.figures(lines, best)
    assert (found.reached, found.median, found.median_high) == (1, None, None)
    assert found.median_low == 2


def test_pairs_are_judged_by_their_interval():
    ours = [line([1.0 + n / 1000], repetition=n) for n in range(5)]
    theirs = [line([1.5 + n / 1000], repetition=n) for n in range(5)]
    assert results.paired(ours, theirs).word == "better"
    assert results.paired(theirs, ours).word == "worse"
    mixed = [line([1.5 if n % 2 else 0.7], repetition=n) for n in range(5)]
    assert results.paired(mixed, ours).word == "not distinguishable"


@pytest.mark.parametrize(
    ("end", "word"),
    [(1.0, "against optuna: better from dead transport"), (2.5, "against optuna: worse from dead transport")],
)
def test_the_pages_words_follow_the_figures(end, word):
    lines = [
        line([3.0, score + n / 100], proposer=proposer, repetition=n, start=start)
        for start in BY_NAME
        for n in range(4)
        for proposer, score in (("rules", end), ("random", 1.5), ("grid", 1.6), ("optuna", 1.7))
    ]
    text = "\n".join(page.page(lines, {}))
    assert word in text
    assert not re.search(r"\bnan\b", text)
    assert page.plot(lines).startswith("<svg")


def test_shares_of_the_fall_are_of_its_logarithm():
    made = {**line([8.0, 2.0, 1.0]), "rules": ["baseline", "first", "second"]}
    text = "\n".join(page.page([made, {**made, "repetition": 1}], {}))
    assert "| first 67%, second 33% |" in text


@pytest.mark.parametrize(
    ("ratios", "told"),
    [
        ((1.2, 1.21, 1.22), "is WORSE than"),
        ((0.8, 0.81, 0.82), "is better than"),
        ((0.8, 1.0, 1.2), "is not distinguishable from"),
    ],
)
def test_real_trials_contradict_the_surface_only_where_they_are_worse(ratios, told):
    def trial(name, objective, seed, error):
        return {
            "name": name, "objective": objective, "cost_normalization": "none", "reg": 0.02, "tau": 0.01, "seed": seed,
            "steps": 400, "finished": True, "error": error, "success": 0.5,
        }  # fmt: skip

    trials = [trial("baseline", "plan_cost", seed, 1.0) for seed in range(3)]
    trials += [trial("variant", "energy", seed, ratio) for seed, ratio in enumerate(ratios)]
    text = "\n".join(page.against_baseline(trials))
    assert f"{told} the dead" in text
    assert ("The surface assumes the opposite" in text) == ("WORSE" in told)


def test_the_confirmation_is_a_campaign_each_that_differ_in_the_proposer(tmp_path):
    first = tmp_path / "rules"
    (first / "data").mkdir(parents=True)
    (first / "base.json").write_text(json.dumps({"policy": {"type": "act"}, "env": {"type": "x"}}))
    folders = confirmation.prepare(tmp_path, trials=12, steps=400, seeds=2)
    one, other = ((folder / "campaign.toml").read_text() for folder in folders.values())
    assert one.replace("rules", "mixed") == other
    from otpilot.pilot.campaign.settings import read_settings

    settings = read_settings(folders["mixed"])
    assert (settings.proposer, settings.budget.trials, settings.trial.steps) == ("mixed", 12, 400)
    assert (folders["mixed"] / "data").resolve() == (first / "data").resolve()
