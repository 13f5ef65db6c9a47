"""CSV tables of metrics: wide (a column a metric), long (metric and value columns), or exported by W&B's charts."""

import csv
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import TextIO

from otpilot.errors import RunError
from otpilot.runs.counting import agree
from otpilot.runs.history import RunHistory
from otpilot.runs.sources.curves import CurveBuilder
from otpilot.runs.sources.state import last_change

STEPS = ("step", "_step", "global_step", "train/global_step", "trainer/global_step", "steps", "iteration")
TIMES = ("time", "_timestamp", "timestamp", "wall_time")
RUNS = ("run", "run_id", "run_name", "run id", "run name")
METRICS = ("metric", "key", "tag")
VALUES = ("value",)
# Columns that are no metric.
IGNORED = ("", "unnamed: 0", "_runtime", "relative time (process)", "relative time (wall)", "wall time")
# W&B's charts export "run - metric", and the envelope of runs that were thinned out.
SEPARATOR = " - "
ENVELOPE = ("__MIN", "__MAX", "__min", "__max")
CELL_LIMIT = 1 << 24


@dataclass(kw_only=True, eq=False)
class CsvFile:
    """One table, one run or several."""

    path: Path
    problems: list[str] = field(default_factory=list)

    def runs(self) -> Iterator[RunHistory]:
        """Yield each run, by its first row or column."""
        csv.field_size_limit(CELL_LIMIT)
        try:
            with self.path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                runs = _read(file, self.path)
        except (RunError, OSError, csv.Error) as error:
            told = error.strerror if isinstance(error, OSError) else error
            self.problems.append(str(error) if isinstance(error, RunError) else f"{self.path}: {told}.")
            return
        changed = last_change([self.path])
        for name, run in runs.items():
            curves, notes = run.builder.build()
            if run.lost:
                told = agree(
                    run.lost,
                    "cell or row is no number, or has no step, and was",
                    "cells or rows are no numbers, or have no step, and were",
                )
                notes.append(f"{run.lost} {told} left out.")
            yield RunHistory(
                id=name, name=name, source=str(self.path), curves=curves, updated=changed, notes=tuple(notes)
            )


@dataclass(kw_only=True, eq=False)
class _Run:
    builder: CurveBuilder = field(default_factory=CurveBuilder)
    lost: int = 0


@dataclass(frozen=True, kw_only=True)
class _Form:
    """Which column is what, by number."""

    step: int
    time: int | None
    run: int | None
    metric: int | None
    value: int | None
    # wide: column, run (None: the file's or the run column's), metric
    columns: tuple[tuple[int, str | None, str], ...] = ()


def _read(file: TextIO, path: Path) -> dict[str, _Run]:
    start = file.read(1 << 16)
    file.seek(0)
    head = start.splitlines()[0] if start.strip() else ""
    delimiter = max(",;\t", key=head.count)
    rows = csv.reader(file, delimiter=delimiter)
    header = next(rows, [])
    form = _form(header, path)
    names = dict.fromkeys(run for _, run, _ in form.columns if run is not None)
    alone = form.run is None and not names
    runs = {name: _Run() for name in (names or ([path.stem] if alone else []))}
    ended = _ends(path)
    row: list[str] = []
    for following in chain(rows, [None]):
        if following is None and not ended and len(row) < len(header):
            row = [""] * len(header)  # torn: its last number may be half of one
        if row:
            _take(row, form, runs, path.stem)
        row = following or []
    return runs


def _ends(path: Path) -> bool:
    """Whether the last line of a file is a whole one."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1))
        return file.read(1) in {b"\n", b"\r", b""}


def _form(header: Sequence[str], path: Path) -> _Form:
    """Return what the columns are.

    Raises:
        RunError: If there is no step, or no metric.
    """
    lower = [name.strip().lower() for name in header]

    def column(names: Sequence[str]) -> int | None:
        return next((lower.index(name) for name in names if name in lower), None)

    step = column(STEPS)
    if step is None:
        raise RunError(
            f"{path} has no column for the step; it has {', '.join(map(repr, header[:8])) or 'no header'}. "
            f"Allowed: {', '.join(STEPS)}."
        )
    time, run, metric, value = column(TIMES), column(RUNS), column(METRICS), column(VALUES)
    if metric is not None and value is not None:
        return _Form(step=step, time=time, run=run, metric=metric, value=value)
    taken = {step, time, run}
    columns: list[tuple[int, str | None, str]] = []
    told: list[tuple[int, str, str]] = []
    for index, name in enumerate(header):
        if index in taken or lower[index] in IGNORED or lower[index] in STEPS:
            continue
        owner, separator, own = name.rpartition(SEPARATOR)
        if own.endswith(ENVELOPE) or own in STEPS:
            continue
        # Two runs of one name, which W&B allows, are two runs.
        again = sum((other, metric) == (owner, own) for _, other, metric in told) if separator else 0
        told.append((index, owner, own))
        named = f"{owner}#{again + 1}" if again else owner
        columns.append((index, named, own) if separator else (index, None, name.strip()))
    return _Form(step=step, time=time, run=run, metric=None, value=None, columns=tuple(columns))


def _take(row: Sequence[str], form: _Form, runs: dict[str, _Run], alone: str) -> None:
    """Add one row; short rows lack their last cells."""

    def cell(index: int | None) -> str:
        return row[index].strip() if index is not None and index < len(row) else ""

    default = cell(form.run) or alone
    step = _float(cell(form.step))
    if step is None or not math.isfinite(step) or step != int(step):
        _run(runs, default, form).lost += 1
        return
    time = _moment(cell(form.time))
    cells = form.columns if form.metric is None else [(form.value, None, cell(form.metric))]
    if form.run is not None:
        runs.setdefault(default, _Run())
    for index, owner, metric in cells:
        text = cell(index)
        if not text:
            continue
        run = runs[owner] if owner is not None else runs.setdefault(default, _Run())
        number = _float(text)
        if number is None or not metric:
            run.lost += 1
        else:
            run.builder.add(metric, step=int(step), value=number, time=time)


def _run(runs: dict[str, _Run], name: str, form: _Form) -> _Run:
    """Return the run that a row without a step belongs to."""
    if form.run is None and runs:
        return next(iter(runs.values()))
    return runs.setdefault(name, _Run())


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _moment(text: str) -> float | None:
    """Return a time as seconds since the epoch, given so or in ISO form."""
    seconds = _float(text)
    if seconds is not None or not text:
        return seconds
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
