"""An analysis as JSON for other programs; keys are only added from one version to the next, never renamed.

    format "otpilot.analysis", version 1, generated (ISO 8601, UTC), baselines [run id], notes [sentence]
    runs[]: id, name, source, state, reason, url, group, tags, is_baseline, updated (seconds since the epoch), notes,
        config {setting that rules read: value}, settings {dotted key: value},
        metrics {name: {endpoint, stability, tail}}  as defined in docs; null where no finite value supports a figure,
        shared {metric: stability}, events [{step, kind, message, values}],
        findings [{tag, severity, metric, window [first step, last step], evidence {name: value},
                   thresholds [{name, value, origin}], text {en, zh}}]
    comparisons[], postmortems[], thresholds{}: the fields of the result object under their own names

Curves are not in it (they are in the runs' own logs). NaN and infinities, which JSON lacks, are strings.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from otpilot.analysis.findings import Finding
from otpilot.analysis.result import Analysis, RunReport
from otpilot.report.analysis.told import tell
from otpilot.report.files import write_atomically

FORMAT, VERSION = "otpilot.analysis", 1


def write_json(analysis: Analysis, path: Path) -> None:
    """Write the analysis to `path`, whole or not at all.

    Raises:
        OSError: The folder is missing or not writable.
    """
    write_atomically(path, render_json(analysis).encode("utf-8", errors="replace"))


def render_json(analysis: Analysis) -> str:
    """Return the JSON text; its keys stand at the head of this module."""
    body = {
        "format": FORMAT,
        "version": VERSION,
        "generated": datetime.fromtimestamp(analysis.generated, UTC).isoformat(timespec="seconds"),
        "baselines": analysis.baselines,
        "notes": analysis.notes,
        "runs": [_run(run) for run in analysis.runs],
        "comparisons": analysis.comparisons,
        "postmortems": analysis.postmortems,
        "thresholds": analysis.thresholds,
    }
    return json.dumps(_plain(body), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _run(run: RunReport) -> dict[str, Any]:
    same = ("id", "name", "source", "state", "reason", "url", "group", "tags", "is_baseline", "updated", "notes",
            "config", "settings", "shared", "events")  # fmt: skip
    return {
        **{name: getattr(run, name) for name in same},
        "metrics": run.statistics,
        "findings": [_finding(one) for one in run.findings],
    }


def _finding(one: Finding) -> dict[str, Any]:
    text = {"en": tell(one, "en").sentence, "zh": tell(one, "zh").sentence}
    return {field.name: getattr(one, field.name) for field in dataclasses.fields(one)} | {"text": text}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if value is None or isinstance(value, str | int | float):
        return value
    return str(value)
