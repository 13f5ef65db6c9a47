"""Losses that align two domains without a transport plan, to compare with."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from otpilot.errors import TransportError
from otpilot.transport.cost import distances, squared_distances

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Factors of the median squared distance that the kernels of `mmd` use."""


def paired(cost: Float[Tensor, "n n"], strength: float) -> Float[Tensor, ""]:
    """Return the mean over pairs of S (1 - exp(-C_ii / S)): the Welsch loss, a transport with the diagonal prior.

    The mean cost of a pair when the strength is infinite (a hard marginal). Holland and Welsch 1977.

    Raises:
        TransportError: source and target rows differ in number.
    """
    if cost.shape[0] != cost.shape[1]:
        raise TransportError(f"method 'paired' needs as many source as target rows, got {tuple(cost.shape)}.")
    price = cost.diagonal()
    return price.mean() if math.isinf(strength) else (-strength * torch.expm1(-price / strength)).mean()


def energy_distance(src: Float[Tensor, "n d"], tgt: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """Return 2 E|x-y| - E|x-x'| - E|y-y'|, the energy distance of the two samples (Szekely and Rizzo 2013), >= 0."""
    cross = distances(src, tgt, "l2").mean()
    return 2.0 * cross - distances(src, src, "l2").mean() - distances(tgt, tgt, "l2").mean()


def mmd(src: Float[Tensor, "n d"], tgt: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """Return the squared maximum mean discrepancy under a mean of Gaussian kernels (Gretton et al. 2012, eq. 5), >= 0.

    Bandwidths are factors of the median squared distance between different rows of both samples (detached).
    """
    both = torch.cat([src, tgt])
    squared = squared_distances(both, both)
    n = src.shape[0]
    away = squared.detach()[torch.triu_indices(len(both), len(both), 1, device=both.device).unbind()]
    median = away.median()
    scale = torch.where(median > 0.0, median, torch.ones_like(median))
    kernel = torch.stack([torch.exp(-squared / (factor * scale)) for factor in BANDWIDTHS]).mean(0)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2.0 * kernel[:n, n:].mean()


def coral(src: Float[Tensor, "n d"], tgt: Float[Tensor, "m d"]) -> Float[Tensor, ""]:
    """Return |cov(x) - cov(y)|_F^2 / (4 d^2) (Sun and Saenko 2016, eq. 1), through inner products of rows."""
    x = (src - src.mean(0)) / max(src.shape[0] - 1, 1) ** 0.5
    y = (tgt - tgt.mean(0)) / max(tgt.shape[0] - 1, 1) ** 0.5
    total = (x @ x.mT).square().sum() + (y @ y.mT).square().sum() - 2.0 * (x @ y.mT).square().sum()
    result: Tensor = total / (4.0 * src.shape[1] ** 2)
    return result
