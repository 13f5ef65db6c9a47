"""Watches every step for what ends runs: non-finite numbers, gradient norms far above their own recent median."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from otpilot.config.training import GuardConfig
from otpilot.errors import TrainingError

Action = Literal["go", "skip"]
MIN_NORMS = 10
"""Norms that must have been seen before their median counts."""
ADVICE = "Lower the learning rate (policy.optimizer_lr), or look for non-finite values in the datasets."


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a step may change the weights, and what to tell of it (None: nothing)."""

    action: Action
    alarm: str | None = None
    message: str = ""


class Guard:
    """Judges steps by their loss and gradient norm; call `check` once per step, before the optimiser moves."""

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self._norms: deque[float] = deque(maxlen=config.grad_spike_window)
        self._skipped = 0

    def check(self, *, loss: float, norm: float, step: int) -> Verdict:
        """Return what to do with a step, given its loss and gradient norm (before clipping).

        Raises:
            TrainingError: If the config says stop, or too many steps in a row were skipped.
        """
        if not (math.isfinite(loss) and math.isfinite(norm)):
            what = f"The loss is {loss}" if not math.isfinite(loss) else f"The gradient norm is {norm}"
            return self.nonfinite(f"{what} at step {step}.")
        seen = len(self._norms)
        usual = median(self._norms) if seen >= MIN_NORMS else math.inf
        self._norms.append(norm)
        if self.config.grad_spike == "off" or norm <= self.config.grad_spike_factor * usual or usual == 0.0:
            self._skipped = 0
            return Verdict(action="go")
        message = (
            f"The gradient norm is {norm:.4g} at step {step}, {norm / usual:.0f} times the median of the last "
            f"{seen} ({usual:.4g}); the limit is {self.config.grad_spike_factor:g} "
            "(guard.grad_spike_factor)."
        )
        if self.config.grad_spike == "stop":
            raise TrainingError(message)
        if self.config.grad_spike == "skip":
            return self._skip("grad_spike", message)
        self._skipped = 0
        return Verdict(action="go", alarm="grad_spike", message=message)

    def nonfinite(self, what: str) -> Verdict:
        """Return what to do with a step whose numbers are not finite.

        Raises:
            TrainingError: If the config says stop, or too many steps in a row were skipped.
        """
        message = f"{what} {ADVICE}"
        if self.config.nonfinite == "stop":
            raise TrainingError(message)
        return self._skip("nonfinite", message)

    def state_dict(self) -> dict[str, Any]:
        """Return the recent norms and the steps skipped in a row."""
        return {"norms": list(self._norms), "skipped": self._skipped}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self._norms.extend(state["norms"])
        self._skipped = int(state["skipped"])

    def _skip(self, alarm: str, message: str) -> Verdict:
        self._skipped += 1
        if self._skipped > self.config.max_skips:
            raise TrainingError(f"{message} {self._skipped} steps in a row were skipped (guard.max_skips).")
        return Verdict(action="skip", alarm=alarm, message=f"{message} The step is skipped.")
