"""Gaussian noise on the states and actions of training rows, in normalised units."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor

from otpilot.config.schema import TrainConfig
from otpilot.policies.cloning import PAD


@dataclass(frozen=True, kw_only=True)
class RowNoise:
    """Adds noise to preprocessed rows: the robot's state that the policy sees, and the actions that it shall clone.

    Draws come from torch's own generator on the rows' device, whose state checkpoints carry, so that resuming repeats
    them; a standard deviation of 0 draws nothing. Padded actions, images and everything else stay as they are.

    The transport's label cost is to be computed from the rows without noise: it says which rows belong together, and
    noise would only add the same constant to every entry, in the mean. Its embeddings do come from the noisy pass.
    """

    state_std: float = 0.0
    action_std: float = 0.0

    @classmethod
    def of(cls, config: TrainConfig) -> "RowNoise":
        """Return the noise that a config asks for."""
        return cls(state_std=config.state_noise_std, action_std=config.action_noise_std)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Return the rows with noise; the batch itself is not changed."""
        noisy = dict(batch)
        if self.state_std > 0.0 and OBS_STATE in noisy:
            noisy[OBS_STATE] = noisy[OBS_STATE] + self.state_std * torch.randn_like(noisy[OBS_STATE])
        if self.action_std > 0.0:
            noise = self.action_std * torch.randn_like(noisy[ACTION])
            if PAD in noisy:
                pad: Tensor = noisy[PAD]
                noise = noise.masked_fill(pad[..., None] if pad.ndim < noise.ndim else pad, 0.0)
            noisy[ACTION] = noisy[ACTION] + noise
        return noisy
