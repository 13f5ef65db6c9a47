"""`otpilot loop` from outside: what is printed, what is refused, what is written, and how it stops."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from otpilot.cli import app
from otpilot.commands.loop import _stopped
from otpilot.errors import OtpilotError
from otpilot.pilot import slots
from otpilot.pilot.campaign.books import say_over
from otpilot.pilot.ledger import Ledger
from tests.pilot.campaign.conftest import MARK, Field, campaign, memory_path  # noqa: F401 - fixtures
from tests.pilot.campaign.test_campaign import settings
from tests.pilot.conftest import new_trial

RUNNER = CliRunner()


def loop(*words) -> str:
    """Return what the command prints; errors that were foreseen are raised."""
    result = RUNNER.invoke(app, ["loop", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def files(field: Field) -> list[str]:
    return sorted(str(path.relative_to(field.root)) for path in field.root.rglob("*"))


def test_a_dry_run_prints_the_plan_and_writes_nothing(campaign):  # noqa: F811
    campaign.write(settings(variants=2, sections="[budget]\nhours = 8\n"))
    before = files(campaign)
    plan = loop("start", campaign.root, "--dry-run")
    assert files(campaign) == before
    for word in ("eval/offline_eval/avg_l1", "42, 43, 44", "8 hours", "baseline on 3 seeds"):
        assert word in plan
    campaign.run()
    before = files(campaign)
    again = loop("resume", campaign.root / "campaign.toml", "--dry-run")
    assert files(campaign) == before
    assert "round 2" in again
    assert "failed if" in again


def test_what_is_missing_is_named(campaign, tmp_path):  # noqa: F811
    for words in (("start", tmp_path / "nowhere"), ("status", tmp_path), ("stop", tmp_path), ("report", tmp_path)):
        with pytest.raises(OtpilotError, match=r"campaign\.toml|no file or folder"):
            loop(*words)
    campaign.write()
    with pytest.raises(OtpilotError, match="was never started"):
        loop("status", campaign.root)
    with pytest.raises(OtpilotError, match="was never started"):
        loop("resume", campaign.root)
    (campaign.root / "base.json").unlink()
    with pytest.raises(OtpilotError, match="No config file"):
        loop("start", campaign.root)
    assert "nothing to stop" in loop("stop", campaign.root)


def test_status_and_report_of_a_campaign_that_is_over(campaign):  # noqa: F811
    campaign.write(settings(), noise=0.01)
    campaign.run()
    said = loop("status", campaign.root)
    assert "over" in said
    assert "costnorm-ema_from-baseline" in said
    assert "accept" in said
    assert "Report ->" in loop("report", campaign.root)
    assert (campaign.paths.reports / "report.md").is_file()
    with pytest.raises(OtpilotError, match="was started before"):
        loop("start", campaign.root)


def test_neither_torch_nor_lerobot_is_imported(campaign):  # noqa: F811
    campaign.write(settings(), noise=0.01)
    campaign.run()
    code = (
        "import sys\nfrom otpilot.cli import app\n"
        "for words in (['status'], ['report'], ['resume', '--dry-run']):\n"
        "    try:\n        app(['loop', *words, sys.argv[1]])\n"
        "    except SystemExit as end:\n        assert not end.code\n"
        "bad = {'torch', 'lerobot', 'jax'} & set(sys.modules)\nassert not bad, bad\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(campaign.root)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_running_campaign_is_stopped_from_outside_and_refuses_a_second_pilot(campaign):  # noqa: F811
    """A real `otpilot loop start`, whose trials are real, too, and lack a dataset; Ctrl-C ends it as well."""
    campaign.write(settings(more="gpus = false\n"))
    (campaign.root / "source").mkdir()
    (campaign.root / "pairs.npz").touch()
    environment = {**os.environ, MARK: campaign.mark}
    words = [sys.executable, "-m", "otpilot", "loop", "start", str(campaign.root)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as pilot:
        deadline = time.monotonic() + 120
        while not campaign.paths.pilot.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(OtpilotError, match=f"running already: process {pilot.pid}"):
            loop("start", campaign.root)
        assert "Stopped" in loop("stop", campaign.root)
        said, _ = pilot.communicate(timeout=120)
    assert pilot.returncode == 0
    assert "trials are suspended" in said
    assert "Stopped; trials" in campaign.paths.log.read_text()
    words[-2] = "resume"
    started = campaign.paths.log.read_text().count(" Started ")
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as pilot:
        deadline = time.monotonic() + 120
        while campaign.paths.log.read_text().count(" Started ") == started and time.monotonic() < deadline:
            time.sleep(0.05)  # it hears of signals once it starts trials; before, one ends it as ever
        pilot.send_signal(signal.SIGINT)
        said, _ = pilot.communicate(timeout=120)
    assert pilot.returncode == 0, said


def test_a_base_that_cannot_be_trained_is_refused_before_anything_is_written(campaign):  # noqa: F811
    campaign.write(settings(sections='[overrides]\n"policy.optimizer_lrr" = 1e-5\n"policy.dropout" = "abc"\n'))
    before = files(campaign)
    for more in ([], ["--dry-run"]):
        with pytest.raises(OtpilotError, match=r"optimizer_lrr(.|\n)*nothing was started"):
            loop("start", campaign.root, *more)
        assert files(campaign) == before


def test_missing_data_are_told_before_the_start_with_the_line_that_finds_them(campaign, monkeypatch):  # noqa: F811
    campaign.write(settings())
    plan = loop("start", campaign.root, "--dry-run")
    assert "ot.src_root is not on this machine" in plan
    with pytest.raises(OtpilotError, match=r"lack their data(.|\n)*src_root(.|\n)*overrides"):
        loop("start", campaign.root)
    (campaign.root.parent / "source").mkdir()
    (campaign.root.parent / "pairs.npz").touch()
    monkeypatch.chdir(campaign.root.parent)
    with pytest.raises(OtpilotError, match=r'put cwd = "\.\." into'):
        loop("start", campaign.root)
    plan = loop("start", campaign.root, "--dry-run")
    assert 'put cwd = ".." into' in plan
    assert "at most" in plan
    (campaign.root.parent / "cfg.json").write_bytes((campaign.root / "base.json").read_bytes())
    campaign.write(settings().replace('"base.json"', '"cfg.json"'))
    with pytest.raises(OtpilotError, match=r'Write base = "\.\./cfg\.json"'):
        loop("start", campaign.root)


@pytest.mark.parametrize(
    ("held", "steer_only", "said"),
    [
        (0, False, "Stopped; trials are suspended. Go on with: otpilot loop resume /c"),
        (1, False, "Stopped; trials are suspended, workers go on with 1 trial. Go on with: otpilot loop resume /c"),
        (2, True, "Stopped; workers go on with 2 trials. Go on with: otpilot loop resume /c --steer-only"),
        (0, True, "Stopped; no worker runs a trial. Go on with: otpilot loop resume /c --steer-only"),
    ],
)
def test_a_pilot_that_stops_says_what_becomes_of_the_trials(tmp_path, held, steer_only, said):
    with Ledger.open(tmp_path / "l.db") as ledger:
        ledger.add_trials([new_trial(number) for number in range(3)])
        for _ in range(held):
            ledger.claim("elsewhere:1:2")
        assert _stopped(ledger, Path("/c"), steer_only=steer_only) == said


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        ((), {"concurrency": 3, "threads": 2, "use_gpus": False}),
        (("--slots", "1", "--threads", "4", "--gpus"), {"concurrency": 1, "threads": 4, "use_gpus": True}),
    ],
)
def test_a_worker_does_as_the_campaign_says_unless_told_otherwise(tmp_path, monkeypatch, flags, asked):
    plan = {"base": "base.json", "concurrency": 3, "threads": 2, "gpus": False, "trial": {"seeds": 3}}
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        ledger.begin_round(0, {"settings": plan, "config": {"steps": 10}, "metrics": ["eval/offline_eval/avg_l1"]})
        say_over(ledger, "All rounds are done.")
    (tmp_path / "campaign.toml").write_text(
        'base = "base.json"\nconcurrency = 3\nthreads = 2\ngpus = false\n[trial]\nseeds = 3\n'
    )
    seen = {}

    def planned(**words):
        seen.update(words)
        return slots.Slots(limit=words["concurrency"], threads=words["threads"])

    monkeypatch.setattr(slots, "plan_slots", planned)
    assert f"up to {asked['concurrency']} trials at once" in loop("worker", "--ledger", tmp_path, *flags)
    assert seen == asked
