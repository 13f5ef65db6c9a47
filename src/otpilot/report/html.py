"""A report as one self-contained HTML page: nothing is loaded from anywhere, neither network nor disk."""

import base64
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from otpilot.report.files import write_atomically
from otpilot.report.page import asset, page_head
from otpilot.report.palette import LineStyle, line_styles
from otpilot.report.result import Chart, MethodResult, Picture, Report, SuccessRate
from otpilot.report.svg import CHART_CSS, chart_svg, safe_text

_WIDE = 1.6  # a picture with more width per height than this gets the page's full width


def write_html(report: Report, path: Path) -> None:
    """Write the page to `path`, whole or not at all.

    Raises:
        OSError: The folder is missing or not writable.
    """
    write_atomically(path, render_html(report).encode())


def render_html(report: Report) -> str:
    """Return the report as one page: success first, then findings, charts and pictures.

    Charts are inline SVG, pictures base64 PNG, style and script inline. It follows the reader's light or dark scheme,
    prints, and reads the same without JavaScript except for the values under the pointer.
    """
    styles = line_styles(report.runs)
    parts = [
        f"<h1>{safe_text(report.title)}</h1>",
        *_facts(report),
        *_success(report, styles),
        *_findings(report),
        *_charts(report, styles),
        *_pictures(report),
    ]
    script = asset("otpilot.report", "page.js")
    style = f"{asset('otpilot.report', 'page.css')}{CHART_CSS}"
    head = page_head(report.title, lang="en", style=style, scripts=[script])
    return "\n".join([*head, *parts, "</main>", f"<script>{script}</script>", "</html>", ""])


def _facts(report: Report) -> Iterator[str]:
    if report.facts:
        yield '<dl class="facts">'
        yield from (f"<div><dt>{safe_text(key)}</dt><dd>{safe_text(value)}</dd></div>" for key, value in report.facts)
        yield "</dl>"


def _findings(report: Report) -> Iterator[str]:
    if report.findings:
        yield '<h2>Findings</h2><ul class="findings">'
        yield from (f"<li>{safe_text(finding)}</li>" for finding in report.findings)
        yield "</ul>"


def _success(report: Report, styles: Mapping[str, LineStyle]) -> Iterator[str]:
    if not report.methods:
        return
    best = {cell: _best(report, cell) for cell in report.cells}
    yield '<h2>Success</h2><div class="card scroll"><table class="success"><thead><tr><th>Method</th>'
    yield from (f"<th>{safe_text(cell.replace('_', ' '))}</th>" for cell in report.cells)
    yield "</tr></thead><tbody>"
    for method in report.methods:
        yield f"<tr><th>{_method(method, styles[method.name])}</th>"
        yield from (_cell(method.success.get(cell), best[cell], styles[method.name].colour) for cell in report.cells)
        yield "</tr>"
    yield "</tbody></table></div>"
    yield (
        '<p class="quiet">Bar: share of successful episodes. Whisker: exact (Clopper-Pearson) 95 % interval. Shaded: '
        "the interval of the column's best rate, for comparison.</p>"
    )


def _best(report: Report, cell: str) -> SuccessRate:
    return max((method.success[cell] for method in report.methods if cell in method.success), key=lambda one: one.rate)


def _method(method: MethodResult, style: LineStyle) -> str:
    swatch = f'<span class="swatch" style="background:{style.colour}"></span>'
    return f'{swatch}{safe_text(method.name)} <span class="quiet">{safe_text(method.about)}</span>'


def _cell(success: SuccessRate | None, best: SuccessRate, colour: str) -> str:
    """Return one cell: the figures, then a bar from 0 to 1 with its interval over the best method's interval."""
    if success is None:
        return '<td><span class="quiet">not evaluated</span></td>'
    low, high = success.interval
    best_low, best_high = best.interval
    name = ' class="best"' if success.rate == best.rate else ""
    figures = (
        f'<span class="rate">{success.rate:.2f}</span>'
        f'<span class="quiet">{low:.2f} to {high:.2f}, n = {success.episodes}</span>'
    )
    bar = (
        f'<i class="band" style="left:{best_low:.2%};width:{best_high - best_low:.2%}"></i>'
        f'<i class="fill" style="width:{success.rate:.2%};background:{colour}"></i>'
        f'<i class="whisker" style="left:{low:.2%};width:{high - low:.2%}"></i>'
        f'<i class="end" style="left:{low:.2%}"></i><i class="end" style="left:{high:.2%}"></i>'
    )
    return f'<td{name}>{figures}<div class="bar" aria-hidden="true">{bar}</div></td>'


def _charts(report: Report, styles: Mapping[str, LineStyle]) -> Iterator[str]:
    if report.charts:
        yield '<h2>Curves</h2><div class="charts">'
        yield from (_chart(chart, styles) for chart in report.charts)
        yield "</div>"


def _chart(chart: Chart, styles: Mapping[str, LineStyle]) -> str:
    drawn = chart_svg(chart, styles=styles, standalone=False)
    return f'<figure class="card">{drawn}<figcaption class="quiet">{safe_text(chart.about)}</figcaption></figure>'


def _pictures(report: Report) -> Iterator[str]:
    if report.pictures:
        yield '<h2>Pictures</h2><div class="pictures">'
        yield from (_picture(picture) for picture in report.pictures)
        yield "</div>"


def _picture(picture: Picture) -> str:
    width, height = struct.unpack(">II", picture.png[16:24])  # PNG: signature, then the IHDR chunk's first two words
    place = " wide" if width > _WIDE * height else ""
    source = base64.b64encode(picture.png).decode("ascii")
    title, caption = safe_text(picture.title), safe_text(picture.caption)
    return (
        f'<figure class="card{place}"><h3>{title}</h3><figcaption class="quiet">{caption}</figcaption>'
        f'<img alt="{title}" width="{width}" height="{height}" src="data:image/png;base64,{source}"></figure>'
    )
