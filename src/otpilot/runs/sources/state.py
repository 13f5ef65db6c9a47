"""How a run stands that did not say how it ended."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otpilot.runs.history import State

# A living run writes every few minutes; one that logs rarely is given three of its own intervals, an hour at most.
SILENCE_S = 300.0
INTERVALS = 3.0
LONGEST_SILENCE_S = 3600.0
START_S = 1800.0
"""How long a run may be silent before it has logged twice: it loads data, and how often it logs is not yet known."""


def utc_seconds(moment: str | None) -> float | None:
    """Return an ISO time as seconds since the epoch, in UTC where it names no zone; None where it is no time."""
    try:
        parsed = datetime.fromisoformat(moment or "")
    except ValueError:
        return None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


def last_change(paths: Sequence[Path]) -> float | None:
    """Return the newest modification time of the files that exist, in seconds since the epoch, or None."""
    times: list[float] = []
    for path in paths:
        try:
            times.append(path.stat().st_mtime)
        except OSError:
            continue
    return max(times, default=None)


def silent_state(changed: float | None, logged: NDArray[np.float64] | None = None) -> tuple[State, str]:
    """Return (running, "") or (killed, why) from the last change of a run's files and the times it logged at."""
    if changed is None:
        return "unknown", "it has no files that tell"
    allowed = SILENCE_S
    if logged is not None and len(logged) < 2:
        allowed = START_S
    elif logged is not None:
        allowed = max(SILENCE_S, min(INTERVALS * float(np.median(np.diff(logged))), LONGEST_SILENCE_S))
    silence = time.time() - changed
    if silence <= allowed:
        return "running", ""
    return "killed", f"no outcome was written, and nothing was logged for {_words(silence)}"


def _words(seconds: float) -> str:
    for size, unit in ((86400.0, "days"), (3600.0, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 60.0:.0f} minutes"
