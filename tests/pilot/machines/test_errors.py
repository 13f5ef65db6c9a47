"""What a worker says when it cannot work; and that it leaves nothing behind."""

import json
import re

import psycopg
import pytest
from typer.testing import CliRunner

from otpilot.cli import app
from otpilot.errors import ConfigError, LedgerError, OtpilotError
from otpilot.pilot.campaign import hand
from otpilot.pilot.campaign.hand import check_software, note_software
from otpilot.pilot.ledger import Ledger
from tests.pilot.conftest import new_trial


def complaint(*words) -> OtpilotError:
    """Return the error with which `otpilot loop worker` ends."""
    result = CliRunner().invoke(app, ["loop", "worker", "--no-gpus", *map(str, words)])
    assert isinstance(result.exception, OtpilotError), result.output
    return result.exception


def tables(url) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        return [name for (name,) in rows]


def begun(ledger) -> None:
    settings = {"base": "base.json", "trial": {"seeds": 3}}
    ledger.begin_round(0, {"settings": settings, "config": {"steps": 10}, "metrics": ["eval/offline_eval/avg_l1"]})
    ledger.add_trial(new_trial(1))


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://me:secret@127.0.0.1:1/db", r"127\.0\.0\.1:1/db cannot be used: .*refused"),
        ("mysql://host/db", "A ledger lies in sqlite or postgresql, not in 'mysql'"),
    ],
)
def test_a_database_that_cannot_be_reached_is_told_and_no_folder_made(tmp_path, url, words):
    error = complaint("--ledger", url, "--folder", tmp_path / "work")
    assert isinstance(error, LedgerError)
    assert re.search(words, str(error))
    assert "secret" not in str(error)
    assert list(tmp_path.iterdir()) == []


def test_a_url_needs_a_folder():
    assert "give --folder" in str(complaint("--ledger", "postgresql://me@127.0.0.1:1/db"))


def test_a_folder_without_a_campaign_is_told(tmp_path):
    assert "has no campaign.toml" in str(complaint("--ledger", tmp_path))
    (tmp_path / "campaign.toml").write_text('base = "base.json"\n')
    assert "was never started" in str(complaint("--ledger", tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["campaign.toml"], "a ledger was made"


def test_another_database_stays_as_it_is(database, tmp_path):
    error = complaint("--ledger", database, "--folder", tmp_path / "work")
    assert "There is no ledger at" in str(error)
    assert tables(database) == []
    assert not (tmp_path / "work").exists()


def test_a_ledger_in_which_nothing_has_begun_is_told(database, tmp_path):
    Ledger.open(database).close()
    error = complaint("--ledger", database, "--folder", tmp_path / "work")
    assert "start its pilot first" in str(error)
    assert not (tmp_path / "work").exists()


def test_no_permission_is_told(database, tmp_path):
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute("CREATE ROLE guest LOGIN")
    url = database.replace("tester@", "guest@")
    with pytest.raises(LedgerError, match="cannot be used: permission denied for schema public"):
        Ledger.open(url)
    assert tables(database) == [], "half a ledger"
    with Ledger.open(database) as ledger:
        begun(ledger)
        error = complaint("--ledger", url, "--folder", tmp_path / "work")
        assert "cannot be used: permission denied for table" in str(error)
        assert ledger.trial(1).attempts == 0
    assert not (tmp_path / "work").exists()


def test_a_newer_ledger_is_told(database, tmp_path):
    with Ledger.open(database) as ledger:
        begun(ledger)
    with psycopg.connect(database) as connection:
        connection.execute("INSERT INTO otpilot_migrations VALUES (99, 'later', 0)")
    error = complaint("--ledger", database, "--folder", tmp_path / "work")
    assert "has schema version 99; this otpilot knows up to" in str(error)


def test_other_versions_than_the_pilots_are_told(tmp_path, monkeypatch):
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        begun(ledger)
        check_software(ledger)  # a ledger from before they were noted
        note_software(ledger)
        check_software(ledger)
        monkeypatch.setattr(hand, "installed", lambda: {"otpilot": "9", "lerobot": "8", "torch": "7"})
        with pytest.raises(
            ConfigError, match=r"pilot runs otpilot .*, here 9; lerobot .*, here 8; torch .*, here 7\. Inst"
        ):
            check_software(ledger)
        (tmp_path / "campaign.toml").write_text('base = "base.json"\n')
        assert "Install the same" in str(complaint("--ledger", tmp_path))
        assert (ledger.trial(1).state, ledger.trial(1).attempts) == ("queued", 0)
    assert {p.suffix for p in tmp_path.iterdir()} <= {".toml", ".db", ".db-wal", ".db-shm"}


def test_wrong_words_are_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")  # this machine may have a Slurm
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        begun(ledger)
    (tmp_path / "campaign.toml").write_text('base = "base.json"\n')
    for words, said in (
        (("--ray", "auto", "--slurm", "partition=gpu"), "one place to run trials"),
        (("--ray", "127.0.0.1:1"), "No Ray cluster answers at 127.0.0.1:1"),
        (("--ray", "auto", "--resource", "a100"), "--resource is 'a100'; allowed: NAME=VALUE"),
        (("--ray", "auto", "--resource", "a100=some"), "--resource a100 is 'some'; allowed: a number"),
        (("--slurm", "partition"), "--slurm is 'partition'; allowed: NAME=VALUE"),
        (("--slurm", "partition=gpu"), "Slurm cannot be used from here: "),
        (("--slots", "0"), "concurrency is 0"),
    ):
        assert said in str(complaint("--ledger", tmp_path, *words))
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        assert ledger.trial(1).attempts == 0
        assert json.dumps(ledger.owners()) == "[]"
