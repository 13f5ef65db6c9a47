"""A running mean of the weights, which evaluation and the saved policy use."""

import copy
from typing import cast

import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor


class WeightAverage:
    """Exponential moving average of a policy's weights, in a copy of the policy.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that a short run is not dominated by its first
    weights (the usual warm-up, e.g. of TensorFlow's ExponentialMovingAverage and diffusers' EMAModel).

    Attributes:
        policy: The copy; always in evaluation mode, without gradients.
        updates: How many updates it has seen.
    """

    def __init__(self, policy: PreTrainedPolicy, decay: float) -> None:
        self.policy = copy.deepcopy(policy).requires_grad_(False)
        self.policy.eval()
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, policy: PreTrainedPolicy) -> None:
        """Move towards the weights of the policy that is trained; what is no float (counters) is copied."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        ours, theirs = _tensors(self.policy), _tensors(policy)
        floats = [(a, b) for a, b in zip(ours, theirs, strict=True) if a.is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [b for _, b in floats], 1.0 - decay)
        for a, b in zip(ours, theirs, strict=True):
            if not a.is_floating_point():
                a.copy_(b)


def _tensors(policy: PreTrainedPolicy) -> list[Tensor]:
    return [cast(Tensor, x.detach()) for x in (*policy.parameters(), *policy.buffers())]
