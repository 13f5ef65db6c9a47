"""A worker's campaign, from a ledger alone or from a folder."""

import threading
import time
from pathlib import Path

import pytest

from otpilot.errors import ConfigError
from otpilot.pilot.campaign.books import say_over, why_over
from otpilot.pilot.campaign.folder import CampaignPaths
from otpilot.pilot.campaign.hand import Hand, find_place, read_campaign
from otpilot.pilot.executors.nowhere import NowhereExecutor
from otpilot.pilot.ledger import Ledger, NewTrial
from tests.pilot.campaign.conftest import Field, Hands
from tests.pilot.machines.conftest import QUICK


@pytest.fixture
def field(tmp_path):
    made = Field(tmp_path / "campaign").write(QUICK.format(ledger="ledger.db"), noise=0.02)
    made.run()
    yield made
    for executor in made.made:
        executor.close()


def test_settings_and_config_come_back_from_the_ledger(field):
    opened = field.opened()
    with field.ledger() as ledger:
        settings, base = read_campaign(ledger)
        assert settings == opened.settings
        assert base == opened.base
    place = find_place(str(field.root), None)
    assert (place.where, place.paths) == (field.root / "ledger.db", CampaignPaths(field.root))


def test_an_empty_ledger_has_no_campaign(tmp_path):
    with Ledger.open(tmp_path / "l.db") as ledger, pytest.raises(ConfigError, match="start its pilot first"):
        read_campaign(ledger)


def test_a_worker_of_a_campaign_that_is_over_goes_home(field, tmp_path):
    with field.ledger() as ledger:
        settings, base = read_campaign(ledger)
        hand = Hand(ledger, field.threads(), settings, base, CampaignPaths(tmp_path / "elsewhere"))
        assert hand.work() == ledger.decisions(kind="stop")[-1].reason


def test_what_lies_on_another_box_is_begun_anew(field, tmp_path):
    told = []
    with field.ledger() as ledger:
        settings, base = read_campaign(ledger)
        short = ledger.trials()[0]
        new = NewTrial(
            name=short.name, config_hash=short.config_hash, config={}, seed=short.seed, budget=900, continues=short.id
        )
        long = ledger.add_trial(new)
        options = {"tell": told.append, "clocks": Hands().clocks()}
        here = Hand(ledger, field.threads(), settings, base, field.paths, **options)
        assert here.spec_of(long).continues in (None, field.paths.run(short.folder_name))
        there = Hand(ledger, field.threads(), settings, base, CampaignPaths(tmp_path / "box"), **options)
        assert there.spec_of(long).continues is None
        assert told[-1] == f"{long.folder_name} begins anew: {short.folder_name} has no checkpoint on this machine."
        assert Path(there.spec_of(long).config).is_relative_to(tmp_path / "box")


def test_a_spent_budget_ends_what_workers_run(tmp_path):
    """A pilot that runs nothing itself; its clock jumps past the budget while a worker's trial runs."""
    text = QUICK.format(ledger="ledger.db") + "[budget]\nhours = 0.02\n"
    field = Field(tmp_path / "campaign").write(text, pause=0.5)
    hands, reported = Hands(), []
    with field.ledger() as ledger, Ledger.open(field.root / "ledger.db", lease_s=2.0) as book:

        def sleep(seconds):
            hands.now += 60 if ledger.status().by_state.get("running") == 2 else 0
            time.sleep(seconds)

        hands.slept = sleep
        pilot = field.pilot(
            ledger,
            executor=NowhereExecutor(),
            owner="pilot",
            clocks=hands.clocks(),
            poll_s=0.1,
            report=lambda _campaign, _ended: reported.append(ledger.status().by_state),
        )
        pilot.campaign.advance()
        settings, base = read_campaign(book)
        hand = Hand(book, field.threads(2), settings, base, field.paths, owner="hand", poll_s=0.01)
        answers = []
        worker = threading.Thread(target=lambda: answers.append(hand.work()))
        worker.start()
        ended = pilot.run()
        worker.join(30)
        assert (ended.kind, answers) == ("budget", [ended.reason])
        assert reported == [{"queued": 3}], "the report was written while trials ran"
        assert [a.outcome for trial in ledger.trials() for a in ledger.attempts(trial.id)] == ["given back"] * 2
        again = Hand(book, field.threads(2), settings, base, field.paths, owner="again")
        assert again.work() == ended.reason, "a worker that comes later has nothing to do"
        field.write(text.replace("hours = 0.02", "hours = 20"), pause=0.0)
        stopped = field.pilot(ledger, executor=NowhereExecutor(), owner="next", stop=lambda: True).run()
        assert (stopped, why_over(ledger)) == (None, None), "who resumes takes it back"


def test_a_worker_without_a_trial_takes_none_once_the_campaign_is_over(field):
    with field.ledger() as ledger:
        settings, base = read_campaign(ledger)
        say_over(ledger, "enough")
        ledger.add_trial(NewTrial(name="late", config_hash="late", config={}, seed=1, budget=10))
        assert Hand(ledger, field.threads(), settings, base, field.paths).work() == "enough"
        assert ledger.trials()[-1].attempts == 0
