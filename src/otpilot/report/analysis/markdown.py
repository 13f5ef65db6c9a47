"""An analysis as Markdown in the reports' own form, as a new report or as a dated update of an existing one."""

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from otpilot.analysis import wording
from otpilot.analysis.compare import Comparison
from otpilot.analysis.postmortem import PostMortem
from otpilot.analysis.result import Analysis, RunReport
from otpilot.analysis.single_change import SingleChange
from otpilot.analysis.view import is_success
from otpilot.errors import OtpilotError
from otpilot.report.analysis import blocks, rows
from otpilot.report.analysis.append import append_atomically
from otpilot.report.analysis.told import postmortem_title, ranked, tell
from otpilot.report.analysis.words import Lang, says, word
from otpilot.report.files import write_atomically
from otpilot.report.markdown import escape_markdown
from otpilot.report.palette import line_styles
from otpilot.report.result import Chart, Curve
from otpilot.report.svg import chart_svg

MOST_CHARTS = 8
RULE = "\n\n\n---\n\n"
"""What the older reports put before a dated update."""

type Section = tuple[str, list[str]]


def write_markdown(
    analysis: Analysis,
    path: Path,
    *,
    lang: Lang = "en",
    append: bool = False,
    overwrite: bool = False,
    note: str = "",
) -> None:
    """Write the report to `path`, or append it there as a dated update; curves lie in `<stem>_files` beside it.

    With `append`, what the file held before stays, byte for byte, whatever happens.

    Raises:
        OtpilotError: The file exists, and neither `append` nor `overwrite` is set.
        OSError: The folder is missing or not writable.
    """
    if path.exists() and not append and not overwrite:
        raise OtpilotError(f"{path} exists already; give another --md, or --append to add a dated update to it.")
    folder = path.parent / f"{path.stem}_files"
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(analysis.generated))
    charts = {f"{stamp}-{name}": body for name, body in charts_of(analysis, lang).items()}
    if charts:
        folder.mkdir(exist_ok=True)
    for name, body in charts.items():
        write_atomically(folder / name, body)
    links = [f"{quote(folder.name)}/{quote(name)}" for name in charts]
    if append and path.exists() and path.stat().st_size > 0:
        update = RULE + render_update(analysis, lang=lang, charts=links, note=note)
        append_atomically(path, update.encode("utf-8", "replace"))
    else:
        report = render_report(analysis, lang=lang, charts=links, note=note)
        write_atomically(path, report.encode("utf-8", "replace"))


def render_report(analysis: Analysis, *, lang: Lang, charts: Sequence[str] = (), note: str = "") -> str:
    """Return a whole report: a block per run as in report 003, then table, diagnosis, comparison, curves."""
    lines = [
        f"# {heading(analysis)} {word('report', lang)}",
        "",
        says(word("generated", lang), _when(analysis), lang),
        "",
    ]
    lines += [f"- {says(word('note', lang), escape_markdown(note), lang)}", ""] if note else []
    called = rows.labels(analysis)
    for run in analysis.runs:
        lines += [f"## {blocks.fresh_title(run, called[run.id])}", *blocks.result_lines(run, lang, change=True), ""]
    return _join([*lines, *_sections(_all_sections(analysis, lang, charts, fresh=True), "##")])


def render_update(analysis: Analysis, *, lang: Lang, charts: Sequence[str] = (), note: str = "") -> str:
    """Return a dated update, config and results of every run first, as the older reports appended them."""
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(analysis.generated))
    title = (
        f"## {word('update', lang)}（{when}）"
        if lang == "zh"
        else f"## {heading(analysis)} {word('update', lang)} ({when})"
    )
    lines = [title, *([f"- {says(word('note', lang), escape_markdown(note), lang)}"] if note else []), ""]
    called = rows.labels(analysis)
    for run in analysis.runs:
        lines += [f"### {blocks.title(run, called[run.id], lang)}"]
        if lang == "en":
            lines += [f"- {word('link', lang)}: {blocks.web_address(run) or escape_markdown(run.source)}"]
        lines += [f"- {_label('config', lang)}", *blocks.config_lines(run.config, lang)]
        lines += [f"- {_label('metrics', lang)}", *blocks.result_lines(run, lang, change=False, indent="  "), ""]
    return _join([*lines, *_sections(_all_sections(analysis, lang, charts, fresh=False), "###")])


def heading(analysis: Analysis) -> str:
    """Return what kind of runs these are, as the older reports call them: ACT-OT, DP-OT, or OT for several policies."""
    names = {"act": "ACT", "diffusion": "DP"}
    found = {run.config.policy for run in analysis.runs}
    policy = found.pop() if len(found) == 1 else None
    return f"{names.get(policy, escape_markdown(policy).upper())}-OT" if policy else "OT"


def charts_of(analysis: Analysis, lang: Lang) -> dict[str, bytes]:
    """Return SVG charts of the key metrics by file name."""
    labels = list(rows.labels(analysis).values())
    styles = line_styles(labels)
    found: dict[str, bytes] = {}
    for number, metric in enumerate(rows.key_metrics(analysis)[:MOST_CHARTS], start=1):
        curves = [
            _curve(run, label, metric) for run, label in zip(analysis.runs, labels, strict=True) if metric in run.curves
        ]
        slug = re.sub("[^a-z0-9]+", "-", metric.lower()).strip("-")[:60]
        about = f"{metric}: {word('last values', lang)}"
        chart = Chart(metric=metric, about=about, curves=tuple(curves), is_rate=is_success(metric))
        found[f"{number:02d}-{slug}.svg"] = chart_svg(chart, styles=styles).encode()
    return found


def _curve(run: RunReport, label: str, metric: str) -> Curve:
    curve = run.curves[metric].ordered()
    return Curve(run=label, steps=tuple(curve.steps.tolist()), values=tuple(curve.values.tolist()))


def _all_sections(analysis: Analysis, lang: Lang, charts: Sequence[str], *, fresh: bool) -> Iterator[Section]:
    if fresh:
        yield word("runs", lang), list(blocks.overview_lines(analysis))
        yield word("config", lang), _configs(analysis, lang)
    marks = "###" if fresh else "####"
    explained = ["", f"{marks} {word('interpretation', lang)}", *blocks.explanation_lines(lang)]
    yield word("table", lang), ["", *blocks.table_lines(analysis), *explained]
    shared = [run for run in analysis.runs if run.shared]
    if shared:
        runs = [[f"{marks} Run {escape_markdown(run.id)}", *blocks.summary_lines(run), ""] for run in shared]
        yield word("summary", lang), [line for lines in runs for line in lines][:-1]
    yield word("diagnosis", lang), _diagnosis(analysis, lang)
    for metric in dict.fromkeys(found.metric for found in analysis.comparisons):
        comparisons = [found for found in analysis.comparisons if found.metric == metric]
        names = " & ".join(dict.fromkeys(escape_markdown(run) for found in comparisons for run in found.runs))
        lines = [*blocks.comparison_lines(comparisons, lang), *_verdicts(analysis, comparisons, lang)]
        yield says(word("comparison", lang), names, lang), lines
    if analysis.postmortems:
        yield postmortem_title(analysis.postmortems, lang), list(_postmortems(analysis, lang))
    if charts:
        metrics = [escape_markdown(metric) for metric in rows.key_metrics(analysis)]
        yield word("curves", lang), [f"![{name}]({link})" for name, link in zip(metrics, charts, strict=False)]
    called = rows.labels(analysis)
    own = (f"{called[run.id]}: {wording.note(note, lang)}" for run in analysis.runs for note in run.notes)
    notes = [*analysis.notes, *own]
    if notes:
        yield word("notes", lang), list(blocks.note_lines(notes, lang))


def _verdicts(analysis: Analysis, comparisons: Sequence[Comparison], lang: Lang) -> Iterator[str]:
    called = rows.labels(analysis)
    yield f"- {says(word('verdict', lang), '', lang).rstrip()}"
    for found in comparisons:
        ours, theirs = (escape_markdown(side) for side in rows.comparison_title(found, called))
        basis = escape_markdown(wording.verdict_basis(found.verdict, lang))
        yield f"  - {ours} {word('vs', lang)} {theirs}: **{wording.verdict_word(found.verdict, lang)}** {basis}"
    yield from blocks.note_lines(list(dict.fromkeys(note for found in comparisons for note in found.notes)), lang)


def _configs(analysis: Analysis, lang: Lang) -> list[str]:
    called = rows.labels(analysis)
    return [
        line
        for run in analysis.runs
        for line in (
            f"- {says(escape_markdown(called[run.id]), '', lang).rstrip()}",
            *blocks.config_lines(run.config, lang),
        )
    ]


def _diagnosis(analysis: Analysis, lang: Lang) -> list[str]:
    lines: list[str] = []
    called = rows.labels(analysis)
    for run in analysis.runs:
        told = [tell(finding, lang) for finding in ranked(run.findings)]
        if not told and not run.events:
            lines.append(f"- {says(escape_markdown(called[run.id]), word('nothing found', lang), lang)}")
            continue
        lines.append(f"- {says(escape_markdown(called[run.id]), '', lang).rstrip()}")
        for one in told:
            limits = "; ".join(f"{name} {value} ({origin})" for name, value, origin in one.limits)
            more = ", ".join(
                [*([one.window] if one.window else []), *(f"{key}={value}" for key, value in one.evidence)]
            )
            lines.append(
                f"  - **{escape_markdown(one.tag)}** ({word(one.severity, lang)}): {escape_markdown(one.sentence)}"
            )
            evidence = f"{one.metric} {more}".strip()
            if evidence:
                lines.append(f"    - {says(word('evidence', lang), escape_markdown(evidence), lang)}")
            if limits:
                lines.append(f"    - {says(word('threshold', lang), escape_markdown(limits), lang)}")
        lines += [f"  - {event.step}: {escape_markdown(event.message or event.kind)}" for event in run.events[:20]]
    return lines


def _postmortems(analysis: Analysis, lang: Lang) -> Iterator[str]:
    metric = analysis.postmortems[0].metric
    for name in dict.fromkeys(found.run for found in analysis.postmortems):
        yield from blocks.postmortem_run_lines(analysis.run(name), metric=metric, baseline=False, lang=lang)
    yield ""
    for name in dict.fromkeys(found.baseline for found in analysis.postmortems):
        yield from blocks.postmortem_run_lines(analysis.run(name), metric=metric, baseline=True, lang=lang)
    for found in analysis.postmortems:
        pair = f"{escape_markdown(found.run)} {word('vs', lang)} {escape_markdown(found.baseline)}"
        if found.mechanism != "unknown":
            yield from ("", f"**{word('differences', lang)}: {pair}**", "")
            yield from blocks.difference_lines(found, lang)
        yield from ("", f"**{word('recommendations', lang)}: {pair}**", "")
        yield f"- {escape_markdown(wording.mechanism(found, lang))}"
        yield from (
            f"{place}. {escape_markdown(wording.change(one, lang))}" for place, one in enumerate(_tests(found), start=1)
        )
        yield from blocks.note_lines(found.notes, lang)


def _tests(found: PostMortem) -> list[SingleChange]:
    return [*([found.test] if found.test else []), *found.follow_up]


def _sections(sections: Iterator[Section], marks: str) -> Iterator[str]:
    for title, lines in sections:
        yield from (f"{marks} {title}", *lines, "")


def _label(key: str, lang: Lang) -> str:
    return says(word(key, lang), "", lang).rstrip()


def _when(analysis: Analysis) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(analysis.generated))


def _join(lines: Sequence[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"
