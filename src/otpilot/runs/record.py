"""What one line of metrics.jsonl and the outcome of a run mean."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Kind = Literal["train", "eval", "sim", "health"]
Status = Literal["finished", "stopped_early", "diverged", "crashed", "killed"]

STATUSES: tuple[Status, ...] = get_args(Status)
NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True, kw_only=True)
class MetricRecord:
    """One log event: training step, seconds since the epoch, kind, and values by name (no prefix)."""

    step: int
    time: float
    kind: str
    values: Mapping[str, Any]

    def to_line(self) -> str:
        """Return the JSON line, without newline; NaN and infinities become strings."""
        body = {"step": self.step, "time": self.time, "kind": self.kind, "values": _encode(self.values)}
        return json.dumps(body, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_line(cls, line: str) -> "MetricRecord":
        """Parse one line.

        Raises:
            ValueError: If the line is torn, lacks a field, or holds a number or a depth that Python cannot take.
        """
        try:
            body = json.loads(line)
            if not isinstance(body["values"], dict):
                raise TypeError
            return cls(
                step=int(body["step"]), time=float(body["time"]), kind=str(body["kind"]), values=_decode(body["values"])
            )
        except (KeyError, TypeError, OverflowError, RecursionError) as error:
            raise ValueError(f"not a metrics line: {line[:80]!r}") from error


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: status, why, and the last step it completed."""

    status: Status
    reason: str
    last_step: int


def _encode(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if isinstance(value, str):
        return NON_FINITE.get(value, value)
    return value
