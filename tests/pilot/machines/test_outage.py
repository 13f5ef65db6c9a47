"""Leases after a database was away: owners could not beat, so none of them counts as lost at once."""

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from otpilot.errors import LedgerError
from otpilot.pilot.ledger import Ledger
from otpilot.pilot.ledger.database import _passes
from tests.pilot.conftest import new_trial, wait_for
from tests.pilot.machines.test_errors import tables


def test_no_lease_is_lost_right_after_the_server_started(database, postgres):
    with Ledger.open(database, lease_s=0.05) as short, Ledger.open(database, lease_s=3600) as long:
        short.add_trial(new_trial(1))
        lease = short.claim("one")
        wait_for(lambda: short.status().expired)
        assert long.claim("two") is None, "the server has not been there for an hour"
        taken = short.claim("three")
        assert taken.trial.attempts == 2
        assert short.heartbeat([lease]) == {lease.token}


def test_a_released_lease_is_free_at_once(database):
    with Ledger.open(database, lease_s=3600) as ledger:
        ledger.add_trial(new_trial(1))
        ledger.claim("gone")
        assert ledger.release("gone") == 1
        assert ledger.claim("next").trial.lost == 0


def test_opening_what_must_exist_makes_nothing(database, tmp_path):
    with pytest.raises(LedgerError, match="There is no ledger at"):
        Ledger.open(database, must_exist=True)
    assert tables(database) == []
    with pytest.raises(LedgerError, match="There is no ledger at"):
        Ledger.open(tmp_path / "ledger.db", must_exist=True)
    Ledger.open(database).close()
    Ledger.open(database, must_exist=True).close()


@pytest.mark.parametrize(
    "words",
    [
        "the database system is starting up",
        "the database system is not yet accepting connections",
        "the database system is in recovery mode",
        "the database system is shutting down",
        "Connection refused",
    ],
)
def test_what_a_restarting_server_says_is_waited_out_but_not_while_opening(words):
    error = OperationalError("SELECT 1", {}, psycopg.OperationalError(f"connection failed: FATAL: {words}"))
    assert _passes(error, away=True)
    assert not _passes(error, away=False)


def test_a_refusal_is_not_waited_out():
    error = OperationalError("SELECT 1", {}, psycopg.OperationalError('FATAL: role "me" does not exist'))
    assert not _passes(error, away=True)
