"""What the reports of a campaign say, from its first to its last moment; two pilots; what is left on disk."""

import os
import re
import subprocess
import threading
from dataclasses import replace

import pytest

from otpilot.pilot import supervisor
from otpilot.pilot.campaign.folder import ask_to_stop, is_asked_to_stop, steering, steersman
from otpilot.pilot.campaign.reports import write_reports
from otpilot.pilot.campaign.stages import Campaign, Waiting
from otpilot.pilot.campaign.status import is_interrupted, read_status
from otpilot.pilot.campaign.story import Story
from otpilot.pilot.ledger import Ledger
from otpilot.pilot.worker import this_process
from tests.pilot.campaign.conftest import essence
from tests.pilot.campaign.test_campaign import BY_RULES, settings

NOTHING = re.compile(r"\|\s*(-|–|—|nan|None|null)\s*(?=\|)|: (-|None|nan)$", re.IGNORECASE | re.MULTILINE)


def made(campaign, ledger) -> Campaign:
    opened = campaign.opened()
    return Campaign(ledger, opened.settings, opened.base, rules=opened.rules, runs=opened.paths.trials)


def test_reports_can_be_written_at_any_moment_and_say_something_everywhere(campaign):
    """Before the first trial, after the baseline, and at the end, with trials that broke."""
    campaign.write(settings(variants=2, more=BY_RULES), noise=0.01, behaviour={"energy": "diverge"})
    campaign.paths.reports.mkdir(parents=True)
    opened = campaign.opened()
    with campaign.ledger() as ledger:
        texts = []

        def write():
            written = write_reports(opened, made(campaign, ledger))
            texts.extend(path.read_text() for path in written if path.suffix == ".md")

        write()
        assert isinstance(made(campaign, ledger).advance(), Waiting)
        write()
    campaign.run(executor=campaign.executor(6))
    with campaign.ledger() as ledger:
        write()
        story = Story(opened, made(campaign, ledger)).tell()
    for text in texts:
        assert not NOTHING.findall(text)
    assert story.over == "All 1 rounds are done."
    assert story.final is not None
    assert story.final.fresh
    assert (story.incumbents[-1].ground, len(story.invalid)) == ("health", 3)
    assert "costnorm-ema_from-baseline" in texts[-1]
    assert (campaign.paths.reports / "report.html").read_text().startswith("<!")


@pytest.mark.parametrize(("gain", "said"), [(0.0, "Train costnorm-ema"), (-0.02, "on more seeds")])
def test_an_incumbent_that_may_have_got_worse_is_not_to_be_trained_on(campaign, gain, said):
    campaign.write(settings(), noise=0.02, cure_gain=gain)
    campaign.run()
    with campaign.ledger() as ledger:
        story = Story(campaign.opened(), made(campaign, ledger)).tell()
    assert story.incumbents[-1].ground == "health"
    assert said in story.next_steps[0]


def test_each_round_is_added_once_to_the_journal(campaign):
    campaign.write(settings(rounds=2, more='language = "zh"\njournal = "notes/act_ot.md"'), noise=0.01)
    journal = campaign.paths.root / "notes" / "act_ot.md"
    journal.parent.mkdir()
    journal.write_text("# What stood here before\n")
    campaign.run()
    opened = campaign.opened()
    texts = []
    with campaign.ledger() as ledger:
        for _ in range(2):
            assert journal in write_reports(opened, made(campaign, ledger))
            texts.append(journal.read_text())
    assert texts[0] == texts[1]
    assert texts[0].startswith("# What stood here before\n")
    assert re.findall(r"<!-- campaign .*, round (\d) -->", texts[0]) == ["1", "2"]
    assert "轮" in texts[0]
    assert "轮" in (campaign.paths.reports / "report.md").read_text()


def test_only_the_incumbents_checkpoints_are_kept(campaign):
    campaign.write(settings(variants=2), noise=0.01)
    campaign.run()
    with campaign.ledger() as ledger:
        incumbent = ledger.rounds()[-1].summary["incumbent"]["hash"]
        kept = {t.config_hash for t in ledger.trials() if (campaign.paths.run(t.folder_name) / "checkpoints").exists()}
        assert kept == {incumbent}
        assert all((campaign.paths.run(t.folder_name) / "metrics.jsonl").exists() for t in ledger.trials())


def test_two_pilots_on_one_ledger_run_one_campaign(campaign, memory_path, place):
    """On SQLite and on PostgreSQL; the ledger equals that of a campaign with one pilot."""
    campaign.write(settings(variants=2), noise=0.01)
    ends, failures = [], []

    def work(name):
        try:
            with Ledger.open(**place) as ledger:
                ends.append(campaign.pilot(ledger, owner=name, executor=campaign.threads(2)).run())
        except Exception as error:
            failures.append(error)

    pilots = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in pilots:
        thread.start()
    for thread in pilots:
        thread.join()
    assert failures == []
    assert {end.kind for end in ends} == {"rounds"}
    calm = type(campaign)(memory_path / "calm").write(settings(variants=2), noise=0.01)
    calm.run()
    with Ledger.open(**place) as ours, calm.ledger() as theirs:
        assert essence(ours) == essence(theirs)
        assert all(trial.attempts == 1 for trial in ours.trials())


def test_reports_that_cannot_be_written_do_not_end_a_campaign(campaign):
    def full(_campaign, _ended):
        raise OSError(28, "No space left on device")

    campaign.write(settings(), noise=0.01)
    told = []
    assert campaign.run(report=full, tell=told.append).kind == "rounds"
    assert any("could not be written" in line for line in told)


def test_status_says_what_goes_on(campaign):
    campaign.write(settings(), noise=0.01)
    campaign.root.mkdir(exist_ok=True)
    opened = campaign.opened()
    with campaign.ledger() as ledger:
        made(campaign, ledger).advance()
        found = read_status(ledger, campaign.paths, opened.settings)
        assert found.phase == (
            "round 0, baseline repeats: 0 of 3 trials are over; no pilot works on it (otpilot loop resume)"
        )
        assert found.incumbent == "the baseline is not yet measured"
    campaign.run()
    with campaign.ledger() as ledger:
        found = read_status(ledger, campaign.paths, opened.settings)
        assert (found.phase, found.stopped) == ("over", "All 1 rounds are done.")
        assert found.incumbent.startswith("costnorm-ema")


def dead_process():
    """Return an owner's name and a process as the ledger holds them, of a process that lives no more."""
    with subprocess.Popen(["true"]) as process:
        born = supervisor.birth(process.pid)
        process.wait()
    host = os.uname().nodename
    return f"{host}:{process.pid}:{born}", {"host": host, "supervisor": process.pid, "birth": born}


def test_status_tells_interrupted_trials_from_running_ones(campaign):
    campaign.write(settings(), noise=0.01)
    campaign.root.mkdir(exist_ok=True)
    opened = campaign.opened()
    gone, dead = dead_process()
    alive = {"host": os.uname().nodename, "supervisor": os.getpid(), "birth": supervisor.birth(os.getpid())}
    with campaign.ledger() as ledger:
        made(campaign, ledger).advance()
        for owner, process in ((gone, dead), (gone, alive), (this_process(), alive)):
            lease = ledger.claim(owner)
            assert lease is not None
            ledger.start(lease, process=process)
        found = read_status(ledger, campaign.paths, opened.settings)
        assert found.by_state == {"running": 2, "interrupted": 1}
        assert [trial.interrupted for trial in found.running] == [True, False, False]
        far_away = replace(ledger.trials(states=("running",))[0], owner="elsewhere:1:2", process={"host": "elsewhere"})
        assert not is_interrupted(far_away, ledger.now())
        assert is_interrupted(far_away, (far_away.lease_until or 0.0) + 1.0)
        me = os.getpid()
        adopted = {
            "host": os.uname().nodename,
            "supervisor": me,
            "supervisor_birth": supervisor.birth(me),
            "birth": "x",
        }
        assert not is_interrupted(replace(far_away, process=adopted), (far_away.lease_until or 0.0) + 1.0)


def test_a_folder_has_one_pilot_who_can_be_asked_to_stop(campaign):
    campaign.write()
    assert steersman(campaign.paths) is None
    with steering(campaign.paths) as me:
        assert steersman(campaign.paths) == me
        assert not is_asked_to_stop(campaign.paths, me)
        ask_to_stop(campaign.paths, me)
        assert is_asked_to_stop(campaign.paths, me)
        from otpilot.errors import ConfigError

        with pytest.raises(ConfigError, match=rf"running already: process {me.pid}"), steering(campaign.paths):
            pass
        assert is_asked_to_stop(campaign.paths, me), "the second did not clear the first one's request"
    assert steersman(campaign.paths) is None
