"""`lambda_ot: auto`: a weight that keeps the transport's share of the encoder gradient where it was asked to be."""

import math
from collections.abc import Mapping
from typing import Any

from otpilot.errors import TransportError

DECAY = 0.9
"""Part of the running estimate that a new measurement leaves; measurements come every check_every_n_steps."""


class AutoWeight:
    """Weight = target share * (norm of the cloning gradient) / (norm of the transport gradient at weight 1).

    Both norms are running geometric means over measurements, so single batches move the weight little and it follows
    changes of scale in either direction alike. Before the first measurement the weight is 0.
    """

    def __init__(self, target_grad_share: float, decay: float = DECAY) -> None:
        """Start without a measurement.

        Raises:
            TransportError: share outside (0, 1] or decay outside [0, 1).
        """
        if not 0.0 < target_grad_share <= 1.0:
            raise TransportError(f"target_grad_share is {target_grad_share}; allowed: above 0, at most 1.")
        if not 0.0 <= decay < 1.0:
            raise TransportError(f"decay is {decay}; allowed: 0 to below 1.")
        self.target_grad_share = target_grad_share
        self.decay = decay
        self._log_ratio = 0.0
        self._count = 0

    @property
    def value(self) -> float:
        """The weight now; 0 before the first measurement."""
        if self._count == 0:
            return 0.0
        corrected = self._log_ratio / (1.0 - self.decay**self._count)
        return self.target_grad_share * math.exp(min(corrected, 700.0))

    def observe(self, *, bc_norm: float, ot_norm: float) -> float:
        """Take in the norms of the encoder gradient of cloning and of transport at weight 1; return the new weight.

        A measurement in which either part is 0 says nothing about their ratio and is skipped.

        Raises:
            TransportError: a norm is negative or not finite.
        """
        for name, norm in (("bc_norm", bc_norm), ("ot_norm", ot_norm)):
            if not (math.isfinite(norm) and norm >= 0.0):
                raise TransportError(f"{name} is {norm}; allowed: a finite number >= 0.")
        if bc_norm > 0.0 and ot_norm > 0.0:
            self._log_ratio = self.decay * self._log_ratio + (1.0 - self.decay) * math.log(bc_norm / ot_norm)
            self._count += 1
        return self.value

    def state_dict(self) -> dict[str, Any]:
        """Return the running estimate."""
        return {"log_ratio": self._log_ratio, "count": self._count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self._log_ratio = float(state["log_ratio"])
        self._count = int(state["count"])
