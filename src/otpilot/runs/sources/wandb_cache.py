"""Histories fetched from W&B, kept on disk: one file a run, with what tells whether the run has changed since."""

import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from otpilot.runs.history import Curve, RunHistory

FORMAT = 1
VARIABLE = "OTPILOT_CACHE"
WORDS = ("id", "name", "source", "state", "reason", "config", "url", "group", "tags", "updated", "notes")


def default_cache() -> Path:
    """Return the cache folder: $OTPILOT_CACHE, else otpilot/ in the user's cache folder; it need not exist."""
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "otpilot"


@dataclass(frozen=True, kw_only=True)
class Cached:
    """A stored run, and the stamp that W&B gave it when it was fetched."""

    run: RunHistory
    stamp: str


@dataclass(frozen=True, kw_only=True)
class WandbCache:
    """The stored runs of one project on one server."""

    root: Path
    host: str
    entity: str
    project: str

    @property
    def folder(self) -> Path:
        """Where this project's runs lie."""
        parts = [quote(part, safe="") or "_" for part in (self.host, self.entity, self.project)]
        return self.root.joinpath("wandb", *parts)

    def _path(self, run_id: str) -> Path:
        return self.folder / f"{quote(run_id, safe='')}.npz"

    def load(self, run_id: str) -> Cached | None:
        """Return a stored run, or None if there is none or its file is damaged."""
        return _load(self._path(run_id))

    def all(self) -> Iterator[Cached]:
        """Yield every readable stored run, by id."""
        for path in sorted(self.folder.glob("*.npz")):
            if (found := _load(path)) is not None:
                yield found

    def save(self, run: RunHistory, stamp: str) -> None:
        """Store a run, replacing what was there in one move.

        Raises:
            OSError: If the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        meta = {word: getattr(run, word) for word in WORDS}
        meta |= {"format": FORMAT, "stamp": stamp, "curves": list(run.curves)}
        arrays: dict[str, Any] = {"meta": np.frombuffer(json.dumps(meta, default=str).encode(), dtype=np.uint8)}
        for index, curve in enumerate(run.curves.values()):
            arrays[f"s{index}"], arrays[f"v{index}"] = curve.steps, curve.values
            if curve.times is not None:
                arrays[f"t{index}"] = curve.times
        handle, draft = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(file, **arrays)
            Path(draft).replace(self._path(run.id))
        finally:
            Path(draft).unlink(missing_ok=True)


def _load(path: Path) -> Cached | None:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            meta = json.loads(stored["meta"].tobytes())
            if meta.pop("format") != FORMAT:
                return None
            curves = {
                name: Curve(
                    name=name,
                    steps=stored[f"s{index}"],
                    values=stored[f"v{index}"],
                    times=stored.get(f"t{index}"),
                )
                for index, name in enumerate(meta.pop("curves"))
            }
            stamp = meta.pop("stamp")
            meta["tags"], meta["notes"] = tuple(meta["tags"]), tuple(meta["notes"])
            return Cached(run=RunHistory(**meta, curves=curves), stamp=stamp)
    except Exception:  # a damaged archive raises whatever zipfile, zlib, numpy or json think of; it is fetched again
        return None
