"""Metric lines as columns, fast: a file's rows are decoded into typed records of one layout, never into dictionaries.

Nearly all lines of a run carry the same names. Their union is learned once, made into a record type, and msgspec
decodes every line straight into it. A line that does not fit (text among the values, too many names, damage) takes
the general way, alone.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
import numpy as np

from otpilot.runs.columns import MISSING, Block, Collector, LooseColumn, MetricTable, TextLine, join_columns
from otpilot.runs.record import NON_FINITE

CHUNK_BYTES = 8 << 20
# A typed record of more names than this, or one that lines fill less than this, costs more than it saves.
LAYOUT_LIMIT = 20_000
LAYOUT_FILL = 0.05
INT64 = np.iinfo(np.int64)
# A line with this name among its values is an event.
ALARM = "alarm"
ALARM_MARK = b'"alarm"'
# Names that msgspec takes for no field.
UNFIT = re.compile(r"[\\\"\x00-\x1f]")
# What msgspec says of a name that the layout lacks; were it to say it otherwise, reading were slower, not wrong.
UNKNOWN_NAME = "unknown field"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Layout:
    names: tuple[str, ...]
    decoder: "msgspec.json.Decoder[Any]"


def read_table(path: Path) -> MetricTable:
    """Return every intact line of a metrics.jsonl as columns; torn and garbled lines are counted, not raised.

    Raises:
        OSError: If the file cannot be opened.
    """
    collector = Collector()
    names: tuple[str, ...] = ()
    with path.open("rb") as file:
        for chunk in _chunks(file):
            names = _collect(chunk, names, collector)
    return MetricTable(
        columns=join_columns(collector), texts=tuple(collector.texts), rows=collector.rows, skipped=collector.skipped
    )


def number(value: Any) -> float | None:
    """Return a logged value as a float, or None where it is none: numbers, flags, and non-finite ones as words."""
    if isinstance(value, str):
        return NON_FINITE.get(value)
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:  # an integer beyond 1e308
            return None
    return None


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the file in pieces of whole lines."""
    rest = b""
    while block := file.read(CHUNK_BYTES):
        block = rest + block
        cut = block.rfind(b"\n") + 1
        rest = block[cut:]
        if cut:
            yield block[:cut]
    if rest:
        yield rest


# Which names a file with this first line turned out to have: the next file of a campaign is decoded at first try.
_learned: dict[tuple[str, ...], tuple[str, ...]] = {}


def _collect(chunk: bytes, names: tuple[str, ...], collector: Collector) -> tuple[str, ...]:
    """Add one chunk; return the names known now, for the next chunk."""
    head = _names_of([chunk[: chunk.find(b"\n") + 1 or None]]) or ()
    names = _union(names, _learned.get(head, head)) or names
    start = 0
    while start < len(chunk):  # alarms are looked for, because text among the values would stop the fast way
        alarm = chunk.find(ALARM_MARK, start)
        line_start = len(chunk) if alarm < 0 else chunk.rfind(b"\n", start, alarm) + 1 or start
        names = _collect_span(chunk[start:line_start], names, collector)
        start = len(chunk) if alarm < 0 else chunk.find(b"\n", alarm) + 1 or len(chunk)
        if line_start < start:
            _add_loose(chunk[line_start:start], collector)
    if len(_learned) > 64:
        _learned.clear()
    _learned[head] = names
    return names


def _collect_span(span: bytes, names: tuple[str, ...], collector: Collector) -> tuple[str, ...]:
    """Add lines, typed where they fit; around a line that does not, the span is halved until it stands alone."""
    if collector.sparse:
        for line in span.split(b"\n"):
            if line.strip():
                _add_loose(line, collector)
        return names
    try:
        _add_records(_layout(names).decoder.decode_lines(span), names, collector)
    except (msgspec.DecodeError, UnicodeDecodeError, OverflowError) as error:  # the last: a step beyond 64 bits
        more = _union(names, _names_of(span.split(b"\n"))) if UNKNOWN_NAME in str(error) else names
        collector.sparse = more is None or len(more) > LAYOUT_LIMIT
        if collector.sparse or (more and more != names):
            return _collect_span(span, more or names, collector)
        cut = span.rfind(b"\n", 0, len(span) // 2) + 1 or span.find(b"\n") + 1
        if not 0 < cut < len(span):
            if span.strip():
                _add_loose(span, collector)
            return names
        names = _collect_span(span[:cut], names, collector)
        names = _collect_span(span[cut:], names, collector)
    return names


def _names_of(lines: Sequence[bytes]) -> tuple[str, ...] | None:
    """Return the names with a number in any of these lines, in order of appearance; None if most lines lack most."""
    names: dict[str, None] = {}
    filled = rows = 0
    for line in lines:
        body = _parse(line)
        if body is None or ALARM in body["values"]:
            continue
        rows += 1
        for name, value in body["values"].items():
            if number(value) is not None and not UNFIT.search(name):
                names[name] = None
                filled += 1
    return tuple(names) if filled >= LAYOUT_FILL * rows * len(names) else None


def _union(names: tuple[str, ...], more: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if more is None else names if names == more else tuple(dict.fromkeys((*names, *more)))


@lru_cache(maxsize=16)
def _layout(names: tuple[str, ...]) -> _Layout:
    """Return a decoder for lines whose values have these names, any of them missing."""
    number_type = float | Literal["NaN", "Infinity", "-Infinity"]
    fields: list[Any] = [(f"f{index}", number_type, MISSING) for index in range(len(names))]
    rename = {f"f{index}": name for index, name in enumerate(names)}
    values = msgspec.defstruct("Values", fields, rename=rename, forbid_unknown_fields=True, gc=False)
    head: list[Any] = [("step", int), ("time", float), ("kind", str), ("values", values)]
    line = msgspec.defstruct("Line", head, gc=False)
    return _Layout(names=names, decoder=msgspec.json.Decoder(line))


def _add_records(records: list[Any], names: tuple[str, ...], collector: Collector) -> None:
    """Add typed records as a block.

    Raises:
        OverflowError: If a step does not fit 64 bits; nothing is added then.
    """
    if not records:
        return
    count = len(records)
    flat = chain.from_iterable([msgspec.structs.astuple(record.values) for record in records])
    block = Block(
        names=names,
        rows=np.arange(collector.rows, collector.rows + count),
        steps=np.fromiter([record.step for record in records], np.int64, count),
        times=np.fromiter([record.time for record in records], np.float64, count),
        kinds=[record.kind for record in records],
        values=np.fromiter(flat, np.float64, count * len(names)).reshape(count, len(names)),
    )
    collector.blocks.append(block)
    collector.rows += count


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return a line as a dictionary with the fields of the contract, or None."""
    try:
        body = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:  # bare NaN and Infinity, as Python's json writes them; numbers beyond 1e308
            body = json.loads(line)
        except (ValueError, RecursionError):
            return None
    except RecursionError:
        return None
    return body if isinstance(body, dict) and isinstance(body.get("values"), dict) else None


def _add_loose(line: bytes, collector: Collector) -> None:
    """Add one line the general way: numbers to columns, and as a text line if anything else is among its values."""
    body = _parse(line)
    try:
        if body is None:
            raise ValueError
        step, time, kind = int(body["step"]), float(body["time"]), str(body["kind"])
        if not INT64.min <= step <= INT64.max:
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError):
        collector.skipped += 1
        return
    text = alarm = ALARM in body["values"]
    for name, raw in () if alarm else body["values"].items():  # an alarm's numbers are evidence, not curves
        value = number(raw)
        if value is not None:
            loose = collector.loose.setdefault((kind, name), LooseColumn())
            loose.rows.append(collector.rows)
            loose.steps.append(step)
            loose.times.append(time)
            loose.values.append(value)
        elif raw is not None:
            text = True
    collector.rows += 1
    if text:
        collector.texts.append(TextLine(step=step, time=time, kind=kind, values=body["values"]))
