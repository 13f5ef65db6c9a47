"""The Gaussian process agrees with its formulas written out, and finds what it is made to find."""

import math

import numpy as np
import pytest
from scipy.optimize import check_grad
from scipy.stats import norm

from otpilot.pilot.proposers import process
from otpilot.pilot.proposers.process import first_points, fit_process, log_improvement, next_points


def bowl(points: np.ndarray) -> np.ndarray:
    """Return a score that two of the coordinates decide."""
    return 4 * (points[:, 0] - 0.3) ** 2 + (points[:, 1] - 0.8) ** 2


def drawn(n: int, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((n, d))


def test_the_gradient_is_that_of_the_loss() -> None:
    points = drawn(12)
    scores = bowl(points) - bowl(points).mean()
    for seed in range(5):
        logs = np.random.default_rng(seed).normal(-0.5, 0.5, 8)
        loss, gradient = process._loss(logs, points, scores)
        error = check_grad(
            lambda x: process._loss(x, points, scores)[0], lambda x: process._loss(x, points, scores)[1], logs
        )
        assert error < 1e-5 * max(1.0, float(np.linalg.norm(gradient))), loss


def test_predictions_are_those_of_the_textbook() -> None:
    points, asked = drawn(15), drawn(4, seed=1)
    scores = np.sin(3 * points[:, 0]) + points[:, 1]
    fitted = fit_process(points, scores)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        r = math.sqrt(sum(((a - b) / length) ** 2 for a, b, length in zip(x, y, fitted.lengths, strict=True)))
        return fitted.signal * (1 + math.sqrt(5) * r + 5 * r * r / 3) * math.exp(-math.sqrt(5) * r)

    gram = np.array([[kernel(x, y) for y in points] for x in points]) + (fitted.noise + 1e-8) * np.eye(15)
    cross = np.array([[kernel(x, y) for y in points] for x in asked])
    mean = fitted.centre + fitted.scale * cross @ np.linalg.solve(gram, (scores - fitted.centre) / fitted.scale)
    variance = fitted.signal - np.sum(cross * np.linalg.solve(gram, cross.T).T, axis=1)
    got_mean, got_spread = fitted.predict(asked)
    np.testing.assert_allclose(got_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(got_spread, fitted.scale * np.sqrt(variance), rtol=1e-4)


def test_improvement_is_the_integral_and_goes_on_far_away() -> None:
    mean, spread, best = np.array([0.5, -0.2, 3.0]), np.array([0.3, 1.0, 0.4]), 0.1
    grid = np.linspace(-8, 8, 200_001)
    for m, s, got in zip(mean, spread, log_improvement(mean, spread, best), strict=True):
        integral = np.trapezoid(np.maximum(best - (m + s * grid), 0) * norm.pdf(grid), grid)
        assert got == pytest.approx(math.log(integral), rel=0.01)
    far = log_improvement(np.array([5.0, 6.0, 50.0]), np.full(3, 0.5), 0.0)
    assert np.all(np.isfinite(far))
    assert far[0] > far[1] > far[2]


def test_what_matters_has_the_short_lengths() -> None:
    points = drawn(40, seed=3)
    lengths = fit_process(points, bowl(points)).lengths
    assert max(lengths[:2]) < min(lengths[2:])


def test_it_finds_what_random_points_do_not() -> None:
    """Four of six coordinates matter: 30 points that are asked for come far nearer than 30 at random."""

    def score(points: np.ndarray) -> np.ndarray:
        return 0.01 + np.sum((points[:, :4] - [0.3, 0.8, 0.6, 0.2]) ** 2, axis=1)

    own = np.full(6, 0.5)
    random = np.median([score(drawn(30, seed=other)).min() for other in range(20)])
    best = []
    for seed in range(3):
        points = np.vstack([own, first_points(5, own, seed=seed)])
        for turn in range(8):
            fitted = fit_process(points, np.log(score(points)), seed=turn)
            points = np.vstack([points, next_points(fitted, 3, own, seed=turn)])
        best.append(score(points).min())
    assert max(best) < random
    assert np.mean(best) < random / 2


def test_noise_is_taken_for_noise() -> None:
    numbers = np.random.default_rng(4)
    points = drawn(60, seed=4)
    noisy = fit_process(points, bowl(points) + 0.5 * numbers.standard_normal(60))
    clean = fit_process(points, bowl(points))
    assert noisy.noise > 10 * clean.noise


def test_one_ruined_score_does_not_blind_it() -> None:
    """A trial that came out a thousand times worse must not make all others look alike."""
    points = drawn(20, seed=5)
    scores = bowl(points)
    scores[0] = 1000.0
    fitted = fit_process(points, scores)
    predicted = fitted.predict(points[1:])[0]
    assert np.corrcoef(predicted, scores[1:])[0, 1] > 0.8


def test_what_lies_outside_may_stay_there() -> None:
    own = np.array([1.8, 0.5, -0.7, 0.2])
    for points in (first_points(64, own, seed=1), next_points(fit_process(own[None], np.zeros(1)), 16, own, seed=1)):
        assert np.all((points[:, 0] <= 1.8) & (points[:, 0] >= 0))
        assert np.any(points[:, 0] == 1.8)
        assert np.any(points[:, 2] == -0.7)
        assert np.all((points[:, [1, 3]] >= 0) & (points[:, [1, 3]] <= 1))


def test_what_is_best_elsewhere_is_not_taken_for_best_here() -> None:
    """With the last coordinate at 1 the best is at .8, at 0 it is at .2; points are chosen for 0."""
    elsewhere = np.array([[0.0], [1.0]] * 20)
    points = np.hstack([drawn(40, d=1), elsewhere])
    scores = (points[:, 0] - np.where(elsewhere[:, 0] > 0, 0.8, 0.2)) ** 2
    chosen = next_points(fit_process(points, scores), 4, np.full(1, 0.5))
    assert chosen.shape == (4, 1)
    assert np.all(np.abs(chosen - 0.2) < 0.2)


def test_the_same_seed_asks_the_same() -> None:
    points = drawn(9)
    fitted = fit_process(points, bowl(points), seed=2)
    own = np.full(6, 0.5)
    np.testing.assert_array_equal(next_points(fitted, 3, own, seed=2), next_points(fitted, 3, own, seed=2))


@pytest.mark.parametrize("scores", [[], [1.0, math.nan]])
def test_scores_must_be_numbers(scores: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        fit_process(drawn(len(scores)), np.array(scores))
