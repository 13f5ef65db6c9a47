"""What a campaign waits for or ended with, and what its baseline settled."""

from dataclasses import dataclass

from otpilot.analysis.view import is_success
from otpilot.pilot.decisions import Yardstick
from otpilot.pilot.ledger import ENDS
from otpilot.runs.metric_names import Direction

FINAL_ERA = 1_000_000
"""The seeds of the final comparison are drawn as those of an incumbent that there will never be."""
OVER = (*ENDS, "cancelled")
"""Ends of a trial. One that will be tried again is queued in the same transaction, so it is never seen in its end."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Trials must end before anything can be decided."""

    what: str
    trials: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The campaign is over, and why."""

    kind: str
    reason: str


class Pause(Exception):
    """Carries the answer of `advance` out of a stage."""

    def __init__(self, answer: Waiting | Ended) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What the baseline settled: how runs are ranked, and the noise of equal runs."""

    metric: str
    direction: Direction
    noise: float | None

    @property
    def yardstick(self) -> Yardstick:
        """How scores are compared."""
        return Yardstick(direction=self.direction, rates=is_success(self.metric), noise=self.noise)
