"""Curves packed for a page, decoded here the way the page's script decodes them."""

import base64
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpilot.report.analysis.packing import CODES, GAP, OFF_CHART, pack, thinned
from otpilot.runs.history import Curve
from tests.report.analysis.builders import curve, noisy


def steps_of(axis):
    steps = axis["steps"]
    if "by" in steps:
        return [steps["first"] + steps["by"] * place for place in range(steps["n"])]
    gaps = np.frombuffer(base64.b64decode(steps["gaps"]), dtype=f"<{steps['type']}")
    return np.append(steps["first"], steps["first"] + np.cumsum(gaps.astype(float))).tolist()


def values_of(packed):
    data = base64.b64decode(packed["data"])
    if packed["as"] == "f4":
        return np.frombuffer(data, dtype="<f4").astype(float)
    codes = np.frombuffer(data, dtype="<u2").astype(float)
    low, high = packed["low"], packed["high"]
    with np.errstate(all="ignore"):
        if packed["as"] == "lin":
            values = low + codes / CODES * (high - low)
        else:
            values = packed["sign"] * 2.0 ** (low + (codes - 1) / (CODES - 1) * (high - low))
            values[codes == 0] = 0.0
    values[codes == GAP] = np.nan
    return values


def packed(*curves, budget=10**6):
    return pack({one.name: [(0, one)] for one in curves}, starts=[None], budget=budget)


numbers = st.floats(min_value=-1e25, max_value=1e25, allow_nan=False, allow_subnormal=False)
lists = st.lists(
    st.one_of(numbers, st.sampled_from([math.nan, math.inf, -math.inf, 1e308, 0.0])), min_size=1, max_size=40
)


@given(lists, st.sampled_from([10**6, 1]))
def test_values_come_back_within_the_error_that_is_stated(values, budget):
    one = curve("m", values)
    body = packed(one, budget=budget)
    back = values_of(body.curves["m"][0])
    fine = np.isfinite(one.values) & (np.abs(one.values) <= OFF_CHART)
    assert (np.isnan(back) == ~fine).all()
    good = one.values[fine]
    if len(good):
        scale = np.abs(good) if (good >= 0).all() or (good <= 0).all() else np.ptp(good)
        # Where the smallest value is 0 a straight scale is exact against the range only.
        slack = np.ptp(good) if 0 in good else 0
        assert (np.abs(back[fine] - good) <= 1.01 * body.error * np.maximum(scale, slack) + 1e-300).all()


def test_shared_steps_are_stored_once_and_long_ones_by_first_and_stride():
    body = packed(noisy("a", 0), noisy("b", 1), curve("c", [1.0, 2.0], every=500))
    assert len(body.axes) == 2
    assert steps_of(body.axes[0]) == list(range(50, 10050, 50))
    assert "gaps" not in body.axes[0]["steps"]


def test_irregular_steps_come_back():
    steps = np.array([0, 1, 70_000, 70_001, 5_000_000_000], dtype=np.int64)
    body = packed(Curve(name="m", steps=steps, values=np.ones(5)))
    assert steps_of(body.axes[0]) == steps.tolist()


def test_gaps_and_values_off_the_chart_are_counted_apart():
    (one,) = packed(curve("m", [1.0, math.nan, -math.inf, 1e308, 2.0])).curves["m"]
    assert (one["gaps"], one["far"]) == (2, 1)


def test_tiny_masses_keep_their_digits_in_16_bits():
    values = np.geomspace(1e-24, 1.0, 200)
    body = packed(curve("train/ot_pi_sum", values), budget=900)
    (one,) = body.curves["train/ot_pi_sum"]
    assert one["as"] == "log"
    assert values_of(one) == pytest.approx(values, rel=1e-3)
    assert body.error < 1e-3


def test_what_does_not_fit_is_thinned_to_the_extremes():
    values = np.zeros(20_000)
    values[7_777], values[12_345], values[3_000] = 9.0, -9.0, math.nan
    body = packed(curve("m", values), budget=10_000)
    back = values_of(body.curves["m"][0])
    assert body.bytes <= 10_000
    assert body.kept is not None
    assert (np.nanmax(back), np.nanmin(back)) == pytest.approx((9.0, -9.0), rel=1e-3)
    assert np.isnan(back).sum() == 1
    assert body.curves["m"][0]["gaps"] == 1


@given(lists, st.integers(min_value=6, max_value=30))
def test_thinning_keeps_ends_extremes_and_order(values, points):
    one = curve("m", values)
    small = thinned(one, points)
    assert len(small.steps) <= max(points, 5)
    assert (small.steps[0], small.steps[-1]) == (one.steps[0], one.steps[-1])
    assert (np.diff(small.steps) > 0).all()
    finite = one.values[np.isfinite(one.values)]
    if len(finite):
        kept = small.values[np.isfinite(small.values)]
        assert (kept.min(), kept.max()) == (finite.min(), finite.max())


def test_twenty_runs_of_twenty_metrics_and_2000_points_keep_every_point():
    group = {f"m{k}": [(r, noisy("m", 20 * r + k, points=2000)) for r in range(20)] for k in range(20)}
    body = pack(group, starts=[0.0] * 20)
    assert body.kept is None
    assert body.error < 2e-4
    assert len(body.axes) == 1
