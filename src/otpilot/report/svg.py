"""Charts as SVG: curves of one metric over training steps, with axes and a legend."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby

from otpilot.report.axes import Axis, drawable, short, step_axis, value_axis
from otpilot.report.palette import LineStyle, line_styles
from otpilot.report.result import Chart, Curve
from otpilot.runs.counting import counted

WIDTH, PLOT_HEIGHT = 520, 200
_TOP, _RIGHT, _BELOW, _LEGEND_LINE = 34, 16, 40, 19
_CHARACTER = 6.2  # mean width of a character at 11.5 px, for legends and margins
_LONGEST_NAME = 48
_MOST_POINTS = 360  # drawn per stretch; about one per pixel

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# The classes that a chart uses. A page that shows charts inline defines the five variables itself.
CHART_CSS = """
.chart text { font: 11.5px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: var(--muted); }
.chart .name { font-size: 13.5px; font-weight: 600; fill: var(--ink); }
.chart .run { fill: var(--ink); }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart .axis { stroke: var(--muted); stroke-width: 1; }
.chart .curve { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
"""
_OWN_CSS = """
.chart { --ink: #1d232b; --muted: #5f6873; --line: #e3e6ea; --paper: #ffffff; }
@media (prefers-color-scheme: dark) {
  .chart { --ink: #e6e9ee; --muted: #99a3b0; --line: #2c333c; --paper: #14181d; }
}
.chart .paper { fill: var(--paper); }
"""


def safe_text(text: str) -> str:
    """Return `text` escaped for HTML and XML; characters that XML forbids become the replacement character."""
    return escape(_NOT_XML.sub("\ufffd", text), quote=True)


@dataclass(frozen=True, kw_only=True)
class _Line:
    """What is drawn of one curve: points (step, value) in stretches without gaps, and how many were left out."""

    run: str
    style: LineStyle
    stretches: tuple[tuple[tuple[int, float], ...], ...]
    left_out: int

    @property
    def points(self) -> tuple[tuple[int, float], ...]:
        return tuple(point for stretch in self.stretches for point in stretch)


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """Pixel box of the plot and its two axes."""

    left: float
    right: float
    top: float
    bottom: float
    steps: Axis
    values: Axis

    def x(self, step: float) -> float:
        return self.left + (self.right - self.left) * self.steps.place(step)

    def y(self, value: float) -> float:
        return self.bottom - (self.bottom - self.top) * self.values.place(value)


def chart_svg(chart: Chart, *, styles: Mapping[str, LineStyle] | None = None, standalone: bool = True) -> str:
    """Return the chart as one SVG element, WIDTH units wide.

    NaN and infinities, and values <= 0 on a logarithmic scale, leave gaps; a line of text says how many there are.
    More points than pixels are thinned to the smallest and largest of each stretch of steps.

    Args:
        chart: What to draw; without any value to draw, the chart says so.
        styles: Line style of each run name (see `line_styles`); names that it lacks make a new assignment.
        standalone: Whether the SVG brings its own namespace and colours, as a file needs; without, it carries the
            figures for the page's hover read-out instead.
    """
    if styles is None or any(curve.run not in styles for curve in chart.curves):
        styles = line_styles(curve.run for curve in chart.curves)
    lines = [_line(curve, styles[curve.run], log_scale=chart.log_scale) for curve in chart.curves]
    legend, legend_rows = _legend(lines, top=_TOP + PLOT_HEIGHT + _BELOW)
    note = _note(sum(line.left_out for line in lines), log_scale=chart.log_scale)
    height = _TOP + PLOT_HEIGHT + _BELOW + legend_rows * _LEGEND_LINE + (_LEGEND_LINE if note else 0)
    body = [f'<text class="name" x="2" y="16">{safe_text(_cut(chart.metric))}</text>']
    hover = ""
    if any(line.stretches for line in lines):
        frame = _frame(lines, log_scale=chart.log_scale, is_rate=chart.is_rate)
        body += [*_draw_axes(frame), *(element for line in lines for element in _draw(line, frame))]
        hover = "" if standalone else f' data-hover="{safe_text(_hover(lines, frame))}"'
    else:
        body.append(f'<text x="{WIDTH / 2}" y="{_TOP + PLOT_HEIGHT / 2}" text-anchor="middle">no finite values</text>')
    body += legend
    if note:
        body.append(f'<text x="2" y="{height - 5}">{note}</text>')
    opening = _opening(chart, height, standalone=standalone, hover=hover)
    return "\n".join([*opening, *body, "</svg>"])


def _opening(chart: Chart, height: int, *, standalone: bool, hover: str) -> list[str]:
    space = ' xmlns="http://www.w3.org/2000/svg"' if standalone else ""
    size = f' width="{WIDTH}" height="{height}"' if standalone else ""
    name = safe_text(f"{chart.metric} over training steps")
    tag = f'<svg{space} class="chart" viewBox="0 0 {WIDTH} {height}"{size} role="img" aria-label="{name}"{hover}>'
    if not standalone:
        return [tag]
    paper = f'<rect class="paper" width="{WIDTH}" height="{height}"/>'
    return [tag, f"<desc>{safe_text(chart.about)}</desc>", f"<style>{CHART_CSS}{_OWN_CSS}</style>", paper]


def _line(curve: Curve, style: LineStyle, *, log_scale: bool) -> _Line:
    points = sorted(zip(curve.steps, curve.values, strict=True), key=lambda point: point[0])
    parts = [
        (good, tuple(part)) for good, part in groupby(points, lambda point: drawable(point[1], log_scale=log_scale))
    ]
    return _Line(
        run=curve.run,
        style=style,
        stretches=tuple(_thinned(part) for good, part in parts if good),
        left_out=sum(len(part) for good, part in parts if not good),
    )


def _thinned(points: tuple[tuple[int, float], ...]) -> tuple[tuple[int, float], ...]:
    """Return the points, or the ends and the extremes of equal parts of them where there are too many."""
    if len(points) <= _MOST_POINTS:
        return points
    size = -(-len(points) * 2 // _MOST_POINTS)
    kept = {0, len(points) - 1}
    for start in range(0, len(points), size):
        part = range(start, min(start + size, len(points)))
        kept |= {min(part, key=lambda at: points[at][1]), max(part, key=lambda at: points[at][1])}
    return tuple(points[at] for at in sorted(kept))


def _frame(lines: Sequence[_Line], *, log_scale: bool, is_rate: bool) -> _Frame:
    points = [point for line in lines for point in line.points]
    values = value_axis([value for _, value in points], log_scale=log_scale, is_rate=is_rate)
    label = max((len(text) for _, text in values.ticks), default=1)
    return _Frame(
        left=16 + _CHARACTER * label,
        right=WIDTH - _RIGHT,
        top=_TOP,
        bottom=_TOP + PLOT_HEIGHT,
        steps=step_axis([step for step, _ in points]),
        values=values,
    )


def _draw_axes(frame: _Frame) -> Iterator[str]:
    for value, label in frame.values.ticks:
        y = frame.y(value)
        yield f'<line class="grid" x1="{frame.left:.1f}" x2="{frame.right:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{frame.left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    yield f'<line class="axis" x1="{frame.left:.1f}" x2="{frame.right}" y1="{frame.bottom}" y2="{frame.bottom}"/>'
    for step, label in frame.steps.ticks:
        x = frame.x(step)
        yield f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.bottom}" y2="{frame.bottom + 4}"/>'
        yield f'<text x="{x:.1f}" y="{frame.bottom + 17}" text-anchor="middle">{label}</text>'
    scale = ", log scale" if frame.values.log_scale else ""
    yield f'<text x="{frame.right}" y="16" text-anchor="end">over training steps{scale}</text>'


def _draw(line: _Line, frame: _Frame) -> Iterator[str]:
    dash = f' stroke-dasharray="{line.style.dash}"' if line.style.dash else ""
    for stretch in line.stretches:
        pixels = [(f"{frame.x(step):.1f}", f"{frame.y(value):.1f}") for step, value in stretch]
        path = " ".join(f"{x},{y}" for x, y in pixels)
        yield f'<polyline class="curve" stroke="{line.style.colour}"{dash} points="{path}"/>'
        if len(line.points) <= 30 or len(pixels) == 1:
            yield from (f'<circle cx="{x}" cy="{y}" r="2.6" fill="{line.style.colour}"/>' for x, y in pixels)


def _legend(lines: Sequence[_Line], *, top: int) -> tuple[list[str], int]:
    """Return the legend's elements, wrapped to the width, and how many rows they take."""
    found: list[str] = []
    x, row = 2.0, 0
    for line in lines:
        name = _cut(line.run)
        last = short(line.points[-1][1], 3) if line.points else "no finite values"
        wide = 26 + _CHARACTER * (len(name) + len(last) + 1) + 14
        if x > 2 and x + wide > WIDTH:
            x, row = 2.0, row + 1
        y = top + row * _LEGEND_LINE + 4
        dash = f' stroke-dasharray="{line.style.dash}"' if line.style.dash else ""
        found.append(
            f'<g><title>{safe_text(line.run)}</title><line class="curve" stroke="{line.style.colour}"{dash} '
            f'x1="{x + 1:.1f}" x2="{x + 19:.1f}" y1="{y - 4}" y2="{y - 4}"/><text x="{x + 26:.1f}" y="{y}">'
            f'<tspan class="run">{safe_text(name)}</tspan> {last}</text></g>'
        )
        x += wide
    return found, row + 1 if lines else 0


def _note(left_out: int, *, log_scale: bool) -> str:
    if left_out == 0:
        return ""
    why = "NaN, infinite or not above 0" if log_scale else "NaN or infinite"
    return f"{counted(left_out, 'value')} left out: {why}"


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _hover(lines: Sequence[_Line], frame: _Frame) -> str:
    """Return what the page's script needs to read values off, as JSON: pixel box, then steps, x and labels per run."""
    runs = [
        {
            "name": line.run,
            "colour": line.style.colour,
            "steps": [step for step, _ in line.points],
            "x": [round(frame.x(step), 1) for step, _ in line.points],
            "y": [round(frame.y(value), 1) for _, value in line.points],
            "values": [short(value) for _, value in line.points],
        }
        for line in lines
        if line.points
    ]
    box = {"left": frame.left, "right": frame.right, "top": frame.top, "bottom": frame.bottom, "width": WIDTH}
    return json.dumps({**box, "runs": runs}, separators=(",", ":"))
