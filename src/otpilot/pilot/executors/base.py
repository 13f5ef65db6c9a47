"""What every executor does, wherever it runs trials: take a trial, say how it fares, end it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from otpilot.errors import ExecutorError
from otpilot.pilot.states import EndState

OnPilotDeath = Literal["kill", "adopt"]


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """A trial to run: a config file, a seed, a budget of steps, and the run folder that it fills.

    `retry` counts how often the trial was queued again after an end: what a folder tells of an earlier one is past.
    `attempt` only names the start in the log. `continues` is the run folder of a shorter run of the same config and
    seed, whose last checkpoint is where this one begins. `arguments` are further words for the trainer.
    """

    name: str
    run: Path
    config: Path
    steps: int
    seed: int | None = None
    retry: int = 0
    attempt: int = 1
    continues: Path | None = None
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what can be checked here."""
        if self.steps < 1:
            raise ExecutorError(f"Trial {self.name!r} has {self.steps} steps; allowed: 1 or more.")


@dataclass(frozen=True, kw_only=True)
class Handle:
    """A trial that an executor was given. `process` is plain data, for the ledger and for people."""

    trial: str
    run: Path
    token: str
    device: str
    process: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a trial ended: state, why, exit code (negative: a signal; None: unknown), last step, unreadable lines.

    `suspended` means that the executor ended it on request and that it may go on later: no verdict on the trial.
    """

    state: EndState
    reason: str
    exit_code: int | None = None
    last_step: int | None = None
    garbled: int = 0
    seconds: float | None = None
    suspended: bool = False


class Executor(ABC):
    """Runs trials. All methods return at once; nothing is raised for a trial that fails, only for wrong use."""

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many trials it runs at once at most."""

    @abstractmethod
    def has_room(self) -> bool:
        """Return whether a new trial could start now; a device found for it is kept for the next submit."""

    def let_room_go(self) -> None:
        """Free the device that `has_room` kept, since there is no trial for it; others may want it."""
        return

    @abstractmethod
    def submit(self, spec: TrialSpec) -> Handle | None:
        """Start a trial, go on from its last checkpoint, or take up one that runs or ended already in this folder.

        Returns None when there is no room now. A trial that cannot be started is a handle that `poll` ends as crashed.
        """

    @abstractmethod
    def poll(self, handle: Handle) -> Ended | None:
        """Return how the trial ended, or None while it runs. Asked again, the answer is the same.

        Raises:
            ExecutorError: If the handle is not of this executor, or was forgotten.
        """

    def is_waiting(self, handle: Handle) -> bool:  # noqa: ARG002 - for those that do
        """Return whether the trial waits in a cluster's queue: then it is not late yet. Executors here never wait."""
        return False

    @abstractmethod
    def cancel(self, handle: Handle, *, state: EndState, reason: str) -> None:
        """Ask for the trial's end; `poll` will say `state` and `reason`, unless it ended by itself before."""

    @abstractmethod
    def suspend(self, handle: Handle) -> None:
        """Ask for the trial's end without a verdict: submitted again, it goes on from its last checkpoint."""

    @abstractmethod
    def forget(self, handle: Handle) -> None:
        """Drop what is known of an ended trial and free its room. Call it when its end is written down."""

    @abstractmethod
    def close(self) -> None:
        """End what still runs, or leave it for the next pilot, as configured; return when that is done."""

    def __enter__(self) -> Self:
        """Return the executor itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it, whatever happened."""
        self.close()
