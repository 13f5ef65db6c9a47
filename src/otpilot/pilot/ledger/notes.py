"""What the ledger keeps beside trials, inside a transaction: campaign data, rounds, decisions, and the status."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, and_, delete, func, insert, select, update

from otpilot.errors import LedgerError
from otpilot.pilot.ledger.records import Attempt, Decision, Round, Status
from otpilot.pilot.ledger.tables import attempts, campaign, decisions, rounds, trials
from otpilot.pilot.states import HELD, STATES


def put(connection: Connection, key: str, value: Any) -> None:
    """Store a value of the campaign under a key, in place of an earlier one."""
    connection.execute(delete(campaign).where(campaign.c.key == key))
    connection.execute(insert(campaign).values(key=key, value=value))


def everything(connection: Connection) -> dict[str, Any]:
    """Return all values of the campaign by key."""
    rows = connection.execute(select(campaign.c.key, campaign.c.value).order_by(campaign.c.key)).mappings()
    return {row["key"]: row["value"] for row in rows}


def begin_round(connection: Connection, number: int, plan: Mapping[str, Any], *, now: float) -> Round:
    """Return the round with this number; a new one gets the plan, a known one keeps its own."""
    known = _round(connection, number)
    if known is None:
        connection.execute(insert(rounds).values(number=number, plan=dict(plan), summary={}, started=now))
        known = _round(connection, number)
    assert known is not None
    return _to_round(known)


def finish_round(connection: Connection, number: int, summary: Mapping[str, Any], *, now: float) -> Round:
    """Close a round with its summary and return it; a closed one stays as it is.

    Raises:
        LedgerError: If the round was never begun.
    """
    known = _round(connection, number)
    if known is None:
        raise LedgerError(f"Round {number} was never begun.")
    if known["finished"] is None:
        values = {"summary": dict(summary), "finished": now}
        connection.execute(update(rounds).where(rounds.c.number == number).values(values))
        known = _round(connection, number)
        assert known is not None
    return _to_round(known)


def all_rounds(connection: Connection) -> list[Round]:
    """Return the rounds by number."""
    return [_to_round(row) for row in connection.execute(select(rounds).order_by(rounds.c.number)).mappings()]


def decide(
    connection: Connection,
    kind: str,
    reason: str,
    *,
    round: int | None,
    trial: int | None,
    evidence: Mapping[str, Any],
    key: str | None,
    now: float,
) -> Decision:
    """Write a decision down and return it; with a key that is known, the first decision stays and is returned."""
    if not reason.strip():
        raise LedgerError(f"The decision {kind!r} has no reason.")
    if key is not None:
        known = connection.execute(select(decisions).where(decisions.c.key == key)).mappings().first()
        if known is not None:
            return Decision(**known)
    values = {"key": key, "kind": kind, "reason": reason, "round": round, "trial": trial, "time": now}
    made = connection.execute(insert(decisions).values(**values, evidence=dict(evidence)).returning(decisions))
    return Decision(**made.mappings().one())


def decided(connection: Connection, *, round: int | None, trial: int | None, kind: str | None) -> list[Decision]:
    """Return the decisions that fit every condition given, oldest first."""
    query = select(decisions).order_by(decisions.c.id)
    for name, value in {"round": round, "trial": trial, "kind": kind}.items():
        if value is not None:
            query = query.where(decisions.c[name] == value)
    return [Decision(**row) for row in connection.execute(query).mappings()]


def to_attempt(row: RowMapping) -> Attempt:
    """Return a row of the attempts table as plain data."""
    names = ("trial", "number", "owner", "device", "started", "ended", "outcome", "reason")
    return Attempt(**{name: row[name] for name in names})


def status(connection: Connection, *, now: float) -> Status:
    """Return counts and sums; four queries, none of which reads a config."""
    counts = _counts(connection)
    overdue = and_(trials.c.state.in_(HELD), trials.c.lease_until < now)
    # An open attempt counts up to its last heartbeat.
    spent = func.coalesce(func.sum(func.coalesce(attempts.c.ended, attempts.c.seen) - attempts.c.started), 0.0)
    seconds, number = connection.execute(select(spent, func.count())).one()
    on_gpu = connection.scalar(select(spent).where(attempts.c.device.is_not(None), attempts.c.device != "cpu"))
    return Status(
        trials=sum(counts.values()),
        by_state={state: counts[state] for state in STATES if state in counts},
        attempts=int(number),
        expired=int(connection.scalar(select(func.count()).where(overdue)) or 0),
        seconds=float(seconds),
        gpu_seconds=float(on_gpu or 0.0),
        decisions=int(connection.scalar(select(func.count()).select_from(decisions)) or 0),
        rounds=int(connection.scalar(select(func.count()).select_from(rounds)) or 0),
        now=now,
    )


def _counts(connection: Connection) -> dict[str, int]:
    query = select(trials.c.state, func.count()).group_by(trials.c.state)
    return {str(row[0]): int(row[1]) for row in connection.execute(query).all()}


def _round(connection: Connection, number: int) -> RowMapping | None:
    return connection.execute(select(rounds).where(rounds.c.number == number)).mappings().first()


def _to_round(row: RowMapping) -> Round:
    return Round(**row)
