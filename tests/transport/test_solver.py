"""The solver against its own identities, against POT, and on malformed input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from otpilot.errors import TransportError
from otpilot.transport.solver import solve

from .reference import functional, ot, problems, random_cost, reference_measure, relative_l1, strength_of

SOFT = {"reg": 0.1, "tau_src": 0.5, "tau_tgt": 0.5}


@settings(deadline=None, max_examples=150)
@given(problems(square=True, hard=False), st.sampled_from([0.0, 0.3, 0.99]), st.sampled_from([1e-6, 1.0, 1300.0, 1e6]))
def test_mass_and_value_follow_from_the_energy_of_the_plan(problem, kappa, unit):
    cost, strengths = problem
    strengths = {name: unit * value for name, value in strengths.items()}
    plan = solve(unit * cost, **strengths, prior="mixed", prior_kappa=kappa, tolerance=1e-6)
    assert plan.converged.all()
    prior = reference_measure(*cost.shape, kappa)
    strength = strength_of(strengths)
    energy = functional(plan.unit_plan, unit * cost, prior, **strengths).item()
    assert plan.unit_plan.sum().item() == pytest.approx(1.0, abs=1e-10)
    assert plan.energy.item() == pytest.approx(energy, rel=1e-6, abs=1e-9 * strength)
    assert plan.mass.item() == pytest.approx(math.exp(-energy / strength), rel=1e-6)
    assert functional(plan.plan, unit * cost, prior, **strengths).item() == pytest.approx(
        strength * -math.expm1(-energy / strength), rel=1e-6, abs=1e-9 * strength
    )
    assert plan.value.item() == pytest.approx(-strength * math.expm1(-energy / strength), rel=1e-6, abs=1e-9 * strength)


@settings(deadline=None, max_examples=80)
@given(problems(low_reg=-2.0))
def test_the_potentials_give_the_plan_and_its_marginals(problem):
    cost, strengths = problem
    plan = solve(cost, **strengths, tolerance=1e-4)
    assert plan.converged.all()
    f, g = plan.potential_src, plan.potential_tgt
    pi = reference_measure(*cost.shape) * torch.exp((f[:, None] + g - cost) / strengths["reg"])
    torch.testing.assert_close(pi, plan.plan, rtol=1e-8, atol=1e-14)
    for marginal, potential, tau in ((pi.sum(1), f, strengths["tau_src"]), (pi.sum(0), g, strengths["tau_tgt"])):
        wanted = torch.ones_like(marginal) / len(marginal)
        wanted = wanted if tau is None else wanted * torch.exp(-potential / tau)
        torch.testing.assert_close(marginal, wanted, rtol=0, atol=1e-3 * pi.sum().item())


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize("taus", [(0.5, 2.0), (None, 0.5), (0.5, None), (None, None)])
def test_the_unit_does_not_matter(unit, taus):
    cost = random_cost(0, 7, 9)
    one = solve(cost, reg=0.1, tau_src=taus[0], tau_tgt=taus[1])
    scaled = [tau and tau * unit for tau in taus]
    two = solve(unit * cost, reg=0.1 * unit, tau_src=scaled[0], tau_tgt=scaled[1])
    torch.testing.assert_close(one.plan, two.plan, rtol=1e-8, atol=1e-14)
    torch.testing.assert_close(one.energy * unit, two.energy, rtol=1e-10, atol=0)


@settings(deadline=None, max_examples=40)
@given(problems())
def test_swapping_the_domains_transposes_the_plan(problem):
    cost, strengths = problem
    one = solve(cost, **strengths, tolerance=1e-6)
    swapped = {"reg": strengths["reg"], "tau_src": strengths["tau_tgt"], "tau_tgt": strengths["tau_src"]}
    two = solve(cost.mT, **swapped, tolerance=1e-6)
    bound = one.error_bound + two.error_bound
    assert relative_l1(two.plan.mT, one.plan) <= bound.item() + 1e-12


def test_a_permutation_is_recovered_without_prior():
    gen = torch.Generator().manual_seed(0)
    x = torch.randn(32, 4, generator=gen, dtype=torch.float64)
    order = torch.randperm(32, generator=gen)
    cost = torch.cdist(x, x[order]) ** 2
    for reg, tau in ((0.05, 1.0), (0.01, 10.0), (0.01, None)):
        plan = solve(cost, reg=reg, tau_src=tau, tau_tgt=tau)
        assert torch.equal(plan.unit_plan.argmax(1), torch.argsort(order))
        assert plan.unit_plan[torch.arange(32), torch.argsort(order)].sum() > 0.9


def pot_plan(cost, reg, taus, c, iterations=200_000):
    n, m = cost.shape
    a, b = np.full(n, 1.0 / n), np.full(m, 1.0 / m)
    with np.errstate(all="ignore"):  # POT logs KL(plan | c) with 0 / 0 where c is 0
        plan, log = ot.unbalanced.sinkhorn_knopp_unbalanced(
            a, b, cost.numpy(), reg, taus, reg_type="kl", c=c, numItermax=iterations, stopThr=1e-13, log=True
        )
    assert len(log["err"]) < iterations
    return torch.from_numpy(plan)


@pytest.mark.parametrize(("n", "m"), [(8, 8), (5, 12), (32, 32)])
@pytest.mark.parametrize(
    ("reg", "taus"), [(0.1, (0.5, 0.5)), (0.1, (5.0, 0.5)), (0.02, (1.0, 1.0)), (1.0, (50.0, 50.0))]
)
def test_agrees_with_pot_on_the_product(n, m, reg, taus):
    cost = random_cost(n, n, m)
    ours = solve(cost, reg=reg, tau_src=taus[0], tau_tgt=taus[1], tolerance=1e-7)
    assert relative_l1(ours.plan, pot_plan(cost, reg, taus, np.full((n, m), 1.0 / (n * m)))) < 1e-5


@pytest.mark.parametrize(("reg", "tau"), [(0.1, 0.5), (0.05, 5.0)])
def test_agrees_with_pot_on_diagonal_and_mixed_priors(reg, tau):
    n = 10
    cost = random_cost(3, n, n)
    for prior, kappa in (("diagonal", 1.0), ("mixed", 0.5)):
        ours = solve(cost, reg=reg, tau_src=tau, tau_tgt=tau, prior=prior, prior_kappa=kappa, tolerance=1e-7)
        theirs = pot_plan(cost, reg, (tau, tau), reference_measure(n, n, kappa).numpy())
        assert relative_l1(ours.plan, theirs) < 1e-5


def test_the_diagonal_prior_is_the_robust_loss_of_each_pair():
    cost = random_cost(1, 6, 6)
    plan = solve(cost, **SOFT, prior="diagonal")
    torch.testing.assert_close(plan.plan, torch.diag(torch.exp(-cost.diagonal() / 1.1) / 6.0), rtol=1e-12, atol=0)
    assert plan.diag.item() == pytest.approx(plan.mass.item(), rel=1e-12)
    mixed = solve(cost, **SOFT, prior="mixed", prior_kappa=1.0)
    assert torch.equal(mixed.plan, plan.plan)


@pytest.mark.parametrize("taus", [(None, 0.5), (0.5, None), (None, None)])
def test_the_diagonal_prior_with_hard_marginals_matches_every_pair(taus):
    cost = random_cost(1, 6, 6)
    plan = solve(cost, reg=0.1, tau_src=taus[0], tau_tgt=taus[1], prior="diagonal")
    torch.testing.assert_close(plan.plan, torch.eye(6, dtype=torch.float64) / 6.0, rtol=1e-12, atol=0)
    assert plan.energy.item() == pytest.approx(cost.diagonal().mean().item(), rel=1e-12)
    f, g = plan.potential_src, plan.potential_tgt
    torch.testing.assert_close(f + g, cost.diagonal(), rtol=1e-12, atol=0)


@pytest.mark.parametrize("reg", [0.5, 0.1, 0.02])
def test_hard_marginals_give_balanced_transport(reg):
    cost = random_cost(5, 9, 7)
    a, b = np.full(9, 1 / 9), np.full(7, 1 / 7)
    balanced = torch.from_numpy(ot.sinkhorn(a, b, cost.numpy(), reg, numItermax=100_000, stopThr=1e-14))
    hard = solve(cost, reg=reg, tau_src=None, tau_tgt=None, tolerance=1e-6)
    assert hard.converged.all()
    assert hard.mass.item() == 1.0
    assert relative_l1(hard.plan, balanced) < 1e-6
    for tau in (1e6, 1e9):
        soft = solve(cost, reg=reg, tau_src=tau, tau_tgt=tau, tolerance=1e-6)
        assert relative_l1(soft.plan, balanced) < 20.0 / tau + 1e-6


def test_a_small_reg_gives_the_linear_program():
    cost = random_cost(7, 12, 12)
    exact = ot.emd2(np.full(12, 1 / 12), np.full(12, 1 / 12), cost.numpy())
    plan = solve(cost, reg=1e-4, tau_src=1e4, tau_tgt=1e4)
    assert plan.plan_cost(cost).item() == pytest.approx(exact, rel=1e-3)


def test_one_hard_side_matches_every_row_of_it():
    cost = random_cost(2, 6, 9)
    plan = solve(cost, reg=0.1, tau_src=0.3, tau_tgt=None, tolerance=1e-6)
    torch.testing.assert_close(plan.plan.sum(0), torch.full((9,), 1 / 9, dtype=torch.float64), rtol=1e-10, atol=0)
    assert (plan.plan.sum(1) - 1 / 6).abs().max() > 1e-3
    assert plan.unmatched_tgt.item() == pytest.approx(0.0, abs=1e-10)
    limit = solve(cost, reg=0.1, tau_src=0.3, tau_tgt=1e7, tolerance=1e-6)
    assert relative_l1(limit.plan, plan.plan) < 1e-5
    assert limit.energy.item() == pytest.approx(plan.energy.item(), rel=1e-5)


@pytest.mark.parametrize("reg", [0.01, 0.1, 2.0])
@pytest.mark.parametrize("tau", [0.5, 5.0, 50.0, 1000.0])
def test_raw_costs_far_above_the_strengths_stay_exact(reg, tau):
    gen = torch.Generator().manual_seed(0)
    x, y = (torch.randn(12, 400, generator=gen, dtype=torch.float64) for _ in range(2))
    cost = torch.cdist(x, y) ** 2
    cost = cost * (1300.0 / cost.mean())
    plan = solve(cost, reg=reg, tau_src=tau, tau_tgt=tau, tolerance=1e-4)
    assert plan.converged.all()
    energy = functional(plan.unit_plan, cost, reference_measure(12, 12), reg=reg, tau_src=tau, tau_tgt=tau).item()
    assert plan.energy.item() == pytest.approx(energy, rel=1e-6)
    assert plan.log_mass.item() == pytest.approx(-energy / (reg + 2 * tau), rel=1e-6)


@pytest.mark.parametrize("share", [1e-4, 1e-5, 1e-6])
@pytest.mark.parametrize("tau", [0.5, 100.0])
def test_reg_far_below_the_cost_converges(share, tau):
    cost = random_cost(4, 16, 16)
    strengths = {"reg": share * cost.mean().item(), "tau_src": tau, "tau_tgt": tau}
    plan = solve(cost, **strengths)
    assert plan.converged.all()
    energy = functional(plan.unit_plan, cost, reference_measure(16, 16), **strengths).item()
    assert plan.energy.item() == pytest.approx(energy, rel=1e-6)


@pytest.mark.parametrize("taus", [(0.5, 0.5), (None, 0.5), (0.5, None), (None, None)])
def test_degenerate_costs(taus):
    strengths = {"reg": 0.1, "tau_src": taus[0], "tau_tgt": taus[1]}
    product = reference_measure(4, 6)
    zero = solve(torch.zeros(4, 6, dtype=torch.float64), **strengths)
    torch.testing.assert_close(zero.plan, product, rtol=1e-6, atol=0)
    assert zero.energy.item() == pytest.approx(0.0, abs=1e-12)
    row = random_cost(0, 1, 6).expand(4, 6)
    equal = solve(row, **strengths, tolerance=1e-6)
    assert equal.converged.all()
    torch.testing.assert_close(equal.plan, equal.plan[:1].expand(4, 6), rtol=1e-9, atol=0)
    single = solve(torch.full((1, 1), 2.0, dtype=torch.float64), **strengths)
    mass = math.exp(-2.0 / 1.1) if None not in taus else 1.0
    assert single.mass.item() == pytest.approx(mass, rel=1e-9)
    assert single.energy.item() == pytest.approx(2.0, rel=1e-9)


def test_a_stack_equals_its_problems():
    costs = torch.stack([random_cost(seed, 6, 8) * scale for seed, scale in enumerate((1e-3, 1.0, 30.0, 1e3))])
    stack = solve(costs.reshape(2, 2, 6, 8), **SOFT, tolerance=1e-6)
    assert stack.plan.shape == (2, 2, 6, 8)
    assert stack.mass.shape == stack.gap.shape == (2, 2)
    for index in range(4):
        one = solve(costs[index], **SOFT, tolerance=1e-6)
        both = stack.unit_plan.reshape(4, 6, 8)[index]
        assert (both - one.unit_plan).abs().sum() <= 2e-6


def test_large_stacks_are_split_and_equal_their_problems():
    costs = torch.stack([random_cost(seed, 150, 160) for seed in range(5)])
    stack = solve(costs, reg=0.05, tau_src=1.0, tau_tgt=1.0)
    one = solve(costs[3], reg=0.05, tau_src=1.0, tau_tgt=1.0)
    assert stack.converged.all()
    assert (stack.unit_plan[3] - one.unit_plan).abs().sum() <= 2e-3


def test_weights():
    cost = random_cost(0, 4, 5)
    a = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    plan = solve(cost, reg=0.1, tau_src=None, tau_tgt=1.0, a=a, tolerance=1e-6)
    torch.testing.assert_close(plan.plan.sum(1), a / 10.0, rtol=1e-9, atol=0)
    c = torch.outer(a / 10.0, torch.full((5,), 0.2, dtype=torch.float64)).numpy()
    theirs = ot.unbalanced.sinkhorn_knopp_unbalanced(
        (a / 10).numpy(), np.full(5, 0.2), cost.numpy(), 0.1, (0.5, 1.0), reg_type="kl", c=c,
        numItermax=100_000, stopThr=1e-13,
    )  # fmt: skip
    ours = solve(cost, reg=0.1, tau_src=0.5, tau_tgt=1.0, a=a, tolerance=1e-7)
    assert relative_l1(ours.plan, torch.from_numpy(theirs)) < 1e-5


def test_the_result_has_the_type_of_the_cost():
    cost = random_cost(0, 5, 5)
    exact = solve(cost, **SOFT)
    for dtype, expected in (
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
    ):
        plan = solve(cost.to(dtype).requires_grad_(), **SOFT)
        assert plan.plan.dtype == plan.energy.dtype == plan.error_bound.dtype == expected
        assert not plan.plan.requires_grad
        assert (plan.unit_plan - exact.unit_plan).abs().sum() < 0.05
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(solve(cost, **SOFT).plan, exact.plan)


def test_too_few_iterations_say_so():
    plan = solve(random_cost(0, 16, 16), reg=1e-4, tau_src=5.0, tau_tgt=5.0, max_iterations=2)
    assert not plan.converged.any()
    assert plan.error_bound.item() > 1e-3
    assert torch.isfinite(plan.plan).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reg": -0.1}, "reg is -0.1"),
        ({"reg": 0.0}, "reg is 0.0"),
        ({"reg": math.nan}, "reg is nan"),
        ({"tau_src": 0.0}, "tau_src is 0.0"),
        ({"tau_tgt": -1.0}, "tau_tgt is -1.0"),
        ({"prior": "diagnal"}, "Did you mean 'diagonal'"),
        ({"prior_kappa": 1.5}, "prior_kappa is 1.5"),
        ({"tolerance": 0.0}, "tolerance is 0.0"),
        ({"max_iterations": 0}, "max_iterations is 0"),
        ({"a": torch.tensor([1.0, 0.0, 1.0])}, "weights a must be finite and above 0"),
        ({"b": torch.tensor([1.0, math.nan, 1.0, 1.0])}, "weights b must be finite"),
        ({"b": torch.ones(3)}, r"weights b have shape \(3,\)"),
        ({"prior": "mixed"}, "as many source as target rows, got 3 and 4"),
        ({"prior": "diagonal"}, "as many source as target rows, got 3 and 4"),
    ],
)
def test_malformed_settings_are_refused(change, message, as_users_run):
    with pytest.raises(TransportError, match=message):
        solve(torch.ones(3, 4), **(SOFT | change))


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 4, 4), (4,)])
def test_empty_and_flat_costs_are_refused(shape, as_users_run):
    with pytest.raises(TransportError, match="shape"):
        solve(torch.zeros(shape), **SOFT)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_costs_that_are_not_finite_are_refused(value):
    cost = torch.ones(2, 3, 3)
    cost[1, 2, 0] = value
    with pytest.raises(TransportError, match=r"not finite: 1 of 18 entries.*\[1, 2, 0\]"):
        solve(cost, **SOFT)
