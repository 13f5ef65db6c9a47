"""Entropic unbalanced optimal transport for a stack of problems, with a certificate (docs/transport.md)."""

import math
from contextlib import nullcontext
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from otpilot.transport.certificate import error_bound, translate
from otpilot.transport.diagonal import solve_diagonal
from otpilot.transport.inputs import Settings, check_cost, cost_range, log_weights
from otpilot.transport.kernel import solve_kernel, suits_kernel
from otpilot.transport.newton import Problem, Solution, solve_newton
from otpilot.transport.plan import Plan

CHUNK_ENTRIES = 1 << 16
"""Entries of the stack that are worked on together on a CPU: what fits its cache."""


def solve(
    cost: Float[Tensor, "*b n m"],
    *,
    reg: float,
    tau_src: float | None,
    tau_tgt: float | None,
    prior: str = "product",
    prior_kappa: float = 0.5,
    a: Float[Tensor, "*#b n"] | None = None,
    b: Float[Tensor, "*#b m"] | None = None,
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
) -> Plan:
    """Return the plan that minimises <pi,C> + reg KL(pi|R) + tau_src KL(pi 1|a) + tau_tgt KL(pi^T 1|b), detached.

    All strengths are in the unit of the cost. The result is certified: `error_bound` is a proven bound of the relative
    L1 error, and `converged` says that it is at most `tolerance`. The arithmetic is float64 whatever the cost's type
    and whatever autocast says; the plan comes back in the cost's type (float32 for half types).

    Args:
        cost: ground cost, finite, at least one row and one column.
        reg: entropic strength, above 0.
        tau_src: strength of the source marginal, above 0; None for the hard marginal pi 1 = a.
        tau_tgt: the same for the target.
        prior: reference measure R: `product` a b^T, `diagonal` diag(1/n), `mixed` (1-kappa) a b^T + kappa diag(1/n).
        prior_kappa: kappa of the mixed prior, in [0, 1].
        a: source weights, above 0; scaled to sum to one; uniform when None.
        b: target weights, likewise.
        tolerance: relative L1 error of the plan at which to stop.
        max_iterations: Newton steps after which to return what there is, with `converged` false.

    Returns:
        The plan with its mass, energy, gap and potentials.

    Raises:
        TransportError: for a malformed or non-finite problem.
    """
    settings = Settings(
        reg=reg,
        tau_src=math.inf if tau_src is None else tau_src,
        tau_tgt=math.inf if tau_tgt is None else tau_tgt,
        prior=prior,
        prior_kappa=prior_kappa,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    check_cost(cost, settings)
    batch, (n, m) = cost.shape[:-2], cost.shape[-2:]
    device = cost.device.type
    mixed = torch.is_autocast_enabled(device)
    with torch.no_grad(), torch.autocast(device, enabled=False) if mixed else nullcontext():
        flat = cost.detach().to(torch.float64).reshape(-1, n, m)
        spread, largest = cost_range(flat)
        log_a = log_weights(a, "a", batch, n, flat)
        log_b = log_weights(b, "b", batch, m, flat)
        solver = solve_diagonal if settings.kappa == 1.0 else _solve_dense
        plan = solver(flat, log_a, log_b, settings, spread=spread, largest=largest)
        return _cast(plan, batch, cost.dtype if cost.dtype == torch.float64 else torch.float32, tolerance)


def _log_prior(log_a: Float[Tensor, "#b n"], log_b: Float[Tensor, "#b m"], kappa: float) -> Float[Tensor, "#b n m"]:
    """Return the logarithm of (1 - kappa) a b^T + kappa diag(1/n)."""
    product = log_a[..., :, None] + log_b[..., None, :]
    if kappa == 0.0:
        return product
    mixed = product + math.log1p(-kappa)
    diagonal = mixed.diagonal(dim1=-2, dim2=-1)
    diagonal.copy_(torch.logaddexp(diagonal, torch.full_like(diagonal, math.log(kappa / mixed.shape[-1]))))
    return mixed


def _solve_dense(
    cost: Float[Tensor, "b n m"],
    log_a: Float[Tensor, "#b n"],
    log_b: Float[Tensor, "#b m"],
    settings: Settings,
    *,
    spread: Float[Tensor, "b 1"],
    largest: float,
) -> Plan:
    """Return the plan of the product or mixed prior: eliminate the hard side or else the longer one, then Newton."""
    reg, tau_src, tau_tgt = settings.reg, settings.tau_src, settings.tau_tgt
    log_prior = _log_prior(log_a, log_b, settings.kappa)
    hard_src, hard_tgt = math.isinf(tau_src), math.isinf(tau_tgt)
    flip = hard_tgt if hard_src != hard_tgt else cost.shape[-1] > cost.shape[-2]
    problem = Problem(
        cost=cost.mT if flip else cost,
        log_prior=log_prior.mT if flip else log_prior,
        log_rows=log_b if flip else log_a,
        log_cols=log_a if flip else log_b,
        spread=spread,
        reg=reg,
        tau_rows=tau_tgt if flip else tau_src,
        tau_cols=tau_src if flip else tau_tgt,
    )
    solution = _iterate(problem, 0.5 * settings.tolerance**2, settings.max_iterations)
    rows, cols, energy, log_mass = translate(problem, solution)
    return Plan(
        unit_plan=solution.unit_plan.mT if flip else solution.unit_plan,
        log_mass=log_mass,
        energy=energy,
        gap=solution.gap_over_reg * reg,
        error_bound=error_bound(solution.gap_over_reg, reg / settings.strength, largest, reg),
        potential_src=cols if flip else rows,
        potential_tgt=rows if flip else cols,
        weights_src=log_a.exp().expand(cost.shape[0], -1),
        weights_tgt=log_b.exp().expand(cost.shape[0], -1),
        converged=torch.zeros_like(energy, dtype=torch.bool),
        iterations=solution.iterations,
        strength=settings.strength,
    )


def _iterate(problem: Problem, gap_over_reg: float, max_iterations: int) -> Solution:
    """Return the solution by the fast kernel iterations where they apply, what they leave open by Newton's path."""
    cost = problem.cost
    on_cpu = cost.device.type == "cpu"
    chunk = max(1, CHUNK_ENTRIES // (cost.shape[1] * cost.shape[2])) if on_cpu else cost.shape[0]
    if chunk < cost.shape[0]:
        parts = [_iterate(part, gap_over_reg, max_iterations) for part in problem.split(chunk)]
        return Solution.join(parts)
    check_every = 1 if on_cpu else 4
    if not suits_kernel(problem):
        return solve_newton(problem, gap_over_reg=gap_over_reg, max_iterations=max_iterations, check_every=check_every)
    solution, done = solve_kernel(
        problem, gap_over_reg=gap_over_reg, max_iterations=max_iterations, check_every=check_every
    )
    if bool(done.all()) or solution.iterations >= max_iterations:
        return solution
    rest = solve_newton(
        problem.pick(~done),
        gap_over_reg=gap_over_reg,
        max_iterations=max_iterations - solution.iterations,
        check_every=check_every,
    )
    return solution.replace(~done, rest)


def _cast(plan: Plan, batch: torch.Size, dtype: torch.dtype, tolerance: float) -> Plan:
    """Return the plan in the caller's batch shape and type; the bound grows by the rounding of that type."""
    bound = plan.error_bound + (torch.finfo(dtype).eps if dtype != torch.float64 else 0.0)

    def shape(x: Tensor) -> Tensor:
        x = x if x.dtype == dtype else x.to(dtype)
        return x if len(batch) == 1 else x[0] if not batch else x.reshape((*batch, *x.shape[1:]))

    return replace(
        plan,
        unit_plan=shape(plan.unit_plan),
        log_mass=shape(plan.log_mass),
        energy=shape(plan.energy),
        gap=shape(plan.gap),
        error_bound=shape(bound),
        potential_src=shape(plan.potential_src),
        potential_tgt=shape(plan.potential_tgt),
        weights_src=shape(plan.weights_src),
        weights_tgt=shape(plan.weights_tgt),
        converged=(bound <= tolerance).reshape(batch),
    )
