"""An executor without room: its pilot decides, and workers elsewhere run the trials."""

from otpilot.errors import ExecutorError
from otpilot.pilot.executors.base import Ended, Executor, Handle, TrialSpec
from otpilot.pilot.states import EndState


class NowhereExecutor(Executor):
    """Takes no trial."""

    @property
    def slots(self) -> int:
        """None at all."""
        return 0

    def has_room(self) -> bool:
        """Return False."""
        return False

    def submit(self, spec: TrialSpec) -> None:
        """Refuse the trial: there is no room."""

    def poll(self, handle: Handle) -> Ended | None:
        """Refuse: there is no trial here."""
        raise ExecutorError(f"Trial {handle.trial!r} is unknown here: this pilot runs none.")

    def cancel(self, handle: Handle, *, state: EndState, reason: str) -> None:  # noqa: ARG002 - none is here
        """Refuse: there is no trial here."""
        self.poll(handle)

    def suspend(self, handle: Handle) -> None:
        """Refuse: there is no trial here."""
        self.poll(handle)

    def forget(self, handle: Handle) -> None:
        """Refuse: there is no trial here."""
        self.poll(handle)

    def close(self) -> None:
        """Do nothing: there is nothing to end."""
