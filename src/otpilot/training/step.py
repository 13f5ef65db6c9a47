"""The loss of one step: one forward pass serves behaviour cloning and the transport embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from numpy.typing import NDArray
from torch import Tensor

from otpilot.config.ot import LossConfig, OTConfig, TermConfig
from otpilot.data.mixing import RowMap
from otpilot.errors import ConfigError, TrainingError, closest
from otpilot.policies.features import ALL_IMAGES, FeatureTap, make_tap
from otpilot.transport.cost import Features
from otpilot.transport.loss import TransportLoss, TransportResult
from otpilot.transport.schedule import value_at, warmup_factor
from otpilot.transport.weight import AutoWeight

# What is aligned when a config names no terms: every camera's encoding, the action label shapes the plan.
DEFAULT_TERMS = (
    TermConfig(src_key=ALL_IMAGES, use_learned_embed=True, weight_embed=1.0, term_name="images"),
    TermConfig(src_key="action", weight_label=1.0, term_name="action_lbl"),
)


@dataclass(frozen=True, kw_only=True)
class StepLoss:
    """What one step adds up to: total = cloning + weight * transport loss, and what to log."""

    total: Tensor
    values: Mapping[str, float | Tensor]
    transport: TransportResult | None


@dataclass(frozen=True, kw_only=True)
class GradShare:
    """Norms of the encoder gradient: of behaviour cloning, of the transport loss at weight 1, and of their sum."""

    cloning: float
    transport: float
    total: float


class CoTrainingLoss:
    """Behaviour cloning plus the weighted transport loss (or one of its baselines).

    Args:
        policy: The policy that is trained.
        ot: The `ot` section.
        horizon: Steps over which the schedules run.
    """

    def __init__(self, policy: PreTrainedPolicy, ot: OTConfig, *, horizon: int) -> None:
        self.policy = policy
        self.ot = ot
        self.horizon = horizon
        self.active = ot.enable and ot.method != "none" and ot.lambda_ot != 0
        self.terms = ot.loss_config.features or DEFAULT_TERMS
        self.transport: TransportLoss | None = None
        self.auto: AutoWeight | None = None
        self.tap: FeatureTap | None = None
        if not self.active:
            return
        settings: LossConfig = replace(ot.loss_config, features=self.terms)
        self.transport = TransportLoss(settings, ot.method)
        self.tap = make_tap(policy)
        for term in self.terms:
            if term.weight_embed > 0:
                self.tap.check(term.src_key)
                self.tap.check(term.target_key)
        if ot.lambda_ot == "auto":
            self.auto = AutoWeight(ot.target_grad_share)

    def check_labels(self, batch: Mapping[str, Any]) -> None:
        """Raise ConfigError unless the batch holds every key whose raw feature a term compares."""
        if not self.active:
            return
        for term in self.terms:
            if term.weight_label > 0:
                self._label(batch, term.src_key)
                self._label(batch, term.target_key)

    def weight(self, step: int) -> float:
        """Return lambda_ot at a step: the number (or the automatic weight), by schedule and warm-up."""
        base = self.auto.value if self.auto is not None else float(self.ot.lambda_ot)
        scheduled = value_at(self.ot.lambda_ot_schedule, base, step, self.horizon)
        return scheduled * warmup_factor(self.ot.weight_warmup_ratio, step, self.horizon)

    def reg(self, step: int) -> float:
        """Return reg at a step, by its schedule."""
        return value_at(self.ot.loss_config.reg_schedule, self.ot.loss_config.reg, step, self.horizon)

    @property
    def needs_measure(self) -> bool:
        """Whether the automatic weight still waits for its first measurement."""
        return self.auto is not None and self.auto.value == 0.0

    def __call__(
        self, batch: Mapping[str, Any], rows: RowMap, *, step: int, measure: bool = False, update: bool = True
    ) -> StepLoss:
        """Return the loss of a preprocessed batch.

        `measure` adds the shares of the encoder gradient; `update` moves the running means of the cost.

        Raises:
            TrainingError: If the cloning loss is not finite.
            TransportError: If a cost is not finite.
        """
        due = self.transport is not None and step % self.ot.compute_every_n_steps == 0 and len(rows.pair_src) > 0
        if self.tap is None or not due:
            cloning, info = self.policy.forward(dict(batch))
            return StepLoss(total=_checked(cloning, step), values=_values(cloning, info), transport=None)
        with self.tap:
            cloning, info = self.policy.forward(dict(batch))
        _checked(cloning, step)
        assert self.transport is not None
        result = self.transport(
            self._features(batch, rows.pair_src, "src"),
            self._features(batch, rows.pair_tgt, "tgt"),
            step=step,
            reg=self.reg(step),
            update=update,
        )
        values: dict[str, float | Tensor] = _values(cloning, info)
        if measure:
            values |= self._measure(cloning, result.loss, step)
        weight = self.weight(step)
        values |= result.figures
        values |= {"ot_weight": weight, "ot_reg": self.reg(step)}
        return StepLoss(total=cloning + weight * result.loss, values=values, transport=result)

    def grad_share(self, cloning: Tensor, transport: Tensor, weight: float) -> GradShare:
        """Return the norms of the encoder gradient's parts; both graphs stay alive."""
        assert self.tap is not None
        parameters = self.tap.encoder_parameters()
        if not parameters:
            return GradShare(cloning=0.0, transport=0.0, total=0.0)
        ours = _gradient(transport, parameters)
        theirs = _gradient(cloning, parameters)
        return GradShare(
            cloning=float(theirs.norm()), transport=float(ours.norm()), total=float((theirs + weight * ours).norm())
        )

    def state_dict(self) -> dict[str, Any]:
        """Return running means and the automatic weight."""
        state: dict[str, Any] = {}
        if self.transport is not None:
            state["transport"] = self.transport.state_dict()
        if self.auto is not None:
            state["auto_weight"] = self.auto.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if self.transport is not None and "transport" in state:
            self.transport.load_state_dict(state["transport"])
        if self.auto is not None and "auto_weight" in state:
            self.auto.load_state_dict(state["auto_weight"])

    def _measure(self, cloning: Tensor, transport: Tensor, step: int) -> dict[str, float]:
        share = self.grad_share(cloning, transport, self.weight(step))
        if self.auto is not None:
            self.auto.observe(bc_norm=share.cloning, ot_norm=share.transport)
        weighted = self.weight(step) * share.transport
        return {
            "ot_grad_share": weighted / share.total if share.total > 0 else 0.0,
            "ot_grad_norm": weighted,
            "bc_grad_norm": share.cloning,
        }

    def _features(self, batch: Mapping[str, Any], places: NDArray[Any], side: str) -> dict[str, Features]:
        """Return embedding and label of each term's key, for the rows of one side of the pairs."""
        assert self.tap is not None
        features: dict[str, Features] = {}
        device = next(value.device for value in batch.values() if isinstance(value, Tensor))
        index = torch.as_tensor(places, device=device)
        for term in self.terms:
            key = term.src_key if side == "src" else term.target_key
            embed = self.tap.embedding(key)[index] if term.weight_embed > 0 else None
            label = self._label(batch, key)[index] if term.weight_label > 0 else None
            known = features.get(key)
            features[key] = Features(
                embed=embed if embed is not None or known is None else known.embed,
                label=label if label is not None or known is None else known.label,
            )
        return features

    def _label(self, batch: Mapping[str, Any], key: str) -> Tensor:
        if key == ALL_IMAGES:
            cameras = list(self.policy.config.image_features)
            return torch.cat([batch[camera].flatten(1) for camera in cameras], dim=1)
        if key not in batch:
            allowed = [name for name, value in batch.items() if isinstance(value, Tensor)]
            raise ConfigError(
                f"ot.loss_config.features names {key!r}, which the batch does not hold; "
                f"allowed: {', '.join(allowed)}.{closest(key, allowed)}"
            )
        label: Tensor = batch[key]
        return label


def _values(cloning: Tensor, info: Mapping[str, Any] | None) -> dict[str, float | Tensor]:
    return {"bc_loss": cloning.detach(), **(info or {})}


def _checked(loss: Tensor, step: int) -> Tensor:
    if not torch.isfinite(loss):
        raise TrainingError(
            f"The behaviour-cloning loss is {loss.item()} at step {step}. Lower the learning rate "
            "(policy.optimizer_lr), or look for non-finite values in the datasets."
        )
    return loss


def _gradient(loss: Tensor, parameters: list[torch.nn.Parameter]) -> Tensor:
    """Return the gradient of a loss with respect to some parameters as one vector; the graph stays alive."""
    if not loss.requires_grad:
        return torch.zeros(sum(p.numel() for p in parameters), device=loss.device)
    parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in zip(parts, parameters, strict=True)]
    )
