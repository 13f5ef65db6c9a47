"""Where everything of one run lies."""

from dataclasses import dataclass
from pathlib import Path

PILOT = ".pilot"
"""Beside run folders: what a campaign keeps of their processes, a folder for each."""


@dataclass(frozen=True)
class RunPaths:
    """All paths of one run folder (the contract on disk); nothing is created here."""

    root: Path

    @property
    def config(self) -> Path:
        """The full resolved config, written before the first step."""
        return self.root / "config.json"

    @property
    def metrics(self) -> Path:
        """One JSON line per log event."""
        return self.root / "metrics.jsonl"

    @property
    def outcome(self) -> Path:
        """How the run ended; absent while it runs, and when it was killed."""
        return self.root / "outcome.json"

    @property
    def environment(self) -> Path:
        """Versions, device, git state and command line."""
        return self.root / "environment.json"

    @property
    def stdout(self) -> Path:
        """What the training process printed, when something else started it."""
        return self.root / "stdout.log"

    @property
    def pilot(self) -> Path:
        """Folder of what a campaign keeps of the run's process; there before the run folder is."""
        return self.root.parent / PILOT / self.root.name

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints in LeRobot's own layout."""
        return self.root / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """LeRobot's link to the newest complete checkpoint."""
        return self.checkpoints / "last"

    @property
    def best_checkpoint(self) -> Path:
        """Link to the checkpoint that evaluation liked best, where the run keeps it."""
        return self.checkpoints / "best"

    @property
    def artifacts(self) -> Path:
        """Pictures and arrays that a report shows."""
        return self.root / "artifacts"
