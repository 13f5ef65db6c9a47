"""Gradients of the objectives: gradcheck, finite differences of the functional, and the plan itself."""

import math

import pytest
import torch

from otpilot.errors import TransportError
from otpilot.transport.objective import evaluate_objective
from otpilot.transport.solver import solve

from .reference import random_cost

SETTINGS = [
    {"reg": 0.2, "tau_src": 0.5, "tau_tgt": 0.8},
    {"reg": 0.2, "tau_src": None, "tau_tgt": 0.8},
    {"reg": 0.2, "tau_src": 0.5, "tau_tgt": None},
    {"reg": 0.3, "tau_src": None, "tau_tgt": None},
    {"reg": 0.2, "tau_src": 0.5, "tau_tgt": 0.8, "prior": "mixed"},
    {"reg": 0.2, "tau_src": 0.5, "tau_tgt": 0.8, "prior": "diagonal"},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", ["uot", "energy"])
def test_gradcheck_through_the_solver(name, settings):
    cost = random_cost(0, 4, 4).requires_grad_()

    def objective(c):
        return evaluate_objective(name, c, solve(c, **settings, tolerance=1e-8))

    assert torch.autograd.gradcheck(objective, (cost,), eps=1e-6, atol=1e-6, rtol=1e-5)


def test_gradcheck_of_the_plan_cost_at_a_fixed_plan():
    cost = random_cost(0, 4, 5).requires_grad_()
    plan = solve(cost, **SETTINGS[0])
    assert torch.autograd.gradcheck(lambda c: evaluate_objective("plan_cost", c, plan), (cost,))


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_gradient_is_the_plan(settings):
    cost = random_cost(1, 5, 5).requires_grad_()
    plan = solve(cost, **settings, tolerance=1e-8)
    for name, expected in (("plan_cost", plan.plan), ("uot", plan.plan), ("energy", plan.unit_plan)):
        (gradient,) = torch.autograd.grad(evaluate_objective(name, cost, plan), cost)
        assert torch.equal(gradient, expected)
    step = 1e-5
    for i, j in ((0, 0), (1, 3), (4, 4)):
        shift = torch.zeros_like(cost)
        shift[i, j] = step
        up, down = (solve((cost + sign * shift).detach(), **settings, tolerance=1e-8).value for sign in (1, -1))
        assert ((up - down) / (2 * step)).item() == pytest.approx(plan.plan[i, j].item(), rel=1e-5, abs=1e-8)


def test_the_energy_has_a_gradient_where_the_mass_has_underflowed():
    cost = (1300.0 + 10.0 * random_cost(0, 6, 6)).requires_grad_()
    plan = solve(cost, reg=0.1, tau_src=0.5, tau_tgt=0.5)
    assert plan.mass.item() == 0.0
    assert math.isfinite(plan.log_mass.item())
    for name, total in (("energy", 1.0), ("uot", 0.0), ("plan_cost", 0.0)):
        (gradient,) = torch.autograd.grad(evaluate_objective(name, cost, plan), cost)
        assert gradient.sum().item() == pytest.approx(total, abs=1e-9)
    assert evaluate_objective("energy", cost, plan).item() == pytest.approx(1300.0, rel=0.02)


def test_plan_cost_falls_as_the_cost_rises_and_energy_does_not():
    cost = random_cost(0, 8, 8)
    values = {name: [] for name in ("plan_cost", "uot", "energy")}
    for scale in (1.0, 3.0, 10.0, 30.0):
        plan = solve(scale * cost, reg=0.1, tau_src=0.5, tau_tgt=0.5)
        for name, found in values.items():
            found.append(evaluate_objective(name, scale * cost, plan).item())
    assert values["plan_cost"][3] < values["plan_cost"][1]
    assert sorted(values["energy"]) == values["energy"]
    assert sorted(values["uot"]) == values["uot"]


def test_stacks_and_half_precision_costs():
    cost = torch.stack([random_cost(seed, 3, 4) for seed in range(2)]).to(torch.bfloat16).requires_grad_()
    plan = solve(cost, **SETTINGS[0])
    value = evaluate_objective("energy", cost, plan)
    value.sum().backward()
    assert value.shape == (2,)
    assert cost.grad.dtype == torch.bfloat16
    assert cost.grad.float().sum().item() == pytest.approx(2.0, rel=0.02)


def test_unknown_objectives_and_foreign_plans_are_refused(as_users_run):
    plan = solve(random_cost(0, 3, 3), **SETTINGS[0])
    with pytest.raises(TransportError, match="Did you mean 'energy'"):
        evaluate_objective("enrgy", random_cost(0, 3, 3), plan)
    with pytest.raises(TransportError, match=r"\(3, 4\)"):
        evaluate_objective("energy", random_cost(0, 3, 4), plan)
