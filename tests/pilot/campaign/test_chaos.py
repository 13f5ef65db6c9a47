"""The campaign process and its trials killed with SIGKILL at random moments: the ledger comes to the same."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from otpilot.runs.reader import read_metrics
from tests.pilot.campaign.chaos_driver import drive
from tests.pilot.campaign.conftest import essence
from tests.pilot.campaign.test_campaign import settings
from tests.pilot.conftest import wait_for

KILLS = 24


@pytest.fixture(scope="module")
def pilots():
    """Return a context in which a pilot process starts in milliseconds: its imports are done already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pilot.campaign.chaos_driver"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        context.Process(target=int).start()
    return context


def start(pilots, field, mode):
    driver = pilots.Process(target=drive, args=(str(field.root), mode))
    driver.start()
    return driver


def disturb(pilots, field, mode, kills, luck):
    """Run the campaign to its end under fire; returns how many pilots and trials were killed."""
    pilots_killed = trials_killed = 0
    driver = start(pilots, field, mode)
    while pilots_killed < kills:
        if luck.random() < 0.7:  # else it may be hit while it starts
            wait_for(lambda d=driver: field.left() or not d.is_alive(), timeout_s=120)
        driver.join(luck.uniform(0.0, 0.6))
        if not driver.is_alive():
            break
        living = field.left()
        if living and luck.random() < 0.4:
            with contextlib.suppress(ProcessLookupError):
                os.kill(luck.choice(living), signal.SIGKILL)
                trials_killed += 1
        driver.kill()
        driver.join()
        pilots_killed += 1
        if mode == "kill":
            wait_for(lambda: not field.left(), timeout_s=60)
        driver = start(pilots, field, mode)
    driver.join(400)
    assert driver.exitcode == 0
    return pilots_killed, trials_killed


def assert_nothing_is_torn(field):
    """Every run that finished has a curve without gap or repetition, and no half-written file lies about."""
    with field.ledger() as ledger:
        for trial in ledger.trials():
            run = field.paths.run(trial.folder_name)
            log = read_metrics(run / "metrics.jsonl")
            assert log.skipped == 0, "a torn line"
            assert log.curve("loss")[0] == list(range(20, trial.budget + 1, 20)), "a gap, or a step twice"
            assert json.loads((run / "outcome.json").read_text())["last_step"] == trial.budget
            assert [a.outcome for a in ledger.attempts(trial.id)].count("finished") == 1, "it ran twice"
    drafts = [p for p in field.root.rglob("*.tmp") if "attempts" not in p.parts and ".pilot" not in p.parts]
    assert [p for p in drafts if p.name != "metrics.tmp"] == []


def compare(pilots, campaign, memory_path, mode, kills, text, plan):
    luck = random.Random()
    campaign.write(text, **plan)
    killed = disturb(pilots, campaign, mode, kills, luck)
    assert killed[0] >= kills, f"only {killed[0]} pilots were killed before all was done: slow the trials down"
    assert campaign.left() == []
    assert_nothing_is_torn(campaign)
    calm = type(campaign)(memory_path / "calm").write(text, **plan)
    calm.run()
    with campaign.ledger() as ours, calm.ledger() as theirs:
        disturbed, undisturbed = essence(ours), essence(theirs)
        for part, value in undisturbed.items():
            assert disturbed[part] == value, part
        outcomes = Counter(a.outcome for trial in ours.trials() for a in ours.attempts(trial.id))
    print(f"{mode}: {killed[0]} pilots, {killed[1]} trials killed; attempts {dict(outcomes)}")


def test_three_kills_change_nothing(pilots, campaign, memory_path):
    text = settings(retries=1000).replace("seeds = 3\nsteps", "seeds = 2\nsteps")
    compare(pilots, campaign, memory_path, "kill", 3, text, {"noise": 0.02, "pause": 0.01})


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["kill", "adopt"])
def test_a_campaign_killed_at_least_twenty_times_has_the_ledger_of_an_undisturbed_one(
    pilots, campaign, memory_path, mode
):
    text = settings(rounds=3, variants=2, promotion="[1200]", retries=1000)
    compare(pilots, campaign, memory_path, mode, KILLS, text, {"noise": 0.004, "cure_gain": 0.05, "pause": 0.02})
