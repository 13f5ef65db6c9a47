"""The HTML page in a real browser: it draws, answers to the pointer, asks for nothing, and no name breaks out."""

# ruff: noqa: E501 - scripts for the page and tables of figures

import dataclasses
import math
import re
import shutil

import numpy as np
import pytest

from otpilot.report.analysis.html import render_html, script_json, write_html
from otpilot.runs.history import Event
from tests.report.analysis.browser import NAMES, Browser
from tests.report.analysis.builders import analysis, campaign, curve, finding, noisy, run

ATTACK = "<script>alert(1)</script>"
ENDING = '</script><img src=x onerror="alert(2)">'
PROGRAM = next((found for name in NAMES if (found := shutil.which(name))), None)
needs_browser = pytest.mark.skipif(PROGRAM is None, reason=f"none of {', '.join(NAMES)} is installed")
# Pixels are read from a copy: Chromium warns about a page that reads its own canvas again and again.
COPY = """
  const drawn = document.querySelector('.curve canvas');
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [drawn.width, drawn.height];
  const context = canvas.getContext('2d', {willReadFrequently: true});
  context.drawImage(drawn, 0, 0);
"""
PICTURE = "(() => {" + COPY + "return canvas.toDataURL(); })()"
DRAWN = (
    "(() => {"
    + COPY
    + """
  const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set();
  for (let at = 0; at < data.length; at += 4) if (data[at + 3] > 200) seen.add([data[at], data[at+1], data[at+2]].join());
  return ['0,114,178', '213,94,0', '0,158,115'].map((colour) => seen.has(colour));
})()"""
)


@pytest.fixture(scope="module")
def browser():
    opened = Browser(PROGRAM)
    yield opened
    opened.close()


def quiet(browser, path):
    assert browser.complaints() == []
    assert set(browser.requests()) == {path.as_uri()}


@needs_browser
def test_curves_are_drawn_a_hover_changes_the_legend_and_a_toggle_hides_a_run(browser, tmp_path):
    path = tmp_path / "page.html"
    write_html(campaign(3, metrics=12), path)
    browser.events.clear()
    browser.open(path)
    browser.hover(".curve .plot")
    browser.until("document.querySelector('.curve .u-over') !== null")
    assert browser.js(DRAWN) == [True, True, True]
    legend = "[...document.querySelector('.curve .legend').querySelectorAll('b')].map((one) => one.textContent).join()"
    at_rest = browser.js(legend)
    browser.hover(".curve .u-over", 0.3, 0.5)
    browser.until(f"{legend} !== {at_rest!r}")
    assert re.fullmatch(r"step [\d,]+", browser.js("document.querySelector('.curve .readout').textContent"))
    assert browser.js("document.querySelectorAll('.curve .key.near').length") >= 1
    browser.js("document.querySelector('#chips .chip[data-run=\"1\"]').click()")
    browser.until("document.querySelector('.curve .key[data-run=\"1\"]').classList.contains('off')")
    browser.until(f"!{DRAWN}[1]")
    browser.js("document.querySelector('.curve .key[data-run=\"1\"]').click()")
    browser.until(f"{DRAWN}[1]")
    quiet(browser, path)


@needs_browser
def test_a_single_rate_has_the_axis_of_rates_and_of_its_run(browser, tmp_path):
    path = tmp_path / "page.html"
    write_html(analysis(run("r", [curve("sim/success_mean", [0.0], every=30)])), path)
    browser.events.clear()
    browser.open(path)
    browser.hover(".curve .plot")
    browser.until("document.querySelector('.curve .u-over') !== null")
    browser.js("{ const real = uPlot; window.uPlot = function (...all) { return (window.seen = new real(...all)); }; }")
    browser.js("document.getElementById('theme').click()")
    browser.until("window.seen?.scales?.y?.min != null")
    assert browser.js("(({x, y}) => [x.min, x.max, y.min, y.max])(window.seen.scales)") == [0, 30, 0, 1]
    quiet(browser, path)


@needs_browser
def test_every_control_works(browser, tmp_path):
    path = tmp_path / "page.html"
    write_html(campaign(2, metrics=14), path)
    browser.events.clear()
    browser.open(path)
    browser.hover(".curve .plot")
    browser.until("document.querySelector('.curve .u-over') !== null")
    picture = PICTURE
    seen = {browser.js(picture)}

    def changed(action):
        browser.js(action)
        browser.until(f"!{sorted(seen)!r}.includes({picture})")
        seen.add(browser.js(picture))

    changed(
        "(() => { const s = document.getElementById('smoothing'); s.value = 70; s.dispatchEvent(new Event('input')); })()"
    )
    assert browser.js("document.getElementById('smoothed').textContent") == "0.91"
    changed("document.getElementById('log').click()")
    changed("document.getElementById('by-time').click()")
    changed("document.getElementById('theme').click()")
    assert browser.js("document.documentElement.dataset.theme") in ("dark", "light")
    browser.js(
        "(() => { const f = document.getElementById('filter'); f.value = 'OT_pi'; f.dispatchEvent(new Event('input')); })()"
    )
    shown = "[...document.querySelectorAll('.curve')].filter((one) => one.checkVisibility()).map((one) => one.dataset.metric)"
    assert browser.js(shown) == ["train/ot_pi_sum", "train/ot_pi_diag"]
    printed = browser.call("Page.printToPDF")["data"]
    assert len(printed) > 10_000
    quiet(browser, path)


@needs_browser
def test_a_drag_zooms_all_charts_and_a_double_click_undoes_it(browser, tmp_path):
    path = tmp_path / "page.html"
    write_html(campaign(2), path)
    browser.events.clear()
    browser.open(path)
    browser.hover(".curve .plot")
    browser.until("document.querySelector('.curve .u-over') !== null")
    browser.hover(".curve .u-over", 0.4, 0.5)
    box = browser.js(
        "(({x, y, width, height}) => [x, y, width, height])(document.querySelector('.curve .u-over').getBoundingClientRect())"
    )
    places = [
        {"x": box[0] + share * box[2], "y": box[1] + box[3] / 2, "button": "left", "clickCount": 1}
        for share in (0.4, 0.8)
    ]
    browser.call("Input.dispatchMouseEvent", type="mousePressed", **places[0])
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", **places[1])
    browser.call("Input.dispatchMouseEvent", type="mouseReleased", **places[1])
    browser.until("!document.getElementById('unzoom').hidden")
    browser.js("document.querySelector('.curve .u-over').dispatchEvent(new MouseEvent('dblclick', {bubbles: true}))")
    browser.until("document.getElementById('unzoom').hidden")
    quiet(browser, path)


@needs_browser
def test_hostile_names_and_numbers_do_no_harm(browser, tmp_path):
    values = [math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 0.0, 1.0]
    curves = [
        curve(name, values)
        for name in (ATTACK, ENDING, "train/loss", "a\u2028b\x00c\ud800", "__proto__", "constructor")
    ]
    hostile = run(ATTACK, curves, run_id=ENDING, url="javascript:alert(3)", reason=ENDING, notes=(ENDING,),
                  settings={ENDING: ATTACK}, findings=(dataclasses.replace(finding(ATTACK), metric=ENDING, evidence={ATTACK: ENDING}),),
                  events=(Event(step=1, kind=ATTACK, message=ENDING),))  # fmt: skip
    other = run(
        "[red]x", [noisy("train/loss", 1), curve("train/lr", [1e-5] * 5), curve("one", [2.0])], settings={ENDING: 1}
    )
    path = tmp_path / "page.html"
    write_html(analysis(hostile, other, notes=(ATTACK,)), path, title=ENDING)
    browser.events.clear()
    browser.open(path)
    browser.js("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    for action in ("log", "robust", "by-time"):
        browser.js("window.scrollTo(0, document.body.scrollHeight)")
        browser.js("document.querySelectorAll('.curve').forEach((one) => one.scrollIntoView())")
        browser.js(f"document.getElementById({action!r}).click()")
    assert browser.js("document.querySelectorAll('img').length") == 0
    assert browser.js("document.querySelectorAll('script').length") == 5
    assert browser.js("[...document.querySelectorAll('a')].every((one) => !one.href.startsWith('javascript'))")
    names = browser.js("[...document.querySelectorAll('.curve')].map((one) => one.dataset.metric)")
    assert {ATTACK, ENDING, "__proto__"} <= set(names)
    quiet(browser, path)


@needs_browser
def test_twenty_runs_of_twenty_metrics_and_2000_points_open_fast_and_small(browser, tmp_path):
    path = tmp_path / "page.html"
    write_html(campaign(20, metrics=20, points=2000), path)
    assert path.stat().st_size < 3_000_000
    browser.events.clear()
    browser.open(path)
    # What the page itself needs from its first byte to being usable, on one's machine; generous for a busy one.
    took = browser.js("performance.now()")
    browser.hover(".curve .plot")
    browser.until("document.querySelector('.curve .u-over') !== null")
    assert browser.js(DRAWN) == [True, True, True]
    assert "7 digits" not in browser.js("document.getElementById('curves').textContent")
    quiet(browser, path)
    print(f"{path.stat().st_size} bytes, ready after {took:.0f} ms")


def test_no_name_leaves_its_place_in_the_page():
    body = script_json({ENDING: [ATTACK, "a & b", "\u2028"]})
    assert not set("<>&\u2028") & set(body)
    page = render_html(analysis(run(ATTACK, [curve(ENDING, [1.0, 2.0])], notes=(ENDING,))), title=ENDING)
    assert ATTACK not in page
    assert "<img" not in page


def test_the_licence_of_the_code_that_a_page_carries_stands_in_it():
    page = render_html(analysis(run("r", [noisy("train/loss", 0)])))
    assert "Leon Sorokin" in page
    assert "Permission is hereby granted" in page


def test_gaps_are_counted_beneath_the_chart_and_in_the_tables():
    page = render_html(analysis(run("r", [curve("train/loss", [1.0, math.nan, math.inf, 1e300, 2.0])])))
    assert "Values that are NaN or infinite, shown as gaps: 2." in page
    assert "shown as gaps: 1." in page


def test_10_000_metrics_give_a_page_of_bounded_size():
    one = run("many", [curve(f"m{k:05d}", [1.0, 2.0], times=False) for k in range(10_000)])
    page = render_html(analysis(one))
    assert len(page) < 1_500_000
    assert "Further metrics without a table" in page


def test_an_analysis_without_curves_or_runs_still_gives_a_page():
    assert "<h2>Runs</h2>" in render_html(analysis(run("empty", [])))
    assert "<!doctype html>" in render_html(analysis())


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_says_what_the_result_says(lang):
    page = render_html(campaign(3), lang=lang)
    for part in ("id0001", "report 004", "policy.optimizer_lr", "x30", {"en": "worse", "zh": "更差"}[lang]):
        assert part in page


def test_plans_are_shown_and_a_damaged_one_is_told(tmp_path):
    rng = np.random.default_rng(0)
    runs = []
    for name in ("good", "bad"):
        folder = tmp_path / name / "artifacts"
        folder.mkdir(parents=True)
        frames = rng.integers(0, 255, (4, 16, 16, 3), dtype=np.uint8)
        np.savez(folder / "plan.npz", unit_plan=np.eye(4) / 4, mass=0.7, source=frames, target=frames)
        runs.append(run(name, [noisy("train/loss", 0)], source=str(tmp_path / name)))
    (tmp_path / "bad" / "artifacts" / "plan.npz").write_bytes(b"PK\x03\x04 torn")
    page = render_html(analysis(*runs))
    assert page.count("data:image/png") == 2
    assert "The plan of bad cannot be shown" in page
