"""Gives frozen batch norms sensible statistics when a backbone is trained from scratch.

LeRobot's ACT freezes the batch norms of its backbone. With pretrained weights they hold ImageNet's statistics; without
them they are the identity, activations grow from block to block, and training is slow or stalls.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor, nn
from torchvision.ops.misc import FrozenBatchNorm2d


def fit_frozen_norms(policy: PreTrainedPolicy, batch: Mapping[str, Any]) -> int:
    """Set mean and variance of every frozen batch norm to those of its input on one batch; return how many there are.

    One forward pass does it: each norm is set when its input arrives, so later ones see what earlier ones normalise.
    The values are buffers of the policy, so checkpoints carry them and LeRobot loads them.
    """
    norms = [module for module in policy.modules() if isinstance(module, FrozenBatchNorm2d)]
    handles = [norm.register_forward_pre_hook(_fit) for norm in norms]
    try:
        with torch.no_grad(), torch.random.fork_rng():
            policy.forward(dict(batch))
    finally:
        for handle in handles:
            handle.remove()
    return len(norms)


def _fit(norm: nn.Module, inputs: tuple[Float[Tensor, "n c h w"]]) -> None:
    norm.get_buffer("running_mean").copy_(inputs[0].mean(dim=(0, 2, 3)))
    norm.get_buffer("running_var").copy_(inputs[0].var(dim=(0, 2, 3), unbiased=False).clamp_min(1e-6))
