"""How far apart two domains lie in a policy's encodings, and whether twin states find each other. Pure numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otpilot.errors import OtpilotError

Matrix = NDArray[np.float64]
FOLDS = 5
RIDGE = 1.0
"""Strength of the probe's penalty, per row, on standardised encodings."""
FEW = 8
"""Principal components that the second probe sees: does the domain show in what varies most?"""


@dataclass(frozen=True, kw_only=True)
class Separation:
    """How well a linear probe tells the domains apart on episodes that it has not seen; 0.5 is chance.

    `accuracy` uses all dimensions, `accuracy_few` the FEW leading principal components; `variance_share` is the part of
    the encodings' variance that lies between the domains' means, 0 to 1.
    """

    accuracy: float
    accuracy_few: float
    variance_share: float


@dataclass(frozen=True, kw_only=True)
class Match:
    """How near each target row's twin is among n source rows: share in first place, mean rank (1 is best).

    `top1_centred` and `mean_rank_centred` measure the same after each domain is standardised by itself, so that a
    constant offset between the domains does not count. Chance is 1 / n and (n + 1) / 2.
    """

    n: int
    top1: float
    mean_rank: float
    top1_centred: float
    mean_rank_centred: float

    @property
    def chance_top1(self) -> float:
        """What guessing gives."""
        return 1.0 / self.n

    @property
    def chance_rank(self) -> float:
        """What guessing gives."""
        return (self.n + 1) / 2.0


def separation(source: Matrix, target: Matrix, group: NDArray[np.int64]) -> Separation:
    """Return how separable two sets of rows are; rows of one `group` (n,), the same on both sides, share a fold.

    Raises:
        OtpilotError: If the sides differ in size, a number is not finite, or there are fewer groups than folds.
    """
    _check(source, target)
    groups = np.unique(group)
    if len(group) != len(source) or len(groups) < FOLDS:
        raise OtpilotError(f"{len(groups)} groups of {len(source)} rows; allowed: one per row, {FOLDS} different ones.")
    rows = np.concatenate([source, target])
    label = np.repeat([-1.0, 1.0], len(source))
    fold = np.searchsorted(groups, np.tile(group, 2)) % FOLDS
    right, right_few = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    for number in range(FOLDS):
        seen, held = fold != number, fold == number
        right[held] = _probe(rows[seen], label[seen], rows[held]) == label[held]
        few = principal_axes(rows[seen], FEW)
        right_few[held] = _probe(rows[seen] @ few, label[seen], rows[held] @ few) == label[held]
    between = 0.25 * float(((source.mean(axis=0) - target.mean(axis=0)) ** 2).sum())
    total = float(rows.var(axis=0).sum())
    return Separation(
        accuracy=float(right.mean()),
        accuracy_few=float(right_few.mean()),
        variance_share=between / total if total > 0 else 0.0,
    )


def match(source: Matrix, target: Matrix) -> Match:
    """Return how near row i of the target is to row i of the source, among all source rows, by Euclidean distance.

    Raises:
        OtpilotError: If the sides differ in size, or a number is not finite.
    """
    _check(source, target)
    ranks = _twin_ranks(source, target)
    centred = _twin_ranks(_standardised(source), _standardised(target))
    return Match(
        n=len(source),
        top1=float((ranks == 1.0).mean()),
        mean_rank=float(ranks.mean()),
        top1_centred=float((centred == 1.0).mean()),
        mean_rank_centred=float(centred.mean()),
    )


def principal_axes(rows: Matrix, count: int) -> Matrix:
    """Return the leading principal axes of rows, (dims, count or fewer), each with its largest entry positive."""
    _, _, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    axes = axes[:count]
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    found: Matrix = (axes * np.where(signs == 0, 1.0, signs)[:, None]).T
    return found


def _probe(rows: Matrix, label: Matrix, unseen: Matrix) -> Matrix:
    """Return the labels, -1 or 1, that a ridge regression on `rows` gives to unseen rows."""
    mean, spread = rows.mean(axis=0), rows.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    scaled = (rows - mean) / spread
    penalty = RIDGE * len(rows) / 100.0 * np.eye(rows.shape[1])
    weights = np.linalg.solve(scaled.T @ scaled + penalty, scaled.T @ (label - label.mean()))
    return np.where(((unseen - mean) / spread) @ weights + label.mean() >= 0, 1.0, -1.0)


def _twin_ranks(source: Matrix, target: Matrix) -> Matrix:
    """Return the rank of each target row's twin, 1 for the nearest; ties share the mean of their ranks."""
    distance = ((target[:, None, :] - source[None, :, :]) ** 2).sum(axis=2)
    own = np.diagonal(distance)[:, None]
    nearer, equal = (distance < own).sum(axis=1), (distance == own).sum(axis=1)
    return nearer + (equal + 1) / 2.0


def _standardised(rows: Matrix) -> Matrix:
    spread = rows.std(axis=0)
    return (rows - rows.mean(axis=0)) / np.where(spread > 0, spread, 1.0)


def _check(source: Matrix, target: Matrix) -> None:
    if source.shape != target.shape or source.ndim != 2 or len(source) < 2:
        raise OtpilotError(f"encodings are {source.shape} and {target.shape}; allowed: two equal shapes (n >= 2, d).")
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise OtpilotError("encodings hold a number that is not finite; the policy has diverged.")
