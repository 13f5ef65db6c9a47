"""What every source of runs offers, whatever it reads from."""

from collections.abc import Iterator
from typing import Protocol

from otpilot.runs.history import RunHistory


class Source(Protocol):
    """Runs to be read one after the other; nothing is read before `runs` is iterated, and only one run is held.

    `problems` says what could not be read at all, one sentence each; it is complete once `runs` is exhausted. What
    was lost within a run stands in that run's notes.
    """

    problems: list[str]

    def runs(self) -> Iterator[RunHistory]:
        """Yield each run, in the source's own order."""
        ...
