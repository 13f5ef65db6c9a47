"""W&B's offline runs: the `.wandb` file that its client writes, read with its own record classes.

wandb 0.31 has no reader in Python; `wandb leet inspect` stops at the first damage. The framing is read in wandb_log.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otpilot.errors import RunError
from otpilot.runs.counting import agree, counted
from otpilot.runs.history import RunHistory, State
from otpilot.runs.lines import number
from otpilot.runs.sources.curves import CurveBuilder, flat_items
from otpilot.runs.sources.state import last_change, silent_state
from otpilot.runs.sources.wandb_log import Damage, read_records

# What an interrupted process exits with: SIGINT as W&B's client reports it, then shells' 128 + signal.
KILLED_CODES = (255, 130, 137, 143)


@dataclass(kw_only=True, eq=False)
class WandbFiles:
    """W&B's offline runs, one file each."""

    files: tuple[Path, ...]
    problems: list[str] = field(default_factory=list)

    def runs(self) -> Iterator[RunHistory]:
        """Yield each file's run, in the order given."""
        for path in self.files:
            try:
                yield read_wandb_file(path)
            except (RunError, OSError) as error:
                self.problems.append(str(error) if isinstance(error, RunError) else f"{path}: {error.strerror}.")


@dataclass(kw_only=True, eq=False)
class _Reading:
    """What the records of one file add up to."""

    curves: CurveBuilder = field(default_factory=CurveBuilder)
    config: dict[str, Any] = field(default_factory=dict)
    run: Any = None
    exit_code: int | None = None
    rows: int = 0
    records: int = 0
    undecoded: int = 0
    last_number: int = 0
    skipped_numbers: int = 0


def read_wandb_file(path: Path) -> RunHistory:
    """Return the run of a `.wandb` file: every intact record counts, whatever lies around it is damaged.

    Raises:
        RunError: If nothing in the file is a record of W&B, or its client is not installed.
        OSError: If the file cannot be read.
    """
    data = path.read_bytes()
    reading, damage = _Reading(), Damage()
    record_class = _record_class()
    for raw in read_records(data, damage):
        record = record_class()
        try:
            record.ParseFromString(raw)
        except Exception:  # protobuf's DecodeError; its module moves between versions
            reading.undecoded += 1
            continue
        _take(record, reading)
    if not reading.records and damage.header:
        raise RunError(f"{path} holds no record of W&B ({len(data)} bytes). Is it a `.wandb` file?")
    notes = _notes(reading, damage)
    curves, more = reading.curves.build()
    state, reason = _ending(path, reading)
    run = reading.run
    return RunHistory(
        id=run.run_id if run else path.stem.removeprefix("run-"),
        name=(run.display_name or run.run_id) if run else path.stem,
        source=str(path),
        state=state,
        reason=reason,
        config=reading.config,
        curves=curves,
        url=f"https://wandb.ai/{run.entity}/{run.project}/runs/{run.run_id}" if run and run.entity else None,
        group=(run.run_group or None) if run else None,
        tags=tuple(run.tags) if run else (),
        updated=last_change([path]),
        notes=(*notes, *more),
    )


def _record_class() -> Any:
    try:
        from wandb.proto import wandb_internal_pb2
    except ImportError as error:
        raise RunError("Reading .wandb files needs W&B's client: install wandb>=0.31.") from error
    return wandb_internal_pb2.Record  # type: ignore[attr-defined]  # the module re-exports one of three versions


def _take(record: Any, reading: _Reading) -> None:
    """Add one record; the kinds that say nothing of curves or config are only counted."""
    reading.records += 1
    if record.num > reading.last_number:
        reading.skipped_numbers += record.num - reading.last_number - 1
        reading.last_number = record.num
    kind = record.WhichOneof("record_type")
    if kind == "history":
        _take_row(record.history, reading)
    elif kind == "run":
        reading.run = record.run
        _take_config(record.run.config, reading.config)
    elif kind == "config":
        _take_config(record.config, reading.config)
    elif kind == "exit":
        reading.exit_code = record.exit.exit_code


def _take_row(history: Any, reading: _Reading) -> None:
    values: dict[str, Any] = {}
    for item in history.item:
        value = _value(item.value_json)
        name = ".".join(item.nested_key) or item.key
        values.update(flat_items({name: value}))
    step = number(values.get("_step"))
    time = number(values.get("_timestamp"))
    at = int(step) if step is not None and math.isfinite(step) else history.step.num
    reading.rows += 1
    for name, raw in values.items():
        value = None if name.startswith("_") else number(raw)
        if value is not None:
            reading.curves.add(name, step=at, value=value, time=time)


def _take_config(changes: Any, config: dict[str, Any]) -> None:
    for item in changes.update:
        _place(config, list(item.nested_key) or [item.key], _value(item.value_json))
    for item in changes.remove:
        config.pop(item.key or ".".join(item.nested_key), None)
    config.pop("_wandb", None)


def _place(config: dict[str, Any], path: list[str], value: Any) -> None:
    for key in path[:-1]:
        inner = config.get(key)
        if not isinstance(inner, dict):
            inner = config[key] = {}
        config = inner
    config[path[-1]] = value


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _ending(path: Path, reading: _Reading) -> tuple[State, str]:
    if reading.exit_code is None:
        return silent_state(last_change([path]))
    if reading.exit_code == 0:
        return "finished", ""
    state: State = "killed" if reading.exit_code in KILLED_CODES else "crashed"
    return state, f"exit code {reading.exit_code}"


def _notes(reading: _Reading, damage: Damage) -> list[str]:
    """Say what was lost, in bytes and in records: W&B numbers its records, so that holes are counted."""
    notes: list[str] = []
    if damage.header:
        notes.append("The file's header is damaged; it was read as a W&B file of version 0.")
    if damage.places:
        where = ", ".join(str(start) for start, _ in damage.places[:5]) + (", ..." if len(damage.places) > 5 else "")
        size, places = counted(damage.bytes, "byte"), counted(len(damage.places), "place")
        notes.append(f"{size} in {places} {agree(damage.bytes, 'is', 'are')} damaged (at {where}).")
    if damage.torn_at is not None:
        notes.append(f"The file ends within a record (at {damage.torn_at}); what came before was read.")
    lost = reading.skipped_numbers + reading.undecoded
    if lost:
        gone = f"{lost} of {counted(reading.last_number, 'record')} {agree(lost, 'is', 'are')} lost"
        kept = f"{counted(reading.rows, 'row')} of history {agree(reading.rows, 'was', 'were')} read"
        notes.append(f"{gone}; {kept}.")
    if reading.run is None:
        notes.append(
            "The record with the run's name and config is lost." if reading.records else "The file holds no record."
        )
    return notes
