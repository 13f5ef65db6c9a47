"""The engine under the ledger: transactions that take turns, a clock, and patience with a database that is away."""

import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, StatementError

from otpilot.errors import LedgerError
from otpilot.pilot.ledger.migrations import migrate, stored_version

BUSY_S = 30.0
DIALECTS = ("sqlite", "postgresql")
# SQLSTATE classes that pass by themselves: lost connection, server shutting down or starting, serialisation,
# deadlock, and a unique key that another writer took in between (asked again, we find its row).
PASSING = ("08", "57P", "40001", "40P01", "53300", "23505")

# What a server that restarts, or recovers from a crash, says to whoever connects; such errors carry no SQLSTATE.
AWAY = (
    "refused", "server closed", "starting up", "shutting down", "not yet accepting", "recovery mode", "terminating",
    "timeout", "no such file",
)  # fmt: skip


class Database:
    """A connection pool to one ledger. Every method may be called from several threads."""

    def __init__(
        self, url: URL, *, schema: str | None, patience_s: float, clock: Callable[[], float] | None = None
    ) -> None:
        self.url = url
        self.schema = schema
        self.patience_s = patience_s
        self._clock = clock
        self.engine = _make_engine(url, schema)

    def now(self, connection: Connection) -> float:
        """Return seconds since the epoch by the ledger's clock: PostgreSQL's own, so that machines need not agree."""
        if self._clock is not None:
            return self._clock()
        if connection.dialect.name == "postgresql":
            return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
        return time.time()

    def up_s(self, connection: Connection) -> float:
        """Return for how long the database has been there: owners could not extend their leases before."""
        if self._clock is not None or connection.dialect.name != "postgresql":
            return math.inf
        query = text("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())")
        return float(connection.execute(query).scalar_one())

    def write[T](self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, run in one transaction that no other writer overlaps where it would matter.

        `work` is run again when the database was away or busy, so it must be idempotent.
        """
        return self._patiently(lambda: self._transaction(work, write=True))

    def read[T](self, work: Callable[[Connection], T]) -> T:
        """Return what `work` returns, run in one transaction that sees one moment."""
        return self._patiently(lambda: self._transaction(work, write=False))

    def prepare(self, *, must_exist: bool = False) -> None:
        """Make or migrate the tables.

        Raises:
            LedgerError: If the database cannot be reached, is none of ours, is newer than this otpilot, or has no
                ledger and must have one.
        """

        def work(connection: Connection) -> None:
            if must_exist and stored_version(connection) == 0:
                raise LedgerError(
                    f"There is no ledger at {self.shown}; begin a campaign there with `otpilot loop start`."
                )
            if self.schema is not None:
                quoted = connection.dialect.identifier_preparer.quote(self.schema)
                connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
            migrate(connection, now=self.now(connection))

        self._patiently(lambda: self._transaction(work, write=True), opening=True)

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _transaction[T](self, work: Callable[[Connection], T], *, write: bool) -> T:
        with self.engine.connect().execution_options(otpilot_write=write) as connection, connection.begin():
            return work(connection)

    def _patiently[T](self, attempt: Callable[[], T], *, opening: bool = False) -> T:
        """Try until `patience_s` is over; only failures that pass by themselves are tried again.

        While opening, a database that cannot be reached is more likely a wrong address than one that comes back.
        """
        deadline = time.monotonic() + self.patience_s
        wait = 0.02
        while True:
            try:
                return attempt()
            except StatementError as error:
                if isinstance(error.orig, LedgerError):  # from `dump`
                    raise error.orig from None
                if not isinstance(error, DBAPIError):
                    raise
                if not _passes(error, away=not opening) or time.monotonic() + wait > deadline:
                    raise LedgerError(f"The ledger at {self.shown} cannot be used: {_first_line(error)}") from error
            time.sleep(wait * random.uniform(0.5, 1.5))
            wait = min(2 * wait, 2.0)

    @property
    def shown(self) -> str:
        """The address without its password."""
        return self.url.render_as_string(hide_password=True)


def parse_where(where: Path | str) -> URL:
    """Return the URL of a ledger given as a file or a URL; PostgreSQL is spoken with psycopg 3.

    Raises:
        LedgerError: If the URL cannot be read or names another database.
    """
    if isinstance(where, Path) or "://" not in where:
        return URL.create("sqlite", database=str(where))
    try:
        url = make_url(where)
    except (ArgumentError, ValueError) as error:
        raise LedgerError(f"Cannot read the ledger's address: {error}.") from error
    name = url.get_backend_name()
    name = "postgresql" if name == "postgres" else name
    if name not in DIALECTS:
        raise LedgerError(
            f"A ledger lies in {' or '.join(DIALECTS)}, not in {name!r}; got {where.split('://')[0]}://..."
        )
    return url.set(drivername="postgresql+psycopg") if name == "postgresql" else url


def dump(value: Any) -> str:
    """Return JSON that every database takes: NaN and infinities as strings, as in metrics.jsonl."""
    try:
        return json.dumps(_finite(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except TypeError as error:
        raise LedgerError(f"The ledger stores plain data only (numbers, text, lists, dicts): {error}.") from error


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def _make_engine(url: URL, schema: str | None) -> Engine:
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite and schema is not None:
        raise LedgerError(f"schema = {schema!r} is for PostgreSQL; give another file instead.")
    if sqlite and url.database:
        folder = Path(url.database).parent
        if not folder.is_dir():
            raise LedgerError(f"The ledger {url.database} cannot be made: there is no folder {folder}.")
    try:
        engine = create_engine(
            url,
            json_serializer=dump,
            pool_pre_ping=not sqlite,
            connect_args={"timeout": BUSY_S} if sqlite else {"connect_timeout": 10},
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise LedgerError(
            f"A ledger in PostgreSQL needs psycopg ({error}); install it with: pip install 'otpilot[postgres]'."
        ) from error
    if sqlite:
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif schema is not None:
        event.listen(engine, "connect", _search_path(schema))
    return engine


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves
    for pragma in ("foreign_keys = ON", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        connection.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: Connection) -> None:
    # A writer asks for the lock at once: one that reads first and writes later would fail instead of waiting.
    write = connection.get_execution_options().get("otpilot_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _search_path(schema: str) -> Callable[[Any, Any], None]:
    def set_up(connection: Any, _record: Any) -> None:
        quoted = '"' + schema.replace('"', '""') + '"'
        with _autocommit(connection), connection.cursor() as cursor:
            cursor.execute(f"SET search_path TO {quoted}")

    return set_up


@contextmanager
def _autocommit(connection: Any) -> Iterator[None]:
    before = connection.autocommit
    connection.autocommit = True
    try:
        yield
    finally:
        connection.autocommit = before


def _passes(error: DBAPIError, *, away: bool) -> bool:
    """Return whether trying again may help; `away`: also when the database did not answer at all."""
    if error.connection_invalidated:
        return away
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(PASSING)
    message = str(error.orig).lower()
    if isinstance(error, OperationalError):
        words = (
            "locked",
            "busy",
            *(AWAY if away else ()),
        )
        return any(word in message for word in words)
    return False


def _first_line(error: DBAPIError) -> str:
    return (str(error.orig).strip().splitlines() or [type(error.orig).__name__])[0]
