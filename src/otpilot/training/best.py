"""Which evaluation was best, and whether it is time to stop."""

import math
from collections.abc import Mapping
from typing import Any

from otpilot.config.schema import TrainConfig
from otpilot.config.training import EarlyStoppingConfig
from otpilot.errors import TrainingError, closest

SUCCESS = "sim/success_mean"
LOSS = "eval/offline_eval/avg_loss"


class BestSoFar:
    """Follows the monitored metric over evaluations.

    Without an `early_stopping` section it only tells the best: by closed-loop success where the config has an
    environment (held-out loss can rank policies backwards), else by held-out loss.
    """

    def __init__(self, config: TrainConfig) -> None:
        settings = config.early_stopping
        success = config.env is not None and config.env_eval_freq > 0
        default = EarlyStoppingConfig(monitor=SUCCESS, mode="max") if success else EarlyStoppingConfig(monitor=LOSS)
        self.settings = settings or default
        self.patience = settings.patience_eval_intervals if settings is not None else math.inf
        self.best: float | None = None
        self.best_step: int | None = None
        self.without = 0

    @property
    def exhausted(self) -> bool:
        """Whether there was no improvement for as many evaluations as the config allows."""
        return self.without >= self.patience

    def describe(self) -> str:
        """Return why training stops early."""
        monitor = self.settings.monitor
        return (
            f"{monitor} did not improve over {self.without} evaluations; "
            f"its best is {self.best:.6g} at step {self.best_step} (early_stopping)"
        )

    def observe(self, kind: str, values: Mapping[str, float], step: int) -> bool:
        """Take in one evaluation and return whether it is the best so far; other kinds than the monitored pass.

        Raises:
            TrainingError: If an evaluation of the monitored kind lacks the metric.
        """
        wanted, _, name = self.settings.monitor.partition("/")
        if kind != wanted:
            return False
        if name not in values:
            known = [f"{kind}/{key}" for key in values]
            raise TrainingError(
                f"early_stopping.monitor is {self.settings.monitor!r}, which evaluation does not report; "
                f"allowed: {', '.join(known)}.{closest(self.settings.monitor, known)}"
            )
        value = values[name]
        sign = 1.0 if self.settings.mode == "min" else -1.0
        better = math.isfinite(value) and (
            self.best is None or sign * value < sign * self.best - self.settings.min_delta
        )
        if better:
            self.best, self.best_step, self.without = value, step, 0
        else:
            self.without += 1
        return better

    def state_dict(self) -> dict[str, Any]:
        """Return the best so far."""
        return {"best": self.best, "best_step": self.best_step, "without": self.without}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self.best, self.best_step = state["best"], state["best_step"]
        self.without = 0 if int(state["without"]) >= self.patience else int(state["without"])  # resumed on purpose
