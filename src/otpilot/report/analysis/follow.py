"""Run folders as they grow: of each log only the new bytes are read, however long it has become."""

import json
import math
import os
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from otpilot.errors import RunError
from otpilot.runs.history import State
from otpilot.runs.paths import PILOT, RunPaths
from otpilot.runs.reader import read_outcome
from otpilot.runs.record import MetricRecord
from otpilot.runs.sources.folder import NEVER_RUNS
from otpilot.runs.sources.run_folder import is_run_folder
from otpilot.runs.sources.state import last_change, silent_state

CHUNK = 1 << 20
LONGEST_LINE = 1 << 24
"""Bytes without a line's end after which they are given up: garbage, not a line still being written."""
ALIVE = {"running": 0, "starting": 1}
RECENT = 20
"""Train lines from which speed is measured."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a run stands: what one row of the live table shows. Speed in steps per second; eta in seconds.

    A run that has logged nothing yet is starting: it imports, reads data, fits views.
    `alarm` is the kind of the newest alarm, `message` its words; both are empty without one.
    """

    name: str
    state: State | Literal["starting"]
    step: int
    total: int | None
    values: Mapping[str, float]
    speed: float | None
    eta: float | None
    alarm: str
    message: str
    updated: float | None


@dataclass(kw_only=True)
class FollowedRun:
    """One run folder: what was read of its log so far, and where to read on."""

    name: str
    paths: RunPaths
    offset: int = 0
    bytes_read: int = 0
    step: int = 0
    values: dict[str, float] = field(default_factory=dict)
    alarm: str = ""
    message: str = ""
    _rest: bytes = b""
    _inode: int = 0
    _total: int | None = None
    _recent: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RECENT))

    def refresh(self) -> Standing:
        """Read what is new and return how the run stands; a log that is not there yet is no error."""
        self._read_new()
        if self._total is None:
            self._total = _planned_steps(self.paths.config)
        state = self._state()
        speed = self._speed()
        left = None if self._total is None else max(0, self._total - self.step)
        eta = left / speed if state == "running" and left is not None and speed else None
        return Standing(
            name=self.name, state=state, step=self.step, total=self._total, values=dict(self.values), speed=speed,
            eta=eta, alarm=self.alarm, message=self.message,
            updated=last_change((self.paths.metrics, self.paths.outcome, *self._first_signs())),
        )  # fmt: skip

    def _read_new(self) -> None:
        try:
            with self.paths.metrics.open("rb") as file:
                status = self.paths.metrics.stat()
                # A resumed run rewrites its log: another file, or a shorter one.
                if status.st_ino != self._inode or status.st_size < self.offset:
                    self._start_over(status.st_ino)
                file.seek(self.offset)
                while chunk := file.read(CHUNK):
                    self.offset += len(chunk)
                    self.bytes_read += len(chunk)
                    self._take(chunk)
        except OSError:
            return

    def _start_over(self, inode: int) -> None:
        self._inode, self.offset, self._rest = inode, 0, b""
        self.step, self.alarm, self.message = 0, "", ""
        self._total = None  # it may have been given more steps
        self.values.clear()
        self._recent.clear()

    def _take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            self._rest = b""
        for line in lines:
            try:
                self._note(MetricRecord.from_line(line.decode("utf-8", errors="replace")))
            except (ValueError, OverflowError, RecursionError):
                continue  # a torn or garbled line says nothing; `otpilot analyze` counts them

    def _note(self, record: MetricRecord) -> None:
        self.step = max(self.step, record.step)
        if record.kind == "health" or "alarm" in record.values:
            self.alarm = str(record.values.get("alarm") or record.kind)
            self.message = str(record.values.get("message") or "")
        if record.kind == "train":
            self._recent.append((record.time, record.step))
        for name, value in record.values.items():
            if isinstance(value, int | float):
                self.values[f"{record.kind}/{name}"] = float(value)

    def _first_signs(self) -> tuple[Path, ...]:
        """Return the files that tell that a run has begun, before it logs; none once it does."""
        if self.paths.metrics.exists():
            return ()
        printed = RunPaths(self.paths.pilot).stdout
        return (printed, self.paths.stdout, self.paths.config, self.paths.environment)

    def _state(self) -> State | Literal["starting"]:
        try:
            outcome = read_outcome(self.paths.root)
        except (RunError, OSError, RecursionError):
            return "unknown"
        if outcome is not None:
            return outcome.status
        if signs := self._first_signs():
            ended = _ended_early(self.paths.pilot)
            state = ended or silent_state(last_change(signs), np.array([]))[0]
            return "starting" if state == "running" else state
        times = np.array([time for time, _ in self._recent])
        return silent_state(last_change((self.paths.metrics, self.paths.config)), times)[0]

    def _speed(self) -> float | None:
        """Return steps per second between the oldest and newest of the last train lines."""
        if len(self._recent) < 2:
            return None
        (start, first), (end, last) = self._recent[0], self._recent[-1]
        seconds, steps = end - start, last - first
        return steps / seconds if seconds > 0 and steps > 0 and math.isfinite(seconds) else None


class FollowedFolder:
    """All run folders at or below a root; runs that appear later are followed from then on."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs: dict[Path, FollowedRun] = {}

    def refresh(self) -> list[Standing]:
        """Return how every run stands, those still running first, those that start next, then the newest first."""
        found = set(_folders(self.root))
        for folder in sorted(found):
            if folder not in self.runs:
                name = folder.name if folder == self.root else folder.relative_to(self.root).as_posix()
                self.runs[folder] = FollowedRun(name=name, paths=RunPaths(folder))
        for folder in [folder for folder in self.runs if folder not in found and not folder.is_dir()]:
            del self.runs[folder]
        standings = [run.refresh() for run in self.runs.values()]
        return sorted(standings, key=lambda one: (ALIVE.get(one.state, 2), -(one.updated or 0.0), one.name))


def _folders(folder: Path) -> Iterator[Path]:
    """Yield the run folders at or below a folder: with a log, with other first signs, and those still to be made."""
    own = RunPaths(folder)
    if is_run_folder(folder) or own.stdout.is_file() or own.environment.is_file():
        yield folder
        return
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False))
    except OSError:
        return
    if PILOT in names:
        yield from (folder / path.parent.name for path in (folder / PILOT).glob("*/stdout.log"))
    for name in names:
        if name not in NEVER_RUNS and not name.startswith("."):
            yield from _folders(folder / name)


def _ended_early(pilot: Path) -> State | None:
    """Return how a campaign's trial ended that never logged; None while it lives, as far as its supervisor said."""
    job, left = (_read(pilot / name) for name in ("job.json", "exit.json"))
    if left.get("token") is None or left["token"] != job.get("token"):
        return None
    return "crashed" if left.get("ended_by") == "itself" else "killed"


def _read(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _planned_steps(path: Path) -> int | None:
    steps = _read(path).get("steps")
    return steps if isinstance(steps, int) and steps > 0 else None
