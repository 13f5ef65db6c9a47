"""The states of a trial and the one table of legal transitions."""

from typing import Literal

from otpilot.errors import LedgerError, closest

TrialState = Literal[
    "planned",
    "queued",
    "leased",
    "running",
    "finished",
    "stopped_early",
    "diverged",
    "invalid",
    "crashed",
    "killed",
    "cancelled",
]
EndState = Literal["finished", "stopped_early", "diverged", "invalid", "crashed", "killed"]

STATES: tuple[TrialState, ...] = (
    "planned",  # written down, nobody may take it yet
    "queued",  # waits for an owner
    "leased",  # an owner has it and prepares its start
    "running",  # its process runs
    "finished",  # all steps done
    "stopped_early",  # the trainer's own early stopping
    "diverged",  # the trainer found that it cannot go on
    "invalid",  # the guard ended it, or what it left cannot be used
    "crashed",  # it ended by an error
    "killed",  # a signal ended it, or its owner was lost too often
    "cancelled",  # taken off the list before it ran
)
ENDS: tuple[EndState, ...] = ("finished", "stopped_early", "diverged", "invalid", "crashed", "killed")
HELD: tuple[TrialState, ...] = ("leased", "running")

# leased and running -> leased: another owner takes over after the lease expired; -> queued: the owner gives it back.
# crashed, killed, cancelled -> queued: another try. The rest of the ends are answers, which no second try may replace.
TRANSITIONS: dict[TrialState, tuple[TrialState, ...]] = {
    "planned": ("queued", "cancelled"),
    "queued": ("leased", "cancelled"),
    "leased": ("running", "queued", "leased", *ENDS),
    "running": ("queued", "leased", *ENDS),
    "finished": (),
    "stopped_early": (),
    "diverged": (),
    "invalid": (),
    "crashed": ("queued",),
    "killed": ("queued",),
    "cancelled": ("queued",),
}


def check_state(name: str) -> TrialState:
    """Return the name as a state.

    Raises:
        LedgerError: If there is no such state.
    """
    if name not in TRANSITIONS:
        raise LedgerError(f"There is no trial state {name!r}; allowed: {', '.join(STATES)}.{closest(name, STATES)}")
    return name


def check_transition(trial: int, old: TrialState, new: TrialState) -> None:
    """Return nothing if a trial may go from `old` to `new`.

    Raises:
        LedgerError: If it may not.
    """
    allowed = TRANSITIONS[check_state(old)]
    if check_state(new) not in allowed:
        ways = ", ".join(dict.fromkeys(allowed)) or "nothing, it is final"
        raise LedgerError(f"Trial {trial} is {old} and cannot become {new}; allowed: {ways}.")
