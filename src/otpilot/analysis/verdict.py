"""Better, worse or not distinguishable: what several seeds, or one seed and a noise floor, allow to say.

Losses are compared by the difference of their logarithms, so that 5 % is 5 % at any level. Success rates, which can be
0, and losses that are not positive, are compared by plain differences. The interval is Student's t over the seeds'
paired differences: at three seeds it covers 95 %, where the percentile bootstrap covers 75 % at most.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from scipy.special import stdtrit

from otpilot.runs.metric_names import Direction

Word = Literal["better", "worse", "not distinguishable"]
Scale = Literal["log", "difference"]
Basis = Literal["t-interval", "noise floor", "no spread", "no seeds", "no scores", "diverged"]

RATE_NOISE = 0.05
"""Least standard deviation of a success rate where runs agree exactly: that of 100 episodes at a chance of .5."""
ROUNDING = 1e-12
"""Scores that are so near, as a share of the largest, are equal: their means were rounded otherwise."""
NORMAL = 1.959964
"""Two-sided 95 % quantile of the normal distribution."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One of three words, and what it rests on.

    `mean`, `low`, `high`: on scale "log" relative differences ours / baseline - 1 (-0.05: five percent lower), on scale
    "difference" plain differences ours - baseline. `pairs` counts the seeds compared. `noise` is the standard
    deviation of repeated baseline runs on the same scale (None: not known). `basis` says which rule spoke: the
    t-interval over seeds, the noise floor, or why nothing could (equal differences in all seeds, too few seeds, no
    scores, or some of ours diverged and the rest may not win for them).
    """

    word: Word
    basis: Basis
    scale: Scale
    pairs: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    noise: float | None = None


def common_scale(values: Sequence[float], *, rates: bool) -> Scale:
    """Return "log" for positive losses, "difference" for success rates and whatever is not positive."""
    return "log" if not rates and all(value > 0 for value in values) else "difference"


def noise_floor(scores: Sequence[float], scale: Scale) -> float | None:
    """Return the standard deviation (ddof 1) of repeated runs' scores on a scale, or None for fewer than two."""
    if len(scores) < 2:
        return None
    placed = _place(scores, scale)
    mean = sum(placed) / len(placed)
    return math.sqrt(sum((value - mean) ** 2 for value in placed) / (len(placed) - 1))


def judge_pairs(
    pairs: Sequence[tuple[float, float]],
    *,
    scale: Scale,
    direction: Direction,
    noise: float | None = None,
    rates: bool = False,
) -> Verdict:
    """Return the verdict on (ours, baseline) scores paired by seed, by the t-interval; two pairs at least.

    Differences that are equal in all seeds show no noise. Then that of repeated runs counts, and for success rates
    RATE_NOISE at least: rates are multiples of 1 / episodes, so equal differences happen, but 0 against 1 on every seed
    does not.
    """
    ours, theirs = _place([pair[0] for pair in pairs], scale), _place([pair[1] for pair in pairs], scale)
    differences = [mine - its for mine, its in zip(ours, theirs, strict=True)]
    n = len(differences)
    mean = sum(differences) / n
    spread = math.sqrt(sum((value - mean) ** 2 for value in differences) / (n - 1))
    if spread <= _rounding((*ours, *theirs), scale):
        known = max(noise or 0.0, RATE_NOISE if rates else 0.0)
        half = critical(n - 1) * known * math.sqrt(2 / n) if known else None
        if half is None or abs(mean) <= half:
            return _verdict("no spread", mean, None, scale=scale, pairs=n, direction=direction, noise=noise)
        return _verdict("noise floor", mean, half, scale=scale, pairs=n, direction=direction, noise=known)
    half = critical(n - 1) * spread / math.sqrt(n)
    return _verdict("t-interval", mean, half, scale=scale, pairs=n, direction=direction, noise=noise)


def judge_floor(
    ours: Sequence[float],
    baselines: Sequence[float],
    *,
    scale: Scale,
    direction: Direction,
    noise: float | None = None,
    pairs: int = 0,
) -> Verdict:
    """Return the verdict where seeds cannot be paired: against the noise floor, if one is known.

    The floor is that of the repeated baseline runs, with a t-interval for the mean of ours against their mean; else
    `noise` given from elsewhere, with 1.96 standard deviations of a difference of single runs. Without either: not
    distinguishable.
    """
    mine, theirs = _place(ours, scale), _place(baselines, scale)
    mean = sum(mine) / len(mine) - sum(theirs) / len(theirs)
    own = noise_floor(baselines, scale)
    root = math.sqrt(1 / len(mine) + 1 / len(theirs))
    if own is not None and own > _rounding(theirs, scale):
        half = critical(len(theirs) - 1) * own * root
        return _verdict("noise floor", mean, half, scale=scale, pairs=pairs, direction=direction, noise=own)
    if noise is not None and noise > 0:
        return _verdict(
            "noise floor", mean, NORMAL * noise * root, scale=scale, pairs=pairs, direction=direction, noise=noise
        )
    return _verdict("no seeds", mean, None, scale=scale, pairs=pairs, direction=direction, noise=None)


@lru_cache(maxsize=1024)
def critical(freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t."""
    return float(stdtrit(freedom, 0.975))


def _verdict(
    basis: Basis,
    mean: float,
    half: float | None,
    *,
    scale: Scale,
    pairs: int,
    direction: Direction,
    noise: float | None,
) -> Verdict:
    word: Word = "not distinguishable"
    if half is not None and abs(mean) > half:
        word = "better" if (mean < 0) == (direction == "min") else "worse"
    return Verdict(
        word=word,
        basis=basis,
        scale=scale,
        pairs=pairs,
        mean=_shown(mean, scale),
        low=None if half is None else _shown(mean - half, scale),
        high=None if half is None else _shown(mean + half, scale),
        noise=noise,
    )


def _rounding(placed: Sequence[float], scale: Scale) -> float:
    """Return how far apart equal scores may lie: a logarithm is off by what its loss is off, as a share of it."""
    return ROUNDING * (1.0 if scale == "log" else max(map(abs, placed)))


def _place(scores: Sequence[float], scale: Scale) -> list[float]:
    return [math.log(score) for score in scores] if scale == "log" else list(scores)


def _shown(value: float, scale: Scale) -> float:
    if scale == "difference":
        return value
    return math.expm1(min(value, 700.0))  # beyond that it does not fit into a float
