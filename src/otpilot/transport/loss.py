"""The transport loss of a training step: features in, a scalar with gradient and its figures out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from otpilot.config.ot import CHOICES, LossConfig, Method
from otpilot.errors import TransportError, closest
from otpilot.transport.baselines import coral, energy_distance, mmd, paired
from otpilot.transport.cost import Cost, CostModel, Features
from otpilot.transport.mass import scale_for_mass
from otpilot.transport.objective import evaluate_objective
from otpilot.transport.plan import Plan
from otpilot.transport.solver import solve

DISTRIBUTION_METHODS = {"energy_distance": energy_distance, "mmd": mmd, "coral": coral}


@dataclass(frozen=True, kw_only=True)
class TransportResult:
    """One step's loss, the plan (None for methods without one), and figures without the train/ prefix, detached."""

    loss: Float[Tensor, ""]
    plan: Plan | None
    figures: dict[str, Tensor | float]


class TransportLoss:
    """The loss of one method with its state (running means of the cost); call it once per training step."""

    def __init__(self, config: LossConfig, method: Method = "ot") -> None:
        """Check the method; start with no history."""
        if method not in CHOICES["method"]:
            allowed = CHOICES["method"]
            raise TransportError(f"ot.method is {method!r}; allowed: {', '.join(allowed)}.{closest(method, allowed)}")
        if config.target_mass is not None and (config.tau_src is None or config.tau_tgt is None):
            raise TransportError("target_mass needs finite tau_src and tau_tgt; a hard marginal fixes the mass at 1.")
        self.config = config
        self.method = method
        self._cost = CostModel(config) if method != "none" else None

    def __call__(
        self,
        src: Mapping[str, Features],
        tgt: Mapping[str, Features],
        *,
        step: int,
        reg: float | None = None,
        update: bool = True,
    ) -> TransportResult:
        """Return the loss of a batch. `reg` overrides the config's (a schedule); `update` moves the running means.

        Raises:
            TransportError: features are missing, not finite (names term and step) or of the wrong shape.
        """
        if self._cost is None:
            return TransportResult(loss=torch.zeros(()), plan=None, figures={"ot_loss": 0.0})
        device = next((x.device.type for f in src.values() for x in (f.embed, f.label) if x is not None), "cpu")
        with torch.autocast(device, enabled=False):
            if self.method in DISTRIBUTION_METHODS:
                return self._distribution(self._cost, src, tgt, step)
            cost = self._cost(src, tgt, step=step, update=update)
            strength = self.config.reg if reg is None else reg
            if self.method == "paired":
                return self._paired(cost, strength)
            return self._transport(cost, strength, step)

    def state_dict(self) -> dict[str, Any]:
        """Return the running means."""
        return {"cost": self._cost.state_dict() if self._cost is not None else {}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, bit for bit."""
        if self._cost is not None:
            self._cost.load_state_dict(state["cost"])

    def _transport(self, cost: Cost, reg: float, step: int) -> TransportResult:
        """Solve, evaluate the objective and gather the figures."""
        config = self.config
        matrix = cost.matrix
        scale: Tensor | None = None
        try:
            if config.target_mass is not None and config.tau_src is not None and config.tau_tgt is not None:
                scale, _ = scale_for_mass(
                    matrix,
                    config.target_mass,
                    reg=reg,
                    tau_src=config.tau_src,
                    tau_tgt=config.tau_tgt,
                    prior=config.prior,
                    prior_kappa=config.prior_kappa,
                )
                matrix = matrix * scale
            plan = solve(
                matrix,
                reg=reg,
                tau_src=config.tau_src,
                tau_tgt=config.tau_tgt,
                prior=config.prior,
                prior_kappa=config.prior_kappa,
                tolerance=config.tolerance,
                max_iterations=config.max_iterations,
            )
        except TransportError as error:
            raise type(error)(f"Step {step}, terms {', '.join(cost.raw_mean)}: {error}") from error
        loss = evaluate_objective(config.objective, matrix, plan)
        figures = {**_cost_figures(cost), **_plan_figures(plan, matrix), "ot_loss": loss.detach()}
        if scale is not None:
            figures["ot_cost_scale"] = scale
        return TransportResult(loss=loss, plan=plan, figures=figures)

    def _paired(self, cost: Cost, reg: float) -> TransportResult:
        """Return the per-pair robust loss."""
        taus = (self.config.tau_src, self.config.tau_tgt)
        strength = reg + sum(math.inf if tau is None else tau for tau in taus)
        loss = paired(cost.matrix, strength)
        return TransportResult(loss=loss, plan=None, figures={**_cost_figures(cost), "ot_loss": loss.detach()})

    def _distribution(
        self, model: CostModel, src: Mapping[str, Features], tgt: Mapping[str, Features], step: int
    ) -> TransportResult:
        """Return the loss of a baseline that compares the two sets of encodings."""
        loss = DISTRIBUTION_METHODS[self.method](*model.embeddings(src, tgt, step=step))
        variance = model.feature_variance(src, tgt)
        return TransportResult(loss=loss, plan=None, figures={**_variance_figures(variance), "ot_loss": loss.detach()})


def _variance_figures(variance: Mapping[str, Tensor]) -> dict[str, Tensor | float]:
    """Return the mean variance over terms, and each term's."""
    figures: dict[str, Tensor | float] = {f"ot_feature_var/{name}": value for name, value in variance.items()}
    if variance:
        figures["ot_feature_var"] = torch.stack(list(variance.values())).mean()
    return figures


def _cost_figures(cost: Cost) -> dict[str, Tensor | float]:
    """Return the figures of the cost."""
    figures: dict[str, Tensor | float] = {f"ot_cost/{name}": value for name, value in cost.raw_mean.items()}
    figures.update({f"ot_cost_share/{name}": value for name, value in cost.share.items()})
    return {**figures, "ot_cost_mean": cost.matrix.detach().mean(), **_variance_figures(cost.feature_variance)}


def _plan_figures(plan: Plan, cost: Tensor) -> dict[str, Tensor | float]:
    """Return the figures of the plan."""
    square = cost.shape[-1] == cost.shape[-2]
    figures: dict[str, Tensor | float] = {
        "ot_pi_sum": plan.mass,
        "ot_log_mass": plan.log_mass,
        "ot_energy": plan.energy,
        "ot_plan_cost": plan.plan_cost(cost),
        "ot_entropy": plan.entropy,
        "ot_unmatched_src": plan.unmatched_src,
        "ot_unmatched_tgt": plan.unmatched_tgt,
        "ot_iterations": float(plan.iterations),
        "ot_gap": plan.gap,
        "ot_error_bound": plan.error_bound,
    }
    if square:
        figures |= {"ot_pi_diag": plan.diag, "ot_diag_share": plan.diag_share}
    return figures
