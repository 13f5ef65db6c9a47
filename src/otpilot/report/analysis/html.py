"""An analysis as one self-contained HTML page with interactive curves: nothing is loaded from anywhere."""

import base64
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from otpilot.analysis.result import Analysis
from otpilot.analysis.view import is_success
from otpilot.report.analysis import pictures, rows, sheets
from otpilot.report.analysis.packing import BUDGET, OFF_CHART, Packed, pack
from otpilot.report.analysis.page_words import said
from otpilot.report.analysis.told import postmortem_title
from otpilot.report.analysis.words import Lang, word
from otpilot.report.files import write_atomically
from otpilot.report.page import asset, page_head
from otpilot.report.palette import LineStyle, line_styles
from otpilot.report.result import Picture
from otpilot.report.svg import safe_text

MOST_CHARTS = 150
"""Metrics with a chart; a run with 10,000 keys has the others in the tables of `--json` only."""
MOST_OPEN = 12
_SCRIPTS = ("vendor/uPlot.iife.min.js", "curves.js", "charts.js", "page.js")


def write_html(analysis: Analysis, path: Path, *, lang: Lang = "en", title: str | None = None) -> None:
    """Write the page to `path`, whole or not at all.

    Raises:
        OSError: The folder is missing or not writable.
    """
    write_atomically(path, render_html(analysis, lang=lang, title=title).encode("utf-8", errors="replace"))


def render_html(analysis: Analysis, *, lang: Lang = "en", title: str | None = None, budget: int = BUDGET) -> str:
    """Return the page: runs, findings, verdicts, curves, statistics, config differences, pictures.

    Everything but the curves is plain HTML. Curves are drawn by uPlot from packed data of at most `budget` bytes; what
    packing cost in precision is said beneath them. Only the page's own scripts may run, by their hashes.
    """
    title = title or said("title of one" if len(analysis.runs) == 1 else "title", lang).format(count=len(analysis.runs))
    styles = list(line_styles(str(place) for place in range(len(analysis.runs))).values())
    shown, problems = pictures.pictures(analysis, lang)
    sections = [
        ("runs", word("runs", lang), sheets.runs(analysis, styles, lang)),
        ("diagnosis", word("diagnosis", lang), sheets.findings(analysis, styles, lang)),
        ("comparison", word("comparison", lang), sheets.comparisons(analysis, lang)),
        ("postmortem", postmortem_title(analysis.postmortems, lang), sheets.postmortems(analysis, lang)),
        ("curves", word("curves", lang), _curves(analysis, styles, lang, budget)),
        ("statistics", word("statistics", lang), sheets.statistics(analysis, styles, lang)),
        ("config", word("config differences", lang), sheets.config_differences(analysis, lang)),
        ("pictures", word("pictures", lang), _pictures(shown, problems)),
        ("notes", word("notes", lang), sheets.notes(analysis, lang)),
    ]
    bodies = [(name, heading, "\n".join(lines)) for name, heading, lines in sections]
    present = [(name, heading, body) for name, heading, body in bodies if body]
    style = f"{_asset('vendor/uPlot.min.css')}\n{asset('otpilot.report', 'page.css')}{_asset('page.css')}"
    scripts = [_asset(name) for name in _SCRIPTS]
    # A page is a copy of uPlot, and its licence wants to stand in every copy.
    scripts[0] = f"/*\n{_asset('vendor/LICENSE')}*/\n{scripts[0]}"
    parts = [
        *page_head(title, lang=lang, style=style, scripts=scripts),
        *_top(analysis, title, lang),
        '<nav aria-label="sections">',
        *(f'<a href="#{name}">{heading}</a>' for name, heading, _ in present),
        "</nav>",
        *(f'<section id="{name}"><h2>{heading}</h2>\n{body}\n</section>' for name, heading, body in present),
        "</main>",
        *(f"<script>{script}</script>" for script in scripts),
        "</html>",
        "",
    ]
    return "\n".join(parts)


def script_json(body: object) -> str:
    """Return JSON that can stand in a script element: no `<`, `>` or `&`, and no NaN, which JSON lacks."""
    text = json.dumps(body, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _asset(name: str) -> str:
    return asset("otpilot.report.analysis", name)


def _top(analysis: Analysis, title: str, lang: Lang) -> Iterator[str]:
    theme = f'<button type="button" id="theme">{said("theme", lang)}</button>'
    yield f'<div class="top"><h1>{safe_text(title)}</h1>{theme}</div>'
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(analysis.generated))
    facts = [(word("generated", lang), when), (word("runs", lang), str(len(analysis.runs)))]
    if analysis.baselines:
        called = rows.labels(analysis)
        names = [called[one] for one in analysis.baselines]
        facts.append((word("baseline", lang), ", ".join(names)))
    yield '<dl class="facts">'
    yield from (f"<div><dt>{safe_text(key)}</dt><dd>{safe_text(value)}</dd></div>" for key, value in facts)
    yield "</dl>"


def _curves(analysis: Analysis, styles: Sequence[LineStyle], lang: Lang, budget: int) -> Iterator[str]:
    first, others = rows.key_metrics(analysis), rows.other_metrics(analysis)
    if not first and not others:
        return
    if not first:
        first, others = others[:MOST_OPEN], others[MOST_OPEN:]
    dropped = max(0, len(others) - MOST_CHARTS)
    others = others[:MOST_CHARTS]
    packed = _packed(analysis, [*first, *others], budget)
    yield _controls(analysis, styles, lang)
    yield f"<noscript><p>{said('no script', lang)}</p></noscript>"
    yield '<div class="charts">'
    yield from (_chart(at, metric, packed, lang) for at, metric in enumerate(first))
    yield "</div>"
    if others:
        yield f'<details class="more"><summary>{word("more curves", lang)} ({len(others)})</summary>'
        yield '<div class="charts">'
        yield from (_chart(len(first) + at, metric, packed, lang) for at, metric in enumerate(others))
        yield "</div></details>"
    left_out = said("dropped", lang).format(count=dropped) if dropped else ""
    yield f'<p class="quiet">{_precision(packed, lang)}{left_out}</p>'
    yield f'<script type="application/json" id="data">{_data(analysis, styles, packed, lang)}</script>'


def _packed(analysis: Analysis, metrics: Sequence[str], budget: int) -> Packed:
    ordered = [{name: run.curves[name].ordered() for name in metrics if name in run.curves} for run in analysis.runs]
    starts = [
        min((float(c.times[0]) for c in curves.values() if c.times is not None and len(c.times)), default=None)
        for curves in ordered
    ]
    groups = {
        metric: [(place, curves[metric]) for place, curves in enumerate(ordered) if metric in curves]
        for metric in metrics
    }
    return pack(groups, starts=starts, budget=budget)


def _data(analysis: Analysis, styles: Sequence[LineStyle], packed: Packed, lang: Lang) -> str:
    last = [
        {
            place: run.statistics[metric].endpoint.last
            for place, run in enumerate(analysis.runs)
            if metric in run.statistics and run.statistics[metric].endpoint.last is not None
        }
        for metric in packed.curves
    ]
    called = rows.labels(analysis)
    runs = [
        {"name": called[run.id], "colour": style.colour, "dash": style.dash}
        for run, style in zip(analysis.runs, styles, strict=True)
    ]
    words = {"step": said("step", lang), "nothing": said("nothing to draw", lang)}
    curves = {
        "metrics": list(packed.curves),
        "rates": list(map(is_success, packed.curves)),
        "axes": packed.axes,
        "curves": list(packed.curves.values()),
    }
    return script_json({"runs": runs, **curves, "last": last, "words": words})


def _controls(analysis: Analysis, styles: Sequence[LineStyle], lang: Lang) -> str:
    called = rows.labels(analysis)
    chips = "".join(
        f'<button type="button" class="chip" data-run="{place}" aria-pressed="true">{sheets.stroke(style)}'
        f"<span>{safe_text(called[run.id])}</span></button>"
        for place, (run, style) in enumerate(zip(analysis.runs, styles, strict=True))
    )
    timed = any(curve.times is not None for run in analysis.runs for curve in run.curves.values())
    align = (
        f'<span>{said("align", lang)} <label><input type="radio" name="align" id="by-step" checked>{said("step", lang)}'
        f'</label> <label><input type="radio" name="align" id="by-time">{said("time", lang)}</label></span>'
    )
    return (
        '<div class="card controls">'
        f'<label>{said("smoothing", lang)}<input type="range" id="smoothing" min="0" max="100" value="0">'
        '<output id="smoothed">0.00</output></label>'
        f'<label><input type="checkbox" id="log">{said("log", lang)}</label>'
        f'<label><input type="checkbox" id="robust">{said("robust", lang)}</label>'
        f"{align if timed else ''}"
        f'<input type="search" id="filter" placeholder="{said("filter", lang)}" aria-label="{said("filter", lang)}">'
        f'<span>{word("runs", lang)}<button type="button" class="quiet-button" id="all">{said("all", lang)}</button>'
        f'<button type="button" class="quiet-button" id="none">{said("none", lang)}</button></span>'
        f'<button type="button" id="unzoom" hidden>{said("unzoom", lang)}</button><div id="chips">{chips}</div></div>'
    )


def _chart(at: int, metric: str, packed: Packed, lang: Lang) -> str:
    lost = sum(curve.get("gaps", 0) for curve in packed.curves[metric])
    far = sum(curve.get("far", 0) for curve in packed.curves[metric])
    notes = [said("gaps", lang).format(count=lost)] if lost else []
    notes += [said("far", lang).format(count=far, limit=f"{OFF_CHART:g}")] if far else []
    quiet = f'<p class="quiet">{" ".join(notes)}</p>' if notes else ""
    return (
        f'<div class="card curve" data-at="{at}" data-metric="{safe_text(metric)}"><header><h3>{safe_text(metric)}</h3>'
        f'<span class="readout"></span></header><div class="plot"></div><div class="legend"></div>{quiet}</div>'
    )


def _precision(packed: Packed, lang: Lang) -> str:
    text = said("how to", lang) + " "
    if packed.error <= 1e-6:
        text += said("exact", lang)
    else:
        text += said("coarse", lang).format(error=f"{100 * packed.error:.2g} %")
    return text + (said("thinned", lang).format(points=packed.kept) if packed.kept else "")


def _pictures(shown: Sequence[Picture], problems: Sequence[str]) -> Iterator[str]:
    if shown:
        yield '<div class="pictures">'
        yield from (_picture(one) for one in shown)
        yield "</div>"
    yield from (f'<p class="quiet">{safe_text(problem)}</p>' for problem in problems)


def _picture(one: Picture) -> str:
    source = base64.b64encode(one.png).decode("ascii")
    title = safe_text(one.title)
    return (
        f'<figure class="card"><h3>{title}</h3><figcaption class="quiet">{safe_text(one.caption)}</figcaption>'
        f'<img alt="{title}" src="data:image/png;base64,{source}"></figure>'
    )
