"""Columns of a metrics.jsonl, gathered piece by piece: typed blocks of rows, and values that came one by one."""

import struct
from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

# A name that a line lacks: a NaN with a payload that no arithmetic produces, so that logged NaN stay apart from it.
MISSING_BITS = 0x7FF8_0717_1707_0001
MISSING: float = struct.unpack("<d", struct.pack("<Q", MISSING_BITS))[0]

# Row numbers, steps, times, values.
Part = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """One metric of one kind: steps, times (seconds) and values, (rows,) each, in file order."""

    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TextLine:
    """A line with something other than numbers among its values, as it was written."""

    step: int
    time: float
    kind: str
    values: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, eq=False)
class MetricTable:
    """A metrics.jsonl: columns by (kind, name), lines with text, the number of rows, and of unreadable lines."""

    columns: Mapping[tuple[str, str], Column]
    texts: tuple[TextLine, ...]
    rows: int
    skipped: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Typed records of one layout: row numbers, steps, times and kinds (rows,), values (rows, names)."""

    names: tuple[str, ...]
    rows: NDArray[np.int64]
    steps: NDArray[np.int64]
    times: NDArray[np.float64]
    kinds: list[str]
    values: NDArray[np.float64]


@dataclass(kw_only=True, eq=False)
class LooseColumn:
    """Values of one metric that came the general way."""

    rows: array[int] = field(default_factory=lambda: array("q"))
    steps: array[int] = field(default_factory=lambda: array("q"))
    times: array[float] = field(default_factory=lambda: array("d"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def part(self) -> Part:
        """Return the same as arrays."""
        return np.array(self.rows), np.array(self.steps), np.array(self.times), np.array(self.values)


@dataclass(kw_only=True, eq=False)
class Collector:
    """Gathers what the chunks of one file hold."""

    blocks: list[Block] = field(default_factory=list)
    loose: dict[tuple[str, str], LooseColumn] = field(default_factory=dict)
    texts: list[TextLine] = field(default_factory=list)
    rows: int = 0
    skipped: int = 0
    sparse: bool = False


def join_columns(collector: Collector) -> dict[tuple[str, str], Column]:
    """Return the column of each metric, in file order."""
    parts: dict[tuple[str, str], list[Part]] = {}
    for names, blocks in groupby(collector.blocks, key=lambda block: block.names):
        _add_parts(_merged(names, list(blocks)), parts)
    for key, loose in collector.loose.items():
        parts.setdefault(key, []).append(loose.part())
    return {key: _joined(pieces) for key, pieces in parts.items()}


def _merged(names: tuple[str, ...], blocks: list[Block]) -> Block:
    if len(blocks) == 1:
        return blocks[0]
    return Block(
        names=names,
        rows=np.concatenate([block.rows for block in blocks]),
        steps=np.concatenate([block.steps for block in blocks]),
        times=np.concatenate([block.times for block in blocks]),
        kinds=[kind for block in blocks for kind in block.kinds],
        values=np.concatenate([block.values for block in blocks]),
    )


def _add_parts(block: Block, parts: dict[tuple[str, str], list[Part]]) -> None:
    """Split a block by kind and name; columns without a gap share their rows, steps and times."""
    for kind in dict.fromkeys(block.kinds):
        mine = np.fromiter([other == kind for other in block.kinds], bool, len(block.kinds))
        rows, steps, times = block.rows[mine], block.steps[mine], block.times[mine]
        table = np.ascontiguousarray(block.values[mine].T)
        present = table.view(np.uint64) != MISSING_BITS
        for index, count in enumerate(present.sum(axis=1).tolist()):
            if not count:
                continue
            pieces = parts.setdefault((kind, block.names[index]), [])
            if count == len(rows):
                pieces.append((rows, steps, times, table[index]))
            else:
                mask = present[index]
                pieces.append((rows[mask], steps[mask], times[mask], table[index][mask]))


def _joined(parts: list[Part]) -> Column:
    if len(parts) == 1:
        _, steps, times, values = parts[0]
        return Column(steps=steps, times=times, values=values)
    rows, steps, times, values = (np.concatenate(axis) for axis in zip(*parts, strict=True))
    order = np.argsort(rows, kind="stable")
    return Column(steps=steps[order], times=times[order], values=values[order])
