"""Potentials, energy and mass of a solution, and the bound that its gap proves (derivations: docs/transport.md)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from otpilot.transport.newton import Problem, Solution


def soft_mean(potential: Float[Tensor, "b k"], log_weights: Float[Tensor, "#b k"], tau: float) -> Float[Tensor, "b"]:
    """Return -tau log <w, exp(-f / tau)>, the mean <w, f> for infinite tau; exact for large tau."""
    weights = log_weights.exp()
    if math.isinf(tau):
        return (weights * potential).sum(-1)
    low = potential.amin(-1, keepdim=True)
    drop = (weights * torch.expm1((low - potential) / tau)).sum(-1)
    return low[..., 0] - tau * torch.log1p(drop)


def translate(
    problem: Problem, solution: Solution
) -> tuple[Float[Tensor, "b n"], Float[Tensor, "b m"], Float[Tensor, "b"], Float[Tensor, "b"]]:
    """Return row and column potentials shifted to the dual optimum, the energy and the log mass.

    The dual value is unchanged by nothing but these two shifts, whose best values are known in closed form
    (Sejourne, Vialard and Peyre 2022, section 3); at them the plan R exp((f + g - C) / reg) has the mass exp(-E/S).
    """
    f, g = solution.row_potential, solution.col_potential
    mean_f = soft_mean(f, problem.log_rows, problem.tau_rows)
    mean_g = soft_mean(g, problem.log_cols, problem.tau_cols)
    log_sum = 0.0 if math.isinf(problem.tau_rows) else -mean_f / problem.tau_rows
    energy = mean_f + mean_g - problem.reg * log_sum
    strength = problem.reg + problem.tau_rows + problem.tau_cols
    if math.isinf(strength):
        log_mass = torch.zeros_like(energy)
        shift_g = -mean_g if not math.isinf(problem.tau_cols) else torch.zeros_like(energy)
        shift_f = -problem.reg * log_sum - shift_g
    else:
        log_mass = -energy / strength
        shift_f = -mean_f - problem.tau_rows * log_mass
        shift_g = -mean_g - problem.tau_cols * log_mass
    return f + shift_f[:, None], g + shift_g[:, None], energy, log_mass


def error_bound(gap_over_reg: Float[Tensor, "b"], reg_share: float, largest: float, reg: float) -> Float[Tensor, "b"]:
    """Return the bound of |P - P*|_1 + |mass / mass* - 1| that the gap proves, plus what float64 rounds away.

    sqrt(gap / reg) is Pinsker's inequality on both relative entropies of P and P*, and two plans differ by 2 at most;
    the logarithm of the mass is off by gap / S at most.
    """
    gap = gap_over_reg.clamp_min(0.0)
    rounding = 8.0 * torch.finfo(gap.dtype).eps * (1.0 + largest / reg)
    mass_error = torch.expm1(gap * reg_share) if reg_share > 0.0 else 0.0
    return gap.sqrt().clamp_max(2.0) + mass_error + rounding
