"""One training in a process of its own: data first, then the run, then its line in the results."""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.transfer.cells import Cell, cell_config
from benchmarks.transfer.results import ROOT, Record, measure, without_places
from benchmarks.transfer.suite import Data
from benchmarks.transfer.suites import get_suite
from otpilot.errors import RunError, TrainingError
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_outcome

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
}
STOP_S = 120.0
"""How long an interrupted training may take to save its checkpoint."""


@dataclass(frozen=True, kw_only=True)
class Workplace:
    """Where data and runs lie, and how cells are trained. Nothing here decides what is learned but `episodes`."""

    root: Path
    episodes: int = 100
    device: str = "cpu"
    keep: bool = True

    def data(self, suite: str) -> Path:
        """The data folder of a suite."""
        return self.root / "data" / suite

    def run(self, cell: Cell) -> Path:
        """The run folder of a cell."""
        return self.root / "runs" / cell.slug


def prepare(workplace: Workplace, suite: str, data: Data) -> None:
    """Make a suite's data unless they are there, in a process that then gives back its memory.

    Raises:
        TrainingError: If that fails.
    """
    folder = workplace.data(suite)
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / f"{data.slug}_{data.pairs}.ready"
    with _locked(folder / "lock"):
        if ready.exists():
            return
        words = [f"--targets={data.targets}", f"--pairs={data.pairs}", *(["--token"] if data.token else [])]
        command = [sys.executable, "-m", "benchmarks.transfer", "prepare", suite, *words, f"--work={workplace.root}"]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **ENVIRONMENT}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise TrainingError(f"Preparing {suite} ({data.slug}) failed: {_last(done.stdout + done.stderr)}")
        ready.touch()


@dataclass(kw_only=True)
class Training:
    """A cell's training: `start` it, `poll` until it has a record, or `stop` it with a checkpoint."""

    cell: Cell
    workplace: Workplace
    resumed_at: int | None = None
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)
    _began: float = 0.0
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack, repr=False)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.workplace.run(self.cell)

    def start(self) -> None:
        """Start the process: a resumed run where an interrupted one left a checkpoint, else a fresh folder.

        Raises:
            RunError: If another process trains this cell.
            TrainingError: If the data cannot be made.
        """
        recipe = self.cell.recipe
        prepare(self.workplace, recipe.suite, recipe.data)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(_locked(self.folder.with_name(f"{self.folder.name}.lock"), wait=False))
        command = self._command()
        self._began = time.monotonic()
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **ENVIRONMENT},
                cwd=ROOT,
                start_new_session=True,  # Ctrl-C reaches us alone; we pass it on once
            )

    @property
    def log(self) -> Path:
        """What the process printed."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def poll(self) -> Record | None:
        """Return the record once the process has ended, else None."""
        if self._process is None or self._process.poll() is None:
            return None
        record = measure(
            self.cell,
            self.folder,
            wall_s=time.monotonic() - self._began,
            resumed_at=self.resumed_at,
            episodes=self.workplace.episodes,
            device=self.workplace.device,
        )
        if record.state == "crashed" and self._process.returncode != 0 and not RunPaths(self.folder).outcome.exists():
            printed = _last(self.log.read_text(encoding="utf-8", errors="replace"))
            record = replace(record, reason=without_places(printed, self.folder))
        self._tidy(record)
        self._stack.close()
        return record

    def stop(self) -> None:
        """End the process; it saves a checkpoint, from which a later start goes on."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._stack.close()

    def _command(self) -> list[str]:
        suite = get_suite(self.cell.recipe.suite)
        saved = RunPaths(self.folder).last_checkpoint / "pretrained_model" / "train_config.json"
        outcome = read_outcome(self.folder) if self.folder.is_dir() else None
        if outcome is not None and outcome.status == "killed" and saved.is_file():
            self.resumed_at = outcome.last_step
            return [*suite.command(saved), "--resume=true"]
        if self.folder.exists():
            shutil.rmtree(self.folder)
        config = cell_config(
            self.cell,
            self.workplace.data(suite.name),
            run=self.folder,
            episodes=self.workplace.episodes,
            device=self.workplace.device,
        )
        path = self.folder.with_name(f"{self.folder.name}.json")
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        self.log.unlink(missing_ok=True)
        return list(suite.command(path))

    def _tidy(self, record: Record) -> None:
        """Remove what nobody needs of a finished run: the optimiser's state, or with keep=False the whole folder."""
        if record.state != "finished":
            return
        if not self.workplace.keep:
            shutil.rmtree(self.folder)
            return
        for state in RunPaths(self.folder).checkpoints.glob("*/training_state"):
            shutil.rmtree(state)


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a file's lock; raise RunError if another process has it and we shall not wait."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"{path.stem} is being trained by another process.") from error
        yield


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it printed nothing"
