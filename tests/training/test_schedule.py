"""The learning rate over the horizon: a short trial is the beginning of the long run."""

import pytest

from otpilot.config.schema import TrainConfig
from otpilot.errors import ConfigError
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics
from otpilot.training.session import train

COSINE = {
    "use_policy_training_preset": False,
    "optimizer": {"type": "adamw", "lr": 1e-3},
    "scheduler": {"type": "diffuser", "name": "cosine", "num_warmup_steps": 0},
    "ot.lambda_ot": 0.0,
}


def rates(config: TrainConfig) -> list[float]:
    train(config)
    return read_metrics(RunPaths(config.output_dir).metrics).curve("lr")[1]


def test_a_short_trial_is_the_beginning_of_the_long_run(load):
    long = rates(load(name="long", steps=6, **COSINE))
    short = rates(load(name="short", steps=3, schedule_horizon=6, **COSINE))
    rescaled = rates(load(name="rescaled", steps=3, **COSINE))
    assert short == long[:3] != rescaled
    assert long[0] == 1e-3 > long[-1] > 0


def test_the_warm_up_may_be_a_share_of_the_horizon(load):
    found = rates(load(steps=4, schedule_horizon=8, warmup_ratio=0.5, **COSINE))
    assert found == pytest.approx([0.0, 0.25e-3, 0.5e-3, 0.75e-3])


def test_a_warm_up_without_a_schedule_says_what_to_do(load):
    with pytest.raises(ConfigError, match=r"warmup_ratio is 0.1, but there is no schedule.*use_policy_training_preset"):
        train(load(warmup_ratio=0.1))
