"""One run folder that `otpilot train` wrote, however it ended."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from otpilot.errors import RunError
from otpilot.runs.columns import MetricTable, TextLine
from otpilot.runs.counting import agree, counted
from otpilot.runs.history import Curve, Event, RunHistory, State
from otpilot.runs.lines import ALARM, number, read_table
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_outcome
from otpilot.runs.sources.curves import canonical_curves
from otpilot.runs.sources.state import last_change, silent_state

EMPTY = MetricTable(columns={}, texts=(), rows=0, skipped=0)


def is_run_folder(path: Path) -> bool:
    """Whether a folder is a run; a config.json alone is not enough, because checkpoints have one, too."""
    paths = RunPaths(path)
    return paths.metrics.is_file() or paths.outcome.is_file()


def read_run_folder(folder: Path, *, id: str | None = None) -> RunHistory:
    """Return one run folder's history, however the run ended; what was lost stands in its notes.

    Raises:
        OSError: If metrics.jsonl is there but cannot be opened.
    """
    paths = RunPaths(folder)
    notes: list[str] = []
    table = read_table(paths.metrics) if paths.metrics.is_file() else EMPTY
    if not paths.metrics.is_file():
        notes.append("There is no metrics.jsonl.")
    if table.skipped:
        total, lost = counted(table.rows + table.skipped, "line"), table.skipped
        told = agree(lost, "is torn or garbled and was", "are torn or garbled and were")
        notes.append(f"{lost} of {total} of metrics.jsonl {told} left out.")
    events, doubtful = _events(table.texts)
    notes += doubtful
    curves, more = canonical_curves(
        (f"{kind}/{name}", Curve(name=name, steps=column.steps, values=column.values, times=column.times))
        for (kind, name), column in table.columns.items()
    )
    changed = last_change((paths.metrics, paths.outcome))
    state, reason = _ending(folder, curves, changed, notes)
    return RunHistory(
        id=id or folder.name,
        name=folder.name,
        source=str(folder),
        state=state,
        reason=reason,
        config=_config(paths.config, notes),
        curves=curves,
        events=events,
        updated=changed,
        notes=(*notes, *more),
    )


def _ending(folder: Path, curves: Mapping[str, Curve], changed: float | None, notes: list[str]) -> tuple[State, str]:
    try:
        outcome = read_outcome(folder)
    except (RunError, OSError, RecursionError) as error:
        notes.append(f"outcome.json could not be used: {error}")
        outcome = None
    if outcome is not None:
        return outcome.status, outcome.reason
    logged = [curve.times for name, curve in curves.items() if name.startswith("train/") and curve.times is not None]
    return silent_state(changed, max(logged, key=len, default=np.array([])))


def _config(path: Path, notes: list[str]) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        notes.append("There is no config.json.")
        return {}
    except (OSError, ValueError, RecursionError) as error:
        notes.append(f"config.json is damaged: {error}.")
        return {}
    if not isinstance(body, dict):
        notes.append("config.json is not a JSON object.")
        return {}
    return body


def _events(texts: Sequence[TextLine]) -> tuple[tuple[Event, ...], list[str]]:
    """Return alarms as events; other lines with text are told, because their text is no metric."""
    events: list[Event] = []
    strange: set[str] = set()
    for line in texts:
        values = dict(line.values)
        kind, message = values.pop(ALARM, None), values.pop("message", "")
        if line.kind == "health" or kind is not None:
            events.append(Event(step=line.step, kind=str(kind or line.kind), message=str(message), values=values))
        else:
            strange.update(f"{line.kind}/{name}" for name, value in line.values.items() if number(value) is None)
    if not strange:
        return tuple(events), []
    listed = ", ".join(sorted(strange)[:5]) + (", ..." if len(strange) > 5 else "")
    note = f"Values that are no numbers were left out: {listed}."
    return tuple(events), [note]
