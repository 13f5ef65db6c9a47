"""A folder: the run folders and W&B's offline runs at or below it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from otpilot.errors import RunError
from otpilot.runs.history import RunHistory
from otpilot.runs.sources.run_folder import is_run_folder, read_run_folder
from otpilot.runs.sources.wandb_offline import read_wandb_file

# Folders that hold no runs, but may hold very many files.
NEVER_RUNS = ("checkpoints", "artifacts", "__pycache__", "node_modules")
WANDB_SUFFIX = ".wandb"


@dataclass(kw_only=True, eq=False)
class Folder:
    """Every run at or below `root`, by path; a run is known by its path below the root.

    Links are not followed. What lies within a run folder belongs to that run: its own W&B mirror is not read again.
    """

    root: Path
    problems: list[str] = field(default_factory=list)

    def runs(self) -> Iterator[RunHistory]:
        """Yield each run, by path."""
        found = False
        given: set[str] = set()
        for path in self.paths():
            found = True
            try:
                run = self._read(path)
                if run.id in given:  # W&B writes a resumed run into a file of its own
                    again = path.parent.relative_to(self.root).as_posix()
                    run = replace(run, id=f"{run.id} ({again})", notes=(*run.notes, f"{run.id} has several files."))
                given.add(run.id)
                yield run
            except (OSError, RunError) as error:
                told = f"{path} could not be read: {error.strerror}." if isinstance(error, OSError) else str(error)
                self.problems.append(told)
        if not found:
            self.problems.append(f"{self.root} holds no run: no folder with a metrics.jsonl, and no .wandb file.")

    def paths(self) -> Iterator[Path]:
        """Yield the run folders and `.wandb` files, by path; cheap, so that several processes can share them out."""
        yield from _paths(self.root, self.problems)

    def _read(self, path: Path) -> RunHistory:
        if path.suffix == WANDB_SUFFIX and path.is_file():
            return read_wandb_file(path)
        return read_run_folder(path, id=path.name if path == self.root else path.relative_to(self.root).as_posix())


def _paths(folder: Path, problems: list[str]) -> Iterator[Path]:
    if is_run_folder(folder):
        yield folder
        return
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except OSError as error:
        problems.append(f"{folder} could not be searched: {error.strerror}.")
        return
    for name, is_folder in found:
        if not is_folder and name.endswith(WANDB_SUFFIX) and not (folder / name).is_symlink():
            yield folder / name
        elif is_folder and name not in NEVER_RUNS and not name.startswith("."):
            yield from _paths(folder / name, problems)
