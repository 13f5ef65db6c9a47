"""Leases after a database was away: owners could not beat, so none of them counts as lost at once."""

import pytest

from otpilot.errors import LedgerError
from otpilot.pilot.ledger import Ledger
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
