"""The diagonal prior (the reports' `heuristic: true`): every pair on its own, in closed form."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from otpilot.errors import TransportError
from otpilot.transport.certificate import error_bound
from otpilot.transport.inputs import Settings
from otpilot.transport.plan import Plan


def solve_diagonal(
    cost: Float[Tensor, "b n n"],
    log_a: Float[Tensor, "#b n"],
    log_b: Float[Tensor, "#b n"],
    settings: Settings,
    *,
    spread: Float[Tensor, "b 1"],  # noqa: ARG001 (solvers share one signature)
    largest: float,
) -> Plan:
    """Return the plan for R = diag(1/n); for uniform weights pi_ii = (1/n) exp(-C_ii / S).

    With a hard marginal the pairs' masses are that marginal; with two, the weights must agree.

    Raises:
        TransportError: two hard marginals that differ.
    """
    reg, tau_src, tau_tgt, strength = settings.reg, settings.tau_src, settings.tau_tgt, settings.strength
    price = cost.diagonal(dim1=-2, dim2=-1)
    log_prior = -math.log(price.shape[-1])
    log_a, log_b = log_a.expand_as(price), log_b.expand_as(price)
    if math.isinf(tau_src) and math.isinf(tau_tgt) and not torch.allclose(log_a, log_b):
        raise TransportError("A diagonal prior with two hard marginals needs equal weights a and b.")
    if math.isinf(strength):
        log_pairs = log_a if math.isinf(tau_src) else log_b
    else:
        log_pairs = (reg * log_prior + tau_src * log_a + tau_tgt * log_b - price) / strength
    total = price + reg * (log_pairs - log_prior)
    f = total / 2.0 if math.isinf(tau_src) else tau_src * (log_a - log_pairs)
    g = total - f if math.isinf(tau_tgt) else tau_tgt * (log_b - log_pairs)
    f = total - g if math.isinf(tau_src) else f
    log_mass = torch.logsumexp(log_pairs, -1)
    unit = (log_pairs - log_mass[:, None]).exp()
    if math.isinf(strength):
        soft = sum(
            tau * (log_pairs - weights) for tau, weights in ((tau_src, log_a), (tau_tgt, log_b)) if math.isfinite(tau)
        )
        log_mass, energy = torch.zeros_like(log_mass), (unit * (total + soft)).sum(-1)
    else:
        energy = -strength * log_mass
    zero = torch.zeros_like(energy)
    return Plan(
        unit_plan=torch.diag_embed(unit),
        log_mass=log_mass,
        energy=energy,
        gap=zero,
        error_bound=error_bound(zero, 0.0, largest, strength if math.isfinite(strength) else reg),
        potential_src=f,
        potential_tgt=g,
        weights_src=log_a.exp(),
        weights_tgt=log_b.exp(),
        converged=torch.ones_like(energy, dtype=torch.bool),
        iterations=0,
        strength=strength,
    )
