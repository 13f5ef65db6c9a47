"""Campaigns on a machine that breaks: nothing is held against a config that could not run."""

import itertools
import json
from types import SimpleNamespace

import pytest

from otpilot.pilot.campaign import outage
from otpilot.pilot.campaign.outage import WAITS_S, try_again
from otpilot.pilot.ledger import Ledger
from tests.pilot.campaign.conftest import Hands, work
from tests.pilot.campaign.test_campaign import BY_RULES, decided, kinds, settings


class Machine:
    """Runs trials, save those that `breaks` picks by their config and the number of trials begun before."""

    def __init__(self, campaign, breaks) -> None:
        self.campaign, self.breaks, self.began = campaign, breaks, itertools.count()

    def __call__(self, spec, checkpoint, ended) -> None:
        if self.breaks(json.loads(spec.config.read_text()), next(self.began)):
            raise OSError("the file server is gone")
        work(spec, checkpoint, ended)

    def run(self, hands: Hands, *, resume: bool = False):
        executor = self.campaign.threads(6)
        executor._work = self
        with Ledger.open(self.campaign.root / "ledger.db", clock=lambda: hands.now, lease_s=1e9) as ledger:
            again = try_again(ledger) if resume else []
            told = []
            ended = self.campaign.pilot(ledger, executor=executor, clocks=hands.clocks(), tell=told.append).run()
            return ended, again, told


@pytest.fixture
def hands():
    made = Hands()

    def sleep(_seconds) -> None:
        made.now += 100

    made.slept = sleep
    return made


def is_baseline(config) -> bool:
    return config["ot"]["loss_config"].get("cost_normalization") != "ema"


def test_an_outage_is_waited_out_and_costs_no_idea(campaign, hands):
    """The variant's three trials and the first two checks crash; then the machine is back."""
    campaign.write(settings(more=BY_RULES), cure_gain=0.2)
    began = hands.now
    ended, _, told = Machine(campaign, lambda _, number: 3 <= number < 8).run(hands)
    assert ended.kind == "rounds"
    with campaign.ledger() as ledger:
        found = ledger.trials(round=1)
        assert {t.state for t in found if t.kind != "check"} == {"finished"}
        checks = [t for t in found if t.kind == "check"]
        assert [t.state for t in checks] == ["crashed", "crashed", "finished"]
        assert len({t.seed for t in checks}) == 3
        assert checks[1].created - checks[0].finished >= WAITS_S[0]
        assert checks[2].created - checks[1].finished >= WAITS_S[1]
        assert hands.now - began < 2 * sum(WAITS_S[:2]), "it goes on as soon as the machine runs"
        assert [kind for kind in kinds(ledger) if kind in ("outage", "retry", "accept")] == [
            "outage",
            "retry",
            "accept",
        ]
        assert "file server" in decided(ledger, "outage").reason
    assert any("tried again at" in line for line in told)


def test_a_variant_that_crashes_where_the_incumbent_runs_is_believed_after_one_more_try(campaign, hands):
    campaign.write(settings(more=BY_RULES), cure_gain=0.2)
    ended, _, _ = Machine(campaign, lambda config, _: not is_baseline(config)).run(hands)
    assert ended.kind == "rounds"
    with campaign.ledger() as ledger:
        broken = [t for t in ledger.trials() if t.state == "crashed"]
        assert len(broken) == 3
        assert all(t.retries == 1 for t in broken)
        assert [t.state for t in ledger.trials(kind="check")] == ["finished"]
        assert "accept" not in kinds(ledger)
        assert kinds(ledger).count("retry") == 1


def test_no_check_is_needed_where_another_arm_ran_well_later(campaign, hands):
    campaign.write(settings(variants=2, more=BY_RULES), cure_gain=0.2, pause=0.01)
    ended, _, _ = Machine(campaign, lambda c, _: c["ot"]["loss_config"].get("objective") == "energy").run(hands)
    assert ended.kind == "rounds"
    with campaign.ledger() as ledger:
        assert any(t.state == "crashed" for t in ledger.trials())
        assert ledger.trials(kind="check") == []
        assert "retry" not in kinds(ledger)


def test_a_machine_that_does_not_come_back_ends_the_campaign_until_it_is_resumed(campaign, hands):
    campaign.write(settings(more=BY_RULES), cure_gain=0.2)
    ended, _, _ = Machine(campaign, lambda _, number: number >= 3).run(hands)
    assert ended.kind == "outage"
    assert "otpilot loop resume" in ended.reason
    with campaign.ledger() as ledger:
        assert len(ledger.trials(kind="check")) == len(WAITS_S) + 1
        assert ledger.rounds()[-1].finished is None
    ended, again, _ = Machine(campaign, lambda *_: False).run(hands, resume=True)
    assert ended.kind == "rounds"
    assert len(again) == 3, "the checks are not repeated"
    with campaign.ledger() as ledger:
        assert {t.state for t in ledger.trials() if t.kind != "check"} == {"finished"}
        assert "accept" in kinds(ledger)


def test_a_baseline_that_crashed_is_tried_again_when_the_campaign_is_resumed(campaign, hands):
    campaign.write(settings(more=BY_RULES), cure_gain=0.2)
    ended, _, _ = Machine(campaign, lambda *_: True).run(hands)
    assert ended.kind == "baseline failed"
    ended, again, _ = Machine(campaign, lambda *_: False).run(hands, resume=True)
    assert (ended.kind, len(again)) == ("rounds", 3)


def test_without_room_in_the_budget_a_crash_is_believed(campaign, hands):
    campaign.write(settings(more=BY_RULES, sections="[budget]\ntrials = 6\n"), noise=0.01)
    ended, _, _ = Machine(campaign, lambda config, _: not is_baseline(config)).run(hands)
    assert ended.kind in ("budget", "rounds")
    with campaign.ledger() as ledger:
        assert ledger.trials(kind="check") == []


def test_what_is_lost_is_asked_arm_by_arm():
    """One arm crashed early, behind which another ran well: it is believed. The one lost at the end is not."""
    ends = [("early", "crashed", 10.0), ("good", "finished", 20.0), ("late", "crashed", 30.0), ("late", "killed", 40.0)]
    trials = [
        SimpleNamespace(config_hash=name, budget=1, state=state, finished=when, seed=seed)
        for seed, (name, state, when) in enumerate(ends)
    ]
    assert [trial.seed for trial in outage._lost(trials)] == [2, 3]
