import threading

import pytest
from sqlalchemy import text

from otpilot.errors import LedgerError
from otpilot.pilot.ledger import Ledger, Result
from otpilot.pilot.ledger.database import dump, parse_where
from tests.pilot.conftest import new_trial, wait_for


def test_campaign_data_is_kept_and_replaced(ledger, place):
    assert ledger.get("budget") is None
    ledger.put("budget", {"hours": 8})
    ledger.put("budget", {"hours": 9, "best": float("inf")})
    with Ledger.open(**place) as again:
        assert again.get("budget") == {"hours": 9, "best": "Infinity"}
        assert again.get("none", 3) == 3


def test_rounds_are_begun_and_finished_once(ledger, clock):
    begun = ledger.begin_round(1, {"parents": ["a"]})
    clock.now += 5
    assert ledger.begin_round(1, {"parents": ["b"]}) == begun
    done = ledger.finish_round(1, {"accepted": 0})
    clock.now += 5
    assert ledger.finish_round(1, {"accepted": 9}) == done
    assert (done.plan, done.summary, done.finished - done.started) == ({"parents": ["a"]}, {"accepted": 0}, 5.0)
    assert ledger.rounds() == [done]
    with pytest.raises(LedgerError, match="Round 2 was never begun"):
        ledger.finish_round(2)


def test_decisions_keep_their_reasons_and_a_key_decides_once(ledger, clock):
    ledger.add_trial(new_trial(1))
    first = ledger.decide("accept", "0.9 beats 1.0", round=1, trial=1, evidence={"p": 0.01}, key="r1/accept/1")
    clock.now += 1
    assert ledger.decide("accept", "something else", key="r1/accept/1") == first
    second = ledger.decide("rollback", "worse", round=2)
    assert ledger.decisions() == [first, second]
    assert ledger.decisions(kind="rollback") == ledger.decisions(round=2) == [second]
    assert ledger.decisions(trial=1) == [first]
    with pytest.raises(LedgerError, match="'accept' has no reason"):
        ledger.decide("accept", " ")


def test_status_counts_and_sums(ledger, clock):
    ledger.add_trials([new_trial(n, queue=n > 0) for n in range(6)])
    for device, seconds in (("GPU-1", 10), ("cpu", 7), (None, 1)):
        lease = ledger.claim("me")
        ledger.start(lease, device=device)
        clock.now += seconds
        ledger.finish(lease, Result(state="finished", reason="done"))
    ledger.claim("gone")
    clock.now += 61
    ledger.decide("x", "y")
    status = ledger.status()
    assert dict(status.by_state) == {"planned": 1, "queued": 1, "leased": 1, "finished": 3}
    assert (status.trials, status.attempts, status.expired, status.open) == (6, 4, 1, 2)
    assert (status.seconds, status.gpu_seconds, status.decisions, status.rounds) == (18.0, 10.0, 1, 0)


def test_a_new_ledger_is_empty_not_broken(ledger):
    status = ledger.status()
    assert (status.trials, status.seconds, status.by_state) == (0, 0.0, {})


def test_postgresql_lends_its_own_clock(postgres, tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: 5.0)
    with Ledger.open(postgres.url, schema="clock") as ledger, Ledger.open(tmp_path / "l.db") as file:
        assert ledger.status().now > 1_700_000_000
        assert file.status().now == 5.0


def test_schemas_of_one_database_are_ledgers_of_their_own(postgres):
    with Ledger.open(postgres.url, schema="one") as one, Ledger.open(postgres.url, schema='tw"o') as two:
        one.add_trial(new_trial(1))
        assert (one.status().trials, two.status().trials) == (1, 0)


def test_a_ledger_outlives_a_restart_of_its_database(postgres):
    with Ledger.open(postgres.url, schema="restart") as ledger:
        ledger.add_trial(new_trial(1))
        lease = ledger.claim("me")
        postgres.stop("immediate")
        back = threading.Timer(0.3, postgres.start)
        try:
            with pytest.raises(LedgerError, match=r"cannot be used: .*refused"):
                Ledger.open(postgres.url, schema="restart")
        finally:
            back.start()
        assert ledger.heartbeat([lease]) == set(), "the call waits until the database is back"
        back.join()
        assert ledger.finish(lease, Result(state="finished", reason="done")).state == "finished"


def test_wrong_addresses_say_so(tmp_path):
    for where, words in (
        (tmp_path / "none" / "l.db", "there is no folder"),
        ("mysql://host/db", "not in 'mysql'"),
        ("postgresql://tester@127.0.0.1:1/db", r"127.0.0.1:1/db cannot be used: .*[Cc]onnection"),
        ("postgresql://x:secret@[::1", "Cannot read the ledger's address|cannot be used"),
    ):
        with pytest.raises(LedgerError, match=words) as caught:
            Ledger.open(where, patience_s=30)
        assert "secret" not in str(caught.value)
    with pytest.raises(LedgerError, match="schema = 'x' is for PostgreSQL"):
        Ledger.open(tmp_path / "l.db", schema="x")
    with pytest.raises(LedgerError, match="lease_s is 0"):
        Ledger.open(tmp_path / "l.db", lease_s=0)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_left_alone(tmp_path):
    path = tmp_path / "l.db"
    path.write_text("my notes, long enough that nothing would take them for an empty file " * 20)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="not a database"):
        Ledger.open(path)
    assert path.read_bytes() == before


def test_a_database_of_others_is_left_alone(place):
    with Ledger.open(**place) as ledger:
        ledger._database.write(lambda c: c.execute(text("DROP TABLE otpilot_migrations")) and None)
    with pytest.raises(LedgerError, match="no otpilot ledger"):
        Ledger.open(**place)


def test_urls_speak_psycopg_and_hide_nothing_else():
    assert parse_where("postgres://u:p@h/d").drivername == "postgresql+psycopg"
    assert parse_where("sqlite:///x.db").database == "x.db"
    assert dump({"a": (1, float("nan"))}) == '{"a":[1,"NaN"]}'


def test_a_busy_ledger_is_waited_for_and_then_named(tmp_path):
    with Ledger.open(tmp_path / "l.db", patience_s=0.1) as ledger, Ledger.open(tmp_path / "l.db") as other:
        with other._database.engine.connect().execution_options(otpilot_write=True) as holder:
            holder.begin()
            raw = ledger._database.engine.raw_connection()
            raw.execute("PRAGMA busy_timeout = 20")
            raw.close()
            with pytest.raises(LedgerError, match=r"l.db cannot be used: database is locked"):
                ledger.put("a", 1)
        wait_for(lambda: ledger.put("a", 2) is None)
        assert other.get("a") == 2
