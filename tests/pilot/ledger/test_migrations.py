import threading

import pytest
from sqlalchemy import inspect, text

from otpilot.errors import LedgerError
from otpilot.pilot.ledger import Ledger, Result, tables
from otpilot.pilot.ledger.database import Database, parse_where
from otpilot.pilot.ledger.migrations import MIGRATIONS, NEWEST, migrate, stored_version
from tests.pilot.conftest import new_trial

TRIAL_V1 = (
    "INSERT INTO trials (name, config_hash, seed, budget, state, kind, priority, edits, reason, evidence, attempts, "
    "end_reason, metrics, seconds, created, owner, token, lease_until) VALUES "
    "('old', 'h1', 7, 100, 'running', 'variant', 0, '[]', 'because', '{\"pi\": 0.1}', 1, '', '{}', 0, 5, "
    "'me', 'tok', 9)"
)


def make_version_1(place):
    """Write a ledger as the first otpilot did, with a running trial in it."""
    database = Database(parse_where(place["where"]), schema=place.get("schema"), patience_s=5)
    with_schema = f'CREATE SCHEMA IF NOT EXISTS "{place["schema"]}"' if "schema" in place else "SELECT 1"

    def work(connection):
        connection.exec_driver_sql(with_schema)
        migrate(connection, now=1.0, target=1)
        connection.execute(text("INSERT INTO configs (hash, body) VALUES ('h1', '{\"n\": 1}')"))
        connection.exec_driver_sql(TRIAL_V1)

    database.write(work)
    return database


def test_a_version_1_ledger_is_brought_up_with_all_it_holds(place):
    make_version_1(place).close()
    with Ledger.open(**place, clock=lambda: 100.0) as ledger:
        trial = ledger.add_trial(new_trial(1))
        assert (trial.name, trial.reason, trial.evidence, trial.retries, trial.lost) == (
            "old",
            "because",
            {"pi": 0.1},
            0,
            0,
        )
        lease = ledger.claim("new")
        assert (lease.trial.id, lease.trial.attempts) == (trial.id, 2)
        assert ledger.finish(lease, Result(state="finished", reason="done")).state == "finished"
        assert ledger._database.read(stored_version) == NEWEST


def test_a_newer_ledger_is_refused_and_left_alone(place):
    with Ledger.open(**place) as ledger:
        ledger.add_trial(new_trial(1))
        statement = text(f"INSERT INTO otpilot_migrations VALUES ({NEWEST + 1}, 'from tomorrow', 0)")
        ledger._database.write(lambda c: c.execute(statement) and None)
        with pytest.raises(LedgerError, match=f"schema version {NEWEST + 1}; this otpilot knows up to {NEWEST}"):
            Ledger.open(**place)
        assert ledger.status().trials == 1


def test_a_migration_that_breaks_leaves_the_old_version(place, monkeypatch):
    database = make_version_1(place)
    broken = (
        MIGRATIONS[0],
        MIGRATIONS[1].__class__(version=2, name="x", statements=(*MIGRATIONS[1].statements, "NONSENSE")),
    )
    with monkeypatch.context() as patch:
        patch.setattr("otpilot.pilot.ledger.migrations.MIGRATIONS", broken)
        with pytest.raises(LedgerError, match="NONSENSE"):
            Ledger.open(**place)
    assert database.read(stored_version) == 1
    assert "attempts" not in database.read(lambda c: inspect(c).get_table_names(schema=place.get("schema")))
    database.close()
    with Ledger.open(**place) as ledger:
        assert ledger.trial(1).name == "old"


def test_the_migrations_make_the_tables_that_the_code_reads(place):
    with Ledger.open(**place) as ledger:
        engine, schema = ledger._database.engine, place.get("schema")
        found = inspect(engine)
        assert set(found.get_table_names(schema=schema)) == set(tables.metadata.tables)
        for name, table in tables.metadata.tables.items():
            columns = {c["name"]: c for c in found.get_columns(name, schema=schema)}
            assert set(columns) == {c.name for c in table.columns}, name
            for column in table.columns:
                made = columns[column.name]
                if not column.primary_key:
                    assert made["nullable"] == column.nullable, (name, column.name)
                assert made["type"].compile(engine.dialect) == column.type.compile(engine.dialect), (name, column.name)
            indexes = {i["name"] for i in found.get_indexes(name, schema=schema)}
            assert {i.name for i in table.indexes} <= indexes


def test_many_may_open_a_new_ledger_at_once(place):
    barrier, failures, opened = threading.Barrier(6), [], []

    def work():
        barrier.wait()
        try:
            opened.append(Ledger.open(**place))
        except LedgerError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for ledger in opened:
        ledger.close()
    assert failures == []
