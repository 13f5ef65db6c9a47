"""Values over steps."""

import pytest

from otpilot.config.ot import LossConfig, OTConfig, ScheduleConfig
from otpilot.errors import ConfigError
from otpilot.transport.schedule import value_at, warmup_factor


def test_without_a_schedule_the_value_is_the_base():
    assert value_at(None, 0.3, 7, 100) == 0.3


def test_a_constant_begins_at_its_start_step():
    schedule = ScheduleConfig(type="constant", start_value=2.0, start_step=10)
    assert [value_at(schedule, 0.5, step, 100) for step in (0, 9, 10, 99)] == [0.5, 0.5, 2.0, 2.0]


@pytest.mark.parametrize(
    ("kind", "middle", "quarter"), [("linear", 3.0, 2.0), ("cosine", 3.0, 1.0 + 4.0 * 0.14644660940672627)]
)
def test_ramps(kind, middle, quarter):
    for end in ({"end_step": 30}, {"end_ratio_of_steps": 0.3}):
        schedule = ScheduleConfig(type=kind, start_value=1.0, end_value=5.0, start_step=10, **end)
        found = [value_at(schedule, 9.0, step, 100) for step in (0, 10, 15, 20, 30, 99)]
        assert found == pytest.approx([1.0, 1.0, quarter, middle, 5.0, 5.0])


def test_missing_ends_are_the_base():
    down = ScheduleConfig(type="linear", end_value=0.0, end_step=10)
    assert [value_at(down, 4.0, step, 100) for step in (0, 5, 10)] == [4.0, 2.0, 0.0]
    up = ScheduleConfig(type="linear", start_value=0.0, end_step=10)
    assert [value_at(up, 4.0, step, 100) for step in (0, 5, 10)] == [0.0, 2.0, 4.0]


def test_an_end_before_the_start_is_a_jump():
    schedule = ScheduleConfig(type="linear", start_value=1.0, end_value=2.0, start_step=50, end_ratio_of_steps=0.3)
    assert [value_at(schedule, 0.0, step, 100) for step in (0, 49, 50, 99)] == [1.0, 1.0, 2.0, 2.0]


def test_warm_up_rises_to_one():
    assert [warmup_factor(0.2, step, 100) for step in (0, 5, 20, 50)] == [0.0, 0.25, 1.0, 1.0]
    assert warmup_factor(None, 0, 100) == warmup_factor(0.0, 0, 100) == 1.0


@pytest.mark.parametrize(
    ("lambda_ot", "schedule", "transports"),
    [
        (0.0, None, False),
        (0.1, None, True),
        ("auto", None, True),
        (0.0, {"type": "linear", "start_value": 0.0, "end_value": 0.1, "end_step": 3}, True),
        (0.0, {"type": "linear", "end_step": 3}, False),
        (0.0, {"start_value": 0.1, "start_step": 5}, True),
        (0.1, {"start_value": 0.0, "start_step": 5}, True),
        (0.1, {"start_value": 0.0}, False),
        ("auto", {"type": "linear", "start_value": 0.0, "end_step": 3}, True),
    ],
)
def test_a_schedule_says_whether_there_is_a_transport(lambda_ot, schedule, transports):
    made = None if schedule is None else ScheduleConfig(**schedule)
    assert OTConfig(lambda_ot=lambda_ot, lambda_ot_schedule=made).transports is transports
    assert not OTConfig(lambda_ot=lambda_ot, lambda_ot_schedule=made, method="none").transports


@pytest.mark.parametrize("name", ["start_value", "end_value"])
def test_reg_never_reaches_zero(name):
    with pytest.raises(ConfigError, match=rf"reg_schedule\.{name} is 0\.0"):
        LossConfig(reg_schedule=ScheduleConfig(type="linear", end_step=5, **{name: 0.0}))
