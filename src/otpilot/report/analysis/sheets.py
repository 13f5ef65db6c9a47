"""The tables and lists of the HTML page: runs, findings, verdicts, statistics, config differences."""

from collections.abc import Iterator, Mapping, Sequence

from otpilot.analysis import wording
from otpilot.analysis.compare import Comparison, Difference
from otpilot.analysis.postmortem import PostMortem
from otpilot.analysis.result import Analysis, RunReport
from otpilot.analysis.settings import Setting
from otpilot.analysis.statistics import MetricStatistics
from otpilot.report.analysis import rows
from otpilot.report.analysis.digits import figure, percent, signed
from otpilot.report.analysis.page_words import said
from otpilot.report.analysis.told import Told, ranked, tags, tell
from otpilot.report.analysis.words import Lang, word
from otpilot.report.palette import LineStyle
from otpilot.report.svg import safe_text

MOST_TABLES = 60
"""Metrics with a table of statistics on the page; the others are in --json."""
MOST_SETTINGS = 400
MISSING = "–"


def stroke(style: LineStyle) -> str:
    """Return a short line in a run's colour and dashes."""
    kind = "solid" if not style.dash else "dotted" if style.dash.startswith("2") else "dashed"
    return f'<i class="stroke" style="border-top:3px {kind} {style.colour}"></i>'


def table(head: Sequence[str], body: Sequence[str], *, text: Sequence[int] = (0,), box: str = "card scroll") -> str:
    """Return a table in a box; `text` says which columns are text, the others are figures. Cells are HTML already."""
    cells = "".join(f"<th{' class=text' if place in text else ''}>{one}</th>" for place, one in enumerate(head))
    lines = "\n".join(body)
    inner = f"<thead><tr>{cells}</tr></thead><tbody>\n{lines}\n</tbody>"
    return f'<div class="{box}"><table class="plain">{inner}</table></div>'


def name_cell(run: RunReport, name: str, style: LineStyle, lang: Lang) -> str:
    """Return a row's head: colour, name (a link where the run has a web address), id where it differs."""
    label = safe_text(name)
    if run.url is not None and run.url.startswith(("https://", "http://")):
        label = f'<a href="{safe_text(run.url)}" rel="noreferrer noopener">{label}</a>'
    about = [safe_text(run.id)] if run.id != name else []
    about += [word("baseline", lang)] if run.is_baseline else []
    more = f'<br><span class="quiet">{" · ".join(about)}</span>' if about else ""
    return f'<th class="text name">{stroke(style)} {label}{more}</th>'


def runs(analysis: Analysis, styles: Sequence[LineStyle], lang: Lang) -> Iterator[str]:
    """Yield the table of runs: state, steps, the figures that matter, tags."""
    shown = rows.overview(analysis)
    names = [safe_text(row.label(lang)) for row in shown]
    head = [word("run", lang), word("state", lang), *names, word("steps", lang), word("tag", lang)]
    body = []
    called = rows.labels(analysis)
    for run, style in zip(analysis.runs, styles, strict=True):
        cells = [f"<td>{_level(run, row)}</td>" for row in shown]
        state = f'<td class="text" title="{safe_text(run.reason)}">{word(run.state, lang)}</td>'
        found = f'<td>{rows.last_step(run)}</td><td class="text wide">{_tags(run, lang)}</td>'
        body.append(f"<tr>{name_cell(run, called[run.id], style, lang)}{state}{''.join(cells)}{found}</tr>")
    yield table(head, body, text=(0, 1, len(head) - 1))
    yield f'<p class="quiet">{word("last values", lang)} ({word("best", lang)} @ {said("step", lang)})</p>'


def _level(run: RunReport, row: rows.Row) -> str:
    found = rows.endpoint(run.statistics, row)
    if found.last is None:
        return MISSING
    if row in rows.NO_BEST or found.best == found.last:
        return figure(found.last)
    return f'{figure(found.last)}<br><span class="quiet">{figure(found.best)} @ {found.best_step:,}</span>'


def _tags(run: RunReport, lang: Lang) -> str:
    shown = (
        f'<span class="tag {one.severity}" title="{safe_text(one.sentence)}">{safe_text(one.tag)}</span>'
        for one in tags(run.findings, lang)
    )
    return "".join(shown) or f'<span class="quiet">{word("nothing found", lang)}</span>'


def findings(analysis: Analysis, styles: Sequence[LineStyle], lang: Lang) -> Iterator[str]:
    """Yield a card per run with its findings: sentence, numbers, window, limits and where they come from."""
    shown = [(run, style) for run, style in zip(analysis.runs, styles, strict=True) if run.findings or run.events]
    if not shown:
        return
    called = rows.labels(analysis)
    yield '<div class="cards">'
    for run, style in shown:
        items = [_finding(one, lang) for one in (tell(finding, lang) for finding in ranked(run.findings))]
        events = [f"<li>{event.step:,}: {safe_text(event.message or event.kind)}</li>" for event in run.events[:20]]
        more = (
            f'<p class="quiet">{word("events", lang)}</p><ul class="findings quiet">{"".join(events)}</ul>'
            if events
            else ""
        )
        yield f'<div class="card"><h3>{stroke(style)} {safe_text(called[run.id])}</h3>{"".join(items)}{more}</div>'
    yield "</div>"


def _finding(told: Told, lang: Lang) -> str:
    pairs = [(word("metric", lang), told.metric)] if told.metric else []
    pairs += [(word("evidence", lang), told.window)] if told.window else []
    evidence = "".join(
        f"<div><dt>{safe_text(key)}</dt><dd>{safe_text(value)}</dd></div>" for key, value in (*pairs, *told.evidence)
    )
    limits = "".join(
        f'<p class="quiet">{word("threshold", lang)} {safe_text(name)} <b>{safe_text(value)}</b> '
        f"({safe_text(origin)})</p>"
        for name, value, origin in told.limits
    )
    details = f"<dl>{evidence}</dl>{limits}"
    if told.severity == "info":
        details = f'<details class="why"><summary>{word("evidence", lang)}</summary>{details}</details>'
    return (
        f'<div class="found {told.severity}"><p><span class="tag {told.severity}">{safe_text(told.tag)}</span> '
        f"{safe_text(told.sentence)}</p>{details}</div>"
    )


def comparisons(analysis: Analysis, lang: Lang) -> Iterator[str]:
    """Yield a table of verdicts, then each comparison's pairs of runs, folded."""
    if not analysis.comparisons:
        return
    called = rows.labels(analysis)
    sides = [[safe_text(side) for side in rows.comparison_title(one, called)] for one in analysis.comparisons]
    head = [word("run", lang), word("baseline", lang), word("metric", lang), word("verdict", lang), ""]
    body = [
        f'<tr><th class="text name">{ours}</th><td class="text">{theirs}</td>'
        f'<td class="text">{safe_text(one.metric)}</td>'
        f'<td class="text">{_verdict(one, lang)}</td>'
        f'<td class="text">{safe_text(wording.verdict_basis(one.verdict, lang))}</td></tr>'
        for one, (ours, theirs) in zip(analysis.comparisons, sides, strict=True)
    ]
    yield table(head, body, text=(0, 1, 2, 3))
    yield '<div class="card sheet">'
    for one, (ours, theirs) in zip(analysis.comparisons, sides, strict=True):
        title = f"{ours} {word('vs', lang)} {theirs}: {safe_text(one.metric)}"
        yield f'<details class="stats"><summary>{title}</summary>{_pairs(one, called, lang)}</details>'
    yield "</div>"
    for note in dict.fromkeys(note for one in analysis.comparisons for note in one.notes):
        yield f'<p class="quiet">{safe_text(wording.note(note, lang))}</p>'


def _pairs(found: Comparison, called: Mapping[str, str], lang: Lang) -> str:
    head = [
        word("run", lang),
        word("baseline", lang),
        word("seed", lang),
        *(word(key, lang) for key in ("score", "last", "best")),
    ]
    body = [
        f'<tr><th class="text name">{safe_text(called.get(pair.run, pair.run))}</th>'
        f'<td class="text">{safe_text(called.get(pair.baseline, pair.baseline))}</td>'
        f"<td>{MISSING if pair.seed is None else pair.seed}</td>"
        f"{_difference(pair.score)}{_difference(pair.last)}{_difference(pair.best)}</tr>"
        for pair in found.pairs
    ]
    return table(head, body, text=(0, 1), box="scroll")


def _difference(one: Difference | None) -> str:
    if one is None:
        return f"<td>{MISSING}</td>"
    percent_text = "" if one.percent is None else f" ({signed(one.percent)})"
    ours_at, at = ("" if step is None else f" @ {step:,}" for step in (one.step, one.baseline_step))
    above = f'{figure(one.ours)}{percent_text}<span class="quiet">{ours_at}</span>'
    return f'<td>{above}<br><span class="quiet">{figure(one.baseline)}{at}</span></td>'


def _verdict(found: Comparison, lang: Lang) -> str:
    kind = found.verdict.word if found.verdict.word != "not distinguishable" else ""
    return f'<span class="verdict {kind}">{wording.verdict_word(found.verdict, lang)}</span>'


def postmortems(analysis: Analysis, lang: Lang) -> Iterator[str]:
    """Yield what could explain that a run is worse than its baseline, and the one change that would test it."""
    for found in analysis.postmortems:
        percent_text = "" if found.percent is None else f" ({signed(found.percent)})"
        yield f"<h3>{safe_text(found.run)} {word('vs', lang)} {safe_text(found.baseline)}</h3>"
        if found.metric is not None:
            scores = f"{figure(found.worse)} {word('vs', lang)} {figure(found.better)}{percent_text}"
            yield f"<p>{safe_text(found.metric)}: {scores}. {safe_text(wording.mechanism(found, lang))}</p>"
        else:
            yield f"<p>{safe_text(wording.mechanism(found, lang))}</p>"
        yield from _differences(found, lang)
        tests = [*([found.test] if found.test else []), *found.follow_up]
        if tests:
            items = (f"<li>{safe_text(wording.change(one, lang))}</li>" for one in tests)
            yield f'<ol class="findings">{"".join(items)}</ol>'
        yield from (f'<p class="quiet">{safe_text(wording.note(note, lang))}</p>' for note in found.notes)


def _differences(found: PostMortem, lang: Lang) -> Iterator[str]:
    head = [word("setting", lang), safe_text(found.baseline), safe_text(found.run), word("factor", lang), ""]
    body = []
    for one in found.differences[:MOST_SETTINGS]:
        factor = MISSING if one.factor is None else f"x{one.factor:.4g}"
        mark = f'<span class="tag warning">{word("could explain", lang)}</span>' if one.could_explain else ""
        cells = f"<td>{setting(one.better, lang)}</td><td>{setting(one.worse, lang)}</td><td>{factor}</td>"
        name = f'<th class="text name"><code>{safe_text(one.key)}</code></th>'
        body.append(f'<tr>{name}{cells}<td class="text">{mark}</td></tr>')
    if body:
        yield table(head, body)


def setting(value: Setting, lang: Lang) -> str:
    """Return a setting as HTML, numbers with four significant digits."""
    return safe_text(wording.setting(value, lang))


def statistics(analysis: Analysis, styles: Sequence[LineStyle], lang: Lang) -> Iterator[str]:
    """Yield one folded table per metric with all three families of statistics, key metrics first."""
    names = dict.fromkeys(name for run in analysis.runs for name in run.statistics)
    order = [name for name in rows.key_metrics(analysis) if name in names]
    order += sorted(set(names) - set(order))
    if not order:
        return
    head = [word("run", lang), *(STATISTICS_ZH.get(name, name) if lang == "zh" else name for name in STATISTICS)]
    called = rows.labels(analysis)
    yield '<div class="card sheet">'
    for place, metric in enumerate(order[:MOST_TABLES]):
        body = [
            f'<tr><th class="text">{stroke(style)} {safe_text(called[run.id])}</th>'
            f"{_figures(run.statistics[metric])}</tr>"
            for run, style in zip(analysis.runs, styles, strict=True)
            if metric in run.statistics
        ]
        opened = " open" if place == 0 else ""
        shown = table(head, body, box="scroll tight")
        yield f'<details class="stats"{opened}><summary>{safe_text(metric)}</summary>{shown}</details>'
    yield "</div>"
    explained = " ".join(word(f"explain {key}", lang) for key in ("endpoint", "mean", "slope", "jitter"))
    yield f'<p class="quiet">{explained}</p>'
    if len(order) > MOST_TABLES:
        yield f'<p class="quiet">{said("more tables", lang).format(count=len(order) - MOST_TABLES)}</p>'


STATISTICS = (
    "n", "NaN", "inf", "first", "last", "best", "@", "Δ", "pct", "mean", "std", "cv", "slope_recent", "last_mean",
    "last_std", "slope_last", "jitter",
)  # fmt: skip

STATISTICS_ZH = {
    "n": "点数", "first": "首", "last": "末", "best": "最优", "pct": "百分比", "mean": "均值", "std": "标准差",
}  # fmt: skip
"""The others are the reports' own names, also in Chinese."""


def _figures(found: MetricStatistics) -> str:
    end, spread, tail = found.endpoint, found.stability, found.tail
    values = [
        str(end.rows), str(end.nan or ""), str(end.inf or ""),
        *(figure(one, missing=MISSING) for one in (end.first, end.last, end.best)),
        MISSING if end.best_step is None else f"{end.best_step:,}", figure(end.delta, missing=MISSING),
        percent(end.pct, missing=MISSING),
        *(figure(one, missing=MISSING) for one in (spread.mean, spread.std, spread.cv, spread.slope_recent)),
        *(figure(one, missing=MISSING) for one in (tail.last_mean, tail.last_std, tail.slope_last, tail.jitter)),
    ]  # fmt: skip
    return "".join(f"<td>{one}</td>" for one in values)


def config_differences(analysis: Analysis, lang: Lang) -> Iterator[str]:
    """Yield the settings in which the runs differ, one column a run; values like the first baseline's are muted."""
    recorded = [run for run in analysis.runs if run.settings]
    if len(recorded) < 2:
        if len(analysis.runs) > 1:
            yield f'<p class="quiet">{said("no configs", lang)}</p>'
        return
    recorded.sort(key=lambda run: not run.is_baseline)
    keys = dict.fromkeys(key for run in recorded for key in run.settings)
    differing = [key for key in keys if len({_comparable(run, key) for run in recorded}) > 1]
    same = said("same", lang).format(count=len(keys) - len(differing))
    if not differing:
        yield f'<p class="quiet">{said("no difference", lang)} {same}</p>'
        return
    called = rows.labels(analysis)
    head = [word("setting", lang), *(safe_text(called[run.id]) for run in recorded)]
    body = []
    for key in differing[:MOST_SETTINGS]:
        reference = _comparable(recorded[0], key)
        cells = (
            f"<td{' class=same' if place and _comparable(run, key) == reference else ''}>"
            f"{setting(run.settings[key], lang) if key in run.settings else MISSING}</td>"
            for place, run in enumerate(recorded)
        )
        body.append(f'<tr><th class="text name"><code>{safe_text(key)}</code></th>{"".join(cells)}</tr>')
    yield table(head, body)
    yield f'<p class="quiet">{same}</p>'


def _comparable(run: RunReport, key: str) -> str:
    return f"{type(run.settings[key]).__name__}:{run.settings[key]!r}" if key in run.settings else ""


def notes(analysis: Analysis, lang: Lang) -> Iterator[str]:
    """Yield what was lost or unusual while reading."""
    called = rows.labels(analysis)
    items = [wording.note(note, lang) for note in analysis.notes]
    items += [f"{called[run.id]}: {wording.note(note, lang)}" for run in analysis.runs for note in run.notes]
    if items:
        yield f'<ul class="findings">{"".join(f"<li>{safe_text(item)}</li>" for item in items)}</ul>'
