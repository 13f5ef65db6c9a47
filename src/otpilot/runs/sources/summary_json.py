"""The reports' summary files (compare_runs*.json): figures of each run's metrics without the curves."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otpilot.errors import RunError
from otpilot.runs.history import RunHistory
from otpilot.runs.metric_names import canonical

Figures = dict[str, float | int | None]


@dataclass(kw_only=True, eq=False)
class SummaryFile:
    """One file, several runs: {run: {"steps": rows, "summary": {metric: {statistic: number}}}}."""

    path: Path
    problems: list[str] = field(default_factory=list)

    def runs(self) -> Iterator[RunHistory]:
        """Yield each run, in the file's order."""
        try:
            body = _read(self.path)
        except RunError as error:
            self.problems.append(str(error))
            return
        for name, entry in body.items():
            if not _is_run(entry):
                self.problems.append(f"{self.path}: {name!r} has no summary and is left out.")
                continue
            yield _run(name, entry, self.path)


def is_summary(body: Any) -> bool:
    """Whether a JSON document is such a file."""
    return isinstance(body, dict) and any(_is_run(entry) for entry in body.values())


def _is_run(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("summary"), dict)


def _read(path: Path) -> dict[str, Any]:
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RunError(f"{path} could not be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}.") from error
    if body == {}:
        return {}
    if not is_summary(body):
        raise RunError(
            f"{path} is no summary file; allowed: "
            '{"run": {"steps": 25, "summary": {"train/loss": {"first": 1.0, "last": 0.5, ...}}}}.'
        )
    return dict(body)


def _run(name: str, entry: Mapping[str, Any], path: Path) -> RunHistory:
    summary: dict[str, Figures] = {}
    notes = ["The source holds figures only, no curves."]
    for metric, figures in entry["summary"].items():
        if not isinstance(figures, dict):
            notes.append(f"{metric} has no figures.")
            continue
        kept: Figures = {key: value for key, value in figures.items() if _is_figure(value)}
        if isinstance(entry.get("steps"), int):
            kept["steps"] = entry["steps"]
        key = canonical(metric)
        if key in summary and summary[key] != kept and json.dumps(summary[key]) != json.dumps(kept):
            notes.append(f"{metric} is there under two names with different figures; the first is used.")
            continue
        summary.setdefault(key, kept)
    return RunHistory(id=name, name=name, source=str(path), summary=summary, notes=tuple(notes))


def _is_figure(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
