"""Reads a run folder, however it ended."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otpilot.errors import RunError
from otpilot.runs.paths import RunPaths
from otpilot.runs.record import STATUSES, MetricRecord, Outcome


@dataclass(frozen=True, kw_only=True)
class MetricsLog:
    """The intact lines of a metrics.jsonl, and how many were torn or garbled."""

    records: tuple[MetricRecord, ...]
    skipped: int

    def curve(self, name: str, kind: str = "train") -> tuple[list[int], list[float]]:
        """Return steps and values of one metric, in file order; lines without it are left out."""
        rows = [(r.step, r.values[name]) for r in self.records if r.kind == kind and name in r.values]
        return [step for step, _ in rows], [float(value) for _, value in rows]

    def last(self, kind: str) -> dict[str, Any]:
        """Return the values of the last line of a kind, or an empty dict."""
        return next((dict(r.values) for r in reversed(self.records) if r.kind == kind), {})


def read_metrics(path: Path) -> MetricsLog:
    """Read every intact line of a metrics.jsonl; torn or garbled lines are counted, not raised.

    Raises:
        RunError: If the file is missing.
    """
    if not path.is_file():
        raise RunError(f"No metrics at {path}. Give the folder of a run that `otpilot train` wrote.")
    records: list[MetricRecord] = []
    skipped = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                records.append(MetricRecord.from_line(line))
            except ValueError:
                skipped += 1
    return MetricsLog(records=tuple(records), skipped=skipped)


def read_config(root: Path) -> dict[str, Any]:
    """Return the resolved config of a run folder.

    Raises:
        RunError: If the folder holds none.
    """
    path = RunPaths(root).config
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{root} is not a run folder: it has no config.json.") from error
    except ValueError as error:
        raise RunError(f"{path} is damaged: {error}.") from error
    return config


def read_outcome(root: Path) -> Outcome | None:
    """Return how the run ended, or None if it still runs or was killed.

    Raises:
        RunError: If outcome.json is damaged.
    """
    path = RunPaths(root).outcome
    if not path.exists():
        return None
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        outcome = Outcome(status=body["status"], reason=str(body["reason"]), last_step=int(body["last_step"]))
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} is damaged: {error}.") from error
    if outcome.status not in STATUSES:
        raise RunError(f"{path} says status {outcome.status!r}; allowed: {', '.join(STATUSES)}.")
    return outcome
