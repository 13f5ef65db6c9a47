"""Edits of the optimiser that several rules share."""

from otpilot.config.edits import Edit, learning_rate_path, policy_type
from otpilot.pilot.rules.base import Config, Option, times

BACKBONE = "policy.optimizer_lr_backbone"


def scale_learning_rate(config: Config, factor: float) -> Option:
    """Return the edits that multiply the learning rate that counts; ACT's backbone has one of its own."""
    main = times(learning_rate_path(config), factor)
    if policy_type(config) != "act":
        return (main,)
    return main, Edit(path=BACKBONE, op="mul", value=factor, direction=main.direction)
