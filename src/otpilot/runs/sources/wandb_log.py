"""The framing of a `.wandb` file: LevelDB's log format behind a header, read so that damage stays local.

The file is cut into blocks of 32 KiB (the 7-byte file header belongs to the first). A block holds chunks: crc32 (4
bytes, over type and data), length (2), type (1), data. A record is one chunk (FULL) or several (FIRST, MIDDLE, LAST).
Format: https://github.com/google/leveldb/blob/main/doc/log_format.md, with plain crc32 instead of the masked crc32c.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

BLOCK = 32 * 1024
FILE_HEADER = b":W&B\xe1\xbe\x00"
CHUNK_HEADER = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass(kw_only=True, eq=False)
class Damage:
    """What could not be read of one file: places (offset, bytes), records cut apart, and whether it ends torn."""

    places: list[tuple[int, int]] = field(default_factory=list)
    fragments: int = 0
    torn_at: int | None = None
    header: bool = False

    @property
    def bytes(self) -> int:
        """The number of bytes in damaged places."""
        return sum(size for _, size in self.places)

    def add(self, start: int, stop: int) -> None:
        """Note a damaged stretch; neighbours are joined."""
        if self.places and sum(self.places[-1]) == start:
            first, size = self.places.pop()
            self.places.append((first, size + stop - start))
        elif stop > start:
            self.places.append((start, stop - start))


def read_records(data: bytes, damage: Damage) -> Iterator[bytes]:
    """Yield every intact record of a `.wandb` file, in order; what is lost is noted in `damage`."""
    if data[: len(FILE_HEADER)] != FILE_HEADER[: len(data)]:
        damage.header = True
    parts: list[bytes] = []
    expected = len(FILE_HEADER)
    for position, kind, body in _chunks(data, damage):
        if position != expected:  # something between was lost
            damage.fragments += bool(parts)
            parts = []
        expected = _next(position + CHUNK_HEADER.size + len(body))
        if kind in {FULL, FIRST}:
            damage.fragments += bool(parts)
            parts = [body]
        elif parts:
            parts.append(body)
        else:  # the beginning of this record was lost
            damage.fragments += kind == LAST
            continue
        if kind in {FULL, LAST}:
            yield b"".join(parts)
            parts = []
    if parts and damage.torn_at is None:
        damage.torn_at = len(data)


def _next(position: int) -> int:
    """Return where the chunk behind this position begins; a block's last bytes stay empty if no header fits."""
    left = BLOCK - position % BLOCK
    return position + left if left < CHUNK_HEADER.size else position


def _chunks(data: bytes, damage: Damage) -> Iterator[tuple[int, int, bytes]]:
    """Yield position, type and data of every intact chunk."""
    position = len(FILE_HEADER)
    while position < len(data):
        following = _next(position)
        if following != position:
            position = following
            continue
        end = _end(data, position)
        if end is not None:
            body_at = position + CHUNK_HEADER.size
            yield position, data[position + 6], data[body_at:end]
            position = end
            continue
        block_end = position - position % BLOCK + BLOCK
        if block_end >= len(data) and not any(data[position:]):
            return  # zeros: room that was set aside and not written
        if block_end >= len(data) and _cut_off(data, position):
            damage.torn_at = position
            return
        resumed = _resume(data, position, min(block_end, len(data)))
        damage.add(position, resumed)
        position = resumed


def _end(data: bytes, position: int) -> int | None:
    """Return where the chunk at this position ends, or None if it is not intact."""
    body_at = position + CHUNK_HEADER.size
    if body_at > len(data):
        return None
    crc, length, kind = CHUNK_HEADER.unpack_from(data, position)
    end = body_at + length
    if not FULL <= kind <= LAST or end > len(data) or end > position - position % BLOCK + BLOCK:
        return None
    # one slice from the type on: crc32 covers type and data, which lie side by side
    return end if zlib.crc32(data[position + 6 : end]) == crc else None


def _cut_off(data: bytes, position: int) -> bool:
    """Whether the file ends within a chunk that looks whole otherwise: a run that was killed, or still writes."""
    if position + CHUNK_HEADER.size > len(data):
        return True
    _, length, kind = CHUNK_HEADER.unpack_from(data, position)
    end = position + CHUNK_HEADER.size + length
    return bool(FULL <= kind <= LAST and len(data) < end <= position - position % BLOCK + BLOCK)


def _resume(data: bytes, position: int, stop: int) -> int:
    """Return where reading can go on: the next intact chunk of this block, else the block's end.

    A damaged length leads nowhere, so every offset is tried; a chance match needs 32 equal bits.
    """
    for candidate in range(position + 1, stop - CHUNK_HEADER.size + 1):
        if FULL <= data[candidate + 6] <= LAST and _end(data, candidate) is not None:
            return candidate
    return stop
