"""SIGTERM and Ctrl-C: training ends between two steps, with a checkpoint and an outcome."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(BaseException):  # not an Exception: nothing but the trainer may catch it
    """The process was asked to end; the name of the signal is its message."""


class Interrupts:
    """Turns SIGTERM and SIGINT into `Interrupted`, never inside `deferred` sections.

    A second signal of the same kind acts as if there were no handler, so that nobody has to wait for a checkpoint.
    With `flag_only` the signal is only remembered in `caught`, as where several processes must agree when to end.
    """

    def __init__(self, *, flag_only: bool = False) -> None:
        self.caught: str | None = None
        self.flag_only = flag_only
        self._deferred = 0
        self._before: dict[int, Any] = {}

    @contextmanager
    def installed(self) -> Iterator["Interrupts"]:
        """Handle the signals inside; does nothing outside the main thread, where Python allows no handlers."""
        try:
            for name in (signal.SIGTERM, signal.SIGINT):
                self._before[name] = signal.signal(name, self._handle)
        except ValueError:
            self._before = {}
        try:
            yield self
        finally:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let nothing interrupt this section; what came meanwhile is raised at its end."""
        self._deferred += 1
        try:
            yield
        finally:
            self._deferred -= 1
        self.check()

    def check(self) -> None:
        """Raise Interrupted if a signal came and nothing defers it.

        Raises:
            Interrupted: If so.
        """
        if self.caught is not None and not self._deferred and not self.flag_only:
            raise Interrupted(self.caught)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        signal.signal(number, self._before.get(number, signal.SIG_DFL))
        self.caught = signal.Signals(number).name
        self.check()
