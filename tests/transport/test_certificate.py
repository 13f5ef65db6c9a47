"""The certificate: the true error never exceeds the certified one, whatever the solver did."""

import math

import pytest
import torch

from otpilot.transport import newton
from otpilot.transport.kernel import Kernel
from otpilot.transport.newton import Problem
from otpilot.transport.solver import solve

from .reference import random_cost, relative_l1


def random_problem(seed):
    gen = torch.Generator().manual_seed(seed)
    n, m = (int(torch.randint(1, 24, (), generator=gen)) for _ in range(2))
    cost = random_cost(seed, n, m, "uniform" if seed % 2 else "points")
    log_uniform = lambda low, high: float(10 ** (low + (high - low) * torch.rand((), generator=gen)))
    taus = [None if torch.rand((), generator=gen) < 0.15 else log_uniform(-1.5, 3.0) for _ in range(2)]
    low = -1.5 if taus == [None, None] else -3.0
    return cost, {"reg": log_uniform(low, 0.5), "tau_src": taus[0], "tau_tgt": taus[1]}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_true_error_never_exceeds_the_certified_one(dtype):
    checked, closest = 0, 0.0
    for seed in range(600):
        cost, strengths = random_problem(seed)
        exact = solve(cost.to(dtype).double(), **strengths, tolerance=1e-8)
        if exact.error_bound.item() > 1e-6:
            continue
        for tolerance in (1e-3, 0.1):
            rough = solve(cost.to(dtype), **strengths, tolerance=tolerance)
            bound = rough.error_bound.item()
            true = max(
                (rough.unit_plan.double() - exact.unit_plan).abs().sum().item(),
                relative_l1(
                    (rough.log_mass.double() - exact.log_mass).exp() * rough.unit_plan.double(), exact.unit_plan
                ),
            )
            assert rough.converged.all()
            assert true <= bound + exact.error_bound.item(), (seed, tolerance, strengths)
            closest = max(closest, true / bound)
        checked += 1
    assert checked >= 550
    assert closest > 0.05


def test_the_bound_holds_at_every_point_of_the_way():
    """Stopped anywhere, also far from the solution, the gap bounds the error."""
    loosest = 0.0
    for seed in range(120):
        cost, strengths = random_problem(seed)
        if None in (strengths["tau_src"], strengths["tau_tgt"]):
            continue
        exact = solve(cost, **strengths, tolerance=1e-8)
        for limit in (1, 2, 4):
            plan = solve(cost, **strengths, tolerance=1e-9, max_iterations=limit)
            distance = (plan.unit_plan - exact.unit_plan).abs().sum().item()
            assert distance <= plan.error_bound.item() + exact.error_bound.item()
            loosest = max(loosest, distance)
    assert loosest > 0.1


def test_gap_is_primal_minus_dual():
    cost = random_cost(0, 7, 7)
    strengths = {"reg": 0.2, "tau_src": 0.7, "tau_tgt": 1.5}
    plan = solve(cost, **strengths, max_iterations=1)
    p, prior = plan.unit_plan, torch.full((7, 7), 1 / 49, dtype=torch.float64)
    uniform = torch.full((7,), 1 / 7, dtype=torch.float64)
    entropy = lambda x, y: (x * (x / y).log()).sum()
    primal = (
        (p * cost).sum() + 0.2 * entropy(p, prior) + 0.7 * entropy(p.sum(1), uniform) + 1.5 * entropy(p.sum(0), uniform)
    )
    f, g = plan.potential_src, plan.potential_tgt
    soft = lambda x, tau: -tau * (uniform * torch.exp(-x / tau)).sum().log()
    dual = soft(f, 0.7) + soft(g, 1.5) - 0.2 * (prior * torch.exp((f[:, None] + g - cost) / 0.2)).sum().log()
    assert plan.gap.item() > 1e-3
    assert plan.gap.item() == pytest.approx((primal - dual).item(), rel=1e-9)
    assert plan.energy.item() == pytest.approx(dual.item(), rel=1e-12)


@pytest.mark.parametrize("hard", [False, True])
def test_the_newton_gap_is_the_gap_of_a_feasible_candidate(hard):
    """Where the plain gap is too pessimistic (large tau) or infinite (hard columns), the candidate's bounds."""
    tau = math.inf if hard else 2000.0
    uniform = torch.full((1, 8), -math.log(8.0), dtype=torch.float64)
    problem = Problem(
        cost=random_cost(0, 8, 8)[None],
        log_prior=uniform[:, :, None] + uniform[:, None, :],
        log_rows=uniform,
        log_cols=uniform,
        spread=torch.full((1, 1), 2.0, dtype=torch.float64),
        reg=0.3,
        tau_rows=tau,
        tau_cols=tau,
    )
    reg = torch.full((1, 1), 0.3, dtype=torch.float64)
    exact = solve(problem.cost, reg=0.3, tau_src=None if hard else tau, tau_tgt=None if hard else tau, tolerance=1e-8)
    for size in (1e-1, 1e-2, 1e-3):
        gen = torch.Generator().manual_seed(1)
        noise = size * torch.randn(1, 8, generator=gen, dtype=torch.float64)
        g = exact.potential_tgt + 0.3 * noise
        point = newton.evaluate(problem, g, reg)
        linear = newton.newton_step(problem, point, reg)[1]
        gap = newton.newton_gap(problem, point, linear, reg)
        distance = (point.unit_plan - exact.unit_plan).abs().sum().item()
        assert distance <= gap.sqrt().item() <= 5.0 * distance
        assert gap < newton.plain_gap(problem, point, reg)


def test_the_kernel_form_and_the_log_form_agree():
    cost = random_cost(0, 6, 9)[None]
    problem = Problem(
        cost=cost,
        log_prior=torch.full((1, 6, 9), -math.log(54.0), dtype=torch.float64),
        log_rows=torch.full((1, 6), -math.log(6.0), dtype=torch.float64),
        log_cols=torch.full((1, 9), -math.log(9.0), dtype=torch.float64),
        spread=torch.full((1, 1), 2.0, dtype=torch.float64),
        reg=0.1,
        tau_rows=0.5,
        tau_cols=2.0,
    )
    g = torch.randn(1, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernel = Kernel(problem)
    at = kernel.scale(g / 0.1)
    reg = torch.full((1, 1), 0.1, dtype=torch.float64)
    point = newton.evaluate(problem, g, reg)
    solution = kernel.solution(g / 0.1, at, 1)
    torch.testing.assert_close(solution.unit_plan, point.unit_plan, rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(solution.row_potential, point.row_potential, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(at.gap, newton.plain_gap(problem, point, reg), rtol=1e-9, atol=0)
