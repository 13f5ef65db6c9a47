"""The page in a real browser: it asks for nothing, its scripts may run, the colours switch, the chart answers."""

import pytest

from otpilot.report.campaign.html import write_html
from tests.report.analysis.browser import Browser
from tests.report.analysis.test_page import PROGRAM, needs_browser
from tests.report.campaign.builders import campaign, renamed

ATTACK = '</script><img src=x onerror="alert(2)"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def browser():
    opened = Browser(PROGRAM)
    yield opened
    opened.close()


@needs_browser
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_page_loads_nothing_switches_colours_and_reads_off_curves(browser, tmp_path, lang):
    path = tmp_path / "campaign.html"
    write_html(renamed(campaign(), ATTACK), path, lang=lang)
    browser.events.clear()
    browser.open(path)
    ink = "getComputedStyle(document.querySelector('h1')).color"
    before = browser.js(ink)
    browser.js("document.getElementById('theme').click()")
    assert browser.js(ink) != before
    assert browser.js("document.querySelectorAll('svg.drawing').length") == 3
    assert browser.js("document.querySelectorAll('svg.drawing .node').length") == 4
    browser.hover(".charts figure svg", 0.6, 0.4)
    browser.until("document.querySelector('.charts .tip:not([hidden])') !== null")
    assert browser.js("document.querySelector('img')") is None
    assert browser.js("document.documentElement.scrollWidth <= window.innerWidth"), "the page scrolls sideways"
    assert browser.complaints() == []
    assert set(browser.requests()) == {path.as_uri()}


@needs_browser
def test_on_paper_everything_is_open_and_light(browser, tmp_path):
    path = tmp_path / "campaign.html"
    write_html(campaign(), path)
    browser.open(path)
    assert browser.js("document.querySelectorAll('details:not([open])').length") > 0
    browser.js("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.js("document.querySelectorAll('details:not([open])').length") == 0
    assert browser.js("document.documentElement.dataset.theme") == "light"
    browser.js("window.dispatchEvent(new Event('afterprint'))")
    assert browser.js("document.querySelectorAll('details[open]').length") == 0


@needs_browser
def test_the_reason_of_an_incumbent_is_readable_in_a_narrow_window(browser, tmp_path):
    path = tmp_path / "page.html"
    write_html(campaign(), path)
    browser.open(path)
    browser.js("document.querySelector('#incumbents .scroll').style.width = '360px'")
    assert browser.js("document.querySelector('#incumbents td.reason').clientWidth") >= 280
