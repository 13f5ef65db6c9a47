import base64
import dataclasses
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from otpilot.report.html import render_html, write_html
from otpilot.report.palette import line_styles
from otpilot.report.result import Report

ADDRESSES = {"src", "href", "xlink:href", "srcset", "action", "data", "poster"}


class Page(HTMLParser):
    """Collects what a browser would load, run and show."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self.scripts, self.words, self.tags = [], 0, [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.scripts += tag == "script"
        self.addresses += [value for name, value in attributes if name in ADDRESSES]
        assert not any(name.startswith("on") for name, _ in attributes)

    def handle_data(self, data):
        self.words.append(data)


def test_nothing_is_loaded_and_names_stay_text(report):
    text = render_html(report)
    page = Page(text)
    assert page.scripts == 1, "only the page's own script"
    assert all(address.startswith("data:image/png;base64,") or address == "data:," for address in page.addresses)
    assert "url(" not in text
    assert "@import" not in text
    assert "<script>alert(1)</script>" in "".join(page.words)


def test_every_picture_is_embedded_with_its_size(report):
    pictures = [attributes for tag, attributes in Page(render_html(report)).tags if tag == "img"]
    bodies = [base64.b64decode(one["src"].partition(",")[2]) for one in pictures]
    assert bodies == [picture.png for picture in report.pictures]
    assert [(one["width"], one["height"]) for one in pictures] == [("40", "10"), ("8", "9")]


def test_success_table_shows_rates_intervals_and_missing_cells(report):
    page = Page(render_html(report))
    words = [word.strip() for word in page.words if word.strip()]
    # Clopper-Pearson for 92 of 100: .848 to .965; for 0 of 50: 0 to 1 - .025^(1/50) = .071.
    assert words.count("0.92") == 2
    assert words.count("0.85 to 0.96, n = 100") == 2
    assert "0.00 to 0.07, n = 50" in words
    assert words.count("not evaluated") == 1
    fills = [attributes["style"] for tag, attributes in page.tags if attributes.get("class") == "fill"]
    assert fills[0].startswith("width:92.00%")


def test_a_run_has_one_colour_everywhere(report):
    colour = line_styles(report.runs)["co-training"].colour
    text = render_html(report)
    assert f"width:92.00%;background:{colour}" in text
    assert text.count(f'class="curve" stroke="{colour}"') >= 4, "curve and legend, in two charts"


def test_write_html_replaces_whole_and_leaves_no_draft(report, tmp_path):
    path = tmp_path / "report.html"
    path.write_text("old")
    write_html(report, path)
    assert path.read_text(encoding="utf-8") == render_html(report)
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_failed_write_keeps_the_old_page(report, tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_html(report, path)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


def test_surrogates_and_control_characters_can_be_written(report, tmp_path):
    write_html(dataclasses.replace(report, title="a\x00b\ud800c"), tmp_path / "r.html")
    assert "a\ufffdb\ufffdc" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_empty_report_has_only_its_title():
    page = Page(render_html(Report(title="Empty", facts=(), methods=(), findings=(), charts=(), pictures=())))
    assert [tag for tag, _ in page.tags if tag in {"h1", "h2", "table", "figure"}] == ["h1"]


def test_writing_pages_needs_neither_torch_nor_matplotlib():
    code = "import sys, otpilot.report.html, otpilot.report.markdown; print({'torch', 'matplotlib'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
