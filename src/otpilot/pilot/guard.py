"""The live guard: reads what a running trial adds to metrics.jsonl and says when to end it early, and why."""

import math
import os
import statistics
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from otpilot.errors import ExecutorError
from otpilot.pilot.states import EndState
from otpilot.runs.record import MetricRecord

CHUNK = 1 << 20
# A line longer than this is no metrics line; it is not kept in memory while its end is awaited.
LINE_LIMIT = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Stop:
    """The guard's wish to end a trial: the state to record, why, and the step where it showed."""

    reason: str
    state: EndState = "invalid"
    step: int | None = None


# Given the values seen at or behind its step (by canonical kind and name, newest), returns why it is hopeless, or None.
Hopeless = Callable[[int, Mapping[tuple[str, str], float]], str | None]


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """When a trial is ended early. Names are those of the trainer's log, without prefix.

    Attributes:
        losses: Train metrics that must stay finite.
        gradients: Train metrics that must not explode.
        gradient_ceiling: More than this is an explosion, whatever was before.
        gradient_factor: More than so many times the median of the last `gradient_window` rows is one, too.
        gradient_window: Rows that the median looks back; the factor counts from the `gradient_rows`-th row on.
        gradient_rows: Rows before the median is trusted.
        gradient_patience: So many rows in a row must be too high (or not finite): one spike is clipped away.
        start_s: Time until the first row.
        hang_s: Time between rows.
        garbage_lines: So many unreadable lines, and more than readable ones, end the trial.
        hopeless_step: From this step on `hopeless` is asked at each row.
        hopeless: Says why a trial cannot become good any more, or None.
    """

    losses: Sequence[str] = ("loss",)
    gradients: Sequence[str] = ("grad_norm",)
    gradient_ceiling: float = 1e6
    gradient_factor: float = 100.0
    gradient_window: int = 50
    gradient_rows: int = 10
    gradient_patience: int = 3
    start_s: float = 1800.0
    hang_s: float = 1800.0
    garbage_lines: int = 20
    hopeless_step: int = 0
    hopeless: Hopeless | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("gradient_ceiling", "start_s", "hang_s"):
            if not getattr(self, name) > 0:
                raise ExecutorError(f"guard.{name} is {getattr(self, name)}; allowed: above 0.")
        if not self.gradient_factor > 1:
            raise ExecutorError(f"guard.gradient_factor is {self.gradient_factor}; allowed: above 1.")
        for name in ("gradient_window", "gradient_rows", "gradient_patience", "garbage_lines"):
            if getattr(self, name) < 1:
                raise ExecutorError(f"guard.{name} is {getattr(self, name)}; allowed: 1 or more.")
        if self.gradient_rows > self.gradient_window:
            raise ExecutorError(
                f"guard.gradient_rows is {self.gradient_rows}; allowed: up to gradient_window ({self.gradient_window})."
            )


class Tail:
    """Reads a growing metrics.jsonl, each byte once. A torn last line waits; a file that was replaced is read anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.intact = 0
        self.garbled = 0
        self._inode: int | None = None
        self._offset = 0
        self._torn = b""
        self._skipping = False

    def read(self) -> tuple[list[MetricRecord], bool]:
        """Return the new records, and whether the file began anew since the last call."""
        try:
            with self.path.open("rb") as file:
                state = os.fstat(file.fileno())
                anew = self._inode is not None and (state.st_ino != self._inode or state.st_size < self._offset)
                if anew or self._inode is None:
                    self._begin(state.st_ino)
                file.seek(self._offset)
                records: list[MetricRecord] = []
                while chunk := file.read(CHUNK):
                    self._offset += len(chunk)
                    records += self._lines(chunk)
                return records, anew
        except FileNotFoundError:
            return [], False

    def _begin(self, inode: int) -> None:
        self._inode, self._offset, self._torn, self._skipping = inode, 0, b"", False
        self.intact = self.garbled = 0

    def _lines(self, chunk: bytes) -> list[MetricRecord]:
        *lines, self._torn = (self._torn + chunk).split(b"\n")
        if self._skipping and lines:
            self._skipping = False
            lines = lines[1:]  # the end of an endless line, counted already
        if len(self._torn) > LINE_LIMIT:
            self.garbled += not self._skipping
            self._skipping, self._torn = True, b""
        return [record for line in lines if (record := self._parse(line)) is not None]

    def _parse(self, line: bytes) -> MetricRecord | None:
        try:
            record = MetricRecord.from_line(line.decode("utf-8"))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
            record = None
        if record is None or not isinstance(record.values, Mapping):
            self.garbled += 1
            return None
        self.intact += 1
        return record


@dataclass(kw_only=True)
class _Gradient:
    """One gradient norm's recent past and how many rows in a row were too high."""

    recent: deque[float]
    strikes: int = 0


@dataclass(kw_only=True)
class Guard:
    """Watches one trial. Call `check` now and then; the first Stop is final, whatever comes behind it."""

    path: Path
    settings: GuardSettings = field(default_factory=GuardSettings)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        """Begin to count the time."""
        self.tail = Tail(self.path)
        self.last_step: int | None = None
        self._latest: dict[tuple[str, str], float] = {}
        self._gradients: dict[str, _Gradient] = {}
        self._seen_at = self.clock()
        self._rows = 0
        self._stop: Stop | None = None

    def check(self) -> Stop | None:
        """Return why the trial must end, or None."""
        if self._stop is None:
            self._stop = self._look()
        return self._stop

    def _look(self) -> Stop | None:
        before = self.tail.intact
        records, anew = self.tail.read()
        if anew:
            self._latest.clear()
            self._gradients.clear()
            before = 0
        for record in records:
            stop = self._judge(record)
            if stop is not None:
                return stop
        if self.tail.garbled >= self.settings.garbage_lines and self.tail.garbled > self.tail.intact:
            return Stop(
                reason=f"metrics.jsonl is garbage: {self.tail.garbled} unreadable lines, {self.tail.intact} readable",
                step=self.last_step,
            )
        return self._hangs(progressed=bool(records) or self.tail.intact != before)

    def _judge(self, record: MetricRecord) -> Stop | None:
        self.last_step = record.step
        self._rows += 1
        values = {name: value for name, value in record.values.items() if _is_number(value)}
        self._latest.update({(record.kind, name): float(value) for name, value in values.items()})
        if record.kind == "train":
            for name in self.settings.losses:
                if name in values and not math.isfinite(values[name]):
                    told = f"{name} is {values[name]} at step {record.step}"
                    return Stop(reason=told, state="diverged", step=record.step)
            for name in self.settings.gradients:
                if name in values and (stop := self._judge_gradient(name, float(values[name]), record.step)):
                    return stop
        hopeless = self.settings.hopeless
        if hopeless is not None and record.step >= self.settings.hopeless_step:
            why = hopeless(record.step, self._latest)
            if why is not None:
                return Stop(reason=f"hopeless at step {record.step}: {why}", step=record.step)
        return None

    def _judge_gradient(self, name: str, value: float, step: int) -> Stop | None:
        limits = self.settings
        past = self._gradients.setdefault(name, _Gradient(recent=deque(maxlen=limits.gradient_window)))
        median = statistics.median(past.recent) if len(past.recent) >= limits.gradient_rows else math.inf
        limit = min(limits.gradient_ceiling, limits.gradient_factor * median if median > 0 else math.inf)
        if math.isfinite(value) and value <= limit:
            past.strikes = 0
            past.recent.append(value)
            return None
        past.strikes += 1  # a value that is too high does not move the median
        if past.strikes < limits.gradient_patience:
            return None
        usual = f", its recent median {median:.3g}" if math.isfinite(median) else ""
        return Stop(
            reason=f"{name} exploded: {value:.3g} at step {step}, {past.strikes} rows above {limit:.3g}{usual}",
            state="diverged",
            step=step,
        )

    def _hangs(self, *, progressed: bool) -> Stop | None:
        now = self.clock()
        if progressed:
            self._seen_at = now
        limit = self.settings.hang_s if self._rows else self.settings.start_s
        if now - self._seen_at <= limit:
            return None
        place = f"behind step {self.last_step}" if self._rows else "and no row was ever logged"
        silent = round(now - self._seen_at, 1)
        # A file server that stalls tells nothing about the config: it is tried again from its checkpoint.
        why = f"no progress for {silent:g} s (limit {limit:g}) {place}"
        return Stop(reason=why, state="killed", step=self.last_step)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
