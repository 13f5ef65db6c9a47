"""Leases inside a transaction: one owner at a time, proven by a token, good until a moment of the ledger's clock."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, func, insert, select, update

from otpilot.errors import LeaseLostError, LedgerError
from otpilot.pilot.ledger import trials as rows
from otpilot.pilot.ledger.records import Lease, Result, Trial
from otpilot.pilot.ledger.tables import attempts, trials
from otpilot.pilot.states import ENDS, HELD, check_transition

# An expiry that says: known to be gone, as against a lease that ran out.
RELEASED = 0.0


def claim(
    connection: Connection,
    owner: str,
    *,
    token: str,
    now: float,
    lease_s: float,
    max_lost: int,
    kinds: Sequence[str],
    lost_only: bool,
    all_could_beat: bool = True,
) -> Lease | None:
    """Return a lease on the first trial that waits or whose lease expired; None when there is none.

    Lost trials come first (their processes may still run), then by priority (highest first), then id. A trial whose
    owners were lost more than `max_lost` times is ended as killed instead of being handed on: it may be what kills
    them. Asked twice with one token, the answer is the same. Where the database was away so lately that owners could
    not beat (`all_could_beat` False), only released leases count as lost.
    """
    mine = connection.execute(select(*rows.COLUMNS).where(trials.c.token == token)).mappings().first()
    if mine is not None:
        return _lease(rows.to_trial(mine), token)
    while True:
        trial = _first(connection, _is_lost(now if all_could_beat else RELEASED + 1), kinds)
        if trial is None and not lost_only:
            trial = _first(connection, trials.c.state == "queued", kinds)
        if trial is None:
            return None
        lost = trial.state in HELD and trial.lease_until != RELEASED
        if trial.state in HELD:
            close_attempt(connection, trial.id, outcome="lost", reason=f"the lease of {trial.owner} ended", now=None)
        if lost and trial.lost >= max_lost:
            reason = f"given up: its owner was lost {trial.lost + 1} times (limit {max_lost})"
            _end(connection, trial, Result(state="killed", reason=reason), now=now)
            continue
        return _take(connection, trial, owner, token=token, now=now, until=now + lease_s, lost=trial.lost + lost)


def start(
    connection: Connection, token: str, *, process: Mapping[str, Any], device: str | None, now: float, lease_s: float
) -> Trial:
    """Note that the leased trial's process runs; returns the trial."""
    trial = held(connection, token)
    if trial.state != "running":
        check_transition(trial.id, trial.state, "running")
    values = {"state": "running", "process": dict(process), "lease_until": now + lease_s}
    if trial.started is None:
        values["started"] = now
    connection.execute(update(trials).where(trials.c.id == trial.id).values(values))
    connection.execute(update(attempts).where(attempts.c.token == token).values(device=device, seen=now))
    return rows.get(connection, trial.id)


def heartbeat(connection: Connection, tokens: Sequence[str], *, now: float, lease_s: float) -> set[str]:
    """Extend the leases and return the tokens that hold nothing any more."""
    if not tokens:
        return set()
    mine = and_(trials.c.token.in_(tokens), trials.c.state.in_(HELD))
    alive = set(connection.execute(select(trials.c.token).where(mine).with_for_update()).scalars())
    connection.execute(update(trials).where(mine).values(lease_until=now + lease_s))
    connection.execute(update(attempts).where(attempts.c.token.in_(alive)).values(seen=now))
    return set(tokens) - {str(token) for token in alive}


def finish(connection: Connection, token: str, result: Result, *, again: bool, now: float) -> Trial:
    """End the trial that the token holds, with its result; said twice, the first saying stays.

    `again` queues it in the same transaction for another try.

    Raises:
        LeaseLostError: If the token holds no trial and did not end one in this state.
    """
    before = connection.execute(select(attempts.c.trial, attempts.c.outcome).where(attempts.c.token == token)).first()
    if before is not None and before.outcome == result.state:
        return rows.get(connection, before.trial)
    trial = held(connection, token)
    check_transition(trial.id, trial.state, result.state)
    close_attempt(connection, trial.id, outcome=result.state, reason=result.reason, now=now)
    _end(connection, rows.get(connection, trial.id), result, now=now)
    return rows.requeue(connection, trial.id, reason=result.reason) if again else rows.get(connection, trial.id)


def give_back(connection: Connection, token: str, *, reason: str, now: float) -> Trial:
    """Queue the trial that the token holds again, unharmed: its owner stops, not the trial."""
    before = connection.execute(select(attempts.c.trial, attempts.c.outcome).where(attempts.c.token == token)).first()
    if before is not None and before.outcome == "given back":
        return rows.get(connection, before.trial)
    trial = held(connection, token)
    check_transition(trial.id, trial.state, "queued")
    close_attempt(connection, trial.id, outcome="given back", reason=reason, now=now)
    values = {"state": "queued", "owner": None, "token": None, "lease_until": None, "end_reason": reason}
    connection.execute(update(trials).where(trials.c.id == trial.id).values(values))
    return rows.get(connection, trial.id)


def release(connection: Connection, owner: str) -> int:
    """Let every lease of an owner that is known to be gone end now; returns how many. Not counted as lost."""
    mine = and_(trials.c.owner == owner, trials.c.state.in_(HELD))
    changed = connection.execute(update(trials).where(mine).values(lease_until=RELEASED))
    return int(changed.rowcount)


def owners(connection: Connection) -> list[str]:
    """Return who holds leases, expired or not, by name."""
    query = select(trials.c.owner).where(trials.c.state.in_(HELD)).distinct().order_by(trials.c.owner)
    return [str(owner) for owner in connection.execute(query).scalars()]


def held(connection: Connection, token: str) -> Trial:
    """Return the trial that the token holds, locked for this transaction.

    Raises:
        LeaseLostError: If it holds none.
    """
    mine = and_(trials.c.token == token, trials.c.state.in_(HELD))
    found = connection.execute(select(*rows.COLUMNS).where(mine).with_for_update()).mappings().first()
    if found is None:
        raise LeaseLostError(_what_happened(connection, token))
    return rows.to_trial(found)


def close_attempt(connection: Connection, trial: int, *, outcome: str, reason: str, now: float | None) -> None:
    """End the open attempt of a trial and add its time up; now = None: it was last seen alive at its heartbeat."""
    query = select(attempts).where(attempts.c.trial == trial, attempts.c.ended.is_(None))
    for attempt in connection.execute(query).mappings().all():
        ended = attempt["seen"] if now is None else now
        values = {"ended": ended, "outcome": outcome, "reason": reason}
        connection.execute(update(attempts).where(attempts.c.id == attempt["id"]).values(values))
        spent = max(0.0, ended - attempt["started"])
        connection.execute(update(trials).where(trials.c.id == trial).values(seconds=trials.c.seconds + spent))


def _first(connection: Connection, condition: ColumnElement[bool], kinds: Sequence[str]) -> Trial | None:
    """Return the first trial in order, locked for this transaction; those that others lock are passed over."""
    query = select(*rows.COLUMNS).where(condition)
    if kinds:
        query = query.where(trials.c.kind.in_(kinds))
    query = query.order_by(trials.c.priority.desc(), trials.c.id).limit(1).with_for_update(skip_locked=True)
    found = connection.execute(query).mappings().first()
    return None if found is None else rows.to_trial(found)


def _is_lost(now: float) -> ColumnElement[bool]:
    return and_(trials.c.state.in_(HELD), trials.c.lease_until < now)


def _take(
    connection: Connection, trial: Trial, owner: str, *, token: str, now: float, until: float, lost: int
) -> Lease:
    check_transition(trial.id, trial.state, "leased")
    number = 1 + (connection.scalar(select(func.max(attempts.c.number)).where(attempts.c.trial == trial.id)) or 0)
    values = {
        "state": "leased", "owner": owner, "token": token, "lease_until": until, "attempts": trial.attempts + 1,
        "lost": lost, "end_reason": "",
    }  # fmt: skip
    connection.execute(update(trials).where(trials.c.id == trial.id).values(values))
    row = {"trial": trial.id, "number": number, "owner": owner, "token": token, "started": now, "seen": now}
    connection.execute(insert(attempts).values(**row, reason=""))
    return _lease(rows.get(connection, trial.id), token)


def _lease(trial: Trial, token: str) -> Lease:
    assert trial.owner is not None  # set with the token
    assert trial.lease_until is not None
    return Lease(trial=trial, token=token, owner=trial.owner, until=trial.lease_until)


def _end(connection: Connection, trial: Trial, result: Result, *, now: float) -> None:
    if result.state not in ENDS:
        raise LedgerError(f"A trial cannot end as {result.state!r}; allowed: {', '.join(ENDS)}.")
    values = {
        "state": result.state, "owner": None, "token": None, "lease_until": None, "end_reason": result.reason,
        "exit_code": result.exit_code, "last_step": result.last_step, "score": result.score,
        "metrics": dict(result.metrics), "finished": now,
    }  # fmt: skip
    connection.execute(update(trials).where(trials.c.id == trial.id).values(values))


def _what_happened(connection: Connection, token: str) -> str:
    query = select(attempts.c.trial, attempts.c.number, attempts.c.outcome).where(attempts.c.token == token)
    attempt = connection.execute(query).first()
    if attempt is None:
        return f"The lease {token[:8]} is unknown."
    trial = rows.get(connection, attempt.trial)
    return (
        f"The lease on trial {trial.id} (attempt {attempt.number}) is over: it ended as {attempt.outcome!r}; "
        f"the trial is {trial.state}" + (f", held by {trial.owner}." if trial.owner else ".")
    )
