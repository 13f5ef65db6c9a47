"""How a trial ended, judged by its exit code and by what it left on disk."""

import signal
from pathlib import Path

from otpilot.errors import RunError
from otpilot.pilot.executors.base import Ended
from otpilot.runs.lines import read_table
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_outcome
from otpilot.runs.record import Outcome

TAIL_BYTES = 16_384
# How the supervisor's own lines begin; one stands before each attempt.
MARK = "[otpilot "
DISK_FULL = ("No space left on device", "Disk quota exceeded", "Errno 28")
OUT_OF_MEMORY = ("CUDA out of memory", "OutOfMemoryError", "MemoryError", "Cannot allocate memory")


def judge(run: Path, *, steps: int, exit_code: int | None, log: Path, seconds: float | None = None) -> Ended:
    """Return how a process that ended by itself fared.

    Args:
        run: The run folder.
        steps: The budget; a run that says finished before it is invalid.
        exit_code: Negative for a signal; None where nobody saw it.
        log: What the process printed.
        seconds: How long it ran.
    """
    last_step, rows, garbled = _metrics(run)

    def ended(state: str, reason: str, step: int | None = None) -> Ended:
        return Ended(
            state=state,  # type: ignore[arg-type]  # spelled below
            reason=reason,
            exit_code=exit_code,
            last_step=last_step if step is None else step,
            garbled=garbled,
            seconds=seconds,
        )

    try:
        outcome = read_outcome(run)
    except RunError as error:
        return ended("invalid", str(error))
    if outcome is None:
        return ended(*_without_outcome(exit_code, log))
    if outcome.status not in ("finished", "stopped_early"):
        return ended(outcome.status, _with_hint(outcome.reason, log), outcome.last_step)
    wrong = _what_is_wrong(outcome, steps=steps, rows=rows, garbled=garbled)
    if wrong:
        return ended("invalid", wrong, outcome.last_step)
    late = f" (the process ended with {describe_exit(exit_code)} behind its last step)" if exit_code else ""
    return ended(outcome.status, outcome.reason + late, outcome.last_step)


def _what_is_wrong(outcome: Outcome, *, steps: int, rows: int, garbled: int) -> str | None:
    """Return why a run that says it went well cannot be used, or None."""
    if outcome.status == "finished" and outcome.last_step < steps:
        return f"it says finished at step {outcome.last_step} of {steps}"
    if rows == 0:
        return f"metrics.jsonl has no readable line ({garbled} unreadable)"
    if garbled > rows:
        return f"metrics.jsonl is garbage: {garbled} unreadable lines, {rows} readable"
    return None


def _without_outcome(exit_code: int | None, log: Path) -> tuple[str, str]:
    if exit_code is None:
        return "killed", "it ended while nobody watched, and left no outcome"
    if exit_code < 0:
        hint = " (out of memory?)" if -exit_code == signal.SIGKILL else ""
        return "killed", f"ended by {describe_exit(exit_code)}{hint}"
    if exit_code == 0:
        return "crashed", "it ended with exit code 0, but left no outcome"
    last = last_line(log)
    return "crashed", _with_hint(f"{describe_exit(exit_code)}: {last}" if last else describe_exit(exit_code), log)


def describe_exit(exit_code: int | None) -> str:
    """Return an exit code in words: `exit code 1`, `SIGKILL`."""
    if exit_code is None:
        return "unknown exit code"
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return signal.Signals(-exit_code).name
    except ValueError:
        return f"signal {-exit_code}"


def last_line(log: Path) -> str:
    """Return the last line that the trial printed, or an empty string."""
    lines = [line.strip() for line in _tail(log).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(MARK)]
    return lines[-1][:500] if lines else ""


def _with_hint(reason: str, log: Path) -> str:
    """Return the reason with what the log shows to be behind it, where the reason does not say so."""
    said = reason + _tail(log)
    for words, name in ((DISK_FULL, "the disk is full"), (OUT_OF_MEMORY, "out of memory")):
        if any(word in said for word in words):
            return f"{name}: {reason}"
    return reason


def _tail(log: Path) -> str:
    """Return the end of what the last attempt printed."""
    try:
        with log.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode("utf-8", errors="replace")
            return text[max(0, text.rfind(MARK)) :]
    except OSError:
        return ""


def _metrics(run: Path) -> tuple[int | None, int, int]:
    """Return the last step, and how many lines of metrics.jsonl are readable and unreadable."""
    try:
        table = read_table(RunPaths(run).metrics)
    except OSError:
        return None, 0, 0
    steps = [int(column.steps[-1]) for column in table.columns.values() if len(column.steps)]
    return max(steps, default=None), table.rows, table.skipped
