"""Keeps a trial's folders at an fsspec URL (s3://, gs://, file://, ...), for machines that share no path."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from otpilot.errors import ExecutorError
from otpilot.pilot.paths import TrialPaths

MANIFEST = "manifest.json"
# What the pilot's guard reads while the trial runs.
LIGHT = ("run/metrics.jsonl",)
LOCAL_ONLY = ("lock", "order.json", "wish.json", "begun.json")


class Mirror:
    """One trial's run folder, and the pilot's files beside it, here and in the store.

    A push uploads what changed and then the manifest, a list of everything that belongs together. A pull takes what the
    manifest lists and nothing else, so a checkpoint whose upload was cut short does not exist.
    """

    def __init__(self, url: str, run: Path) -> None:
        self.url = f"{url.rstrip('/')}/{run.name}"
        self._folders = {"run": run, "pilot": TrialPaths(run).root}
        self._seen: dict[str, tuple[int, int]] = {}
        self._files, self._base = _open(self.url)

    def push(self, *, patience_s: float = 0.0) -> None:
        """Upload what changed since the last push or pull, trying again for `patience_s`.

        Raises:
            ExecutorError: If the store cannot be reached or written.
        """
        deadline = time.monotonic() + patience_s
        while True:
            try:
                return self._push()
            except Exception as error:  # every store has exceptions of its own
                if time.monotonic() > deadline:
                    raise ExecutorError(f"The run folder cannot be stored at {self.url}: {error}") from error
            time.sleep(min(5.0, patience_s))

    def pull(self, *, light: bool = False) -> bool:
        """Download what changed; `light` takes the metrics alone. Returns whether the store knows the trial.

        Raises:
            ExecutorError: If the store cannot be reached, or a listed file is not there.
        """
        try:
            return self._pull(light)
        except Exception as error:
            raise ExecutorError(f"The run folder cannot be fetched from {self.url}: {error}") from error

    def _push(self) -> None:
        listed: dict[str, list[int]] = {}
        links: dict[str, str] = {}
        for key, path in self._walk():
            if path.is_symlink():
                links[key] = str(path.readlink())
                continue
            try:
                state = path.stat()
                stamp = (state.st_size, state.st_mtime_ns)
                if self._seen.get(key) != stamp:
                    place = f"{self._base}/{key}"
                    self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
                    self._files.put_file(str(path), place)
                    self._seen[key] = stamp
            except FileNotFoundError:  # replaced or moved meanwhile
                continue
            listed[key] = list(stamp)
        draft = f"{self._base}/.{MANIFEST}"
        self._files.makedirs(self._base, exist_ok=True)
        self._files.pipe_file(draft, json.dumps({"files": listed, "links": links}).encode())
        self._files.mv(draft, f"{self._base}/{MANIFEST}")

    def _pull(self, light: bool) -> bool:
        try:
            body: dict[str, Any] = json.loads(self._files.cat_file(f"{self._base}/{MANIFEST}"))
        except FileNotFoundError:
            return False
        for key, stamp in body["files"].items():
            if (light and key not in LIGHT) or self._seen.get(key) == tuple(stamp):
                continue
            target = self._local(key)
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f".{target.name}.tmp")
            self._files.get_file(f"{self._base}/{key}", str(draft))
            os.utime(draft, ns=(stamp[1], stamp[1]))  # so that it is not pushed again
            draft.replace(target)
            self._seen[key] = (stamp[0], stamp[1])
        for key, target_of in body["links"].items():
            link = self._local(key)
            if not light and not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(target_of)
        return True

    def _local(self, key: str) -> Path:
        kind, _, rest = key.partition("/")
        path = self._folders[kind] / rest
        if not path.resolve().is_relative_to(self._folders[kind].resolve()):
            raise ExecutorError(f"{self.url} lists {key!r}, which lies outside of the run folder.")
        return path

    def _walk(self) -> Iterator[tuple[str, Path]]:
        """Yield what belongs to the trial: no drafts, nothing hidden."""
        for kind, folder in self._folders.items():
            for path in sorted(folder.rglob("*")):
                inner = path.relative_to(folder)
                if any(part.startswith(".") for part in inner.parts) or str(inner) in LOCAL_ONLY:
                    continue
                if path.is_symlink() or path.is_file():
                    yield f"{kind}/{inner.as_posix()}", path


def _open(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise ExecutorError(f"storage = {url!r} needs fsspec; install it with: pip install 'otpilot[ray]'.") from error
    try:
        files, base = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise ExecutorError(f"storage = {url!r} cannot be used: {error}") from error
    return files, str(base)
