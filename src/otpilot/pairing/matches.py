"""Which matched frames to look at: a few of each of some pairs, and the places where their pictures lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from otpilot.errors import PairingError
from otpilot.pairing.arrays import Array
from otpilot.pairing.table import PairTable


@dataclass(frozen=True, kw_only=True, eq=False)
class FrameMatches:
    """Matched frames of some pairs, pair by pair.

    Attributes:
        pair: Pair of each match.
        source_frame: Source frame, counted within its episode.
        target_frame: Target frame, counted within its episode.
        source_row: The same source frame, counted over the whole dataset.
        target_row: The same target frame, counted over the whole dataset.
    """

    pair: Int64[Array, " matches"]
    source_frame: Int64[Array, " matches"]
    target_frame: Int64[Array, " matches"]
    source_row: Int64[Array, " matches"]
    target_row: Int64[Array, " matches"]

    def of(self, pairs: Sequence[int]) -> Int64[Array, " chosen"]:
        """Return where the matches of these pairs are, in the order of the pairs."""
        return np.concatenate([np.flatnonzero(self.pair == pair) for pair in pairs] or [np.empty(0, np.int64)])


def spread_matches(table: PairTable, pairs: Sequence[int], *, per_pair: int = 4) -> FrameMatches:
    """Return `per_pair` matches of every pair, evenly spaced along its path from the first to the last.

    A match may appear twice when a path is shorter than that, so that every pair fills one line of a picture.

    Raises:
        PairingError: A pair is out of range, or `per_pair` is below 1.
    """
    if per_pair < 1:
        raise PairingError(f"per_pair is {per_pair}; allowed: a number of matches >= 1.")
    for pair in pairs:
        if not 0 <= pair < table.pairs:
            raise PairingError(f"pair {pair} is out of range; allowed: 0 to {table.pairs - 1}.")
    chosen = np.asarray(list(dict.fromkeys(pairs)), np.int64)
    paths = [_spaced(table.path(pair), per_pair) for pair in chosen.tolist()]
    frames = np.concatenate(paths) if paths else np.empty((0, 2), np.int64)
    owner = np.repeat(chosen, per_pair)
    return FrameMatches(
        pair=owner,
        source_frame=frames[:, 0],
        target_frame=frames[:, 1],
        source_row=table.source_starts[table.pair_source[owner]] + frames[:, 0],
        target_row=table.target_starts[table.pair_target[owner]] + frames[:, 1],
    )


def _spaced(path: Int64[Array, "steps 2"], count: int) -> Int64[Array, "count 2"]:
    """Return `count` steps of a path, evenly spaced; the middle one when there is only one to return."""
    places = np.linspace(0, len(path) - 1, count) if count > 1 else np.asarray([(len(path) - 1) / 2])
    spaced: Array = path[places.round().astype(np.int64)]
    return spaced
