"""Which rows make up batch number k: a pure function of the seed and k, so that resuming needs no state."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otpilot.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class RowMap:
    """What each row of a stacked batch is for.

    The first `cloning` rows serve behaviour cloning; `pair_src[i]` and `pair_tgt[i]` are the places of matched rows;
    `domain` (rows,) is 0 for the target and n for the n-th source; `viewed` (rows,) says which rows the target's view
    is for: their pictures were read without augmentation, which comes behind it.
    """

    cloning: int
    pair_src: NDArray[np.int64]
    pair_tgt: NDArray[np.int64]
    domain: NDArray[np.int64]
    viewed: NDArray[np.bool_]

    @property
    def is_source(self) -> NDArray[np.bool_]:
        """Which rows come from a source, (rows,)."""
        return self.domain > 0


class EpochOrder:
    """Frames drawn without repetition, in a new order each epoch: row number p is a pure function of (seed, p).

    Args:
        frames: Absolute frame indices, (n,).
        seed: Any integers, e.g. (config seed, domain number).
    """

    def __init__(self, frames: NDArray[np.int64], seed: tuple[int, ...]) -> None:
        if len(frames) == 0:
            raise ConfigError("No frames to draw from: every episode is shorter than what the policy drops.")
        self._frames = frames
        self._seed = seed
        self._orders: dict[int, NDArray[np.int64]] = {}

    def rows(self, start: int, count: int) -> NDArray[np.int64]:
        """Return frame indices number start ... start + count - 1 of the endless stream."""
        size = len(self._frames)
        places = np.arange(start, start + count)
        drawn = [self._order(int(place) // size)[int(place) % size] for place in places]
        return self._frames[np.asarray(drawn, dtype=np.int64)]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1}
            self._orders[epoch] = np.random.default_rng([*self._seed, epoch]).permutation(len(self._frames))
        return self._orders[epoch]


def source_share(weight: float, *, source_frames: int, target_frames: int, by_size: bool) -> float:
    """Return the share of behaviour-cloning rows that come from the source.

    `weight` is bc_src_weight, the target's is 1 - weight. With `by_size` (normalize_bc_weights_by_ds_size) the share
    is the weight itself; without, both weights are multiplied by the frames of their dataset, so that every frame of
    a domain is drawn in proportion to its domain's weight (robomimic's MetaDataset, which the reports' fork follows).
    """
    source = weight * (1 if by_size else source_frames)
    target = (1.0 - weight) * (1 if by_size else target_frames)
    return source / (source + target)


def rows_before(step: int, *, batch_size: int, share: float) -> int:
    """Return how many source rows the batches before `step` hold; exact in the long run, off by less than one row."""
    return int(np.floor(step * batch_size * share + 1e-9))


class Rotation:
    """Deals the places of one stream out to several datasets in proportion to their weights, by a repeating pattern.

    Within the pattern the next place goes to whoever is furthest behind its share, so that any stretch is mixed.

    Args:
        weights: One positive weight for each dataset.
        period: Length of the pattern; shares are exact to 1 / period.
    """

    def __init__(self, weights: Sequence[float], period: int = 1000) -> None:
        shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        counts = np.zeros((period + 1, len(shares)), dtype=np.int64)
        for place in range(period):
            counts[place + 1] = counts[place]
            counts[place + 1, np.argmax(shares * (place + 1) - counts[place])] += 1
        self._counts = counts
        self._period = period

    def before(self, place: int) -> NDArray[np.int64]:
        """Return how many of the first `place` places each dataset has."""
        turns, rest = divmod(place, self._period)
        counts: NDArray[np.int64] = turns * self._counts[-1] + self._counts[rest]
        return counts
