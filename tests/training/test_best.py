"""The best evaluation so far, and when patience ends."""

import math
from types import SimpleNamespace

import pytest

from otpilot.config.training import EarlyStoppingConfig
from otpilot.errors import ConfigError, TrainingError
from otpilot.training.best import BestSoFar


def best(env=None, env_eval_freq=0, **settings):
    section = EarlyStoppingConfig(**settings) if settings else None
    return BestSoFar(SimpleNamespace(early_stopping=section, env=env, env_eval_freq=env_eval_freq))


def feed(one, values, kind="eval", name="offline_eval/avg_loss"):
    return [one.observe(kind, {name: value}, step) for step, value in enumerate(values, start=1)]


def test_patience_counts_evaluations_without_improvement():
    one = best(patience_eval_intervals=3)
    assert feed(one, [3.0, 2.0, 2.0, 2.5]) == [True, True, False, False]
    assert not one.exhausted
    feed(one, [2.1])
    assert one.exhausted
    assert "its best is 2 at step 2" in one.describe()


def test_an_improvement_begins_anew():
    one = best(patience_eval_intervals=2)
    feed(one, [3.0, 3.0, 1.0, 3.0])
    assert not one.exhausted


def test_small_improvements_do_not_count():
    assert feed(best(min_delta=0.5), [3.0, 2.6, 2.4]) == [True, False, True]


def test_the_largest_success_is_best():
    one = best(monitor="sim/success_mean", mode="max")
    assert feed(one, [0.1, 0.3, 0.2], kind="sim", name="success_mean") == [True, True, False]
    assert feed(one, [9.0]) == [False]  # another kind


def test_nan_never_is_the_best():
    assert feed(best(), [math.nan, 2.0, math.nan]) == [False, True, False]


def test_without_a_section_success_decides_where_there_is_an_environment():
    assert best(env=object(), env_eval_freq=10).settings.monitor == "sim/success_mean"
    assert best(env=object()).settings.monitor == best().settings.monitor == "eval/offline_eval/avg_loss"
    one = best()
    feed(one, [1.0] * 100)
    assert not one.exhausted


def test_an_unknown_metric_names_the_closest():
    one = best(monitor="eval/offline_eval/avg_los")
    with pytest.raises(TrainingError, match=r"Did you mean 'eval/offline_eval/avg_loss'"):
        feed(one, [1.0])
    with pytest.raises(ConfigError, match="allowed: a metric of evaluation"):
        EarlyStoppingConfig(monitor="train/loss")


def test_the_state_continues():
    one, two = best(patience_eval_intervals=3), best(patience_eval_intervals=3)
    feed(one, [2.0, 3.0])
    two.load_state_dict(one.state_dict())
    feed(two, [3.0, 3.0])
    assert two.exhausted
