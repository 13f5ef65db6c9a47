"""Baselines against plain formulas."""

import math

import pytest
import torch

from otpilot.errors import TransportError
from otpilot.transport.baselines import coral, energy_distance, mmd, paired
from otpilot.transport.solver import solve

from .reference import random_cost

GEN = torch.Generator().manual_seed(0)
X, Y = (torch.randn(k, 5, generator=GEN, dtype=torch.float64) for k in (7, 9))


def test_paired_is_the_uot_value_of_the_diagonal_prior():
    cost = random_cost(0, 6, 6)
    plan = solve(cost, reg=0.1, tau_src=0.4, tau_tgt=0.6, prior="diagonal")
    assert paired(cost, 1.1).item() == pytest.approx(plan.value.item(), rel=1e-12)
    assert paired(cost, math.inf).item() == pytest.approx(cost.diagonal().mean().item())


def test_paired_needs_pairs(as_users_run):
    with pytest.raises(TransportError, match="as many source"):
        paired(random_cost(0, 3, 4), 1.0)


def test_energy_distance_equals_a_loop():
    mean = lambda a, b: sum((x - y).norm().item() for x in a for y in b) / (len(a) * len(b))
    assert energy_distance(X, Y).item() == pytest.approx(2 * mean(X, Y) - mean(X, X) - mean(Y, Y))


def test_coral_equals_its_covariances():
    expected = (torch.cov(X.mT) - torch.cov(Y.mT)).square().sum() / (4 * 25)
    assert coral(X, Y).item() == pytest.approx(expected.item())


def test_mmd_equals_a_loop():
    both = torch.cat([X, Y])
    pairs = [(both[i] - both[j]).square().sum().item() for i in range(16) for j in range(i + 1, 16)]
    median = sorted(pairs)[(len(pairs) - 1) // 2]
    kernel = lambda a, b: sum(math.exp(-(a - b).square().sum().item() / (f * median)) for f in (0.25, 0.5, 1, 2, 4)) / 5
    mean = lambda a, b: sum(kernel(x, y) for x in a for y in b) / (len(a) * len(b))
    assert mmd(X, Y).item() == pytest.approx(mean(X, X) + mean(Y, Y) - 2 * mean(X, Y))


@pytest.mark.parametrize("distance", [energy_distance, mmd, coral])
def test_distances_between_samples_vanish_on_equal_ones_and_differentiate(distance):
    assert distance(X, X).item() == pytest.approx(0.0, abs=1e-12)
    assert distance(X, Y + 1.0).item() > 0.0
    assert distance(X, 3.0 * Y).item() > distance(X, Y).item() >= 0.0
    x = X.clone().requires_grad_()
    distance(x, x.detach().clone()).backward()
    assert torch.isfinite(x.grad).all()
    if distance is not mmd:
        assert torch.autograd.gradcheck(lambda z: distance(z, Y), (X.clone().requires_grad_(),))
