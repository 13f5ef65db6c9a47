"""Trackio's SQLite file: one project, several runs; read only, whichever version of Trackio wrote it."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from otpilot.runs.counting import agree, counted
from otpilot.runs.history import Event, RunHistory
from otpilot.runs.lines import number
from otpilot.runs.sources.curves import CurveBuilder, flat_items
from otpilot.runs.sources.state import SILENCE_S, last_change, silent_state, utc_seconds

TABLE = "metrics"


@dataclass(kw_only=True, eq=False)
class TrackioFile:
    """The runs of one Trackio project."""

    path: Path
    problems: list[str] = field(default_factory=list)

    def runs(self) -> Iterator[RunHistory]:
        """Yield each run, by the order of its first row, one in memory at a time."""
        try:
            with closing(_opened(self.path)) as database:
                tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
                if TABLE not in tables:
                    self.problems.append(f"{self.path} is no Trackio file: it has no table `metrics`.")
                    return
                key = "run_id" if "run_id" in _columns(database, TABLE) else "run_name"
                for run_id, name in _names(database, key, tables):
                    yield _run(database, self.path, (key, run_id, name), tables)
        except sqlite3.Error as error:
            self.problems.append(f"{self.path} could not be read to its end: {error}.")


def _opened(path: Path) -> sqlite3.Connection:
    """Return a read-only connection; where not even SQLite's index of a shared log may be written, without that log."""
    place = f"file:{quote(str(path.resolve()))}?mode=ro"
    database = sqlite3.connect(place, uri=True)
    try:
        database.execute("SELECT name FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        database.close()
        database = sqlite3.connect(f"{place}&immutable=1", uri=True)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in database.execute(f"PRAGMA table_info({table})")}


def _names(database: sqlite3.Connection, key: str, tables: set[str]) -> list[tuple[str, str]]:
    """Return id and name of every run, those with a config and no row included."""
    found = dict(database.execute(f"SELECT {key}, MAX(run_name) FROM metrics GROUP BY {key} ORDER BY MIN(id)"))
    if "configs" in tables and key in _columns(database, "configs"):
        for run_id, name in database.execute(f"SELECT {key}, run_name FROM configs ORDER BY id"):
            found.setdefault(run_id, name)
    return [(str(run_id), str(name)) for run_id, name in found.items()]


def _run(database: sqlite3.Connection, path: Path, run: tuple[str, str, str], tables: set[str]) -> RunHistory:
    key, run_id, name = run
    builder, broken, last = CurveBuilder(), 0, None
    query = f"SELECT step, timestamp, metrics FROM metrics WHERE {key} = ? ORDER BY id"
    for step, moment, text in database.execute(query, (run_id,)):
        values = _parse(text)
        at = number(step)
        if values is None or at is None:
            broken += 1
            continue
        last = utc_seconds(str(moment)) or last
        for metric, raw in flat_items(values):
            value = number(raw)
            if value is not None:
                builder.add(metric, step=int(at), value=value, time=utc_seconds(str(moment)))
    curves, notes = builder.build()
    if broken:
        told = agree(broken, "is garbled and was", "are garbled and were")
        notes.append(f"{counted(broken, 'row')} {told} left out.")
    config = _config(database, key, run_id, tables)
    group = config.pop("_Group", None)
    # Trackio keeps no outcome; a run that logged a moment ago is running, of another nothing is known.
    state = silent_state(last)[0] if last is not None else "unknown"
    return RunHistory(
        id=run_id,
        name=name,
        source=str(path),
        state="running" if state == "running" else "unknown",
        reason="" if state == "running" else f"Trackio keeps no outcome; the last row is older than {SILENCE_S:.0f} s",
        config={word: value for word, value in config.items() if not word.startswith("_")},
        curves=curves,
        events=_alerts(database, key, run_id, tables),
        group=group if isinstance(group, str) else None,
        updated=last if last is not None else last_change([path]),
        notes=tuple(notes),
    )


def _config(database: sqlite3.Connection, key: str, run_id: str, tables: set[str]) -> dict[str, Any]:
    if "configs" not in tables or key not in _columns(database, "configs"):
        return {}
    row = database.execute(f"SELECT config FROM configs WHERE {key} = ?", (run_id,)).fetchone()
    return (_parse(row[0]) if row else None) or {}


def _alerts(database: sqlite3.Connection, key: str, run_id: str, tables: set[str]) -> tuple[Event, ...]:
    if "alerts" not in tables or key not in _columns(database, "alerts"):
        return ()
    rows = database.execute(f"SELECT step, level, title, text FROM alerts WHERE {key} = ? ORDER BY id", (run_id,))
    return tuple(
        Event(step=int(step or 0), kind=str(level), message=": ".join(part for part in (title, text) if part))
        for step, level, title, text in rows
    )


def _parse(text: Any) -> dict[str, Any] | None:
    try:
        body = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    return body if isinstance(body, dict) else None
