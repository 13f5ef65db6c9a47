"""A folder: the run folders and W&B's offline runs at or below it."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from otpilot.errors import RunError
from otpilot.runs.history import Curve, RunHistory
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
        parts: dict[str, list[Path]] = {}
        for path in self.paths():
            # W&B writes a resumed run into a file of its own, of the same name.
            parts.setdefault(path.name if path.suffix == WANDB_SUFFIX else path.as_posix(), []).append(path)
        for paths in parts.values():
            read = [run for path in paths if (run := self._tried(path)) is not None]
            if read:
                yield read[0] if len(read) == 1 else _joined(read)
        if not parts:
            self.problems.append(f"{self.root} holds no run: no folder with a metrics.jsonl, and no .wandb file.")

    def _tried(self, path: Path) -> RunHistory | None:
        try:
            return self._read(path)
        except (OSError, RunError) as error:
            told = f"{path} could not be read: {error.strerror}." if isinstance(error, OSError) else str(error)
            self.problems.append(told)
            return None

    def paths(self) -> Iterator[Path]:
        """Yield the run folders and `.wandb` files, by path; cheap, so that several processes can share them out."""
        yield from _paths(self.root, self.problems)

    def _read(self, path: Path) -> RunHistory:
        if path.suffix == WANDB_SUFFIX and path.is_file():
            return read_wandb_file(path)
        return read_run_folder(path, id=path.name if path == self.root else path.relative_to(self.root).as_posix())


def _joined(parts: Sequence[RunHistory]) -> RunHistory:
    """Return one run that was resumed, from its files in the order in which they were written.

    Rows of all files are kept; of rows with one step the last logged counts, as everywhere (`Curve.ordered`).
    """
    curves: dict[str, Curve] = {}
    for part in parts:
        for name, curve in part.curves.items():
            curves[name] = curve if name not in curves else _behind(curves[name], curve)
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    return replace(
        parts[-1],
        curves=curves,
        events=tuple(event for part in parts for event in part.events),
        notes=(*notes, f"It was resumed: {len(parts)} files are read as one run."),
    )


def _behind(first: Curve, then: Curve) -> Curve:
    times = None if first.times is None or then.times is None else np.concatenate([first.times, then.times])
    return Curve(
        name=first.name,
        steps=np.concatenate([first.steps, then.steps]),
        values=np.concatenate([first.values, then.values]),
        times=times,
    )


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
