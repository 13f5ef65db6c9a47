"""The pair table: for every target episode its source episodes and distances, for every target frame source frames.

In memory everything is flat (CSR). A *pair* is one source episode matched to one target episode; pairs are grouped by
target episode. A *row* is one target frame of one pair; row = row_offset[pair] + target frame.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int32, Int64

from otpilot.errors import PairingError
from otpilot.pairing.arrays import Array, Integers
from otpilot.pairing.dtw import Alignment
from otpilot.pairing.fingerprint import DatasetFingerprint


@dataclass(frozen=True, kw_only=True)
class EpisodeNaming:
    """How episodes are called in pair_info files: prefix, then index + base with at least `digits` digits."""

    prefix: str = "episode_"
    digits: int = 4
    base: int = 0

    def name(self, index: int) -> str:
        """Return the name of the episode with this index (from 0)."""
        return f"{self.prefix}{index + self.base:0{self.digits}d}"


@dataclass(frozen=True, kw_only=True, eq=False)
class PairTable:
    """Pairs of two datasets. Checked when made: every frame lies inside its episode, every distance is finite.

    Attributes:
        source: Fingerprint of the source dataset.
        target: Fingerprint of the target dataset.
        source_lengths: Frames of every source episode.
        target_lengths: Frames of every target episode.
        pair_ptr: Pairs of target episode t are pair_ptr[t] to pair_ptr[t + 1].
        pair_source: Source episode of every pair.
        distance: Normalised warping distance of every pair (raw_dtw_dist), >= 0.
        row_ptr: Matches of row r are row_ptr[r] to row_ptr[r + 1]; a row may be empty, a pair may not.
        match_source: Matched source frame, counted within its episode.
        source_naming: Names of source episodes in pair_info files.
        target_naming: Names of target episodes in pair_info files.
    """

    source: DatasetFingerprint
    target: DatasetFingerprint
    source_lengths: Int32[Array, " source_episodes"]
    target_lengths: Int32[Array, " target_episodes"]
    pair_ptr: Int64[Array, " target_bounds"]
    pair_source: Int32[Array, " pairs"]
    distance: Float64[Array, " pairs"]
    row_ptr: Int64[Array, " row_bounds"]
    match_source: Int32[Array, " matches"]
    source_naming: EpisodeNaming = EpisodeNaming()
    target_naming: EpisodeNaming = EpisodeNaming()

    def __post_init__(self) -> None:
        """Check sizes, ranges and finiteness."""
        _check_sizes(self)
        _check_pairs(self)
        _check_matches(self)

    @property
    def pairs(self) -> int:
        """Number of pairs (target episode, source episode)."""
        return len(self.pair_source)

    @cached_property
    def pair_target(self) -> Int32[Array, " pairs"]:
        """Target episode of every pair."""
        return np.repeat(np.arange(len(self.target_lengths), dtype=np.int32), np.diff(self.pair_ptr))

    @cached_property
    def row_offset(self) -> Int64[Array, " pair_bounds"]:
        """First row of every pair; the last entry is the number of rows."""
        return np.concatenate([[0], np.cumsum(self.target_lengths[self.pair_target], dtype=np.int64)])

    @cached_property
    def source_starts(self) -> Int64[Array, " source_episodes"]:
        """First frame of every source episode, where all lie one behind the other."""
        return _starts(self.source_lengths)

    @cached_property
    def target_starts(self) -> Int64[Array, " target_episodes"]:
        """First frame of every target episode, where all lie one behind the other."""
        return _starts(self.target_lengths)

    def pair_name(self, pair: int) -> str:
        """Return "target episode 3, source episode 12" for a pair, as errors and reports name it."""
        return f"target episode {self.pair_target[pair]}, source episode {self.pair_source[pair]}"

    def ranked(self, target_episode: int) -> Int64[Array, " ranks"]:
        """Return the pairs of a target episode, the nearest source episode first (stable)."""
        first, last = int(self.pair_ptr[target_episode]), int(self.pair_ptr[target_episode + 1])
        ranks: Array = first + np.argsort(self.distance[first:last], kind="stable")
        return ranks

    def matches(self, pair: int, target_frame: int) -> Int32[Array, " matches"]:
        """Return the source frames matched to one target frame of a pair; may be empty."""
        row = self.row_offset[pair] + target_frame
        return self.match_source[self.row_ptr[row] : self.row_ptr[row + 1]]

    def path(self, pair: int) -> Int64[Array, "matches 2"]:
        """Return all matches of a pair as (source frame, target frame), by target frame."""
        first, last = self.row_offset[pair], self.row_offset[pair + 1]
        counts = np.diff(self.row_ptr[first : last + 1])
        source = self.match_source[self.row_ptr[first] : self.row_ptr[last]]
        return np.stack([source.astype(np.int64), np.repeat(np.arange(last - first), counts)], axis=1)

    def check_fits(self, source: DatasetFingerprint, target: DatasetFingerprint, where: str = "pair table") -> None:
        """Raise PairingError, naming `where` (the file) and the difference, when the table was made for other data."""
        for side, mine, theirs in (("source", self.source, source), ("target", self.target, target)):
            difference = mine.difference(theirs)
            if difference:
                raise PairingError(
                    f"{where} was made for another {side} dataset ({mine.name or 'unnamed'}): {difference}. "
                    "Make a new table with `otpilot pair`, or give the dataset it was made for."
                )

    @classmethod
    def from_alignments(
        cls,
        alignments: Sequence[Sequence[Alignment]],
        *,
        source: DatasetFingerprint,
        target: DatasetFingerprint,
        source_lengths: Integers,
        target_lengths: Integers,
    ) -> "PairTable":
        """Return the table of `align_all`'s result ([target][source]), nearest source episodes first.

        Raises:
            PairingError: the lengths do not fit the alignments.
        """
        if [len(row) for row in alignments] != [len(source_lengths)] * len(target_lengths):
            raise PairingError(
                f"alignments of {len(alignments)} target episodes do not fit {len(target_lengths)} target and "
                f"{len(source_lengths)} source episodes."
            )
        ranks = [sorted(range(len(row)), key=lambda s, row=row: row[s].distance) for row in alignments]  # type: ignore[misc]
        ordered = [alignments[t][s] for t, rank in enumerate(ranks) for s in rank]
        tgt_lengths = np.asarray(target_lengths, np.int32)
        lengths = np.repeat(tgt_lengths, len(source_lengths))
        for alignment, length in zip(ordered, lengths, strict=True):
            if alignment.path[-1, 1] != length - 1:
                raise PairingError(f"an alignment ends at target frame {alignment.path[-1, 1]} of {length} frames.")
        counts = [np.bincount(a.path[:, 1], minlength=n) for a, n in zip(ordered, lengths, strict=True)]
        return cls(
            source=source,
            target=target,
            source_lengths=np.asarray(source_lengths, np.int32),
            target_lengths=tgt_lengths,
            pair_ptr=np.arange(len(alignments) + 1, dtype=np.int64) * len(source_lengths),
            pair_source=np.asarray([s for rank in ranks for s in rank], np.int32),
            distance=np.asarray([a.distance for a in ordered], np.float64),
            row_ptr=np.concatenate([[0], np.cumsum(np.concatenate(counts), dtype=np.int64)]),
            match_source=np.concatenate([a.path[:, 0] for a in ordered]).astype(np.int32),
        )


def _starts(lengths: Array) -> Int64[Array, " episodes"]:
    return np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64)])


def _check_sizes(table: PairTable) -> None:
    """Raise PairingError unless the arrays fit together and there is at least one pair."""
    for side, fingerprint, lengths in (
        ("source", table.source, table.source_lengths),
        ("target", table.target, table.target_lengths),
    ):
        expected = DatasetFingerprint.from_lengths(lengths, fps=fingerprint.fps)
        difference = fingerprint.difference(expected)
        if difference:
            raise PairingError(f"the {side} fingerprint contradicts the table's {side} episode lengths: {difference}.")
        if len(lengths) and lengths.min() < 1:
            raise PairingError(f"{side} episode {int(lengths.argmin())} has {lengths.min()} frames; allowed: >= 1.")
    if table.pairs == 0:
        raise PairingError("the table is empty: it holds no pair of episodes.")
    ptr, pairs = table.pair_ptr, table.pairs
    if len(ptr) != len(table.target_lengths) + 1 or ptr[0] != 0 or ptr[-1] != pairs or np.any(np.diff(ptr) < 0):
        raise PairingError(f"pair_ptr does not divide {pairs} pairs among {len(table.target_lengths)} target episodes.")
    if len(table.distance) != pairs:
        raise PairingError(f"{len(table.distance)} distances for {pairs} pairs; allowed: one each.")
    rows, ptr = int(table.row_offset[-1]), table.row_ptr
    if len(ptr) != rows + 1 or ptr[0] != 0 or ptr[-1] != len(table.match_source) or np.any(ptr[1:] < ptr[:-1]):
        raise PairingError(f"row_ptr does not divide {len(table.match_source)} matches among {rows} target frames.")


def _check_pairs(table: PairTable) -> None:
    """Raise PairingError at a source episode out of range or named twice, or a distance that is no distance."""
    bad = (table.pair_source < 0) | (table.pair_source >= len(table.source_lengths))
    if bad.any():
        pair = int(np.argmax(bad))
        raise PairingError(f"{table.pair_name(pair)}: the source dataset has {len(table.source_lengths)} episodes.")
    bad = ~(np.isfinite(table.distance) & (table.distance >= 0))
    if bad.any():
        pair = int(np.argmax(bad))
        raise PairingError(
            f"{table.pair_name(pair)}: distance is {table.distance[pair]}; allowed: a finite number >= 0."
        )
    key = table.pair_target.astype(np.int64) * len(table.source_lengths) + table.pair_source
    order = np.argsort(key, kind="stable")
    doubled = np.flatnonzero(np.diff(key[order]) == 0)
    if len(doubled):
        raise PairingError(f"{table.pair_name(int(order[doubled[0]]))}: this pair occurs twice.")


def _check_matches(table: PairTable) -> None:
    """Raise PairingError at a pair without matches, or a source frame outside its episode."""
    first = table.row_ptr[table.row_offset]
    empty = first[1:] == first[:-1]
    if empty.any():
        raise PairingError(f"{table.pair_name(int(np.argmax(empty)))}: no frame is matched.")
    lowest = np.minimum.reduceat(table.match_source, first[:-1])
    highest = np.maximum.reduceat(table.match_source, first[:-1])
    limit = table.source_lengths[table.pair_source]
    bad = (lowest < 0) | (highest >= limit)
    if bad.any():
        pair = int(np.argmax(bad))
        frame = lowest[pair] if lowest[pair] < 0 else highest[pair]
        raise PairingError(
            f"{table.pair_name(pair)}: source frame {frame}; allowed: 0 to {limit[pair] - 1}, the episode's last."
        )
