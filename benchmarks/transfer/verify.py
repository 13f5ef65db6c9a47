"""Whether a second training of a cell, with its own data, agrees with the stored result."""

from dataclasses import dataclass

from benchmarks.transfer.results import FINISHED, Record
from otpilot.errors import TrainingError
from otpilot.report.result import SuccessRate, compare


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One question asked twice; they agree where the 95 % interval of the difference holds zero."""

    cell: str
    stored: SuccessRate
    rerun: SuccessRate
    low: float
    high: float

    @property
    def agrees(self) -> bool:
        """Whether the two are not distinguishable."""
        return self.low <= 0.0 <= self.high

    def __str__(self) -> str:
        """Return one line on both."""
        word = "agrees" if self.agrees else "DIFFERS"
        return (
            f"{self.cell}: stored {self.stored}, rerun {self.rerun}; difference "
            f"{self.rerun.rate - self.stored.rate:+.2f} [{self.low:+.2f}, {self.high:+.2f}]: {word}"
        )


def compare_records(stored: Record, rerun: Record) -> list[Agreement]:
    """Return the agreement in every cell, by Newcombe's interval over episodes.

    Raises:
        TrainingError: If the rerun did not finish.
    """
    if rerun.state != FINISHED:
        raise TrainingError(f"The rerun of {rerun.cell} ended as {rerun.state}: {rerun.reason}")
    found = []
    for cell in stored.success:
        ours, theirs = rerun.rate(cell), stored.rate(cell)
        difference = compare(ours, theirs)
        found.append(Agreement(cell=cell, stored=theirs, rerun=ours, low=difference.low, high=difference.high))
    return found


def told(stored: Record, rerun: Record) -> list[str]:
    """Return what the comparison says, and what it may rest on."""
    found = compare_records(stored, rerun)
    lines = [str(one) for one in found]
    if dict(rerun.success) == dict(stored.success):
        lines.append("Every count is the same: the training was repeated to the bit, as far as success can tell.")
    if not all(one.agrees for one in found):
        lines.append(
            "Another processor or library rounds differently, and a training then differs as another seed does: "
            "compare with the spread over seeds in docs/results.md before calling it wrong."
        )
    return lines
