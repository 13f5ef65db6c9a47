"""Objectives of a solved plan as functions of the cost, differentiated by the envelope theorem."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from otpilot.config.ot import CHOICES, Objective
from otpilot.errors import TransportError, closest
from otpilot.transport.plan import Plan


class _Envelope(torch.autograd.Function):
    """A function of the cost whose value and gradient are given."""

    @staticmethod
    def forward(ctx: Any, cost: Tensor, value: Tensor, weight: Tensor) -> Tensor:
        """Return the value; keep the weight."""
        ctx.save_for_backward(weight)
        ctx.dtype = cost.dtype
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        """Return the incoming gradient times the weight."""
        (weight,) = ctx.saved_tensors
        return (grads[0][..., None, None] * weight).to(ctx.dtype), None, None


def plan_cost(cost: Float[Tensor, "*b n m"], plan: Plan) -> Float[Tensor, "*b"]:
    """Return <pi, C> with the plan held fixed (the reports' loss); its gradient with respect to C is pi.

    Not monotone in C: where the mass collapses this falls too. `energy` does not.
    """
    pi = plan.plan
    return (pi * cost.to(pi.dtype)).sum((-1, -2))


def uot(cost: Float[Tensor, "*b n m"], plan: Plan) -> Float[Tensor, "*b"]:
    """Return UOT(C) = S (1 - mass); its gradient with respect to C is pi. The energy where a marginal is hard."""
    return _apply(cost, plan.value, plan.plan)


def energy(cost: Float[Tensor, "*b n m"], plan: Plan) -> Float[Tensor, "*b"]:
    """Return E* = -S log mass; its gradient with respect to C is P, of unit mass, so it cannot vanish."""
    return _apply(cost, plan.energy, plan.unit_plan)


def _apply(cost: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    """Return the value with the gradient attached."""
    result: Tensor = _Envelope.apply(cost, value, weight)  # type: ignore[no-untyped-call]
    return result


OBJECTIVES = {"plan_cost": plan_cost, "uot": uot, "energy": energy}


def evaluate_objective(name: Objective, cost: Float[Tensor, "*b n m"], plan: Plan) -> Float[Tensor, "*b"]:
    """Return the objective of that name; `plan` must be the solution for `cost`.

    Raises:
        TransportError: for an unknown name, or a plan of another shape.
    """
    if name not in OBJECTIVES:
        allowed = CHOICES["objective"]
        raise TransportError(f"objective is {name!r}; allowed: {', '.join(allowed)}.{closest(name, allowed)}")
    if cost.shape != plan.unit_plan.shape:
        raise TransportError(f"The cost has shape {tuple(cost.shape)}, its plan {tuple(plan.unit_plan.shape)}.")
    return OBJECTIVES[name](cost, plan)
