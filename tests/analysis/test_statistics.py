"""Statistics: against plain formulas, the seeds' stored figures, and the seeds' printed lines."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import brentq

from otpilot.analysis.statistics import (
    Endpoint,
    curve_statistics,
    endpoint,
    shared_rows,
    stability,
    tail,
    tail_points,
)
from otpilot.runs.metric_names import canonical

from .build import curve, with_endpoints, with_tail

SUMMARY = json.loads((Path(__file__).parents[1] / "data" / "summaries" / "compare_runs_3.json").read_text())
STORED = [(run, name) for run, body in SUMMARY.items() for name in body["summary"]]


@pytest.mark.parametrize(("run", "name"), STORED)
def test_the_seeds_summary_file_is_reproduced_to_the_last_bit(run, name):
    figures = SUMMARY[run]["summary"][name]
    made = with_endpoints(canonical(name), SUMMARY[run]["steps"], figures)
    found = endpoint(made.steps, made.values)
    assert found.rows == SUMMARY[run]["steps"]
    for key in ("first", "last", "best", "best_step", "delta", "pct"):
        assert getattr(found, key) == figures[key], key


def test_some_of_them_differ_visibly_from_the_plain_percentage():
    visible = 0
    for run, name in STORED:
        figures = SUMMARY[run]["summary"][name]
        plain = 100 * figures["delta"] / figures["first"]
        visible += abs(figures["pct"] - plain) > 1e-10
    assert visible >= 16  # so the test above would fail with the plain formula


LINES = """
训练总损失: 首=15.15, 末=1.459, 最优=1.459@1050, Δ=-13.69 (-90.37%)
训练L1: 首=0.5182, 末=0.2298, 最优=0.2088@800, Δ=-0.2884 (-55.66%)
离线评估L1: 首=0.6585, 末=0.3535, 最优=0.3477@900, Δ=-0.3049 (-46.31%)
OT损失: 首=0.1658, 末=0.09685, 最优=0.01351@200, Δ=-0.06895 (-41.59%)
π总和: 首=0.1536, 末=0.03095, 最优=0.001345@150, Δ=-0.1226 (-79.85%)
OT cost(state): 首=1246, 末=1286, 最优=547.4@550, Δ=39.77 (3.19%)
OT损失: 首=0.0004007, 末=0.2095, 最优=0.0004007@50, Δ=0.2091 (52181.88%)
π总和: 首=2.333e-05, 末=0.1982, 最优=2.333e-05@50, Δ=0.1982 (849479.31%)
OT cost(state): 首=1371, 末=1052, 最优=885.5@550, Δ=-318.9 (-23.26%)
""".strip().splitlines()


def as_printed(label: str, found: Endpoint) -> str:
    return (
        f"{label}: 首={found.first:.4g}, 末={found.last:.4g}, 最优={found.best:.4g}@{found.best_step}, "
        f"Δ={found.delta:.4g} ({found.pct:.2f}%)"
    )


@pytest.mark.parametrize("line", LINES)
def test_seed_report_003_prints_the_same_line(line):
    label, rest = line.split(": ", 1)
    numbers = rest.replace("首=", "").replace("末=", "").replace("最优=", "").replace("Δ=", "").replace("(", ", ")
    first, last, best, delta, pct = (part.strip(" ,%)") for part in numbers.replace(" , ", ", ").split(", "))
    best, best_step = best.split("@")
    # The printed figures are rounded: look for a first value within its rounding that gives all of them.
    unit = 10 ** (math.floor(math.log10(float(first))) - 3)
    starts = float(first) + unit * np.linspace(-0.5, 0.5, 401)
    ends = [
        (start, end) for start in starts for end in (start + float(delta), start + (start + 1e-12) * float(pct) / 100)
    ]
    for first_value, last_value in ends:
        best_value = first_value if best == first else last_value if best == last else float(best)
        figures = {"first": first_value, "last": last_value, "best": best_value, "best_step": int(best_step)}
        made = with_endpoints("m", 21, figures)
        if as_printed(label, endpoint(made.steps, made.values)) == line:
            return
    pytest.fail(f"no curve prints {line!r}")


TABLE_002 = [
    ("zecwqro4", 0.01996, 0.005859, -4.435e-06, 0.4299),
    ("4gb7zc4r", 0.01892, 0.005671, 9.063e-05, 0.4556),
]


@pytest.mark.parametrize(("run", "mean", "std", "slope", "jitter"), TABLE_002)
def test_seed_report_002_has_the_same_row(run, mean, std, slope, jitter):
    made = with_tail("train/ot_cost/action_lbl", mean, std, slope, jitter)
    found = tail(made.values)
    row = f"{found.last_mean:.4g} | {found.last_std:.4g} | {found.slope_last:.4g} | {found.jitter:.4g}"
    assert row == f"{mean:.4g} | {std:.4g} | {slope:.4g} | {jitter:.4g}"
    assert found.points == 100


def test_seed_report_000_has_the_same_data_summary():
    n, last, mean, std = 142, 0.008028, 0.01106, 0.002039

    def pattern(end: float) -> np.ndarray:
        z = np.repeat(np.where(np.arange(n // 2) % 3 == 0, 1.0, -0.5), 2)
        z[-1] = end
        return (z - z.mean()) / z.std()

    z = pattern(brentq(lambda end: pattern(end)[-1] - (last - mean) / std, -5, 0))
    steps = 100 * np.arange(1, n + 1)
    label = stability(steps, mean + std * z)
    text = (
        f"n={label.rows}, last={label.last:.4g}, mean={label.mean:.4g}, std={label.std:.4g}, cv={label.cv:.3f}, "
        f"med_abs_rel_change={label.med_abs_rel_change:.3g}"
    )
    assert text == "n=142, last=0.008028, mean=0.01106, std=0.002039, cv=0.184, med_abs_rel_change=0"

    values = np.linspace(0.66, 0.5, n)
    values[20] = 0.0343
    values[-28:] = 0.6897 - 2.16e-6 * (steps[-28:] - steps[-1])
    loss = stability(steps, values)
    text = (
        f"n={loss.rows}, last={loss.last:.4g}, min={loss.min:.4g}, delta(last-min)={loss.delta_last_min:.4g}, "
        f"slope_recent={loss.slope_recent:.3g}"
    )
    assert text == "n=142, last=0.6897, min=0.0343, delta(last-min)=0.6554, slope_recent=-2.16e-06"


def test_one_point_more_than_the_recent_window_does_not_count():
    steps = np.arange(142)
    values = np.where(steps < 142 - 28, 100.0, 1.0)
    assert stability(steps, values).slope_recent == 0
    values[142 - 28] = 100.0
    assert stability(steps, values).slope_recent != 0


@pytest.mark.parametrize(("n", "points"), [(1, 1), (4, 1), (6, 1), (14, 1), (16, 2), (25, 2), (994, 99), (5000, 100)])
def test_the_tail_is_a_tenth_up_to_a_hundred(n, points):
    assert tail_points(n) == points


def test_best_is_the_first_minimum_and_the_maximum_only_for_success():
    values = np.array([3.0, 1.0, 2.0, 1.0])
    assert endpoint(np.arange(4), values).best_step == 1
    assert endpoint(np.arange(4), values, direction=None).best == 1.0
    assert curve_statistics(curve("sim/success_target", values)).endpoint.best == 3.0


@pytest.mark.parametrize("values", [[], [math.nan], [math.inf, math.nan, -math.inf]])
def test_without_a_finite_value_everything_is_none(values):
    found = curve_statistics(curve("train/loss", values))
    for family in (found.endpoint, found.stability, found.tail):
        figures = {k: v for k, v in vars(family).items() if k not in ("rows", "nan", "inf", "points")}
        assert set(figures.values()) == {None}
    assert found.endpoint.rows == len(values)
    assert found.endpoint.nan == sum(map(math.isnan, values))
    assert found.endpoint.inf == sum(map(math.isinf, values))


def test_a_first_value_of_zero_gives_neither_delta_nor_percent():
    found = endpoint(np.arange(2), np.array([0.0, 1.0]))
    assert (found.delta, found.pct) == (None, None)
    assert endpoint(np.arange(2), np.array([-1e-12, 1.0])).pct is None


def test_jitter_is_none_where_the_median_is_zero_and_for_single_points():
    assert tail(np.array([1.0] * 5)).jitter is None
    assert tail(np.zeros(100)).jitter is None


def test_rows_are_ordered_and_of_repeated_steps_the_last_stays():
    found = curve_statistics(curve("train/loss", [9.0, 5.0, 7.0, 1.0], steps=[30, 10, 20, 30]))
    assert (found.endpoint.first, found.endpoint.last, found.endpoint.rows) == (5.0, 1.0, 3)


def test_shared_rows_are_the_steps_that_both_have():
    one, other = shared_rows(curve("a", [1, 2, 3], steps=[10, 20, 30]), curve("b", [5, 6], steps=[30, 10]))
    assert one.steps.tolist() == other.steps.tolist() == [10, 30]
    assert (one.values.tolist(), other.values.tolist()) == ([1, 3], [6, 5])


@given(hnp.arrays(np.float64, st.integers(2, 300), elements=st.floats(-1e6, 1e6)))
def test_plain_formulas_agree(values):
    steps = 10 * np.arange(len(values))
    low, last = stability(steps, values), tail(values)
    assert low.std == pytest.approx(np.std(values), rel=1e-9, abs=1e-9)
    k = last.points
    assert last.last_mean == pytest.approx(np.mean(values[-k:]), rel=1e-9, abs=1e-9)
    assert last.last_std == pytest.approx(np.std(values[-k:]), rel=1e-9, abs=1e-6)
    recent = max(20, math.floor(0.2 * len(values)))
    assert low.slope_recent == pytest.approx(np.polyfit(steps[-recent:], values[-recent:], 1)[0], rel=1e-6, abs=1e-5)
    changes = np.abs(np.diff(values)) / (np.abs(values[:-1]) + 1e-8)
    assert low.med_abs_rel_change == pytest.approx(np.median(changes), rel=1e-12, abs=0)
    median = abs(np.median(values[-k:]))
    if k > 1 and median > 1e-3:
        assert last.jitter == pytest.approx(np.std(np.diff(values[-k:])) / median, rel=1e-9, abs=1e-9)


@given(
    hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(allow_nan=True, allow_infinity=True) | st.just(1e308))
)
def test_any_numbers_give_finite_statistics_or_none(values):
    found = curve_statistics(curve("train/loss", values))
    for family in (found.endpoint, found.stability, found.tail):
        assert all(value is None or math.isfinite(value) for value in vars(family).values())
