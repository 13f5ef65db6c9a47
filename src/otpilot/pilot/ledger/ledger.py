"""The ledger: every trial once, every state change by the table, every decision with its reason."""

import math
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sqlalchemy import select

from otpilot.errors import LedgerError
from otpilot.pilot.ledger import leases, notes, trials
from otpilot.pilot.ledger.database import Database, parse_where
from otpilot.pilot.ledger.records import Attempt, Decision, Lease, NewTrial, Result, Round, Status, Trial
from otpilot.pilot.ledger.tables import configs

LEASE_S = 60.0
MAX_LOST = 5
PATIENCE_S = 60.0


class Ledger:
    """One campaign's ledger in a SQLite file or a PostgreSQL database (or schema).

    Every method is one transaction and may be repeated: a pilot that was killed between any two calls asks again and
    gets what it got before. Methods wait up to `patience_s` for a database that is busy or restarting, then raise
    LedgerError. Two threads may share a ledger; two processes open it twice.
    """

    def __init__(self, database: Database, *, lease_s: float, max_lost: int) -> None:
        self._database = database
        self.lease_s = lease_s
        self.max_lost = max_lost

    @classmethod
    def open(
        cls,
        where: Path | str,
        *,
        schema: str | None = None,
        lease_s: float = LEASE_S,
        max_lost: int = MAX_LOST,
        patience_s: float = PATIENCE_S,
        must_exist: bool = False,
        clock: Callable[[], float] | None = None,
    ) -> Self:
        """Return the ledger in a file or at a URL, made or brought to the newest schema version if need be.

        Args:
            where: A file (SQLite) or `postgresql://user@host/database`.
            schema: PostgreSQL schema, so that several campaigns share a database; made if missing.
            lease_s: How long a lease lasts without a heartbeat.
            max_lost: After losing so many owners a trial is given up.
            patience_s: How long a call waits for a database that is busy or away.
            must_exist: Make nothing: there must be a ledger already.
            clock: Seconds since the epoch instead of the database's clock; for tests.

        Raises:
            LedgerError: If it cannot be reached, holds something else, or was written by a newer otpilot.
        """
        if not lease_s > 0:
            raise LedgerError(f"lease_s is {lease_s}; allowed: a number above 0.")
        database = Database(parse_where(where), schema=schema, patience_s=patience_s, clock=clock)
        try:
            database.prepare(must_exist=must_exist)
        except BaseException:
            database.close()
            raise
        return cls(database, lease_s=lease_s, max_lost=max_lost)

    def close(self) -> None:
        """Close every connection; leases stay until they expire."""
        self._database.close()

    def __enter__(self) -> Self:
        """Return the ledger itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        self.close()

    def now(self) -> float:
        """Return seconds since the epoch by the clock that times of trials are from."""
        return self._database.read(self._database.now)

    # Campaign and rounds

    def put(self, key: str, value: Any) -> None:
        """Store plain data of the campaign under a key, in place of an earlier value."""
        self._database.write(lambda c: notes.put(c, key, value))

    def get(self, key: str, default: Any = None) -> Any:
        """Return the campaign's data under a key, or `default`."""
        return self._database.read(notes.everything).get(key, default)

    def everything(self, prefix: str = "") -> dict[str, Any]:
        """Return the campaign's data by key, those keys that begin with `prefix`."""
        return {key: value for key, value in self._database.read(notes.everything).items() if key.startswith(prefix)}

    def begin_round(self, number: int, plan: Mapping[str, Any] | None = None) -> Round:
        """Return the round with this number; a new one gets the plan, a known one keeps its own."""
        return self._database.write(lambda c: notes.begin_round(c, number, plan or {}, now=self._database.now(c)))

    def finish_round(self, number: int, summary: Mapping[str, Any] | None = None) -> Round:
        """Close a round with its summary and return it; a closed one stays as it is."""
        return self._database.write(lambda c: notes.finish_round(c, number, summary or {}, now=self._database.now(c)))

    def rounds(self) -> list[Round]:
        """Return the rounds by number."""
        return self._database.read(notes.all_rounds)

    # Trials

    def add_trial(self, new: NewTrial) -> Trial:
        """Return the trial with this config hash, seed and budget: the known one as it is, or a new one.

        Raises:
            LedgerError: If the name is taken by another config, or parent or continues are not in the ledger.
        """
        return self.add_trials([new])[0]

    def add_trials(self, new: Sequence[NewTrial]) -> list[Trial]:
        """Return the trials in order, all of them written down or none (see add_trial)."""
        return self._database.write(lambda c: trials.add(c, new, now=self._database.now(c)))

    def trial(self, trial: int) -> Trial:
        """Return a trial by its id."""
        return self._database.read(lambda c: trials.get(c, trial))

    def find(self, config_hash: str, seed: int, budget: int) -> Trial | None:
        """Return the trial with this key, or None."""
        return self._database.read(lambda c: trials.find(c, config_hash, seed, budget))

    def trials(
        self,
        *,
        states: Iterable[str] | None = None,
        round: int | None = None,
        kind: str | None = None,
        parent: int | None = None,
        config_hash: str | None = None,
    ) -> list[Trial]:
        """Return the trials that fit every condition given, by id."""
        wanted = None if states is None else tuple(states)
        return self._database.read(
            lambda c: trials.listed(c, states=wanted, round=round, kind=kind, parent=parent, config_hash=config_hash)
        )

    def config(self, config_hash: str) -> dict[str, Any]:
        """Return the full config behind a hash."""
        body = self._database.read(lambda c: c.scalar(select(configs.c.body).where(configs.c.hash == config_hash)))
        if body is None:
            raise LedgerError(f"There is no config {config_hash!r} in the ledger.")
        return dict(body)

    def ancestors(self, trial: int) -> list[Trial]:
        """Return the trial's parent, its parent's parent and so on, nearest first."""
        return self._database.read(lambda c: trials.ancestors(c, trial))

    def attempts(self, trial: int) -> list[Attempt]:
        """Return every lease that the trial had, first one first."""
        rows = self._database.read(lambda c: trials.attempts_of(c, trial))
        return [notes.to_attempt(row) for row in rows]

    def queue(self, trial: int, *, reason: str = "") -> Trial:
        """Let a planned trial be taken; a trial that crashed, was killed or cancelled is tried again (retries + 1)."""
        return self._database.write(lambda c: trials.requeue(c, trial, reason=reason))

    def cancel(self, trial: int, *, reason: str) -> Trial:
        """Take a planned or queued trial off the list."""
        return self._database.write(lambda c: trials.move(c, trial, "cancelled", reason=reason))

    # Work

    def claim(
        self, owner: str, *, kinds: Sequence[str] = (), lost_only: bool = False, token: str | None = None
    ) -> Lease | None:
        """Return a lease on the next trial, or None when none waits.

        Trials whose lease ended without a result come first, then by priority (highest first), then id. Exactly one
        of any number of claimants gets a trial. `kinds` and `lost_only` limit the choice.
        """
        proof = token or uuid.uuid4().hex
        return self._database.write(
            lambda c: leases.claim(
                c,
                owner,
                token=proof,
                now=self._database.now(c),
                lease_s=self.lease_s,
                max_lost=self.max_lost,
                kinds=kinds,
                lost_only=lost_only,
                all_could_beat=self._database.up_s(c) > self.lease_s,
            )
        )

    def start(self, lease: Lease, *, process: Mapping[str, Any] | None = None, device: str | None = None) -> Trial:
        """Note that the trial's process runs, and what is needed to find it again; returns the trial.

        Raises:
            LeaseLostError: If the lease is over. So do heartbeat (by its answer), finish and give_back.
        """
        return self._database.write(
            lambda c: leases.start(
                c, lease.token, process=process or {}, device=device, now=self._database.now(c), lease_s=self.lease_s
            )
        )

    def heartbeat(self, held: Iterable[Lease]) -> set[str]:
        """Extend leases and return the tokens of those that are lost: end their processes, another owner has them."""
        tokens = [lease.token for lease in held]
        return self._database.write(
            lambda c: leases.heartbeat(c, tokens, now=self._database.now(c), lease_s=self.lease_s)
        )

    def finish(self, lease: Lease, result: Result, *, again: bool = False) -> Trial:
        """End the trial with its result and return it; said twice, the first saying stays.

        `again` queues a trial that crashed or was killed for another try (retries + 1), in the same transaction.
        """
        if result.score is not None and not math.isfinite(result.score):
            raise LedgerError(f"Trial {lease.trial.id} has a score of {result.score}; allowed: finite, or None.")
        return self._database.write(
            lambda c: leases.finish(c, lease.token, result, again=again, now=self._database.now(c))
        )

    def give_back(self, lease: Lease, *, reason: str) -> Trial:
        """Queue the trial again, unharmed: its owner stops, not the trial."""
        return self._database.write(
            lambda c: leases.give_back(c, lease.token, reason=reason, now=self._database.now(c))
        )

    def owners(self) -> list[str]:
        """Return who holds leases, expired or not."""
        return self._database.read(leases.owners)

    def release(self, owner: str) -> int:
        """End every lease of an owner known to be gone, without waiting for its expiry; returns how many."""
        return self._database.write(lambda c: leases.release(c, owner))

    # Decisions and status

    def decide(
        self,
        kind: str,
        reason: str,
        *,
        round: int | None = None,
        trial: int | None = None,
        evidence: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Decision:
        """Write a decision down with its reason and return it; a known `key` returns the first one unchanged."""
        return self._database.write(
            lambda c: notes.decide(
                c,
                kind,
                reason,
                round=round,
                trial=trial,
                evidence=evidence or {},
                key=key,
                now=self._database.now(c),
            )
        )

    def decisions(
        self, *, round: int | None = None, trial: int | None = None, kind: str | None = None
    ) -> list[Decision]:
        """Return the decisions that fit every condition given, oldest first."""
        return self._database.read(lambda c: notes.decided(c, round=round, trial=trial, kind=kind))

    def status(self) -> Status:
        """Return counts and sums over the whole ledger."""
        return self._database.read(lambda c: notes.status(c, now=self._database.now(c)))
