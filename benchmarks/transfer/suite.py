"""What a suite of the transfer benchmark is: where its data come from, its base config, its closed-loop cells."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from otpilot.errors import MissingFileError
from otpilot.report.result import SuccessRate
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics

Pairs = Literal["dtw", "oracle"]
CELLS = ("source", "target_id", "target_ood")
"""Names of the closed-loop questions of every suite, in the order of tables."""
SPOKEN = {"target_id": "target ID", "target_ood": "target OOD"}
"""What tables call them; the others go by their name."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Which data a cell is trained on.

    `targets` counts target demonstrations; `pairs` says who paired them: dynamic time warping of the state, or an
    oracle that knows the true state; `token` appends an indicator (0 source, 1 target) to the state. `demos` says which
    of the target demonstrations are trained on, all of them if empty.
    """

    targets: int
    pairs: Pairs = "dtw"
    token: bool = False
    demos: tuple[int, ...] = ()

    @property
    def slug(self) -> str:
        """Name of a folder that holds nothing but this data."""
        return f"n{self.targets}{'_token' if self.token else ''}"


@dataclass(frozen=True, kw_only=True)
class Suite(ABC):
    """Two domains, a task, and the questions asked of a policy.

    `steps` gives the training steps of each policy that the suite can train (ACT's sizes differ from Diffusion's);
    `targets` is the usual number of target demonstrations; `oracle` and `tokens` say whether `Data` with
    pairs "oracle" or a token can be made.
    """

    name: str
    about: str
    steps: Mapping[str, int]
    targets: int = 20
    oracle: bool = False
    tokens: bool = False
    cells: tuple[str, ...] = CELLS

    @abstractmethod
    def prepare(self, folder: Path, data: Data) -> None:
        """Make the datasets and pair tables of `data` under a folder of this suite's own; what is there stays.

        Two processes may not prepare one folder at once; the runner sees to that.

        Raises:
            OtpilotError: If something cannot be made.
        """

    @abstractmethod
    def base_config(self, folder: Path, data: Data, *, policy: str, steps: int) -> dict[str, Any]:
        """Return the training config (as JSON) of co-training with otpilot's default transport on `data`.

        It holds: dataset (the target), policy, optimizer, scheduler over `steps`, env, batch_size, and ot with
        src_repo_id, src_root, pair_info_path, bc_src_weight, how pairs are drawn, and loss_config.features; no default
        transport settings, so that those of the product are what is measured. The runner adds steps, seed, output_dir,
        threads, eval.n_episodes, and a method's edits (source-only: dataset becomes ot.src_*, and ot goes;
        target-only: ot goes).

        Depends on its arguments alone and touches no file: the runner calls it with a made-up folder, too, so that the
        config's hash does not depend on where the data lie.
        """

    def command(self, config: Path) -> Sequence[str]:
        """Return the command line that trains a config; override where the environment needs a plugin first."""
        return [sys.executable, "-m", "otpilot", "train", f"--config_path={config}"]

    def measure(self, run: RunPaths) -> Mapping[str, SuccessRate]:
        """Return successes and episodes of every cell of a finished run: by default those of its last evaluation.

        Raises:
            MissingFileError: If the run holds no evaluation of every cell.
        """
        values = read_metrics(run.metrics).last("sim")
        missing = [cell for cell in self.cells if f"success_{cell}" not in values]
        if missing:
            raise MissingFileError(f"{run.metrics} holds no closed-loop success of {', '.join(missing)}.")
        episodes = int(values["n_episodes"])
        return {
            cell: SuccessRate(successes=round(values[f"success_{cell}"] * episodes), episodes=episodes)
            for cell in self.cells
        }
