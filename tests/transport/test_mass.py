"""Partial mass: the factor of the cost is found in any unit, and impossible targets are refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from otpilot.errors import TransportError
from otpilot.transport.mass import scale_for_mass
from otpilot.transport.solver import solve

from .reference import problems, random_cost

SOFT = {"reg": 0.1, "tau_src": 0.5, "tau_tgt": 0.5}


@settings(deadline=None, max_examples=60)
@given(problems(square=True, hard=False, low_reg=-2.0), st.sampled_from([1e-9, 1e-3, 1.0, 1e3, 1e9]))
def test_the_target_is_reached_in_any_unit(problem, unit):
    cost, strengths = problem
    cost = unit * (cost + 0.05)
    for target in (0.7, 0.1):
        scale, plan = scale_for_mass(cost, target, **strengths, prior="mixed")
        assert plan.mass.item() == pytest.approx(target, rel=2e-3)
        again = solve(scale * cost, **strengths, prior="mixed", tolerance=1e-6)
        assert again.mass.item() == pytest.approx(target, rel=3e-3)


def test_each_problem_of_a_stack_gets_its_own_factor():
    cost = random_cost(0, 6, 6) + 0.1
    scale, plan = scale_for_mass(torch.stack([cost, 1e3 * cost, 1e-3 * cost]), 0.7, **SOFT)
    assert plan.mass.tolist() == pytest.approx([0.7] * 3, rel=2e-3)
    assert (scale[0] / scale[1]).item() == pytest.approx(1e3, rel=5e-3)
    assert (scale[0] / scale[2]).item() == pytest.approx(1e-3, rel=5e-3)


def test_the_diagonal_prior_scales_the_pairs():
    cost = random_cost(0, 6, 6) + 0.1
    scale, plan = scale_for_mass(cost, 0.5, **SOFT, prior="diagonal")
    assert plan.mass.item() == pytest.approx(0.5, rel=2e-3)
    assert torch.exp(-scale * cost.diagonal() / 1.1).mean().item() == pytest.approx(0.5, rel=2e-3)


@pytest.mark.parametrize(
    ("cost", "change", "message"),
    [
        (torch.ones(3, 3), {"tau_tgt": None}, "hard marginal fixes the mass"),
        (torch.zeros(3, 3), {}, "cost is 0"),
        (1.0 - torch.eye(3), {}, "cannot be reached: the mass stays at"),
        (torch.full((2, 2), math.nan), {}, "cannot be reached|not finite"),
        # what costs is far beyond what doubles hold before the rest of the mass is moved
        (1e-3 * (1.0 - torch.eye(3)), {"reg": 1e-4, "tau_src": 1e3, "tau_tgt": 1e3}, "cannot be reached: the mass"),
    ],
)
def test_impossible_targets_are_refused(cost, change, message):
    with pytest.raises(TransportError, match=message):
        scale_for_mass(cost, 0.01, **(SOFT | change))
    with pytest.raises(TransportError, match="between 0 and 1"):
        scale_for_mass(cost, 1.0, **SOFT)
