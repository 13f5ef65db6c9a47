"""What a solved transport problem carries: the unit-mass plan, its mass in log form, the certificate."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan pi = mass * P of one problem or of a stack of problems; everything is detached.

    The mass is kept as a logarithm, because exp(log_mass) underflows where costs are large against the strengths
    while P and the energy stay exact. `energy` is E* = -S log mass, in units of the cost; 0 <= E* - energy
    <= `gap` (same unit); `error_bound` bounds the relative L1 error of both P and pi (docs/transport.md).

    Attributes:
        unit_plan: P, non-negative, sums to one.
        log_mass: natural logarithm of the transported mass; 0 where a marginal is hard.
        energy: the dual value: E* or less, by at most `gap` and rounding.
        gap: certified primal-dual gap of the unit-mass problem.
        error_bound: certified bound of |P - P*|_1 and of |pi - pi*|_1 / mass*.
        potential_src: f, so that pi = R exp((f + g - C) / reg); unit of the cost.
        potential_tgt: g.
        weights_src: a, sums to one.
        weights_tgt: b, sums to one.
        converged: whether error_bound reached the tolerance asked for.
        iterations: outer iterations of the solver, the same number for the whole stack.
        strength: S = reg + tau_src + tau_tgt; infinite where a marginal is hard.
    """

    unit_plan: Float[Tensor, "*b n m"]
    log_mass: Float[Tensor, "*b"]
    energy: Float[Tensor, "*b"]
    gap: Float[Tensor, "*b"]
    error_bound: Float[Tensor, "*b"]
    potential_src: Float[Tensor, "*b n"]
    potential_tgt: Float[Tensor, "*b m"]
    weights_src: Float[Tensor, "*b n"]
    weights_tgt: Float[Tensor, "*b m"]
    converged: Bool[Tensor, "*b"]
    iterations: int
    strength: float

    @property
    def mass(self) -> Float[Tensor, "*b"]:
        """Transported mass in [0, 1]; 0 where it underflows (then read log_mass)."""
        return self.log_mass.exp()

    @property
    def plan(self) -> Float[Tensor, "*b n m"]:
        """The plan pi = mass * P."""
        return self.mass[..., None, None] * self.unit_plan

    @property
    def value(self) -> Float[Tensor, "*b"]:
        """UOT(C) = S (1 - mass), or E* where a marginal is hard (the limit for infinite S); unit of the cost."""
        if math.isinf(self.strength):
            return self.energy
        return -self.strength * torch.expm1(self.log_mass)

    @property
    def diag_share(self) -> Float[Tensor, "*b"]:
        """Share of the mass on the diagonal (rows paired with their own column)."""
        return self.unit_plan.diagonal(dim1=-2, dim2=-1).sum(-1)

    @property
    def diag(self) -> Float[Tensor, "*b"]:
        """Trace of pi."""
        return self.mass * self.diag_share

    @property
    def entropy(self) -> Float[Tensor, "*b"]:
        """Entropy of P in nats: log n for a permutation, log n + log m for the product."""
        return -torch.xlogy(self.unit_plan, self.unit_plan).sum((-1, -2))

    @property
    def unmatched_src(self) -> Float[Tensor, "*b"]:
        """Share of the source weight that pi leaves unmatched: the sum of the positive part of a - pi 1."""
        return (self.weights_src - self.mass[..., None] * self.unit_plan.sum(-1)).clamp_min(0.0).sum(-1)

    @property
    def unmatched_tgt(self) -> Float[Tensor, "*b"]:
        """Share of the target weight that pi leaves unmatched: the sum of the positive part of b - pi^T 1."""
        return (self.weights_tgt - self.mass[..., None] * self.unit_plan.sum(-2)).clamp_min(0.0).sum(-1)

    def plan_cost(self, cost: Float[Tensor, "*b n m"]) -> Float[Tensor, "*b"]:
        """Return <P, C>, the mean cost of a matched pair; unit of the cost."""
        return (self.unit_plan * cost.detach().to(self.unit_plan.dtype)).sum((-1, -2))
