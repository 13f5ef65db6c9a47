import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpilot.report.axes import nice_ticks, short, step_axis, tick_labels, value_axis

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(FINITE, min_size=1, max_size=5))
def test_every_finite_value_has_a_place(values):
    axis = value_axis(values, log_scale=False)
    assert all(0 <= axis.place(value) <= 1 for value in values)
    assert all(-1e-6 <= axis.place(tick) <= 1 + 1e-6 for tick, _ in axis.ticks)
    labels = [label for _, label in axis.ticks]
    assert len(set(labels)) == len(labels) >= 1


@given(st.lists(st.floats(min_value=5e-324, allow_infinity=False), min_size=1, max_size=5))
def test_every_positive_value_has_a_place_on_a_log_scale(values):
    axis = value_axis(values, log_scale=True)
    assert all(-1e-3 <= axis.place(value) <= 1 + 1e-3 for value in values)
    assert len(axis.ticks) >= 1


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=5))
def test_step_ticks_are_whole(steps):
    axis = step_axis(steps)
    assert all(tick == int(tick) for tick, _ in axis.ticks)
    assert all(0 <= axis.place(step) <= 1 for step in steps)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.0, 1.0, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.0, 3000.0, ["0", "1k", "2k", "3k"]),
        (-3.0, 7.0, ["-2", "0", "2", "4", "6"]),
        (0.0101, 0.0149, ["0.011", "0.012", "0.013", "0.014"]),
        (0.0, 2e-7, ["0", "5e-8", "1e-7", "1.5e-7", "2e-7"]),
    ],
)
def test_ticks_and_labels(low, high, expected):
    assert tick_labels(nice_ticks(low, high)) == expected


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_ticks_are_evenly_spaced_within_the_range(low, width):
    ticks = nice_ticks(low, low + width)
    assert 2 <= len(ticks) <= 7
    gaps = [later - earlier for earlier, later in pairwise(ticks)]
    assert max(gaps) - min(gaps) <= 1e-6 * max(gaps) + 1e-9


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.012345, "0.01235"), (12345.6, "12346"), (1.2e-7, "1.2e-7"), (1e308, "1e308"), (math.nan, "nan"), (0.0, "0")],
)
def test_short(value, expected):
    assert short(value) == expected


@pytest.mark.parametrize("values", [[0.0], [1.0, 1.0], [0.4], [0.0, 0.1], [0.9, 1.0], [0.3, 0.5]])
def test_the_axis_of_rates_stays_within_them(values):
    axis = value_axis(values, log_scale=False, is_rate=True)
    assert 0.0 <= axis.low <= min(values)
    assert max(values) <= axis.high <= 1.0
    assert (axis.low, axis.high) == (0.0, 1.0) or len(set(values)) > 1


def test_a_rate_out_of_range_is_shown_all_the_same():
    assert value_axis([0.0, 50.0], log_scale=False, is_rate=True).high >= 50.0


def test_one_step_has_an_axis_from_0():
    assert (step_axis([30, 30]).low, step_axis([30]).high) == (0.0, 30.0)
