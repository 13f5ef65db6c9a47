"""What `otpilot pair inspect` tells about a table: numbers here, pictures in report/pair_pictures.py."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from otpilot.errors import PairingError
from otpilot.pairing.arrays import Array
from otpilot.pairing.table import PairTable

OUTLIER_FACTOR = 1.5  # Tukey's fence: how many interquartile ranges above the upper quartile an outlier begins
MIN_TARGETS_FOR_FENCE = 4  # quartiles of fewer numbers say nothing


@dataclass(frozen=True, kw_only=True)
class TargetFigures:
    """One target episode in numbers.

    Attributes:
        episode: Target episode.
        partners: Source episodes matched to it.
        best_source: Nearest source episode, None without partners.
        best: Distance of that one; NaN without partners.
        median: Median distance of all partners; NaN without.
        worst: Distance of the farthest partner; NaN without.
        stretch: Longest run of frames in which the best path moves in one episode only, over the path's length: how
            much of it one frame is matched to. NaN without partners.
        problem: Why no partner is good, in words; None when one is.
    """

    episode: int
    partners: int
    best_source: int | None
    best: float
    median: float
    worst: float
    stretch: float
    problem: str | None


@dataclass(frozen=True, kw_only=True)
class PairFigures:
    """One pair in numbers: its two episodes, distance, and rank of the source episode (0 is the nearest)."""

    pair: int
    target_episode: int
    source_episode: int
    distance: float
    rank: int


@dataclass(frozen=True, kw_only=True, eq=False)
class TableFigures:
    """A table in numbers.

    Attributes:
        targets: One entry per target episode.
        worst_pairs: Pairs with the largest distance, farthest first.
        worst_best_pairs: Nearest pairs of target episodes with the largest distance, farthest first.
        coverage: Share of each source episode's frames that any target frame is matched to.
        best_coverage: The same, counting only every target episode's nearest source episode.
        uses: How often each source episode is the nearest one.
        total_coverage: Share of all source frames that any target frame is matched to.
        total_best_coverage: The same, counting only the nearest source episodes.
        warnings: What a person should look at, in words.
    """

    targets: tuple[TargetFigures, ...]
    worst_pairs: tuple[PairFigures, ...]
    worst_best_pairs: tuple[PairFigures, ...]
    coverage: Float64[Array, " source_episodes"]
    best_coverage: Float64[Array, " source_episodes"]
    uses: Int64[Array, " source_episodes"]
    total_coverage: float
    total_best_coverage: float
    warnings: tuple[str, ...]


def inspect_table(table: PairTable, *, worst: int = 10) -> TableFigures:
    """Return the figures of a table.

    A target episode has no good partner when (a) it has none; (b) its best distance is above the median distance of all
    pairs of the table, so its best is worse than a pair drawn blindly; or (c) its best distance lies above Tukey's
    fence, the upper quartile plus 1.5 interquartile ranges of all best distances (with at least 4 target episodes).

    Args:
        table: The pairs.
        worst: How many of the worst pairs to list.

    Raises:
        PairingError: `worst` is negative.
    """
    if worst < 0:
        raise PairingError(f"worst is {worst}; allowed: a number of pairs >= 0.")
    best_pairs = _best_pairs(table)
    targets = _targets(table, best_pairs)
    any_match = _matched_frames(table, np.arange(table.pairs))
    best_match = _matched_frames(table, best_pairs[best_pairs >= 0])
    found = best_pairs[best_pairs >= 0]
    return TableFigures(
        targets=targets,
        worst_pairs=_worst(table, np.arange(table.pairs), worst),
        worst_best_pairs=_worst(table, found, worst),
        coverage=np.add.reduceat(any_match, table.source_starts) / table.source_lengths,
        best_coverage=np.add.reduceat(best_match, table.source_starts) / table.source_lengths,
        uses=np.bincount(table.pair_source[found], minlength=len(table.source_lengths)),
        total_coverage=float(any_match.mean()),
        total_best_coverage=float(best_match.mean()),
        warnings=_warnings(table, targets),
    )


def _best_pairs(table: PairTable) -> Int64[Array, " target_episodes"]:
    """Return the nearest pair of every target episode, -1 without any."""
    ranked = [table.ranked(target) for target in range(len(table.target_lengths))]
    return np.asarray([pairs[0] if len(pairs) else -1 for pairs in ranked], np.int64)


def _targets(table: PairTable, best_pairs: Int64[Array, " target_episodes"]) -> tuple[TargetFigures, ...]:
    """Return the figures of every target episode."""
    best = np.where(best_pairs >= 0, table.distance[best_pairs], np.nan)
    blind = float(np.median(table.distance))
    fence = np.inf
    found = best[best_pairs >= 0]
    if len(found) >= MIN_TARGETS_FOR_FENCE:
        lower, upper = np.quantile(found, [0.25, 0.75])
        fence = float(upper + OUTLIER_FACTOR * (upper - lower))
    result = []
    for target, pair in enumerate(best_pairs.tolist()):
        distances = table.distance[table.pair_ptr[target] : table.pair_ptr[target + 1]]
        none = pair < 0
        result.append(
            TargetFigures(
                episode=target,
                partners=len(distances),
                best_source=None if none else int(table.pair_source[pair]),
                best=float(best[target]),
                median=float("nan") if none else float(np.median(distances)),
                worst=float("nan") if none else float(distances.max()),
                stretch=float("nan") if none else _stretch(table.path(pair)),
                problem=_problem(float(best[target]), blind, fence),
            )
        )
    return tuple(result)


def _problem(best: float, blind: float, fence: float) -> str | None:
    """Return why a best distance is not good, or None."""
    if np.isnan(best):
        return "it has no source episode at all"
    if best > blind:
        return f"its best distance {best:.3g} is above {blind:.3g}, the median of all pairs"
    if best > fence:
        return f"its best distance {best:.3g} is above {fence:.3g}, the fence of all best distances"
    return None


def _stretch(path: Int64[Array, "steps 2"]) -> float:
    """Return the longest run of steps that move in one episode only, over the number of steps; 0 for one step."""
    moves = np.diff(path, axis=0) > 0
    longest = 0
    for alone in (moves[:, 0] & ~moves[:, 1], moves[:, 1] & ~moves[:, 0]):
        edges = np.flatnonzero(np.diff(np.concatenate([[False], alone, [False]])))
        longest = max(longest, int((edges[1::2] - edges[::2]).max(initial=0)))
    return longest / max(len(moves), 1)


def _matched_frames(table: PairTable, pairs: Int64[Array, " chosen"]) -> Array:
    """Return a mask over all source frames (episodes one behind the other): matched by one of these pairs."""
    first = table.row_ptr[table.row_offset]
    chosen = np.zeros(table.pairs, np.bool_)
    chosen[pairs] = True
    counts = np.diff(first)
    rows = np.repeat(table.source_starts[table.pair_source], counts) + table.match_source
    mask = np.zeros(int(table.source_lengths.sum(dtype=np.int64)), np.bool_)
    mask[rows[np.repeat(chosen, counts)]] = True
    return mask


def _worst(table: PairTable, pairs: Int64[Array, " chosen"], count: int) -> tuple[PairFigures, ...]:
    """Return the farthest of these pairs, farthest first."""
    order = pairs[np.argsort(-table.distance[pairs], kind="stable")][:count]
    return tuple(
        PairFigures(
            pair=pair,
            target_episode=int(table.pair_target[pair]),
            source_episode=int(table.pair_source[pair]),
            distance=float(table.distance[pair]),
            rank=table.ranked(int(table.pair_target[pair])).tolist().index(pair),
        )
        for pair in order.tolist()
    )


def _warnings(table: PairTable, targets: tuple[TargetFigures, ...]) -> tuple[str, ...]:
    """Return what a person should look at."""
    lines = [f"Target episode {t.episode} has no good partner: {t.problem}." for t in targets if t.problem]
    unused = np.setdiff1d(np.arange(len(table.source_lengths)), table.pair_source)
    if len(unused):
        some = ", ".join(map(str, unused[:10].tolist())) + (", ..." if len(unused) > 10 else "")
        lines.append(f"{len(unused)} of {len(table.source_lengths)} source episodes are in no pair: {some}.")
    return tuple(lines)
