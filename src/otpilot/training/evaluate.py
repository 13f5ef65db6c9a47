"""What a policy is worth on held-out episodes: always the same rows, the same noise, whatever training drew."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import ACTION
from numpy.typing import NDArray
from torch import Tensor

from otpilot.data.domains import Domain, Domains
from otpilot.policies.cloning import PAD, cloning_elements
from otpilot.training.draws import fixed_draws
from otpilot.training.inputs import InputPipeline, pick_rows
from otpilot.training.predictions import ActTrace

EVAL_BATCHES = 20
"""Batches per domain where max_eval_samples sets no number of rows."""
SAMPLED_ROWS = 64
"""Rows per domain whose actions are sampled, where a policy needs many passes for that (Diffusion); evenly spaced."""
EVAL_SEED = 0
"""Of every evaluation of every run, so that runs of different seeds meet the same noise."""


@dataclass(kw_only=True)
class ActionErrors:
    """Sums of absolute action errors over valid elements, per action dimension."""

    sums: Tensor | None = None
    count: float = 0.0

    def add(self, predicted: Tensor, batch: Mapping[str, Any], start: int) -> None:
        """Add predictions (rows, steps, dims), or (rows, dims), of the action chunk's steps from `start` on."""
        wanted: Tensor = batch[ACTION]
        if wanted.ndim == 2:
            wanted, predicted = wanted[:, None], predicted[:, None] if predicted.ndim == 2 else predicted[:, :1]
        steps = min(predicted.shape[1], wanted.shape[1] - start)
        error = (predicted[:, :steps].double() - wanted[:, start : start + steps].double()).abs()
        if PAD in batch:
            valid = ~batch[PAD].reshape(len(wanted), -1)[:, start : start + steps]
            error = error * valid[..., None]
            self.count += float(valid.sum())
        else:
            self.count += float(error.shape[0] * error.shape[1])
        total = error.sum(dim=(0, 1)).cpu()
        self.sums = total if self.sums is None else self.sums + total

    def figures(self) -> dict[str, float]:
        """Return avg_l1 and avg_l1_dim/<i>; nothing where no valid element was seen."""
        if self.sums is None or self.count == 0:
            return {}
        means = (self.sums / self.count).tolist()
        return {"avg_l1": sum(means) / len(means)} | {f"avg_l1_dim/{i}": mean for i, mean in enumerate(means)}


@dataclass(kw_only=True)
class _Loss:
    """A mean of batch losses, weighted by what each is a mean over."""

    total: float = 0.0
    weight: float = 0.0

    def add(self, loss: Tensor, weight: float) -> None:
        self.total += float(loss) * weight
        self.weight += weight

    @property
    def mean(self) -> float:
        return self.total / self.weight if self.weight else float("nan")


@dataclass(frozen=True, kw_only=True)
class _EvalBatch:
    """Frames of one batch, the seed of its noise, and which of its rows have their actions sampled."""

    frames: NDArray[np.int64]
    seed: int
    sampled: NDArray[np.int64] = field(repr=False)


class OfflineEvaluation:
    """Loss and action error on held-out episodes of one domain.

    Every batch has its own seed, so that its noise and timesteps do not depend on the batches before it.

    Args:
        domain: Where the held-out episodes come from.
        batch_size: Rows per batch.
        max_samples: Rows in all, evenly spaced over the held-out frames; 0 for EVAL_BATCHES batches.
        sampled_rows: Rows whose actions are sampled, where a policy needs many passes for that.
    """

    def __init__(
        self, domain: Domain, *, batch_size: int, max_samples: int = 0, sampled_rows: int = SAMPLED_ROWS
    ) -> None:
        frames = domain.frames(domain.eval_episodes)
        rows = min(len(frames), max_samples or EVAL_BATCHES * batch_size)
        places = frames[_spread(len(frames), rows)]
        sampled = _spread(rows, min(rows, sampled_rows))
        self.domain = domain
        self._batches = []
        for number, begin in enumerate(range(0, rows, batch_size)):
            end = min(rows, begin + batch_size)
            seed = int(np.random.SeedSequence([EVAL_SEED, number]).generate_state(1)[0])
            mine = sampled[(sampled >= begin) & (sampled < end)] - begin
            self._batches.append(_EvalBatch(frames=places[begin:end], seed=seed, sampled=mine))

    def __call__(self, policy: PreTrainedPolicy, inputs: InputPipeline) -> dict[str, float]:
        """Return avg_loss, avg_l1, avg_l1_dim/<i> and n_batches.

        avg_loss is the policy's own loss; avg_l1 the mean absolute error of the actions it would give, in normalised
        units, over elements that are not padded. Random state and mode of the policy are left as they were.
        """
        loss, errors = _Loss(), ActionErrors()
        was_training = policy.training
        policy.eval()
        policy.reset()  # an action queue left by closed loop would be read as observations
        try:
            with torch.no_grad():
                for batch in self._batches:
                    is_source = np.full(len(batch.frames), self.domain.name != "target")
                    rows = self.domain.reader.rows(batch.frames, augment=False)
                    _measure(policy, inputs(rows, is_source), batch, (loss, errors))
        finally:
            policy.train(was_training)
        return {"avg_loss": loss.mean, **errors.figures(), "n_batches": float(len(self._batches))}


class HeldOut:
    """The offline evaluation of a run: every domain that has held-out episodes.

    Args:
        domains: The opened datasets.
        batch_size: Rows per batch.
        max_samples: Rows per domain; 0 for EVAL_BATCHES batches.
    """

    def __init__(self, domains: Domains, *, batch_size: int, max_samples: int = 0) -> None:
        self._evaluations = [
            OfflineEvaluation(domain, batch_size=batch_size, max_samples=max_samples)
            for domain in (domains.target, *domains.sources)
            if domain.eval_episodes
        ]

    def __call__(self, policy: PreTrainedPolicy, inputs: InputPipeline) -> dict[str, float]:
        """Return offline_eval/<figure> of the target, and offline_eval/<domain>/<figure> of each domain.

        The error per action dimension is told for the target only.
        """
        values: dict[str, float] = {}
        for evaluation in self._evaluations:
            found = evaluation(policy, inputs)
            name = evaluation.domain.name
            if name == "target":
                values |= {f"offline_eval/{figure}": value for figure, value in found.items()}
            values |= {
                f"offline_eval/{name}/{figure}": value
                for figure, value in found.items()
                if not figure.startswith("avg_l1_dim/")
            }
        return values


def _measure(
    policy: PreTrainedPolicy, rows: dict[str, Any], batch: _EvalBatch, sums: tuple[_Loss, ActionErrors]
) -> None:
    """Add one batch to the loss and to the action errors."""
    loss, errors = sums
    device = next(policy.parameters()).device
    weight = cloning_elements(policy, rows, len(batch.frames))
    start = _first_step(policy)
    if policy.config.type == "act":  # its forward pass predicts the actions
        with fixed_draws(batch.seed, device), ActTrace(policy) as trace:
            value, _ = policy.forward(dict(rows))
        loss.add(value, weight)
        errors.add(trace.predicted, rows, start)
        return
    with fixed_draws(batch.seed, device):
        value, _ = policy.forward(dict(rows))
    loss.add(value, weight)
    if len(batch.sampled):
        some = pick_rows(rows, batch.sampled)
        with fixed_draws(batch.seed + 1, device):
            errors.add(policy.predict_action_chunk(dict(some)), some, start)


def _spread(size: int, count: int) -> NDArray[np.int64]:
    """Return `count` of the places 0 ... size - 1, evenly spaced, first and last included."""
    return np.linspace(0, size - 1, count).round().astype(np.int64)


def _first_step(policy: PreTrainedPolicy) -> int:
    """Return which step of the action chunk is the present one: where predicted actions begin."""
    deltas = policy.config.action_delta_indices
    return list(deltas).index(0) if deltas and 0 in deltas else 0
