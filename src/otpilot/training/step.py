"""The loss of one step: one forward pass serves behaviour cloning and the transport embeddings."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import ACTION
from numpy.typing import NDArray
from torch import Tensor

from otpilot.config.feature_keys import ALL_IMAGES
from otpilot.config.ot import LossConfig, OTConfig, TermConfig
from otpilot.data.mixing import RowMap
from otpilot.errors import ConfigError, closest
from otpilot.policies.cloning import cloning_rows, masks_padding
from otpilot.policies.features import FeatureTap, make_tap
from otpilot.training.discrete import DiscreteActions
from otpilot.training.noise import RowNoise
from otpilot.transport.cost import Features
from otpilot.transport.loss import TransportLoss, TransportResult
from otpilot.transport.schedule import value_at, warmup_factor
from otpilot.transport.weight import AutoWeight

# What is aligned when a config names no terms: every camera's encoding, the action label shapes the plan.
DEFAULT_TERMS = (
    TermConfig(src_key=ALL_IMAGES, use_learned_embed=True, weight_embed=1.0, term_name="images"),
    TermConfig(src_key=ACTION, weight_label=1.0, term_name="action_lbl"),
)


@dataclass(frozen=True, kw_only=True)
class StepLoss:
    """What one step adds up to: total = cloning + weight * transport loss, and what to log."""

    total: Tensor
    values: Mapping[str, float | Tensor]
    transport: TransportResult | None


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """One forward pass: the cloning loss, what the policy tells of it, and the features of the matched rows."""

    cloning: Tensor
    info: Mapping[str, Any] | None
    src: dict[str, Features]
    tgt: dict[str, Features]


class CoTrainingLoss:
    """Behaviour cloning plus the weighted transport loss (or one of its baselines).

    Args:
        policy: The policy that is trained.
        ot: The `ot` section.
        horizon: Steps over which the schedules run.

    Attributes:
        model: What is called for the forward pass: the policy's own, or what wraps it on several processes.
        noise: Added to the rows that are cloned while the policy trains; the transport's labels are without it.
        discrete: What the cloning loss does differently on discrete action dimensions while the policy trains.
    """

    def __init__(self, policy: PreTrainedPolicy, ot: OTConfig, *, horizon: int) -> None:
        self.policy = policy
        self.model: Callable[[dict[str, Any]], tuple[Tensor, Mapping[str, Any] | None]] = policy.forward
        self.noise = RowNoise()
        self.discrete: DiscreteActions | None = None
        self.ot = ot
        self.horizon = horizon
        self.active = ot.transports
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

    def due(self, step: int) -> bool:
        """Whether the transport is computed in this step, if there are pairs."""
        return self.transport is not None and step % self.ot.compute_every_n_steps == 0

    def __call__(
        self, batch: Mapping[str, Any], rows: RowMap, *, step: int, measure: bool = False, update: bool = True
    ) -> StepLoss:
        """Return the loss of a preprocessed batch that is a step by itself; it may be NaN, which the caller judges.

        `measure` adds the shares of the encoder gradient; `update` moves the running means of the cost.

        Raises:
            NonFiniteError: If a cost is not finite.
        """
        if not self.due(step) or len(rows.pair_src) == 0:
            cloning, info = self.clone(batch, rows)
            return StepLoss(total=cloning, values=_values(cloning, info), transport=None)
        encoded = self.encode(batch, rows)
        result = self.solve(encoded.src, encoded.tgt, step=step, update=update)
        values: dict[str, float | Tensor] = _values(encoded.cloning, encoded.info)
        if measure:
            values |= self.observe(*self.encoder_gradients(encoded.cloning, result.loss), step=step)
        weight = self.weight(step)
        values |= {**result.figures, "ot_weight": weight, "ot_reg": self.reg(step)}
        return StepLoss(total=encoded.cloning + weight * result.loss, values=values, transport=result)

    def clone(self, batch: Mapping[str, Any], rows: RowMap) -> tuple[Tensor, Mapping[str, Any] | None]:
        """Return the cloning loss of a batch and what the policy tells of it."""
        if rows.cloning < len(rows.is_source) and not masks_padding(self.policy):
            batch = cloning_rows(batch, rows.cloning)
        if not self.policy.training:
            return self.model(dict(batch))
        noisy = self.noise(batch)
        if self.discrete is None:
            return self.model(noisy)
        is_source = rows.is_source[: len(noisy[ACTION])]
        with self.discrete:
            loss, info = self.model(self.discrete.shifted(noisy, is_source))
        correction = self.discrete.correction(noisy, is_source)
        return loss + correction, {**(info or {}), "discrete_correction": correction.detach()}

    def encode(self, batch: Mapping[str, Any], rows: RowMap) -> Encoded:
        """Return the cloning loss of a batch and the features of its matched rows, of one pass over all rows."""
        assert self.tap is not None
        with self.tap:
            cloning, info = self.clone(batch, rows)
            if rows.cloning < len(rows.is_source) and not masks_padding(self.policy):
                self.tap.encode({key: value[rows.cloning :] for key, value in batch.items() if _by_rows(value)})
        return Encoded(
            cloning=cloning,
            info=info,
            src=self._features(batch, rows.pair_src, "src"),
            tgt=self._features(batch, rows.pair_tgt, "tgt"),
        )

    def solve(
        self, src: Mapping[str, Features], tgt: Mapping[str, Features], *, step: int, update: bool = True
    ) -> TransportResult:
        """Return the transport loss at weight 1 between the features of matched rows."""
        assert self.transport is not None
        return self.transport(src, tgt, step=step, reg=self.reg(step), update=update)

    def encoder_gradients(self, cloning: Tensor, transport: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder gradients (parameters,) of cloning and of transport at weight 1; the graphs stay alive."""
        assert self.tap is not None
        parameters = self.tap.encoder_parameters()
        if not parameters:
            return cloning.new_zeros(1), cloning.new_zeros(1)
        return _gradient(cloning, parameters), _gradient(transport, parameters)

    def observe(self, cloning: Tensor, transport: Tensor, *, step: int) -> dict[str, float]:
        """Take in both encoder gradients (the automatic weight follows them) and return the figures to log."""
        norms = {"cloning": float(cloning.norm()), "transport": float(transport.norm())}
        if self.auto is not None and all(math.isfinite(norm) for norm in norms.values()):
            self.auto.observe(bc_norm=norms["cloning"], ot_norm=norms["transport"])
        weight = self.weight(step)
        total = float((cloning + weight * transport).norm())
        weighted = weight * norms["transport"]
        return {
            "ot_grad_share": weighted / total if total > 0 else 0.0,
            "ot_grad_norm": weighted,
            "bc_grad_norm": norms["cloning"],
        }

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


def _by_rows(value: Any) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0


def _gradient(loss: Tensor, parameters: list[torch.nn.Parameter]) -> Tensor:
    """Return the gradient of a loss with respect to some parameters as one vector; the graph stays alive."""
    if not loss.requires_grad:
        return torch.zeros(sum(p.numel() for p in parameters), device=loss.device)
    parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return torch.cat(
        [torch.zeros_like(p).flatten() if g is None else g.flatten() for g, p in zip(parts, parameters, strict=True)]
    )
