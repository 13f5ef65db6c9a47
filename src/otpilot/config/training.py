"""Settings of the training loop that LeRobot does not have: early stopping, guard, discrete actions. Plain data."""

from dataclasses import dataclass
from typing import Literal, get_args

from otpilot.config.ot import check_number
from otpilot.errors import ConfigError, closest

Mode = Literal["min", "max"]
NonFiniteReaction = Literal["skip", "stop"]
SpikeReaction = Literal["off", "warn", "skip", "stop"]
TransportReaction = Literal["warn", "stop"]

_WORDS: dict[str, tuple[str, ...]] = {
    "mode": get_args(Mode),
    "nonfinite": get_args(NonFiniteReaction),
    "grad_spike": get_args(SpikeReaction),
    "transport": get_args(TransportReaction),
}


def _check_word(where: str, name: str, value: str) -> None:
    allowed = _WORDS[name]
    if value not in allowed:
        raise ConfigError(f"{where}.{name} is {value!r}; allowed: {', '.join(allowed)}.{closest(str(value), allowed)}")


@dataclass(frozen=True, kw_only=True)
class EarlyStoppingConfig:
    """When to stop before `steps`: no improvement of the monitored metric over so many evaluations in a row.

    `monitor` is a logged name with its kind: eval/offline_eval/avg_loss, eval/offline_eval/avg_l1, sim/success_mean.
    An evaluation improves if it beats the best so far by more than `min_delta`.
    """

    monitor: str = "eval/offline_eval/avg_loss"
    mode: Mode = "min"
    patience_eval_intervals: int = 5
    min_delta: float = 0.0

    def __post_init__(self) -> None:
        """Check words and ranges."""
        _check_word("early_stopping", "mode", self.mode)
        check_number("early_stopping", "patience_eval_intervals", self.patience_eval_intervals, low=1)
        check_number("early_stopping", "min_delta", self.min_delta)
        if not self.monitor.startswith(("eval/", "sim/")):
            raise ConfigError(
                f"early_stopping.monitor is {self.monitor!r}; allowed: a metric of evaluation, such as "
                "eval/offline_eval/avg_loss, eval/offline_eval/avg_l1 or sim/success_mean."
            )


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """What happens when a step goes wrong.

    `nonfinite`: loss or gradient is NaN or infinite. `grad_spike`: the gradient norm is above `grad_spike_factor`
    times the median of the last `grad_spike_window` norms. `transport`: the transport is dead, or eats the policy.
    `skip` leaves the weights as they are; more than `max_skips` skipped steps in a row stop the run.
    """

    nonfinite: NonFiniteReaction = "stop"
    grad_spike: SpikeReaction = "warn"
    grad_spike_factor: float = 20.0
    grad_spike_window: int = 100
    transport: TransportReaction = "warn"
    max_skips: int = 20

    def __post_init__(self) -> None:
        """Check words and ranges."""
        for name in ("nonfinite", "grad_spike", "transport"):
            _check_word("guard", name, getattr(self, name))
        check_number("guard", "grad_spike_factor", self.grad_spike_factor, low=1.0, open_low=True)
        check_number("guard", "grad_spike_window", self.grad_spike_window, low=10)
        check_number("guard", "max_skips", self.max_skips, low=1)


@dataclass(frozen=True, kw_only=True)
class DiscreteActionsConfig:
    """Losses for action dimensions that take few levels, such as a gripper, on a policy that regresses.

    They are regression counterparts of the classification terms whose names they bear. `label_smoothing` s moves each
    target by s of the way to the middle of the two levels. `focal_gamma` g weighs an element by (error / range)^g, so
    that elements which are right already count little. `class_balance` weighs each level by its inverse frequency in
    the target dataset. `weight` multiplies these dimensions as a whole.
    """

    discrete_dims: tuple[int, ...] = ()
    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    class_balance: bool = False
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check ranges."""
        for place in self.discrete_dims:
            check_number("discrete_actions", "discrete_dims", place)
        if len(set(self.discrete_dims)) != len(self.discrete_dims):
            raise ConfigError(f"discrete_actions.discrete_dims is {list(self.discrete_dims)}; a dimension is doubled.")
        check_number("discrete_actions", "label_smoothing", self.label_smoothing, high=1.0)
        check_number("discrete_actions", "focal_gamma", self.focal_gamma)
        check_number("discrete_actions", "weight", self.weight)
