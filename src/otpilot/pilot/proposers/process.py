"""A Gaussian process over settings, for few noisy scores: fitted by maximum a posteriori, asked by what it promises.

Matern 5/2 with a length per setting (Rasmussen and Williams 2006, eq. 4.17 and 5.9). Few trials do not identify a dozen
lengths, so they have a prior that grows with the root of their number (Hvarfner, Hellsten and Nardi 2024): what is not
known to matter is taken to matter little. A batch is chosen one by one, as if each had come out as expected.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import ndtr

Array = NDArray[np.float64]

LENGTH = (-0.3, 1.0)
"""Log-normal prior of a length: median exp(-0.3) sqrt(d / 4), and spread; in units of a setting's whole range."""
NOISE = (-4.0, 1.0)
"""Log-normal prior of the variance of equal runs, over the variance of all scores."""
SIGNAL = (0.0, 1.0)
STARTS = 3
CLIP = 3.0
"""Scores beyond so many scaled median deviations on the bad side tell no more than that they are bad."""
SPREAD, NEAR, BEST, MOVED = 512, 512, 3, 3.0
"""Points that are looked at: over the whole space, and about where one stands and each of the best observed; near
those, how many settings are moved on average."""
STAY = 0.5
"""How often a setting that lies outside the space stays where it is: that may be a fault, and may have its reason."""
NUDGE = 0.15
"""Standard deviation of a move, in ranges."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """A fitted process over points in the unit cube; scores are better when low.

    `lengths` has the shape [d], `points` [n, d], `alpha` [n]; `root` is the Cholesky factor [n, n].
    """

    points: Array
    scores: Array
    lengths: Array
    signal: float
    noise: float
    centre: float
    scale: float
    root: Array
    alpha: Array

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation, without the noise of one run, of shape [m] each, for points [m, d]."""
        cross = _matern(_squares(points, self.points, self.lengths), self.signal)
        mean = cross @ self.alpha
        half = solve_triangular(self.root, cross.T, lower=True)
        variance = np.maximum(self.signal - np.sum(half**2, axis=0), 1e-12)
        return self.centre + self.scale * mean, self.scale * np.sqrt(variance)

    def given(self, point: Array, score: float) -> "Process":
        """Return the process with one more point, [d], as if it had been observed without other changes."""
        return _condition(
            np.vstack([self.points, point]),
            np.append(self.scores, (score - self.centre) / self.scale),
            np.append(np.log(self.lengths), [math.log(self.signal), math.log(self.noise)]),
            self.centre,
            self.scale,
        )


def fit_process(points: Array, scores: Array, *, seed: int = 0) -> Process:
    """Return the process that explains scores, [n], at points [n, d] of the unit cube; lower is better.

    Raises:
        ValueError: If there is no score, or one is not finite.
    """
    if not len(scores) or not np.all(np.isfinite(scores)):
        raise ValueError(f"A process needs finite scores, got {scores}.")
    centre = float(np.median(scores))
    deviation = float(np.median(np.abs(scores - centre))) * 1.4826 or float(np.std(scores)) or 1.0
    scaled = np.minimum((scores - centre) / deviation, CLIP)
    scale = float(np.std(scaled)) or 1.0
    scaled, deviation = scaled / scale, deviation * scale
    middle = float(np.mean(scaled))
    centre, scaled = centre + deviation * middle, scaled - middle
    d = points.shape[1]
    usual = np.append(np.full(d, _length(d)), [SIGNAL[0], NOISE[0]])
    numbers = np.random.default_rng(seed)
    starts = [usual, *(usual + 0.5 * numbers.standard_normal(d + 2) for _ in range(STARTS - 1))]
    fits = [
        minimize(_loss, start, args=(points, scaled), jac=True, method="L-BFGS-B", bounds=[(-7.0, 6.0)] * (d + 2))
        for start in starts
    ]
    best = min(fits, key=lambda fit: float(fit.fun))
    return _condition(points, scaled, best.x, centre, deviation)


def first_points(count: int, own: Array, *, seed: int = 0) -> Array:
    """Return `count` points, [count, d], spread evenly over the cube, for as long as scores say too little.

    `own` is where one stands, [d]; a coordinate of it that lies outside the cube stays there half of the time.
    """
    return _spread(count, own, np.random.default_rng(seed))


def next_points(process: Process, count: int, own: Array, *, seed: int = 0) -> Array:
    """Return `count` points, [count, d], that promise most beyond the best expected of what was observed.

    Args:
        process: The fitted process, of d coordinates or more; those beyond d are 0 for every point that is chosen.
        count: How many.
        own: Where one stands, [d]; as for `first_points`.
        seed: Of the points that are looked at.
    """
    numbers = np.random.default_rng(seed)
    more = process.points.shape[1] - len(own)
    chosen: list[Array] = []
    for _ in range(count):
        looked = np.pad(_candidates(process, own, numbers), ((0, 0), (0, more)))
        mean, spread = process.predict(looked)
        best = float(np.min(process.predict(process.points)[0]))
        point = looked[int(np.argmax(log_improvement(mean, spread, best)))]
        chosen.append(point[: len(own)])
        process = process.given(point, float(process.predict(point[None])[0][0]))
    return np.array(chosen).reshape(count, len(own))


def log_improvement(mean: Array, spread: Array, best: float) -> Array:
    """Return the logarithm of the expected improvement below `best`, [m] (Jones, Schonlau and Welch 1998, eq. 15).

    Far above the best it is taken from the tail's expansion, so that points there can still be told apart.
    """
    z = (best - mean) / spread
    plain = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) + z * ndtr(z)
    tail = -0.5 * z**2 - 0.5 * math.log(2 * math.pi) - 2 * np.log(np.maximum(np.abs(z), 1.0))
    logs = np.where(z > -5.0, np.log(np.maximum(plain, 1e-300)), tail)
    return np.asarray(np.log(spread) + logs, dtype=np.float64)


def _candidates(process: Process, own: Array, numbers: np.random.Generator) -> Array:
    d = len(own)
    order = np.argsort(process.predict(process.points)[0])[:BEST]
    about = np.repeat(np.vstack([own, process.points[order, :d]]), NEAR, axis=0)
    # Few settings at a time, so that what is good stays; at least one.
    moved = numbers.random(about.shape) < min(1.0, MOVED / d)
    moved[np.arange(len(about)), numbers.integers(d, size=len(about))] = True
    near = about + NUDGE * moved * numbers.standard_normal(about.shape)
    near = np.clip(near, np.minimum(about, 0.0), np.maximum(about, 1.0))
    # From outside the space there is no telling how far is enough: half of such moves go anywhere within it.
    far = moved & ((about < 0.0) | (about > 1.0)) & (numbers.random(about.shape) < 0.5)
    near = np.where(far, numbers.random(about.shape), near)
    return np.vstack([_spread(SPREAD, own, numbers), near])


def _spread(count: int, own: Array, numbers: np.random.Generator) -> Array:
    from scipy.stats import qmc  # half a second, which commands that ask nobody need not wait for

    d = len(own)
    points = np.asarray(qmc.Sobol(d, seed=numbers).random_base2(max(1, math.ceil(math.log2(count)))))[:count]
    outside = (own < 0.0) | (own > 1.0)
    kept = outside & (numbers.random(points.shape) < STAY)
    return np.asarray(np.where(kept, own, points), dtype=np.float64)


def _length(d: int) -> float:
    return LENGTH[0] + 0.5 * math.log(d / 4)


def _squares(left: Array, right: Array, lengths: Array) -> Array:
    difference = left[:, None, :] / lengths - right[None, :, :] / lengths
    return np.asarray(np.sum(difference**2, axis=-1), dtype=np.float64)


def _matern(squares: Array, signal: float) -> Array:
    root = np.sqrt(5.0 * squares)
    return np.asarray(signal * (1.0 + root + 5.0 * squares / 3.0) * np.exp(-root), dtype=np.float64)


def _loss(logs: Array, points: Array, scores: Array) -> tuple[float, Array]:
    """Return the negative log posterior of log lengths, log signal and log noise, and its gradient."""
    d, n = points.shape[1], len(scores)
    lengths, signal, noise = np.exp(logs[:d]), math.exp(logs[d]), math.exp(logs[d + 1])
    squares = _squares(points, points, lengths)
    kernel = _matern(squares, signal)
    try:
        root = cholesky(kernel + (noise + 1e-8) * np.eye(n), lower=True)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros(d + 2)
    alpha = cho_solve((root, True), scores)
    inner = np.outer(alpha, alpha) - cho_solve((root, True), np.eye(n))
    far = np.sqrt(5.0 * squares)
    slope = signal * (5.0 / 3.0) * (1.0 + far) * np.exp(-far)
    apart = (points[:, None, :] - points[None, :, :]) ** 2 / lengths**2
    gradient = np.empty(d + 2)
    gradient[:d] = -0.5 * np.einsum("ij,ij,ijk->k", inner, slope, apart)
    gradient[d] = -0.5 * float(np.sum(inner * kernel))
    gradient[d + 1] = -0.5 * noise * float(np.trace(inner))
    loss = 0.5 * float(scores @ alpha) + float(np.sum(np.log(np.diag(root))))
    middle = np.append(np.full(d, _length(d)), [SIGNAL[0], NOISE[0]])
    spread = np.append(np.full(d, LENGTH[1]), [SIGNAL[1], NOISE[1]])
    away = (logs - middle) / spread
    return loss + 0.5 * float(away @ away), gradient + away / spread


def _condition(points: Array, scores: Array, logs: Array, centre: float, scale: float) -> Process:
    d = points.shape[1]
    lengths, signal, noise = np.exp(logs[:d]), math.exp(logs[d]), math.exp(logs[d + 1])
    kernel = _matern(_squares(points, points, lengths), signal)
    root = cholesky(kernel + (noise + 1e-8) * np.eye(len(points)), lower=True)
    return Process(
        points=points,
        scores=scores,
        lengths=lengths,
        signal=signal,
        noise=noise,
        centre=centre,
        scale=scale,
        root=root,
        alpha=cho_solve((root, True), scores),
    )
