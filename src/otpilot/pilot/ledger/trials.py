"""Trials inside a transaction: written down once, found, moved along the table of transitions."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from otpilot.errors import LedgerError
from otpilot.pilot.ledger.records import NewTrial, Trial
from otpilot.pilot.ledger.tables import attempts, configs, trials
from otpilot.pilot.states import HELD, TrialState, check_state, check_transition

HIDDEN = ("token",)
COLUMNS = tuple(column for column in trials.columns if column.name not in HIDDEN)


def add(connection: Connection, new: Sequence[NewTrial], *, now: float) -> list[Trial]:
    """Return the trials in the order asked for; those that exist already are returned as they are.

    Raises:
        LedgerError: If a name is taken by another config, or a parent does not exist.
    """
    stored: set[str] = set()
    return [_add_one(connection, item, now, stored) for item in new]


def _add_one(connection: Connection, new: NewTrial, now: float, stored: set[str]) -> Trial:
    known = find(connection, new.config_hash, new.seed, new.budget)
    if known is not None:
        return known
    _check_relatives(connection, new)
    if new.config_hash not in stored:
        body = {"hash": new.config_hash, "body": dict(new.config)}
        connection.execute(_insert(connection, configs).values(body).on_conflict_do_nothing())
        stored.add(new.config_hash)
    row = {
        "name": new.name, "config_hash": new.config_hash, "seed": new.seed, "budget": new.budget,
        "state": "queued" if new.queue else "planned", "kind": new.kind, "round": new.round,
        "priority": new.priority, "parent": new.parent, "continues": new.continues, "rule": new.rule,
        "edits": list(new.edits), "reason": new.reason, "evidence": dict(new.evidence), "attempts": 0, "retries": 0,
        "lost": 0, "end_reason": "", "metrics": {}, "seconds": 0.0, "created": now,
    }  # fmt: skip
    # Another pilot may add the same trial at this moment: then the first one stays.
    statement = _insert(connection, trials).values(row)
    statement = statement.on_conflict_do_nothing(index_elements=["config_hash", "seed", "budget"])
    made = connection.execute(statement.returning(*COLUMNS)).mappings().first()
    if made is not None:
        return to_trial(made)
    known = find(connection, new.config_hash, new.seed, new.budget)
    assert known is not None  # it was in the way
    return known


def _insert(connection: Connection, table: Table) -> Any:
    """Return the dialect's own insert, which knows conflicts."""
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)


def _check_relatives(connection: Connection, new: NewTrial) -> None:
    taken = connection.execute(
        select(trials.c.id, trials.c.config_hash).where(
            trials.c.name == new.name, trials.c.seed == new.seed, trials.c.budget == new.budget
        )
    ).first()
    if taken is not None and taken.config_hash != new.config_hash:
        raise LedgerError(f"The name {new.name!r} is taken by trial {taken.id}, which has another config.")
    for word, relative in (("parent", new.parent), ("continues", new.continues)):
        if relative is not None and connection.scalar(select(trials.c.id).where(trials.c.id == relative)) is None:
            raise LedgerError(f"Trial {new.name!r} names {word} {relative}, which is not in the ledger.")


def find(connection: Connection, config_hash: str, seed: int, budget: int) -> Trial | None:
    """Return the trial with this key, or None."""
    row = connection.execute(
        select(*COLUMNS).where(trials.c.config_hash == config_hash, trials.c.seed == seed, trials.c.budget == budget)
    )
    found = row.mappings().first()
    return None if found is None else to_trial(found)


def get(connection: Connection, trial: int) -> Trial:
    """Return a trial by its id.

    Raises:
        LedgerError: If there is none.
    """
    row = connection.execute(select(*COLUMNS).where(trials.c.id == trial)).mappings().first()
    if row is None:
        raise LedgerError(f"There is no trial {trial} in the ledger.")
    return to_trial(row)


def listed(
    connection: Connection,
    *,
    states: Iterable[str] | None = None,
    round: int | None = None,
    kind: str | None = None,
    parent: int | None = None,
    config_hash: str | None = None,
) -> list[Trial]:
    """Return the trials that fit every condition given, by id."""
    query = select(*COLUMNS).order_by(trials.c.id)
    if states is not None:
        query = query.where(trials.c.state.in_([check_state(state) for state in states]))
    given = {"round": round, "kind": kind, "parent": parent, "config_hash": config_hash}
    for name, value in given.items():
        if value is not None:
            query = query.where(trials.c[name] == value)
    return [to_trial(row) for row in connection.execute(query).mappings()]


def ancestors(connection: Connection, trial: int) -> list[Trial]:
    """Return the trial's parent, its parent's parent and so on, nearest first."""
    found: list[Trial] = []
    seen = {trial}
    parent = get(connection, trial).parent
    while parent is not None and parent not in seen:
        seen.add(parent)
        found.append(get(connection, parent))
        parent = found[-1].parent
    return found


def move(connection: Connection, trial: int, new: TrialState, *, reason: str, **values: Any) -> Trial:
    """Move a trial that nobody holds to another state and return it; one that is there already stays.

    Raises:
        LedgerError: If the transition is not in the table.
    """
    now = connection.execute(select(trials.c.state).where(trials.c.id == trial).with_for_update()).scalar()
    known = get(connection, trial)
    if now == new:
        return known
    if known.state in HELD:  # queued again it may be, but only by its owner
        raise LedgerError(f"Trial {trial} is {known.state} and cannot become {new}: {known.owner} holds it.")
    check_transition(trial, known.state, new)
    values = {"state": new, "end_reason": reason, **values}
    connection.execute(update(trials).where(trials.c.id == trial).values(values))
    return get(connection, trial)


def requeue(connection: Connection, trial: int, *, reason: str) -> Trial:
    """Queue a trial again after an end that allows it; its count of retries goes up."""
    known = get(connection, trial)
    again = known.retries + (known.attempts > 0)
    kept: dict[str, Any] = {
        "finished": None,
        "exit_code": None,
        "last_step": None,
        "score": None,
        "metrics": {},
        "process": None,
    }
    return move(connection, trial, "queued", reason=reason, retries=again, **kept)


def attempts_of(connection: Connection, trial: int) -> list[RowMapping]:
    """Return the rows of a trial's attempts by number."""
    query = select(attempts).where(attempts.c.trial == trial).order_by(attempts.c.number)
    return list(connection.execute(query).mappings())


def to_trial(row: RowMapping) -> Trial:
    """Return a row of the trials table as plain data."""
    return Trial(**{column.name: row[column.name] for column in COLUMNS})
