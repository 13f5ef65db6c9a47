"""The pair_info JSON of earlier code: read it, write it.

    {"episode_0001": [{"demo_name": "episode_0061", "raw_dtw_dist": 5.7, "pairing": {"0": [0, 2], "2": [4]}}]}

Keys are target episodes, `demo_name` the source episode; both end in a number, the episode's index plus a base of 0 or
1. `pairing` maps target frames to source frames, both from 0; target frames may be missing. `raw_dtw_dist` is the cost
of the warping path over the larger Frobenius norm of the two sequences that were aligned. A name ending in .gz is
gzipped.
"""

import gzip
import json
import re
import zlib
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from otpilot.errors import MissingFileError, PairingError, closest
from otpilot.pairing.arrays import Array, Integers
from otpilot.pairing.fingerprint import DatasetFingerprint
from otpilot.pairing.table import EpisodeNaming, PairTable
from otpilot.runs.drafts import draft_of

_KEYS = ("demo_name", "raw_dtw_dist", "pairing")


def import_pair_info(
    path: Path,
    *,
    source: DatasetFingerprint,
    target: DatasetFingerprint,
    source_lengths: Integers,
    target_lengths: Integers,
    base_index_src: int = 0,
    base_index_tgt: int = 0,
) -> PairTable:
    """Return the table that a pair_info file describes.

    Args:
        path: The file, .json or .json.gz.
        source: Fingerprint of the source dataset the file belongs to.
        target: Fingerprint of the target dataset.
        source_lengths: Frames of every source episode.
        target_lengths: Frames of every target episode.
        base_index_src: Number in the name of source episode 0.
        base_index_tgt: Number in the name of target episode 0.

    Raises:
        MissingFileError: there is no such file.
        PairingError: the file is no JSON or truncated, a key is missing or of the wrong kind, or an episode, frame or
            distance is out of range; the message names the file and the entry.
    """
    content = _read(path)
    reader = _Reader(
        path,
        EpisodeSide("source", np.asarray(source_lengths, np.int32), base_index_src),
        EpisodeSide("target", np.asarray(target_lengths, np.int32), base_index_tgt),
    )
    for name, entries in content.items():
        reader.add_target(name, entries)
    try:
        return reader.table(source, target)
    except PairingError as error:
        raise PairingError(f"{path}: {error}") from error


def export_pair_info(table: PairTable, path: Path) -> None:
    """Write the table as pair_info, gzipped when the name ends in .gz; the file appears whole or not at all."""
    content: dict[str, list[dict[str, Any]]] = {}
    for pair in range(table.pairs):
        target = table.target_naming.name(int(table.pair_target[pair]))
        first, last = table.row_offset[pair], table.row_offset[pair + 1]
        ptr = table.row_ptr[first : last + 1].tolist()
        source = table.match_source[ptr[0] : ptr[-1]].tolist()
        pairing = {
            str(frame): source[ptr[frame] - ptr[0] : ptr[frame + 1] - ptr[0]]
            for frame in range(last - first)
            if ptr[frame + 1] > ptr[frame]
        }
        content.setdefault(target, []).append(
            {
                "demo_name": table.source_naming.name(int(table.pair_source[pair])),
                "raw_dtw_dist": float(table.distance[pair]),
                "pairing": pairing,
            }
        )
    data = json.dumps(content).encode()
    with draft_of(path) as draft:
        draft.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def _read(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file, or raise an error that names it."""
    if not path.is_file():
        raise MissingFileError(f"pair_info file {path} is not there.")
    try:
        data = path.read_bytes()
        content = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (ValueError, EOFError, OSError, zlib.error) as error:  # JSON and Unicode errors are ValueErrors
        raise PairingError(f"{path} is no pair_info JSON, or truncated ({error}).") from error
    if not isinstance(content, dict):
        raise PairingError(f"{path}: the top is a {type(content).__name__}; allowed: an object of target episodes.")
    if not content:
        raise PairingError(f"{path}: the file is empty: it names no target episode.")
    return content


class EpisodeSide:
    """Turns the names of one dataset's episodes into indices."""

    def __init__(self, word: str, lengths: Array, base: int) -> None:
        """Take the side's word for messages, its episode lengths and the number of its first episode."""
        self.word = word
        self.lengths = lengths
        self.base = base
        self.naming: EpisodeNaming | None = None

    def index(self, name: object, where: str) -> int:
        """Return the index of the named episode, or raise PairingError."""
        match = re.fullmatch(r"(.*?)(\d+)", name) if isinstance(name, str) else None
        if match is None:
            raise PairingError(
                f"{where}: {self.word} episode is called {name!r}; allowed: a name that ends in a number."
            )
        prefix, number = match.groups()
        if self.naming is None:
            self.naming = EpisodeNaming(prefix=prefix, digits=len(number), base=self.base)
        elif len(number) < self.naming.digits:
            # demo_10 before demo_9: the numbers are not padded.
            self.naming = EpisodeNaming(prefix=self.naming.prefix, digits=len(number), base=self.base)
        index = int(number) - self.base
        if not 0 <= index < len(self.lengths):
            setting = "base_index_src" if self.word == "source" else "base_index_tgt"
            raise PairingError(
                f"{where}: {self.word} episode {name!r} is out of range; it has {len(self.lengths)} episodes, "
                f"numbered from {self.base} ({setting})."
            )
        return index


class _Reader:
    """Collects the entries of a pair_info object, then makes a table of them."""

    def __init__(self, path: Path, source: EpisodeSide, target: EpisodeSide) -> None:
        self.path = path
        self.source = source
        self.target = target
        self.by_target: dict[int, list[tuple[int, float, Array, Array]]] = {}

    def add_target(self, name: str, entries: object) -> None:
        """Take all entries of one target episode."""
        where = f"{self.path}: {name!r}"
        target = self.target.index(name, where)
        if not isinstance(entries, list) or not entries:
            raise PairingError(f"{where} is {_kind(entries)}; allowed: a list of at least one source episode.")
        if target in self.by_target:
            raise PairingError(f"{where}: target episode {target} is named twice.")
        length = int(self.target.lengths[target])
        self.by_target[target] = [
            self._entry(entry, length, f"{where}, entry {number}") for number, entry in enumerate(entries)
        ]

    def _entry(self, entry: object, target_length: int, where: str) -> tuple[int, float, Array, Array]:
        """Return source episode, distance, matches per target frame and source frames of one entry."""
        if not isinstance(entry, dict):
            raise PairingError(f"{where} is {_kind(entry)}; allowed: an object with {', '.join(_KEYS)}.")
        for key in _KEYS:
            if key not in entry:
                raise PairingError(
                    f"{where} has no {key!r}; it has {', '.join(entry) or 'nothing'}.{closest(key, entry)}"
                )
        source = self.source.index(entry["demo_name"], where)
        distance = entry["raw_dtw_dist"]
        if isinstance(distance, bool) or not isinstance(distance, int | float):
            raise PairingError(f"{where}: raw_dtw_dist is {distance!r}; allowed: a finite number >= 0.")
        if not isinstance(entry["pairing"], dict):
            raise PairingError(f"{where}: pairing is {_kind(entry['pairing'])}; allowed: an object of target frames.")
        where = f"{where} ({entry['demo_name']})"
        counts, frames = _matches(entry["pairing"], target_length, where)
        limit = int(self.source.lengths[source])
        if len(frames) and (frames.min() < 0 or frames.max() >= limit):
            frame = frames.min() if frames.min() < 0 else frames.max()
            raise PairingError(f"{where}: source frame {frame}; allowed: 0 to {limit - 1}, the episode's last.")
        return source, float(distance), counts, frames

    def table(self, source: DatasetFingerprint, target: DatasetFingerprint) -> PairTable:
        """Return the table of all entries taken."""
        entries = [entry for index in sorted(self.by_target) for entry in self.by_target[index]]
        per_target = [len(self.by_target.get(index, ())) for index in range(len(self.target.lengths))]
        counts = np.concatenate([entry[2] for entry in entries])
        return PairTable(
            source=source,
            target=target,
            source_lengths=self.source.lengths,
            target_lengths=self.target.lengths,
            pair_ptr=np.concatenate([[0], np.cumsum(per_target, dtype=np.int64)]),
            pair_source=np.asarray([entry[0] for entry in entries], np.int32),
            distance=np.asarray([entry[1] for entry in entries], np.float64),
            row_ptr=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
            match_source=np.concatenate([entry[3] for entry in entries]).astype(np.int32),
            source_naming=self.source.naming or EpisodeNaming(base=self.source.base),
            target_naming=self.target.naming or EpisodeNaming(base=self.target.base),
        )


def _matches(pairing: Mapping[str, Any], target_length: int, where: str) -> tuple[Array, Array]:
    """Return the number of matches of every target frame, and the source frames in the order of target frames."""
    try:
        targets = np.fromiter((int(key) for key in pairing), np.int64, len(pairing))
    except ValueError as error:
        raise PairingError(f"{where}: a target frame is no number ({error}).") from error
    if len(targets) and (targets.min() < 0 or targets.max() >= target_length):
        frame = targets.min() if targets.min() < 0 else targets.max()
        raise PairingError(f"{where}: target frame {frame}; allowed: 0 to {target_length - 1}, the episode's last.")
    lists = list(pairing.values())
    order = np.argsort(targets, kind="stable")
    if len(targets) > 1 and np.any(np.diff(targets[order]) == 0):
        raise PairingError(f"{where}: target frame {targets[order][np.argmin(np.diff(targets[order]))]} occurs twice.")
    for key, frames in pairing.items():
        if not isinstance(frames, list):
            raise PairingError(f"{where}: target frame {key} has {_kind(frames)}; allowed: a list of source frames.")
    ordered = [lists[i] for i in order]
    flat = list(chain.from_iterable(ordered))
    if any(type(frame) is not int for frame in flat):
        odd = next(frame for frame in flat if type(frame) is not int)
        raise PairingError(f"{where}: source frame {odd!r}; allowed: a whole number.")
    counts = np.zeros(target_length, np.int64)
    counts[targets] = [len(frames) for frames in lists]
    return counts, np.asarray(flat, np.int64)


def _kind(value: object) -> str:
    """Return what a JSON value is, in words."""
    if value is None or value in ([], {}):
        return {"NoneType": "null", "list": "an empty list", "dict": "an empty object"}[type(value).__name__]
    return f"a {type(value).__name__}"
