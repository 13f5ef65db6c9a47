"""Which source frame meets which target frame: seeded draws from a pair table.

Every draw is a pure function of (seed, stream, batch number): a resumed run goes on with the same batches, and no two
sources share random numbers.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, Integer

from otpilot.config.ot import CHOICES
from otpilot.errors import PairingError, closest
from otpilot.pairing.arrays import Array, Integers
from otpilot.pairing.table import PairTable

# Keeps these draws apart from others that are seeded with the same run seed: ASCII "pair".
_PAIR_DRAWS = 0x70616972


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """How a source frame is drawn for a target frame.

    Attributes:
        window_size: The matched source frame moves by up to this many frames, uniformly over what lies inside its
            episode. The target frame stays.
        no_window: Draw any frame of the chosen source episode instead, uniformly; `window_size` is ignored.
        sharpness: How much nearer source episodes are preferred; 0 draws them alike.
        weighting: exp: weight exp(-sharpness * distance), as in the older reports; logistic:
            1 / (1 + exp(sharpness * (distance - cutoff))) (arXiv 2509.18631).
        cutoff_quantile: The logistic cutoff is this quantile (0 to 1) of the distances of all allowed pairs.
        topk_src_episodes: Only this many nearest allowed source episodes per target episode; None is all.
        seed: Seed of all draws, >= 0.
    """

    window_size: int = 0
    no_window: bool = False
    sharpness: float = 0.0
    weighting: str = "exp"
    cutoff_quantile: float = 0.5
    topk_src_episodes: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check words and ranges."""
        weightings = CHOICES["weighting"]
        if self.weighting not in weightings:
            hint = closest(str(self.weighting), weightings)
            raise PairingError(f"weighting is {self.weighting!r}; allowed: {', '.join(weightings)}.{hint}")
        for name in ("window_size", "sharpness", "seed"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise PairingError(f"{name} is {value}; allowed: a number >= 0.")
        if not 0.0 <= self.cutoff_quantile <= 1.0:
            raise PairingError(f"cutoff_quantile is {self.cutoff_quantile}; allowed: 0 to 1.")
        if self.topk_src_episodes is not None and self.topk_src_episodes < 1:
            raise PairingError(f"topk_src_episodes is {self.topk_src_episodes}; allowed: >= 1, or null for all.")


@dataclass(frozen=True, kw_only=True, eq=False)
class PairDraw:
    """Drawn pairs: row indices of the two datasets, and the table's pair each came from."""

    source_rows: Int64[Array, " n"]
    target_rows: Int64[Array, " n"]
    pairs: Int64[Array, " n"]


class PairSampler:
    """Draws (source row, target row) from a table.

    A target row is drawn uniformly from the target frames that the table matches (or given by the caller), then one of
    its episode's source episodes by weight, then one of the source frames matched to that target frame, uniformly,
    moved as `window_size` or `no_window` say. A target frame that the chosen pair leaves unmatched takes the matches of
    the nearest target frame that has some (of two equally near ones the earlier).

    Weights belong to episodes, so an episode with many matches for a frame is not drawn more often for it.
    """

    def __init__(
        self,
        table: PairTable,
        options: SamplerOptions | None = None,
        *,
        source_starts: Integers | None = None,
        target_starts: Integers | None = None,
        allowed_src_episodes: Integers | None = None,
        allowed_tgt_episodes: Integers | None = None,
        stream: int = 0,
    ) -> None:
        """Prepare the draws.

        Args:
            table: The pairs.
            options: How to draw; None is the defaults.
            source_starts: Row of the first frame of every source episode; None when all lie one behind the other.
                With a subset of episodes, entries of others are ignored.
            target_starts: The same for target episodes.
            allowed_src_episodes: Source episodes that may be drawn (the training split); None is all.
            allowed_tgt_episodes: Target episodes that may be drawn; None is all.
            stream: Number of this source among those that are paired, >= 0; each draws random numbers of its own.

        Raises:
            PairingError: an episode or start is out of range, or no pair is left to draw from.
        """
        if stream < 0:
            raise PairingError(f"stream is {stream}; allowed: a whole number >= 0.")
        self.table = table
        self.options = options or SamplerOptions()
        self.stream = stream
        self._source_starts = _starts(source_starts, table.source_starts, "source")
        starts = _starts(target_starts, table.target_starts, "target")
        keep = _allowed(allowed_src_episodes, len(table.source_lengths), "source")[table.pair_source]
        keep &= _allowed(allowed_tgt_episodes, len(table.target_lengths), "target")[table.pair_target]
        if not keep.any():
            raise PairingError(
                "the allowed source and target episodes share no pair; allow more episodes, or make a new table."
            )
        self._pairs, self._slot_ptr = _ranked_pairs(table, keep, self.options.topk_src_episodes)
        self.probabilities = _probabilities(table.distance, keep, self._pairs, self._slot_ptr, self.options)
        self._cumulative = _stacked_cumulative(self.probabilities, self._slot_ptr)
        self._prepare_targets(starts)
        self._filled_row = _fill_rows(table)

    def _prepare_targets(self, starts: Int64[Array, " target_episodes"]) -> None:
        """Store the drawable target episodes by start row, and the rows whose frames have a match."""
        table = self.table
        episodes = table.pair_target[self._pairs[self._slot_ptr[:-1]]]
        order = np.argsort(starts[episodes], kind="stable")
        self._slots = order
        self.target_episodes: Int64[Array, " drawable"] = episodes.astype(np.int64)
        self._first = starts[episodes][order]
        self._length = table.target_lengths[episodes][order].astype(np.int64)
        if np.any(self._first[1:] < self._first[:-1] + self._length[:-1]):
            raise PairingError("target_starts make two target episodes overlap.")
        rows = []
        for slot in range(len(episodes)):
            matched = np.zeros(table.target_lengths[episodes[slot]], np.bool_)
            for pair in self._pairs[self._slot_ptr[slot] : self._slot_ptr[slot + 1]]:
                first, last = table.row_offset[pair], table.row_offset[pair + 1]
                matched |= table.row_ptr[first:last] < table.row_ptr[first + 1 : last + 1]
            rows.append(starts[episodes[slot]] + np.flatnonzero(matched))
        self.target_rows: Int64[Array, " rows"] = np.concatenate(rows)

    def draw(self, batch: int, n: int | None = None, *, target_rows: Integer[Array, " n"] | None = None) -> PairDraw:
        """Return the pairs of one batch; the same for the same seed, stream, batch number and n.

        Args:
            batch: Number of the batch since the start of training, >= 0.
            n: Number of pairs; leave out when target rows are given.
            target_rows: Rows of the target dataset to find partners for; None draws them.

        Raises:
            PairingError: a target row has no allowed partner.
        """
        if target_rows is None:
            if n is None:
                raise PairingError("draw needs n, or target_rows.")
            uniform = self._uniform(batch, n)
            target_rows = self.target_rows[_floor(uniform[0], len(self.target_rows))]
        else:
            uniform = self._uniform(batch, len(target_rows))
            target_rows = np.asarray(target_rows, np.int64)
        at = np.searchsorted(self._first, target_rows, "right") - 1
        frame = target_rows - self._first[at]
        bad = (at < 0) | (frame >= self._length[at])
        if bad.any():
            raise PairingError(
                f"target row {target_rows[np.argmax(bad)]} belongs to no target episode with an allowed partner."
            )
        slot = self._slots[at]
        chosen = np.searchsorted(self._cumulative, slot + uniform[1], "right")
        pair = self._pairs[np.minimum(chosen, self._slot_ptr[slot + 1] - 1)]
        return PairDraw(
            source_rows=self._source_rows(pair, frame, uniform[2], uniform[3]), target_rows=target_rows, pairs=pair
        )

    def _uniform(self, batch: int, n: int) -> Float64[Array, "4 n"]:
        """Return the random numbers of a batch: target row, source episode, match, jitter."""
        generator = np.random.default_rng([_PAIR_DRAWS, self.options.seed, self.stream, batch])
        return generator.random((4, n))

    def _source_rows(
        self,
        pair: Int64[Array, " n"],
        frame: Int64[Array, " n"],
        pick: Float64[Array, " n"],
        move: Float64[Array, " n"],
    ) -> Int64[Array, " n"]:
        """Return a source row for every pair and target frame, inside the pair's source episode."""
        table, options = self.table, self.options
        episode = table.pair_source[pair]
        length = table.source_lengths[episode].astype(np.int64)
        if options.no_window:
            anywhere: Array = self._source_starts[episode] + _floor(move, length)
            return anywhere
        row = table.row_offset[pair] + frame
        if self._filled_row is not None:
            row = self._filled_row[row]
        first = table.row_ptr[row]
        centre = table.match_source[first + _floor(pick, table.row_ptr[row + 1] - first)].astype(np.int64)
        if options.window_size > 0:
            low = np.maximum(centre - options.window_size, 0)
            high = np.minimum(centre + options.window_size, length - 1)
            centre = low + _floor(move, high - low + 1)
        rows: Array = self._source_starts[episode] + centre
        return rows


def _floor(uniform: Float64[Array, " n"], count: Int64[Array, " n"] | int) -> Int64[Array, " n"]:
    """Return integers 0 to count - 1 from uniform numbers in [0, 1)."""
    return (uniform * count).astype(np.int64)


def _starts(starts: Integers | None, without_gaps: Array, side: str) -> Int64[Array, " episodes"]:
    """Return the first row of every episode, or raise PairingError when there are not as many as episodes."""
    if starts is None:
        return without_gaps
    if len(starts) != len(without_gaps):
        raise PairingError(
            f"{side}_starts has {len(starts)} entries; the table has {len(without_gaps)} {side} episodes."
        )
    return np.asarray(starts, np.int64)


def _allowed(episodes: Integers | None, total: int, side: str) -> Array:
    """Return a mask of the allowed episodes, or raise PairingError at one out of range."""
    if episodes is None:
        return np.ones(total, np.bool_)
    mask = np.zeros(total, np.bool_)
    for episode in episodes:
        if not 0 <= episode < total:
            raise PairingError(f"allowed {side} episode {episode} is out of range; allowed: 0 to {total - 1}.")
        mask[episode] = True
    return mask


def _ranked_pairs(table: PairTable, keep: Array, top: int | None) -> tuple[Array, Array]:
    """Return the kept pairs by target episode and rank, and where each target episode with pairs begins among them."""
    groups = []
    for target in range(len(table.target_lengths)):
        ranked = table.ranked(target)
        ranked = ranked[keep[ranked]][:top]
        if len(ranked):
            groups.append(ranked)
    ptr = np.concatenate([[0], np.cumsum([len(group) for group in groups])])
    return np.concatenate(groups), ptr


def _probabilities(distance: Array, keep: Array, pairs: Array, ptr: Array, options: SamplerOptions) -> Array:
    """Return the probability of every kept pair within its target episode. Logarithms keep far pairs from 0 / 0."""
    if options.weighting == "exp":
        log_weight = -options.sharpness * distance[pairs]
    else:
        cutoff = np.quantile(distance[keep], options.cutoff_quantile)
        log_weight = -np.logaddexp(0.0, options.sharpness * (distance[pairs] - cutoff))
    counts = np.diff(ptr)
    weight = np.exp(log_weight - np.repeat(np.maximum.reduceat(log_weight, ptr[:-1]), counts))
    probability: Array = weight / np.repeat(np.add.reduceat(weight, ptr[:-1]), counts)
    return probability


def _stacked_cumulative(probability: Array, ptr: Array) -> Float64[Array, " pairs"]:
    """Return slot + cumulative probability, one ascending array, so that one search serves all target episodes."""
    parts = [slot + np.cumsum(probability[ptr[slot] : ptr[slot + 1]]) for slot in range(len(ptr) - 1)]
    for slot, part in enumerate(parts):
        part[-1] = slot + 1
    return np.concatenate(parts)


def _fill_rows(table: PairTable) -> Int64[Array, " rows"] | None:
    """Return for every row the nearest row of its pair that has matches, or None when all rows have some."""
    filled = table.row_ptr[1:] > table.row_ptr[:-1]
    if filled.all():
        return None
    rows = np.arange(len(filled))
    first = np.repeat(table.row_offset[:-1], np.diff(table.row_offset))
    last = np.repeat(table.row_offset[1:], np.diff(table.row_offset))
    before = np.maximum.accumulate(np.where(filled, rows, -1))
    after = np.minimum.accumulate(np.where(filled, rows, len(rows) + 1)[::-1])[::-1]
    far = 2 * len(rows)
    behind = np.where(before >= first, rows - before, far)
    ahead = np.where(after < last, after - rows, far)
    return np.where(behind <= ahead, before, after)
