"""What executors on a cluster share: trials that run on other machines, are asked to end, and are started again."""

import time
from abc import abstractmethod
from dataclasses import dataclass

from otpilot.errors import ExecutorError
from otpilot.pilot.executors.base import Ended, Executor, Handle, TrialSpec
from otpilot.pilot.executors.local import LOCK_WAIT_S
from otpilot.pilot.executors.node import Wish
from otpilot.pilot.states import EndState

MARGIN_S = 2 * LOCK_WAIT_S
"""How much longer than its grace a trial may take to end before the cluster is told to kill it."""
POLL_S = 0.05


@dataclass(kw_only=True)
class ClusterTrial:
    """A trial that a cluster was given; `lost` counts the jobs or workers that it lost so far."""

    spec: TrialSpec
    handle: Handle
    lost: int = 0
    wish: Wish | None = None
    wished_at: float = 0.0
    ended: Ended | None = None


class ClusterExecutor[T: ClusterTrial](Executor):
    """Keeps the books of a cluster's trials; subclasses start a trial, ask it to end, look at it and kill it.

    Args:
        grace_s: Time between SIGTERM and SIGKILL when a trial is asked to end.
        retries: How often a trial whose job or worker is lost is started again, until that is its end.
    """

    lost_one: str
    """What a trial loses, as its end tells it: "its job"."""

    def __init__(self, *, grace_s: float, retries: int) -> None:
        self._grace_s, self._retries = grace_s, retries
        self._running: dict[str, T] = {}
        self._closed = False

    @abstractmethod
    def _launch(self, running: T) -> None:
        """Give the trial to the cluster, for the first time or again."""

    @abstractmethod
    def _ask_to_end(self, running: T, wish: Wish) -> None:
        """Pass a wish on to the trial, or kill it where it still waits."""

    @abstractmethod
    def _look(self, running: T) -> Ended | None:
        """Return how the trial ended, or None while it waits or runs."""

    @abstractmethod
    def _kill(self, running: T) -> None:
        """Let the cluster end the trial's job or worker; the supervisor ends what runs in it."""

    def poll(self, handle: Handle) -> Ended | None:
        """Return how the trial ended, or None while it waits or runs."""
        running = self._find(handle)
        if running.ended is None:
            running.ended = self._look(running)
        return running.ended

    def cancel(self, handle: Handle, *, state: EndState, reason: str) -> None:
        """Ask for the trial's end; `poll` will say `state` and `reason`, unless it ended by itself before."""
        self._want(self._find(handle), Wish(state=state, reason=reason))

    def suspend(self, handle: Handle) -> None:
        """Ask for the trial's end without a verdict: submitted again, it goes on from its last checkpoint."""
        self._want(self._find(handle), Wish())

    def forget(self, handle: Handle) -> None:
        """Drop what is known of an ended trial."""
        if self.poll(handle) is None:
            raise ExecutorError(f"Trial {handle.trial!r} still runs; cancel or suspend it first.")
        del self._running[handle.token]

    def close(self) -> None:
        """End what still waits or runs; what has not ended by itself when its grace is over is killed."""
        if self._closed:
            return
        self._closed = True
        active = self._active()
        for running in active:
            self._want(running, Wish())
        deadline = time.monotonic() + self._grace_s + 2 * MARGIN_S
        while active and time.monotonic() < deadline:
            active = [running for running in active if self.poll(running.handle) is None]
            if active:
                time.sleep(POLL_S)
        for running in active:
            self._kill(running)

    def _check_submit(self, spec: TrialSpec) -> None:
        """Raise ExecutorError if the executor is closed, or the trial runs here already."""
        if self._closed:
            raise ExecutorError("The executor is closed; open another one.")
        if any(running.handle.run == spec.run for running in self._active()):
            raise ExecutorError(f"Trial {spec.name!r} runs here already, in {spec.run}.")

    def _active(self) -> list[T]:
        return [running for running in self._running.values() if running.ended is None]

    def _find(self, handle: Handle) -> T:
        try:
            return self._running[handle.token]
        except KeyError:
            raise ExecutorError(f"Trial {handle.trial!r} is unknown here: it was forgotten, or is another's.") from None

    def _want(self, running: T, wish: Wish) -> None:
        """Ask the trial to end; the first wish stays."""
        if running.ended is None and running.wish is None:
            running.wish, running.wished_at = wish, time.monotonic()
            self._ask_to_end(running, wish)

    def _is_late(self, running: T) -> bool:
        """Whether the trial was asked to end and had more than its time for it."""
        return running.wish is not None and time.monotonic() - running.wished_at > self._grace_s + MARGIN_S

    def _was_lost(self, running: T, error: Exception) -> Ended | None:
        """Return the end of a trial whose job or worker is gone, or None: it was started again."""
        wish = running.wish
        if wish is not None:
            if wish.state is None:
                return Ended(state="killed", reason="ended on request, to go on later", suspended=True)
            return Ended(state=wish.state, reason=wish.reason)
        running.lost += 1
        if running.lost <= self._retries:
            try:
                self._launch(running)
            except Exception as refused:  # the cluster is away, or takes no more; exceptions of its client's own
                error = refused
            else:
                return None
        times = f"{running.lost} times (limit {self._retries + 1})"
        return Ended(state="killed", reason=f"{self.lost_one} was lost {times}: {last_line(error)}")


def last_line(error: Exception) -> str:
    """Return the last line of an error's message that says something, 500 characters at most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:500]
