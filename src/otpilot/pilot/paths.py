"""Where the pilot keeps what it knows of a trial's process: beside the run folder, which belongs to the trainer.

The trainer refuses an output folder that exists, and what a process prints begins before it makes one. So for the run
folder `trials/NAME` these files lie in `trials/.pilot/NAME`; stdout.log is linked into the run folder at the end.
"""

from dataclasses import dataclass
from pathlib import Path

from otpilot.runs.paths import RunPaths


@dataclass(frozen=True)
class TrialPaths:
    """All pilot files of the trial whose run folder is `run`; nothing is created here."""

    run: Path

    @property
    def contract(self) -> RunPaths:
        """The run folder's own files."""
        return RunPaths(self.run)

    @property
    def root(self) -> Path:
        """Folder of the pilot's files."""
        return self.contract.pilot

    @property
    def job(self) -> Path:
        """What the supervisor was told to run."""
        return self.root / "job.json"

    @property
    def process(self) -> Path:
        """Which processes run it, by pid and birth."""
        return self.root / "process.json"

    @property
    def exit(self) -> Path:
        """How the process ended; absent while it runs, and when its supervisor was killed."""
        return self.root / "exit.json"

    @property
    def verdict(self) -> Path:
        """Why the pilot ended it; absent when it ended by itself."""
        return self.root / "verdict.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor as long as it lives, so that a run folder never has two trainers."""
        return self.root / "lock"

    @property
    def stdout(self) -> Path:
        """What the trial printed, all attempts after another."""
        return self.root / "stdout.log"

    @property
    def complaints(self) -> Path:
        """What the supervisor itself printed; normally empty."""
        return self.root / "supervisor.log"

    @property
    def order(self) -> Path:
        """Which order a cluster's node was given; a node that sees another folder finds another order."""
        return self.root / "order.json"

    @property
    def begun(self) -> Path:
        """Which order a node has begun."""
        return self.root / "begun.json"

    @property
    def wish(self) -> Path:
        """How the pilot wants a trial on a node to end."""
        return self.root / "wish.json"

    @property
    def attempts(self) -> Path:
        """Run folders of earlier attempts that left no checkpoint to resume from."""
        return self.root / "attempts"
