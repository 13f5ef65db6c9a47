import json
import math
import xml.etree.ElementTree as ET

import pytest

from otpilot.report.palette import OKABE_ITO, line_styles
from otpilot.report.result import Chart, Curve
from otpilot.report.svg import PLOT_HEIGHT, WIDTH, chart_svg

SVG = "{http://www.w3.org/2000/svg}"


def draw(*curves, log_scale=False, metric="loss"):
    return ET.fromstring(chart_svg(Chart(metric=metric, about="", curves=curves, log_scale=log_scale)))


def curve(values, run="a"):
    return Curve(run=run, steps=tuple(range(len(values))), values=tuple(values))


def stretches(tree):
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in tree.iter(f"{SVG}polyline")
    ]


def words(tree):
    return ["".join(element.itertext()) for element in tree.iter(f"{SVG}text")]


def test_every_chart_of_a_hostile_report_is_xml_inside_its_box(report):
    for chart in report.charts:
        tree = ET.fromstring(chart_svg(chart))
        assert not list(tree.iter(f"{SVG}script"))
        for x, y in (point for stretch in stretches(tree) for point in stretch):
            assert 0 <= x <= WIDTH
            assert 34 <= y <= 34 + PLOT_HEIGHT


def test_control_characters_do_not_break_the_xml():
    assert any("\ufffd" in word for word in words(draw(curve([1.0, 2.0], run="a\x00\x1b"), metric="\x07")))


def test_gaps_stay_open_and_are_counted():
    tree = draw(curve([1.0, 2.0, math.nan, math.inf, 3.0, 4.0, 5.0]))
    assert [len(stretch) for stretch in stretches(tree)] == [2, 3]
    assert "2 values left out: NaN or infinite" in words(tree)


def test_log_scale_places_decades_evenly_and_leaves_out_zero():
    tree = draw(curve([1.0, 10.0, 100.0, 0.0]), log_scale=True)
    (points,) = stretches(tree)
    heights = [y for _, y in points]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.11)
    assert "1 value left out: NaN, infinite or not above 0" in words(tree)


@pytest.mark.parametrize("curves", [(), (curve([]),), (curve([math.nan]),)])
def test_nothing_to_draw_is_said(curves):
    assert "no finite values" in words(draw(*curves))


def test_steps_out_of_order_are_sorted():
    (points,) = stretches(draw(Curve(run="a", steps=(2, 0, 1), values=(3.0, 1.0, 2.0))))
    assert points == sorted(points)


def test_thinning_keeps_spikes_and_ends():
    values = [0.0] * 20_000
    values[7_777], values[0], values[-1] = 5.0, 1.0, 2.0
    (points,) = stretches(draw(curve(values)))
    assert len(points) < 800
    whole = draw(curve([0.0, 5.0, 1.0, 2.0]))
    extreme = [y for _, y in stretches(whole)[0]]
    heights = [y for _, y in points]
    assert min(heights) == extreme[1]
    assert (heights[0], heights[-1]) == (extreme[2], extreme[3])


def test_colours_follow_the_given_styles():
    styles = line_styles(["first", "second"])
    chart = Chart(metric="m", about="", curves=(curve([1.0, 2.0], run="second"),))
    tree = ET.fromstring(chart_svg(chart, styles=styles))
    assert {line.get("stroke") for line in tree.iter(f"{SVG}polyline")} == {OKABE_ITO[1]}


def test_styles_of_24_runs_differ():
    styles = line_styles(f"run {number}" for number in range(24))
    assert len({(style.colour, style.dash) for style in styles.values()}) == 24


def test_inline_charts_carry_the_true_values():
    text = chart_svg(Chart(metric="m", about="", curves=(curve([0.123456, math.nan, 7.0]),)), standalone=False)
    (run,) = json.loads(ET.fromstring(text).get("data-hover"))["runs"]
    assert (run["steps"], run["values"]) == ([0, 2], ["0.1235", "7"])
