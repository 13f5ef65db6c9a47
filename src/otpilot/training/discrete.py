"""Losses on action dimensions that take few levels, such as a gripper, on policies that regress.

They keep to the policy's own loss: what an element of these dimensions contributes there is replaced by

    weight * class_weight * (error / range)^focal_gamma * contribution,

in which `contribution` is ACT's absolute error, or Diffusion's squared error of what its denoiser puts out. With label
smoothing s the policy is trained on a + s * (middle - a) instead of the level a, so the shift reaches ACT's target and,
for Diffusion, the clean chunk that noise is added to: the target of either prediction_type then belongs to the same
shifted chunk. At the neutral settings (s = 0, gamma = 0, no balance, weight 1) the loss is unchanged to the bit.

Diffusion with prediction_type "epsilon" predicts noise. Its error says how well noise was told from action, at a noise
level that was drawn, not how right the action is; so focal_gamma is refused there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import ACTION
from numpy.typing import NDArray
from torch import Tensor

from otpilot.config.training import DiscreteActionsConfig
from otpilot.data.domains import Domains
from otpilot.errors import ConfigError
from otpilot.policies.cloning import PAD, masks_padding
from otpilot.training.inputs import InputPipeline
from otpilot.training.predictions import ActTrace, DiffusionTrace, PredictionTrace

MOST_LEVELS = 16
"""A dimension with more different values has two levels: the smallest and the largest value."""
TRACES: dict[str, type[PredictionTrace]] = {"act": ActTrace, "diffusion": DiffusionTrace}
"""Whose prediction is caught, by policy type."""
WHERE = "discrete_actions"


@dataclass(frozen=True, kw_only=True, eq=False)
class Levels:
    """The levels of one action dimension, ascending, (levels,), and the weight of each: 1 in the mean over the data."""

    dim: int
    values: NDArray[np.float64]
    weights: NDArray[np.float64]


def find_levels(actions: NDArray[Any], dims: Sequence[int]) -> tuple[Levels, ...]:
    """Return the levels of some dimensions of an action column (frames, dims), in the column's own units.

    An element belongs to the nearest level. The weight of level k is n / (K * n_k), the inverse of its frequency.

    Raises:
        ConfigError: If a dimension does not exist, or has one value only.
    """
    found = []
    for dim in dims:
        if not 0 <= dim < actions.shape[1]:
            raise ConfigError(
                f"{WHERE}.discrete_dims names dimension {dim}, but the actions have {actions.shape[1]} "
                f"(0 to {actions.shape[1] - 1})."
            )
        column = np.asarray(actions[:, dim], dtype=np.float64)
        values = np.unique(column)
        if len(values) < 2:
            raise ConfigError(
                f"{WHERE}.discrete_dims names dimension {dim}, whose only value in the target dataset is "
                f"{values.tolist()}; a discrete dimension needs at least two levels."
            )
        if len(values) > MOST_LEVELS:
            values = values[[0, -1]]
        counts = np.bincount(np.abs(column[:, None] - values).argmin(axis=1), minlength=len(values))
        found.append(Levels(dim=dim, values=values, weights=len(column) / (len(values) * counts)))
    return tuple(found)


def make_discrete(
    policy: PreTrainedPolicy, config: DiscreteActionsConfig | None, domains: Domains, inputs: InputPipeline
) -> "DiscreteActions | None":
    """Return the discrete losses of a config, with levels and frequencies of the target's training episodes.

    Args:
        policy: The policy that is trained.
        config: The `discrete_actions` section; None, or one without dimensions, for none.
        domains: The opened datasets.
        inputs: What normalises the rows of either domain.

    Raises:
        ConfigError: If a dimension or the policy does not fit.
    """
    if config is None or not config.discrete_dims:
        return None
    reader = domains.target.reader
    frames = domains.target.frames(domains.target.train_episodes)
    raw = find_levels(reader.column(ACTION)[torch.from_numpy(frames)].numpy(), config.discrete_dims)
    most = max(len(level.values) for level in raw)
    rows = reader.rows(np.repeat(frames[:1], most), augment=False)
    ours = _normalised(raw, rows, inputs, is_source=False)
    theirs = _normalised(raw, rows, inputs, is_source=True) if inputs.source is not None else None
    return DiscreteActions(policy, config, ours, source_levels=theirs)


class DiscreteActions:
    """Turns a policy's own loss into one that treats some action dimensions as discrete.

    Use `shifted` for the batch that the policy is given, this object as a context manager around the policy's forward
    pass, and add `correction` to the loss that it returned.

    Args:
        policy: The policy that is trained.
        config: The `discrete_actions` section.
        levels: Levels of each dimension, in the units of the preprocessed rows.
        source_levels: Those of source rows, where these are normalised by other statistics.

    Raises:
        ConfigError: If the policy's loss has no place for a setting.
    """

    def __init__(
        self,
        policy: PreTrainedPolicy,
        config: DiscreteActionsConfig,
        levels: Sequence[Levels],
        *,
        source_levels: Sequence[Levels] | None = None,
    ) -> None:
        kind = policy.config.type
        if kind not in TRACES:
            raise ConfigError(
                f"{WHERE} has no entry for policy type {kind!r}; allowed: {', '.join(TRACES)}. To support it, add a "
                "PredictionTrace to TRACES in otpilot/training/discrete.py, or leave discrete_dims empty."
            )
        if kind == "diffusion" and policy.config.prediction_type == "epsilon" and config.focal_gamma > 0:
            raise ConfigError(
                f"{WHERE}.focal_gamma is {config.focal_gamma}, but this Diffusion policy predicts noise, whose error "
                "says nothing about how right an action is; set it to 0, or policy.prediction_type to 'sample'."
            )
        self.config = config
        self.policy = policy
        self._trace = TRACES[kind](policy)
        self._power = 2 if kind == "diffusion" else 1
        self._levels = tuple(levels)
        self._source_levels = tuple(source_levels) if source_levels is not None else None
        self._neutral = config.focal_gamma == 0 and not config.class_balance and config.weight == 1.0

    def __enter__(self) -> Self:
        """Start catching what the policy predicts."""
        self._trace.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop catching."""
        self._trace.__exit__(kind, error, trace)

    def shifted(self, batch: Mapping[str, Any], is_source: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """Return the batch with label smoothing on its discrete dimensions; the batch itself is not changed."""
        made = dict(batch)
        if self.config.label_smoothing == 0.0:
            return made
        actions: Tensor = batch[ACTION].clone()
        for rows, levels in self._rows_by_domain(actions, is_source):
            for level in levels:
                middle = (level.values[0] + level.values[-1]) / 2.0
                part = actions[rows, ..., level.dim]
                actions[rows, ..., level.dim] = part + self.config.label_smoothing * (middle - part)
        made[ACTION] = actions
        return made

    def correction(self, batch: Mapping[str, Any], is_source: NDArray[np.bool_] | None = None) -> Tensor:
        """Return what the policy's loss of the last pass changes by; 0 at neutral settings.

        Args:
            batch: The batch as it was before `shifted`.
            is_source: Which of its rows come from a source domain, (rows,); None for none.
        """
        predicted = self._trace.predicted
        if self._neutral:
            return predicted.new_zeros(())
        given: Tensor = batch[ACTION]
        clean: Tensor = self.shifted(batch, is_source)[ACTION]
        wanted = self._trace.wanted(clean) if isinstance(self._trace, DiffusionTrace) else clean
        counts = torch.ones_like(given[..., 0])
        if masks_padding(self.policy) and PAD in batch:
            counts = (~batch[PAD]).to(counts.dtype)
        change = given.new_zeros(())
        for rows, levels in self._rows_by_domain(given, is_source):
            for level in levels:
                here = (rows, ..., level.dim)
                error = (predicted[here].float() - wanted[here]).abs()
                factor = self.config.weight * self._class_weights(given[here], level)
                before = error**self._power
                after = factor * self._focal(error, level)
                change = change + ((after - before) * counts[rows]).sum()
        return change / (counts.sum() * given.shape[-1]).clamp_min(1.0)

    def _focal(self, error: Tensor, level: Levels) -> Tensor:
        """Return (error / range)^gamma * error^power as one power, whose gradient is finite at 0."""
        gamma = self.config.focal_gamma
        if gamma == 0.0:
            return error**self._power
        width = float(level.values[-1] - level.values[0])
        return (error / width) ** (gamma + self._power) * width**self._power

    def _class_weights(self, actions: Tensor, level: Levels) -> Tensor:
        """Return the weight of the level nearest to each element."""
        if not self.config.class_balance:
            return torch.ones_like(actions)
        table = torch.as_tensor(level.values, dtype=actions.dtype, device=actions.device)
        nearest = (actions[..., None] - table).abs().argmin(dim=-1)
        return torch.as_tensor(level.weights, dtype=actions.dtype, device=actions.device)[nearest]

    def _rows_by_domain(
        self, actions: Tensor, is_source: NDArray[np.bool_] | None
    ) -> list[tuple[slice | Tensor, tuple[Levels, ...]]]:
        """Return groups of rows with the levels that are theirs."""
        if is_source is None or self._source_levels is None or not is_source.any():
            return [(slice(None), self._levels)]
        ours, theirs = (torch.as_tensor(np.flatnonzero(m), device=actions.device) for m in (~is_source, is_source))
        return [(ours, self._levels), (theirs, self._source_levels)]


def _normalised(
    levels: Sequence[Levels], rows: Mapping[str, Any], inputs: InputPipeline, *, is_source: bool
) -> tuple[Levels, ...]:
    """Return the levels in the units that a domain's rows are normalised to; `rows` carry them through."""
    actions: Tensor = rows[ACTION].clone()
    for level in levels:
        table = torch.as_tensor(level.values, dtype=actions.dtype)
        actions[: len(table), ..., level.dim] = table.reshape(-1, *[1] * (actions.ndim - 2))
    made: Tensor = inputs({**rows, ACTION: actions}, np.full(len(actions), is_source))[ACTION]
    found = made.double().cpu().numpy()
    found = found[:, 0] if found.ndim == 3 else found
    return tuple(
        Levels(dim=level.dim, values=found[: len(level.values), level.dim], weights=level.weights) for level in levels
    )
