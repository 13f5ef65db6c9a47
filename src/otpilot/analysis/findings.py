"""What diagnosis says about a run: tags with their evidence. Plain data; the words are made in wording.py."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["info", "warning", "problem"]
Number = float | int | str | None


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A limit that a rule used, and where it comes from (a report, a design document, a measurement)."""

    name: str
    value: float
    origin: str


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One tag on one run: on which metric, over which steps (first, last), with which numbers, against what limits."""

    tag: str
    severity: Severity
    metric: str | None = None
    window: tuple[int, int] | None = None
    evidence: Mapping[str, Number] = field(default_factory=dict)
    thresholds: tuple[Threshold, ...] = ()
