"""Values over training steps: schedules of reg and lambda_ot, and the warm-up of the weight."""

import math

from otpilot.config.ot import ScheduleConfig


def value_at(schedule: ScheduleConfig | None, base: float, step: int, horizon: int) -> float:
    """Return the value at `step` (counted from 0) of a run of `horizon` steps.

    `base` stands in for a missing start or end value; without a schedule it is the value. A constant schedule is its
    start value from start_step on (`base` before it). A ramp holds its start value before start_step and its end value
    from end_step on, which is end_ratio_of_steps times the horizon where that is given.
    """
    if schedule is None:
        return base
    start = base if schedule.start_value is None else schedule.start_value
    if schedule.type == "constant":
        return start if step >= schedule.start_step else base
    stop = base if schedule.end_value is None else schedule.end_value
    last = float(horizon) * (schedule.end_ratio_of_steps or 0.0) if schedule.end_step is None else schedule.end_step
    length = last - schedule.start_step
    since = step - schedule.start_step
    done = min(max(since / length, 0.0), 1.0) if length > 0.0 else float(since >= 0)
    if schedule.type == "cosine":
        done = 0.5 * (1.0 - math.cos(math.pi * done))
    return start + (stop - start) * done


def warmup_factor(ratio: float | None, step: int, horizon: int) -> float:
    """Return the factor of the weight at `step`: from 0 to 1 in a straight line over ratio * horizon steps."""
    if not ratio or horizon <= 0:
        return 1.0
    return min(step / (ratio * horizon), 1.0)
