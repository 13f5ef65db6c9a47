"""Whole campaigns on fake trials: what is accepted, on what ground, what ends them, and what cannot disturb them."""

import itertools
import json
import re
from datetime import datetime, timedelta

import pytest

from otpilot.errors import ConfigError
from otpilot.pilot.campaign.opening import check_same
from otpilot.pilot.campaign.story import Story
from tests.pilot.campaign.conftest import Hands, essence

QUICK = """
base = "base.json"
rounds = {rounds}
variants = {variants}
confirm_seeds = 3
promotion = {promotion}
{more}
[trial]
seeds = 3
steps = 800
eval_steps = 100
log_freq = 20
save_freq = 400
retries = {retries}
{sections}
"""


def settings(*, rounds=1, variants=1, promotion="[]", more="", sections="", retries=0) -> str:
    return QUICK.format(
        rounds=rounds, variants=variants, promotion=promotion, more=more, sections=sections, retries=retries
    )


BY_RULES = 'proposer = "rules"\n'


def kinds(ledger) -> list[str]:
    return [decision.kind for decision in ledger.decisions()]


def decided(ledger, kind):
    return next(decision for decision in ledger.decisions() if decision.kind == kind)


def test_a_round_has_remedies_by_rule_and_what_the_scores_promise(campaign):
    campaign.write(settings(rounds=2, variants=3), noise=0.02)
    campaign.run(executor=campaign.executor(6))
    with campaign.ledger() as ledger:
        rules = {
            number: [trial.rule for trial in ledger.trials() if trial.round == number and trial.kind == "variant"]
            for number in (1, 2)
        }
        assert rules[1][0] == "normalize_cost"
        assert "bayes" in rules[1]
        assert "bayes" in rules[2]
        assert all(trial.reason for trial in ledger.trials() if trial.rule == "bayes")


def test_advice_on_evaluation_is_told_but_variants_are_evaluated_as_the_baseline_is(campaign):
    """A score is the mean of the last five evaluations: with rarer ones a variant would be scored over more steps."""
    campaign.write(settings().replace("steps = 800", "steps = 2000"), noise=0.02)
    campaign.run()
    with campaign.ledger() as ledger:
        plan = ledger.rounds()[1].plan
        assert [advice["rule"] for advice in plan["advice"]] == ["evaluate_less_often"]
        assert {item["config"]["eval_steps"] for item in plan["variants"]} == {100}


def test_a_dead_transport_is_revived_by_rule_for_its_health_and_nothing_is_claimed(campaign):
    campaign.write(settings(), noise=0.02)
    ended = campaign.run()
    assert ended.kind == "rounds"
    with campaign.ledger() as ledger:
        assert kinds(ledger) == ["baseline", "propose", "review", "candidate", "accept", "stop"]
        assert "transport_dead" in decided(ledger, "baseline").reason
        accept = decided(ledger, "accept")
        assert accept.evidence["ground"] == "health"
        assert accept.evidence["cured"] == ["transport_dead"]
        assert "nothing is claimed" in accept.reason
        first = ledger.trials(kind="variant")[0]
        assert (first.rule, first.parent) == ("normalize_cost", ledger.trials(kind="baseline")[0].id)
        fresh = {trial.seed for trial in ledger.trials(kind="confirmation")}
        assert len(fresh) == 3
        assert fresh.isdisjoint(trial.seed for trial in ledger.trials(kind="variant"))
        assert {trial.state for trial in ledger.trials()} == {"finished"}


def test_a_planted_gain_is_accepted_for_the_score_and_stays_when_promoted(campaign):
    campaign.write(settings(promotion="[1200, 1600]"), noise=0.004, cure_gain=0.05)
    campaign.run()
    with campaign.ledger() as ledger:
        accept = decided(ledger, "accept")
        assert accept.evidence["ground"] == "score"
        assert accept.evidence["verdict"]["mean"] == pytest.approx(-0.05, abs=0.02)
        assert kinds(ledger).count("keep") == 2
        promoted = ledger.trials(kind="promotion")
        assert {trial.budget for trial in promoted} == {1200, 1600}
        for trial in promoted:  # each goes on from the shorter run of the same config and seed
            shorter = ledger.trial(trial.continues)
            assert (shorter.config_hash, shorter.seed) == (trial.config_hash, trial.seed)
            assert shorter.budget < trial.budget
            rows = (campaign.paths.run(trial.folder_name) / "metrics.jsonl").read_text().splitlines()
            steps = [json.loads(row)["step"] for row in rows if json.loads(row)["kind"] == "eval"]
            assert steps == list(range(100, trial.budget + 1, 100)), "a run that began anew, or has a step twice"
        assert ledger.rounds()[1].summary["incumbent"]["ground"] == "score"
        step = Story(campaign.opened(), campaign.pilot(ledger).campaign).tell().next_steps[0]
    config = re.search(r"--config_path=(\S+)", step)[1]
    assert json.loads((campaign.root / config).read_text())["steps"] < 20_000, (
        "the config of a trial: --steps says more"
    )
    assert "--steps=20000" in step
    assert f"cd {campaign.root}" in step


def test_what_turns_out_worse_with_more_steps_is_rolled_back(campaign):
    campaign.write(settings(promotion="[1600]"), noise=0.004, cure_gain=0.05, late_loss=0.3)
    campaign.run()
    with campaign.ledger() as ledger:
        assert kinds(ledger)[-2:] == ["rollback", "stop"]
        assert "is the incumbent again" in decided(ledger, "rollback").reason
        assert ledger.rounds()[1].summary["incumbent"]["name"] == "baseline"
        assert not ledger.rounds()[1].summary["accepted"]
        story = Story(campaign.opened(), campaign.pilot(ledger).campaign).tell()
        assert [node.standing for node in story.nodes] == ["baseline", "rolled back"]


def test_a_cure_that_costs_score_is_no_candidate(campaign):
    campaign.write(settings(), noise=0.002, cure_gain=-0.2)
    campaign.run()
    with campaign.ledger() as ledger:
        assert "candidate" in kinds(ledger)
        assert "accept" not in kinds(ledger)
        review = decided(ledger, "review")
        assert review.evidence["verdict"]["word"] == "worse"
        assert review.evidence["cured"] == ["transport_dead"]


def test_nothing_to_gain_ends_a_campaign_that_has_no_problem(campaign):
    campaign.write(settings(rounds=9, more="patience = 1\n"), noise=0.01)
    ended = campaign.run()
    assert ended.kind in ("nothing to gain", "rounds")
    with campaign.ledger() as ledger:
        rounds = ledger.rounds()
        assert rounds[1].summary["accepted"]
        assert not rounds[-1].summary["accepted"]
        assert "nothing was accepted" in decided(ledger, "stop").reason


@pytest.mark.parametrize(
    ("behaviour", "state", "word"),
    [
        ("nan", "diverged", "loss is nan"),
        ("diverge", "diverged", "NaN"),
        ("crash at import", "crashed", "torch_of_another_world"),
        ("fill the disk", "crashed", "disk is full"),
        ("garbage", "invalid", "garbage"),
        ("hang", "killed", "no progress"),
    ],
)
def test_trials_that_break_are_recorded_and_the_round_goes_on(campaign, behaviour, state, word):
    """The second variant (the energy objective) breaks; the first is judged and accepted all the same."""
    text = settings(variants=2, more=BY_RULES, sections="[guard]\nhang_s = 1.0\nstart_s = 20.0\n")
    campaign.write(text, noise=0.01, behaviour={"energy": behaviour})
    executor = campaign.executor(6)
    ended = campaign.run(executor=executor)
    assert ended.kind == "rounds"
    with campaign.ledger() as ledger:
        broken = [trial for trial in ledger.trials() if trial.name.startswith("obj-energy")]
        # A run of a few milliseconds may end with its NaN before the guard looks; then it has no score.
        assert {trial.state for trial in broken} - ({"invalid"} if behaviour == "nan" else set()) <= {state}
        assert all(word in trial.end_reason for trial in broken), [trial.end_reason for trial in broken]
        others = [trial for trial in ledger.trials() if not trial.name.startswith("obj-energy")]
        assert {trial.state for trial in others} == {"finished"}
        assert decided(ledger, "accept").evidence["variant"].startswith("costnorm-ema")
        story = Story(campaign.opened(), campaign.pilot(ledger, executor=executor).campaign).tell()
        node = next(node for node in story.nodes if node.name.startswith("obj-energy"))
        assert node.standing == "broken"
        assert word in node.why


def test_a_baseline_that_cannot_run_ends_the_campaign_with_its_reason(campaign):
    campaign.write(settings(), behaviour={"None": "crash at import", "plan_cost": "crash at import"})
    ended = campaign.run(executor=campaign.executor())
    assert ended.kind == "baseline failed"
    assert "torch_of_another_world" in ended.reason


def test_the_budget_of_trials_is_kept_and_can_be_raised(campaign):
    campaign.write(settings(rounds=2, variants=3, sections="[budget]\ntrials = 8\n"), noise=0.01)
    ended = campaign.run()
    assert ended.kind == "budget"
    with campaign.ledger() as ledger:
        assert len(ledger.trials()) == 6, "three of the baseline, one variant: a confirmation does not fit"
        assert "8 trials" in decided(ledger, "stop").reason
        story = Story(campaign.opened(), campaign.pilot(ledger).campaign).tell()
        assert [node.standing for node in story.nodes if node.round] == ["not decided"]
    campaign.write(settings(rounds=1, variants=3, sections="[budget]\ntrials = 30\n"), noise=0.01)
    assert campaign.run().kind == "rounds"
    with campaign.ledger() as ledger:
        assert len(ledger.trials()) == 12
        assert len({trial.folder_name for trial in ledger.trials()}) == 12


def test_the_budget_of_hours_suspends_what_runs_and_counts_no_pauses(campaign):
    """Trials pause so that the clock, moved by hand, is past the budget while they run."""
    text = settings(more='allowed_hours = "22:00-06:00"\n', sections="[budget]\nhours = 2\n")
    campaign.write(text, pause=0.03)
    hands = Hands(local=datetime(2026, 1, 1, 21, 58))

    def sleep(_seconds):
        hands.now += 60
        hands.local += timedelta(minutes=1)

    hands.slept = sleep
    told = []
    ended = campaign.run(clocks=hands.clocks(), tell=told.append, executor=campaign.threads(1))
    assert ended.kind == "budget"
    assert "2 hours" in ended.reason
    assert any("22:00" in line for line in told), "it says what it waits for"
    assert hands.local >= datetime(2026, 1, 1, 23, 59)
    with campaign.ledger() as ledger:
        assert set(ledger.status().by_state) <= {"queued", "finished"}
        assert {attempt.outcome for t in ledger.trials() for attempt in ledger.attempts(t.id)} <= {
            "given back",
            "finished",
        }


def test_trials_run_in_the_allowed_hours_only_and_go_on_in_the_next_night(campaign):
    campaign.write(settings(more='allowed_hours = "22:00-06:00"\n'), pause=0.005)
    hands = Hands(local=datetime(2026, 1, 1, 5, 58))
    seen = []

    def sleep(_seconds):
        with campaign.ledger() as other:
            running = other.status().by_state.get("running", 0)
        seen.append((hands.local.hour, running))
        hands.now += 60
        hands.local += timedelta(minutes=1 if running else 30)

    hands.slept = sleep
    assert campaign.run(clocks=hands.clocks(), executor=campaign.threads(2)).kind == "rounds"
    assert {running for hour, running in seen if 6 <= hour < 22} == {0}
    assert any(running for hour, running in seen if hour in (5, 22, 23))


def test_a_finished_campaign_that_is_resumed_changes_nothing(campaign):
    campaign.write(settings(), noise=0.01)
    campaign.run()
    with campaign.ledger() as ledger:
        before = essence(ledger)
    campaign.run()
    with campaign.ledger() as ledger:
        assert essence(ledger) == before
        assert all(trial.attempts == 1 for trial in ledger.trials())


def test_what_makes_it_another_campaign_may_not_change(campaign):
    campaign.write(settings(), noise=0.01)
    with campaign.ledger() as ledger:
        campaign.pilot(ledger).campaign.advance()
        campaign.write(settings(rounds=4, sections="[budget]\nhours = 3\n"), noise=0.01)
        check_same(ledger, campaign.opened())
        campaign.write(settings().replace("seeds = 3\nsteps", "seeds = 4\nsteps"), noise=0.01)
        with pytest.raises(ConfigError, match=r"trial\.seeds.*only these may change: rounds"):
            check_same(ledger, campaign.opened())
        campaign.write(settings(), noise=0.02)
        with pytest.raises(ConfigError, match=r"base config base\.json is not what"):
            check_same(ledger, campaign.opened())


def test_asked_to_stop_it_suspends_and_goes_on_to_the_same_end(campaign, memory_path):
    campaign.write(settings(), noise=0.01, pause=0.002)
    calls = itertools.count()
    stops = {7 * 2**n for n in range(30)}  # further and further apart, so that it ends on a slow machine, too
    while campaign.run(stop=lambda: next(calls) in stops, executor=campaign.threads(2)) is None:
        pass
    assert next(calls) > 14, "it was stopped less than twice"
    with campaign.ledger() as ledger:
        assert any(attempt.outcome == "given back" for t in ledger.trials() for attempt in ledger.attempts(t.id))
        disturbed = essence(ledger)
    other = type(campaign)(memory_path / "undisturbed").write(settings(), noise=0.01, pause=0.002)
    other.run()
    with other.ledger() as ledger:
        assert essence(ledger) == disturbed
