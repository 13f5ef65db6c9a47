"""Writes a run folder so that a crash at any moment leaves it readable."""

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from otpilot.errors import RunError
from otpilot.runs.drafts import draft_of
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics
from otpilot.runs.record import Kind, MetricRecord, Outcome


def write_json_atomically(path: Path, body: Any) -> None:
    """Write `body` as JSON to a sibling file, then move it over `path`; readers see the old file or the new one."""
    with draft_of(path) as draft, draft.open("w", encoding="utf-8") as file:
        json.dump(body, file, indent=2, ensure_ascii=False, default=str)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


RESERVED_BYTES = 32 * 1024
"""Disk space that is kept for the outcome, so that a full disk does not hide why a run ended."""


class RunWriter:
    """Owns one run folder while training: metrics line by line, outcome at the end."""

    def __init__(self, paths: RunPaths) -> None:
        self.paths = paths
        self.cut = 0
        """How many lines of the log lay behind the step from which the run goes on, and were dropped."""
        self._reserve = paths.root / ".reserve"
        self._reserve.write_bytes(b"\0" * RESERVED_BYTES)
        self._file = paths.metrics.open("a", encoding="utf-8")

    @classmethod
    def create(cls, root: Path, *, config: Mapping[str, Any], environment: Mapping[str, Any]) -> Self:
        """Make a new run folder with its config and environment.

        Raises:
            RunError: If the folder exists already.
        """
        if root.exists():
            raise RunError(
                f"Output folder {root} exists already. Give another --output_dir, remove the folder, or resume it "
                f"with --resume=true --config_path={root}."
            )
        root.mkdir(parents=True)
        paths = RunPaths(root)
        write_json_atomically(paths.config, config)
        write_json_atomically(paths.environment, environment)
        return cls(paths)

    @classmethod
    def reopen(cls, root: Path, *, step: int, config: Mapping[str, Any], environment: Mapping[str, Any]) -> Self:
        """Open a run folder again to go on behind `step`; later lines and the old outcome are dropped."""
        paths = RunPaths(root)
        root.mkdir(parents=True, exist_ok=True)
        cut = 0
        if paths.metrics.exists():
            records = read_metrics(paths.metrics).records
            kept = [record for record in records if record.step <= step]
            cut = len(records) - len(kept)
            draft = paths.metrics.with_suffix(".tmp")
            draft.write_text("".join(record.to_line() + "\n" for record in kept), encoding="utf-8")
            draft.replace(paths.metrics)
        paths.outcome.unlink(missing_ok=True)
        write_json_atomically(paths.config, config)
        write_json_atomically(paths.environment, environment)
        writer = cls(paths)
        writer.cut = cut
        return writer

    def log(self, step: int, kind: Kind, values: Mapping[str, Any]) -> None:
        """Append one line and flush it."""
        record = MetricRecord(step=step, time=time.time(), kind=kind, values=values)
        self._file.write(record.to_line() + "\n")
        self._file.flush()

    def finish(self, outcome: Outcome) -> None:
        """Write outcome.json atomically and close the log."""
        self._reserve.unlink(missing_ok=True)
        write_json_atomically(self.paths.outcome, asdict(outcome))
        self.close()

    def close(self) -> None:
        """Close the log; what a full disk refused to take is lost."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._reserve.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Return the writer itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the log, whatever happened."""
        self.close()
