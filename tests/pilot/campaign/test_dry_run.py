"""The plan of a campaign holds: no campaign without crashes has more trials than were announced."""

import re

import pytest

from otpilot.pilot.campaign.dry_run import describe_plan, most
from tests.pilot.campaign.test_campaign import BY_RULES, kinds, settings


def announced(lines: list[str]) -> str:
    return next(line for line in lines if line.startswith("  at most"))


def test_a_campaign_that_accepts_in_every_round_has_as_many_trials_as_announced(campaign):
    """Both rounds accept: a cure that gains, then a faster rate; so the end is compared with the baseline."""
    campaign.write(
        settings(rounds=2, variants=2, promotion="[1000]", more=BY_RULES), noise=0.002, cure_gain=0.3, rate_gain=0.3
    )
    opened = campaign.opened()
    plan = announced(describe_plan(opened))
    assert "retries and checks after crashes on top" in plan
    assert "hours" not in plan, "nothing is known of the time yet"
    campaign.run()
    with campaign.ledger() as ledger:
        assert kinds(ledger).count("keep") == 2
        assert len(ledger.trials(kind="final")) == 6
        trials = ledger.trials()
        steps = sum(t.budget - (ledger.trial(t.continues).budget if t.continues else 0) for t in trials)
        assert f" {len(trials)} trials, {steps:,} steps" in plan
        told = announced(describe_plan(opened, ledger))
        ran = [t for t in trials if t.continues is None]
        assert f"({len(ran)} trials that ran)" in told
        hours, rate = re.search(r"one after another (\S+) hours, at (\S+) s per step", told).groups()
        slowest, quickest = (f(t.seconds / t.budget for t in ran) for f in (max, min))
        assert 0.99 * quickest <= float(rate) <= 1.01 * slowest
        assert abs(float(hours) - float(rate) * steps / 3600) <= 0.01 * float(hours)


def test_a_budget_of_trials_bounds_what_is_announced(campaign):
    campaign.write(settings(rounds=2, variants=2, promotion="[4000]", sections="[budget]\ntrials = 5\n"))
    assert " 5 trials, 20,000 steps in all, by the budget;" in announced(describe_plan(campaign.opened()))
    campaign.write(settings(rounds=1, variants=1, sections="[budget]\ntrials = 500\n"))
    assert ", if every round accepts;" in announced(describe_plan(campaign.opened()))


def test_the_bound_counts_candidates_that_are_rolled_back(campaign):
    """Of two candidates the first may be promoted and rolled back, then the second: three arms are promoted."""
    campaign.write(settings(rounds=1, variants=2, promotion="[1000, 2000]", more="candidates = 2\n"))
    baseline, screened, confirmed = 3, 2 * 3, 3 * 3
    assert most(campaign.opened().settings, 3) == (
        baseline + screened + confirmed + 2 * confirmed,
        800 * (baseline + screened + confirmed) + 1200 * confirmed,
    )


@pytest.mark.parametrize(
    ("trials", "told"),
    [
        (5, "ends the campaign before anything is tried: the baseline and one variant on 3 seeds take 6."),
        (6, "lets no variant be kept: the baseline and one variant on 3 seeds take 6, and confirming"),
        (11, "lets no variant be kept"),
        (12, None),
    ],
)
def test_a_budget_that_leads_nowhere_is_told_before_anything_runs(campaign, trials, told):
    campaign.write(settings(sections=f"[budget]\ntrials = {trials}\n"))
    notes = [line for line in describe_plan(campaign.opened()) if f"budget.trials = {trials}" in line]
    assert (told in notes[0] and len(notes) == 1) if told else not notes
