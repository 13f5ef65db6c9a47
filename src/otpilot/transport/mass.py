"""Partial mass: the factor of the cost at which a wanted share of the mass is transported."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from otpilot.errors import TransportError
from otpilot.transport.plan import Plan
from otpilot.transport.solver import solve


def scale_for_mass(
    cost: Float[Tensor, "*b n m"],
    target_mass: float,
    *,
    reg: float,
    tau_src: float | None,
    tau_tgt: float | None,
    prior: str = "product",
    prior_kappa: float = 0.5,
    tolerance: float = 1e-3,
    max_iterations: int = 1000,
    mass_tolerance: float = 1e-3,
    max_solves: int = 50,
) -> tuple[Float[Tensor, "*b"], Plan]:
    """Return the detached factor s of each problem at which s C transports `target_mass`, and the plan of s C.

    E*(s) is concave and increasing with derivative <P*, C> and E*(0) = 0, so Newton steps from E_target / <R, C> rise
    to the solution of E*(s) = -S log(target_mass) without ever passing it, in any unit of cost.

    Raises:
        TransportError: the target is not inside (0, 1), both sides are not soft, or no factor reaches the target (some
            pairs cost nothing, so the mass stays above it).
    """
    if not 0.0 < target_mass < 1.0:
        raise TransportError(f"target_mass is {target_mass}; allowed: a number between 0 and 1.")
    if tau_src is None or tau_tgt is None:
        raise TransportError("target_mass needs finite tau_src and tau_tgt; a hard marginal fixes the mass at 1.")
    wanted = -(reg + tau_src + tau_tgt) * math.log(target_mass)
    exact = cost.detach().to(torch.float64)
    first = exact.diagonal(dim1=-2, dim2=-1).mean(-1) if prior == "diagonal" else exact.mean((-1, -2))
    if prior == "mixed" and exact.shape[-1] == exact.shape[-2]:
        first = (1.0 - prior_kappa) * first + prior_kappa * exact.diagonal(dim1=-2, dim2=-1).mean(-1)
    if not bool((first > 0.0).all()):
        raise TransportError(f"target_mass {target_mass} cannot be reached: the cost is 0, so the mass is 1.")
    scale = wanted / first
    reached = 1.0
    for _ in range(max_solves):
        scaled = exact * scale[..., None, None]
        if not bool(torch.isfinite(scaled).all()):
            break
        plan = solve(
            scaled,
            reg=reg,
            tau_src=tau_src,
            tau_tgt=tau_tgt,
            prior=prior,
            prior_kappa=prior_kappa,
            tolerance=tolerance,
            max_iterations=max_iterations,
        )
        reached = plan.mass.max().item()
        if bool(((plan.mass - target_mass).abs() <= mass_tolerance * target_mass).all()):
            return scale.to(cost.dtype), plan
        slope = plan.plan_cost(exact)
        scale = scale + (wanted - plan.energy) / slope.clamp_min(torch.finfo(slope.dtype).tiny)
    raise TransportError(
        f"target_mass {target_mass} cannot be reached: the mass stays at {reached:.3g} however much the "
        "cost is scaled, because some pairs cost (almost) nothing; raise target_mass or lower tau_src and tau_tgt."
    )
