"""What `lerobot-train` prints: one line a log event, rounded steps and short names, as far as that tells.

INFO 2025-12-24 10:11:12 ot_train.py:641 step:1K smpl:16K ep:40 epch:0.80 loss:0.123 grdn:1.204 lr:1.0e-05 updt_s:0.1
"""

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from otpilot.errors import RunError
from otpilot.runs.counting import agree
from otpilot.runs.history import RunHistory, State
from otpilot.runs.sources.curves import CurveBuilder
from otpilot.runs.sources.state import last_change, silent_state

SUFFIXES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12, "Q": 10**15}
NUMBER = r"-?(?:nan|inf|\d+(?:\.\d*)?(?:e[+-]?\d+)?)"
TOKEN = re.compile(rf"(?<!\S)([^\s:]+):({NUMBER})([KMBTQ]?)(?!\S)")
STEP = re.compile(r"(?<!\S)step:\d+[KMBTQ]?(?!\S)")
MOMENT = re.compile(r"\b(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)\b")
HELD_OUT = re.compile(rf"\bstep (\d+): eval_loss=({NUMBER})")
EVALUATION = re.compile(r"Eval policy at step (\d+)")
SUITE = re.compile(r"Suite (\S+) aggregated: (\{.*)")
SUITE_VALUE = re.compile(rf"'(pc_success|avg_sum_reward|avg_max_reward)': (?:np\.float64\()?({NUMBER})")
LOG_FREQ = re.compile(r"'log_freq': (\d+)")
ERROR = re.compile(r"^(?:[\w.]*(?:Error|Exception|Interrupt|Exit|Warning)\b.*)")
# Closed-loop evaluation prints the same kind of line; these names tell it apart.
EVALUATED = ("success", "∑rwrd", "eval_s")
# A config is printed over some hundred lines; more is not one.
CONFIG_LINES = 2000


@dataclass(kw_only=True, eq=False)
class LeRobotLog:
    """One log file, one run."""

    path: Path
    problems: list[str] = field(default_factory=list)

    def runs(self) -> Iterator[RunHistory]:
        """Yield the run of this log."""
        try:
            yield read_log(self.path)
        except (RunError, OSError) as error:
            self.problems.append(str(error) if isinstance(error, RunError) else f"{self.path}: {error.strerror}.")


@dataclass(kw_only=True, eq=False)
class _Reading:
    curves: CurveBuilder = field(default_factory=CurveBuilder)
    spacing: int | None = None
    last_step: int | None = None
    evaluated_at: int | None = None
    rounded: int = 0
    torn: bool = False
    lines: int = 0
    said: int = 0
    ended: bool = False
    traceback: bool = False
    error: str = ""
    config_text: list[str] | None = None
    config: dict[str, Any] = field(default_factory=dict)


def read_log(path: Path) -> RunHistory:
    """Return the run that a log tells of.

    Raises:
        RunError: If no line of it is one of LeRobot's.
        OSError: If the file cannot be read.
    """
    reading = _Reading()
    with path.open(encoding="utf-8", errors="replace", newline=None) as file:
        for line in file:
            if not line.endswith("\n") and any(form.search(line) for form in (STEP, HELD_OUT, SUITE)):
                reading.torn, reading.said = True, reading.said + 1  # half a number looks like a whole one
            else:
                _take(line.rstrip("\n"), reading)
    if reading.lines and not reading.said:
        raise RunError(
            f"{path} has {reading.lines} lines, and none is one of LeRobot's (`INFO 2025-01-01 00:00:00 ... step:200 "
            "smpl:3K ... loss:0.123 ...`)."
        )
    curves, notes = reading.curves.build()
    if reading.torn:
        notes.append("The last line does not end and was left out.")
    if reading.rounded:
        steps = agree(reading.rounded, "The step of 1 line is", f"The steps of {reading.rounded} lines are")
        notes.append(
            f"{steps} known only as printed (1K is 500 to 1499), because the log says neither log_freq nor two steps "
            "below 1000."
        )
    state, reason = _ending(path, reading)
    return RunHistory(
        id=path.stem,
        name=path.stem,
        source=str(path),
        state=state,
        reason=reason,
        config=reading.config,
        curves=curves,
        updated=last_change([path]),
        notes=tuple(notes),
    )


def _take(line: str, reading: _Reading) -> None:
    """Take in one line."""
    reading.lines += bool(line)
    _take_config(line, reading)
    moment = MOMENT.search(line)
    reading.said += moment is not None and "INFO" in line
    time = _seconds(moment[1]) if moment else None
    if at := STEP.search(line):
        reading.said += 1
        _take_metrics(line[at.start() :], time, reading)
    elif found := HELD_OUT.search(line):
        reading.curves.add("eval_loss", step=int(found[1]), value=float(found[2]), time=time)
    elif found := EVALUATION.search(line):
        reading.evaluated_at = int(found[1])
    elif (found := SUITE.search(line)) and reading.evaluated_at is not None:
        suite = "" if found[1] == "overall" else f"{found[1]}/"
        for name, value in SUITE_VALUE.findall(found[2]):
            reading.curves.add(f"eval/{suite}{name}", step=reading.evaluated_at, value=float(value), time=time)
    elif "End of training" in line:
        reading.ended = True
    elif line.startswith("Traceback (most recent call last)"):
        reading.traceback, reading.ended = True, False
    elif reading.traceback and ERROR.match(line):
        reading.error = line.strip()


def _take_metrics(line: str, time: float | None, reading: _Reading) -> None:
    tokens = TOKEN.findall(line)
    names = {name for name, _, _ in tokens}
    evaluated = not names.isdisjoint(EVALUATED)
    printed = next((value, suffix) for name, value, suffix in tokens if name == "step")
    step = _step(int(printed[0]), printed[1], reading, evaluated=evaluated)
    for name, value, suffix in tokens:
        if name == "step" or (evaluated and name in {"smpl", "ep", "epch"}):
            continue
        kind = "eval/" if evaluated else ""
        reading.curves.add(f"{kind}{name}", step=step, value=float(value) * SUFFIXES[suffix], time=time)


def _step(printed: int, suffix: str, reading: _Reading, *, evaluated: bool) -> int:
    """Return the step of a line. From 1000 on it is printed in thousands; the spacing of the log fills it in."""
    about, slack = printed * SUFFIXES[suffix], SUFFIXES[suffix] // 2
    if evaluated:
        return reading.evaluated_at if reading.evaluated_at is not None else about
    last, spacing = reading.last_step, reading.spacing
    if not suffix:
        if spacing is None and last is not None and about > last:
            reading.spacing = about - last
        step = about
    elif spacing and (low := math.ceil((about - slack) / spacing) * spacing) <= about + slack:
        # The next one, if that is printed so; else the first that is: a resumed run begins, or goes back.
        following = None if last is None else last + spacing
        step = following if following is not None and low <= following <= about + slack else low
    else:
        reading.rounded += 1
        step = about
    reading.last_step = step
    return step


def _take_config(line: str, reading: _Reading) -> None:
    """Collect the config that training prints first, a Python dictionary over many lines."""
    if found := LOG_FREQ.search(line):
        reading.spacing = int(found[1])
    if reading.config_text is None and not reading.config:
        start = line.find(" {'")
        if start < 0 or SUITE.search(line) or not MOMENT.search(line):
            return
        reading.config_text = [line[start + 1 :]]
    elif reading.config_text is not None:
        reading.config_text.append(line)
    if reading.config_text is None:
        return
    if line.endswith("}"):
        try:
            reading.config = dict(ast.literal_eval("\n".join(reading.config_text)))
            reading.config_text = None
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            pass  # a brace within; go on collecting
    if reading.config_text is not None and (MOMENT.search(line) is not None) and len(reading.config_text) > 1:
        reading.config_text = None  # the next log line: what came before was no config
    elif reading.config_text is not None and len(reading.config_text) > CONFIG_LINES:
        reading.config_text = None


def _seconds(moment: str) -> float | None:
    try:
        return datetime.strptime(moment, "%Y-%m-%d %H:%M:%S").astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _ending(path: Path, reading: _Reading) -> tuple[State, str]:
    if reading.ended:
        return "finished", ""
    if reading.traceback:
        interrupted = reading.error.startswith("KeyboardInterrupt")
        return ("killed" if interrupted else "crashed"), reading.error or "it ended with a traceback"
    times = [rows.times for rows in reading.curves.build()[0].values() if rows.times is not None]
    return silent_state(last_change([path]), max(times, key=len, default=np.array([])))
