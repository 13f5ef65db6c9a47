"""What a policy's own loss is a mean over, and which of its rows count."""

from collections.abc import Mapping
from typing import Any

from lerobot.policies.pretrained import PreTrainedPolicy
from torch import Tensor

from otpilot.errors import ConfigError

PAD = "action_is_pad"


def masks_padding(policy: PreTrainedPolicy) -> bool:
    """Whether padded actions are left out of the policy's loss: ACT always, Diffusion if its config says so."""
    return bool(getattr(policy.config, "do_mask_loss_for_padding", policy.config.type == "act"))


def cloning_elements(policy: PreTrainedPolicy, batch: Mapping[str, Any], rows: int) -> float:
    """Return over how many action elements the policy's loss of a batch is a mean, of its first `rows` rows.

    The mean over several batches, weighted by this number, is the loss of all their rows at once (ACT's KL term is a
    mean over rows instead, so it is weighted by its batch's valid actions: equal where padding is spread evenly).
    """
    if not masks_padding(policy) or PAD not in batch:
        return float(rows)
    pad: Tensor = batch[PAD][:rows]
    return float((~pad).sum())


def cloning_rows(batch: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Return the first `rows` rows of a batch.

    Raises:
        ConfigError: If a value of the batch cannot be cut by rows.
    """
    kept: dict[str, Any] = {}
    for key, value in batch.items():
        if isinstance(value, Tensor) and value.ndim == 0:
            kept[key] = value
        elif isinstance(value, Tensor | list):
            kept[key] = value[:rows]
        elif value is None or isinstance(value, str | int | float | dict):
            kept[key] = value
        else:
            raise ConfigError(f"The batch holds {key!r}, a {type(value).__name__} that cannot be cut by rows.")
    return kept
