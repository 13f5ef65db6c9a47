"""Calibration without training: what the terms cost, what a grid of strengths would do, and which settings to take."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from otpilot.config.ot import HealthConfig, LossConfig, TermConfig
from otpilot.errors import TransportError
from otpilot.transport.mass import scale_for_mass
from otpilot.transport.plan import Plan
from otpilot.transport.solver import solve

DEAD_MASS = HealthConfig().dead_mass
"""Mean mass under which a transport is dead: what the alarms of a run begin with."""


@dataclass(frozen=True, kw_only=True)
class TermStatistics:
    """One term over the collected batches: mean, spread (standard deviation) and extremes of its cost, and its share.

    Costs are raw (before normalisation and term_weight); `share` is the part of the mean cost that the solver sees.
    """

    name: str
    mean: float
    spread: float
    low: float
    high: float
    share: float


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """What one pair of strengths does, mean over batches; entropy in nats."""

    reg: float
    tau: float
    mass: float
    entropy: float
    diag_share: float
    unmatched_src: float
    converged: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether the present setting is alive, its mean mass, and the reason in one sentence."""

    state: Literal["dead", "alive"]
    mass: float
    log_mass: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """The settings to take (keys of loss_config) and the mean mass that they gave on the collected batches."""

    settings: dict[str, str | float]
    mass: float


def combine_terms(
    config: LossConfig, raw: Mapping[str, Float[Tensor, "b n m"]], *, normalize: bool | None = None
) -> Float[Tensor, "b n m"]:
    """Return the cost that the solver would see for raw term costs: each over its mean where normalised, weighted.

    Args:
        config: the loss config, for the weights.
        raw: cost of each term before normalisation and term_weight, by term name.
        normalize: whether to divide by the means; None for what the config says.
    """
    if not raw:
        raise TransportError("Calibration needs the cost of at least one term.")
    divide = config.cost_normalization == "ema" if normalize is None else normalize
    total = torch.zeros_like(next(iter(raw.values())), dtype=torch.float64)
    for name, cost in raw.items():
        exact = cost.detach().to(torch.float64)
        mean = exact.mean()
        if not bool(torch.isfinite(mean)):
            raise TransportError(f"The cost of term {name!r} is not finite in calibration.")
        total = total + _term(config, name).term_weight * (exact / mean if divide and bool(mean > 0.0) else exact)
    return total


def describe_terms(config: LossConfig, raw: Mapping[str, Float[Tensor, "b n m"]]) -> list[TermStatistics]:
    """Return the statistics of each term, in the config's order."""
    total = float(combine_terms(config, raw).mean())
    found = []
    for term in config.features:
        if term.name in raw:
            cost = raw[term.name].detach().to(torch.float64)
            mean = float(cost.mean())
            seen = term.term_weight * (1.0 if config.cost_normalization == "ema" and mean > 0.0 else mean)
            found.append(
                TermStatistics(
                    name=term.name,
                    mean=mean,
                    spread=float(cost.std(correction=0)),
                    low=float(cost.min()),
                    high=float(cost.max()),
                    share=seen / total if total > 0.0 else 0.0,
                )
            )
    return found


def sweep(
    config: LossConfig, cost: Float[Tensor, "b n m"], *, regs: Sequence[float], taus: Sequence[float]
) -> list[GridCell]:
    """Return one cell for each pair of strengths (tau on both sides), reg running slowest."""
    cells = []
    for reg in regs:
        for tau in taus:
            plan = _solve(replace(config, reg=reg, tau_src=tau, tau_tgt=tau), cost)
            square = cost.shape[-1] == cost.shape[-2]
            cells.append(
                GridCell(
                    reg=reg,
                    tau=tau,
                    mass=float(plan.mass.mean()),
                    entropy=float(plan.entropy.mean()),
                    diag_share=float(plan.diag_share.mean()) if square else math.nan,
                    unmatched_src=float(plan.unmatched_src.mean()),
                    converged=bool(plan.converged.all()),
                )
            )
    return cells


def judge(config: LossConfig, raw: Mapping[str, Float[Tensor, "b n m"]]) -> Verdict:
    """Return whether the config's transport is alive on the collected costs, and why.

    Dead is a mean mass under 1e-3 with an objective whose gradient the mass scales (`plan_cost`, `uot`). A diagonal
    prior is named in either case, since it forbids every match but the given pairs.
    """
    cost = combine_terms(config, raw)
    plan = _solve(config, cost)
    log_mass = float(plan.log_mass.median())
    mass = float(plan.mass.mean())
    worst = max(describe_terms(config, raw), key=lambda term: term.share)
    part = worst.share * float(cost.mean())
    strengths = f"reg {config.reg:g}, tau_src {config.tau_src}, tau_tgt {config.tau_tgt}"
    note = (
        " The diagonal prior (heuristic) forbids all matches but the given pairs, so no transport happens."
        if config.prior == "diagonal"
        else ""
    )
    decades = log_mass / math.log(10.0)
    if mass < DEAD_MASS and config.objective != "energy":
        ratio = part / plan.strength
        reason = (
            f"The median mass is 1e{decades:.1f}: term {worst.name!r} costs {part:.3g} on average, {ratio:.3g} times "
            f"reg + tau_src + tau_tgt ({strengths}), and the gradient of objective {config.objective!r} is scaled "
            f"by the mass.{note}"
        )
        return Verdict(state="dead", mass=mass, log_mass=log_mass, reason=reason)
    reason = (
        f"The mean mass is {mass:.3g} ({strengths}); term {worst.name!r} makes {worst.share:.0%} of the cost.{note}"
    )
    return Verdict(state="alive", mass=mass, log_mass=log_mass, reason=reason)


def propose(config: LossConfig, raw: Mapping[str, Float[Tensor, "b n m"]], *, target_mass: float = 0.7) -> Proposal:
    """Return living settings that transport `target_mass`: normalised cost, energy objective, strengths in one ratio.

    The strengths keep the default ratio reg : tau of a new config. Scaling the cost by s is scaling all strengths by
    1/s, so one factor, the geometric mean of those of the batches, is all there is to find.
    """
    cost = combine_terms(config, raw, normalize=True)
    prior = "mixed" if cost.shape[-1] == cost.shape[-2] else "product"
    start = LossConfig()
    if start.tau_src is None or start.tau_tgt is None:
        raise TransportError("The default strengths must be finite.")
    factors, _ = scale_for_mass(
        cost,
        target_mass,
        reg=start.reg,
        tau_src=start.tau_src,
        tau_tgt=start.tau_tgt,
        prior=prior,
        prior_kappa=config.prior_kappa,
    )
    factor = float(factors.log().mean().exp())
    settings: dict[str, str | float] = {
        "cost_normalization": "ema",
        "objective": "energy",
        "prior": prior,
        "reg": _three_digits(start.reg / factor),
        "tau_src": _three_digits(start.tau_src / factor),
        "tau_tgt": _three_digits(start.tau_tgt / factor),
    }
    if any(term.weight_embed > 0.0 for term in config.features) and config.embed_normalization == "none":
        settings["embed_normalization"] = "batch"
    plan = solve(
        cost,
        reg=float(settings["reg"]),
        tau_src=float(settings["tau_src"]),
        tau_tgt=float(settings["tau_tgt"]),
        prior=prior,
        prior_kappa=config.prior_kappa,
    )
    return Proposal(settings=settings, mass=float(plan.mass.mean()))


def _three_digits(value: float) -> float:
    """Return the value rounded to three significant digits."""
    return float(f"{value:.3g}")


def _solve(config: LossConfig, cost: Float[Tensor, "b n m"]) -> Plan:
    """Return the plan of the config's strengths and prior."""
    return solve(
        cost,
        reg=config.reg,
        tau_src=config.tau_src,
        tau_tgt=config.tau_tgt,
        prior=config.prior,
        prior_kappa=config.prior_kappa,
        tolerance=config.tolerance,
        max_iterations=config.max_iterations,
    )


def _term(config: LossConfig, name: str) -> TermConfig:
    """Return the term of that name."""
    for term in config.features:
        if term.name == name:
            return term
    raise TransportError(f"The config has no term {name!r}; it has {', '.join(term.name for term in config.features)}.")
