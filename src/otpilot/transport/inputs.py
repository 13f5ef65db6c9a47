"""Validated settings and weights of a transport problem."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from otpilot.config.ot import CHOICES
from otpilot.errors import NonFiniteError, TransportError, closest


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Strengths in the unit of the cost (infinite for a hard marginal), the reference measure, and when to stop."""

    reg: float
    tau_src: float
    tau_tgt: float
    prior: str
    prior_kappa: float
    tolerance: float
    max_iterations: int

    def __post_init__(self) -> None:
        """Raise TransportError for a strength, prior or limit out of range."""
        for name in ("reg", "tau_src", "tau_tgt", "tolerance"):
            value = getattr(self, name)
            finite = math.isfinite(value) or (name.startswith("tau") and value == math.inf)
            if not (finite and value > 0.0):
                hard = ", or None for the hard marginal" if name.startswith("tau") else ""
                raise TransportError(f"{name} is {value}; allowed: a finite number above 0{hard}.")
        priors = CHOICES["prior"]
        if self.prior not in priors:
            raise TransportError(f"prior is {self.prior!r}; allowed: {', '.join(priors)}.{closest(self.prior, priors)}")
        if not 0.0 <= self.prior_kappa <= 1.0:
            raise TransportError(f"prior_kappa is {self.prior_kappa}; allowed: 0 to 1.")
        if self.max_iterations < 1:
            raise TransportError(f"max_iterations is {self.max_iterations}; allowed: 1 or more.")

    @property
    def strength(self) -> float:
        """S = reg + tau_src + tau_tgt."""
        return self.reg + self.tau_src + self.tau_tgt

    @property
    def kappa(self) -> float:
        """Share of the diagonal in the reference measure."""
        return {"product": 0.0, "diagonal": 1.0, "mixed": self.prior_kappa}[self.prior]


def check_cost(cost: Tensor, settings: Settings) -> None:
    """Raise TransportError for an empty cost, or one that is not square where the prior needs it."""
    shape = tuple(cost.shape)
    if cost.ndim < 2 or 0 in shape:
        raise TransportError(f"The cost has shape {shape}; allowed: (..., n, m) with n, m >= 1, no empty batch.")
    if settings.prior != "product" and shape[-1] != shape[-2]:
        raise TransportError(
            f"prior {settings.prior!r} needs as many source as target rows, got {shape[-2]} and {shape[-1]}; "
            "use prior 'product', or batches of equal size."
        )


def cost_range(cost: Float[Tensor, "b n m"]) -> tuple[Float[Tensor, "b 1"], float]:
    """Return the range of each problem's cost and the largest size of all; TransportError unless all are finite.

    Waits for the device once.
    """
    low, high = cost.flatten(1).aminmax(dim=1, keepdim=True)
    largest = float(torch.maximum(high, -low).amax())
    if math.isfinite(largest):
        return high - low, largest
    bad = (~torch.isfinite(cost)).nonzero()
    first = bad[0].tolist()
    raise NonFiniteError(
        f"The cost is not finite: {len(bad)} of {cost.numel()} entries, first {cost[tuple(first)].item()} at {first}; "
        "allowed: finite numbers."
    )


def log_weights(
    weights: Tensor | None, name: str, batch: torch.Size, size: int, like: Float[Tensor, "b n m"]
) -> Float[Tensor, "#b k"]:
    """Return the logarithm of the weights scaled to sum to one, (1, size) when uniform."""
    if weights is None:
        return like.new_full((1, size), -math.log(size))
    if weights.shape[-1:] != (size,) or weights.ndim > len(batch) + 1:
        raise TransportError(f"The weights {name} have shape {tuple(weights.shape)}; allowed: (..., {size}).")
    values = weights.detach().to(like.device, torch.float64).expand(*batch, size).reshape(-1, size)
    if not bool((torch.isfinite(values) & (values > 0.0)).all()):
        raise TransportError(
            f"The weights {name} must be finite and above 0, got {values.min().item()}; leave rows of weight 0 out."
        )
    return values.log() - values.sum(-1, keepdim=True).log()
