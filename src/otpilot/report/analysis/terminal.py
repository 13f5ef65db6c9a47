"""An analysis for a terminal: runs, findings with their evidence, comparisons with verdicts. Names are never markup."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from otpilot.analysis import wording
from otpilot.analysis.compare import Comparison, Difference
from otpilot.analysis.postmortem import PostMortem
from otpilot.analysis.result import Analysis, RunReport
from otpilot.report.analysis import rows
from otpilot.report.analysis.digits import figure, signed
from otpilot.report.analysis.told import Told, plain, postmortem_title, ranked, tags, tell
from otpilot.report.analysis.words import Lang, word

STYLES = {"problem": "bold red", "warning": "yellow", "info": "cyan"}
VERDICTS = {"better": "bold green", "worse": "bold red", "not distinguishable": "bold"}
STATES = {"finished": "green", "running": "cyan", "diverged": "red", "crashed": "red", "killed": "yellow"}
MISSING = "–"
MOST_COLUMNS = 4
"""Figures of a run in the table, most telling first; more do not fit into 100 columns, and fewer into 80."""
HEAD_WIDTH = 12
LEAST_NAME = 24
"""Columns that a run's name keeps, as far as it is that long; a longer one is folded."""


def render(analysis: Analysis, lang: Lang = "en", *, only: Literal["comparison", "postmortem"] | None = None) -> Group:
    """Return everything that is printed, readable at 80 columns; `only` leaves the findings of single runs out."""
    parts: list[RenderableType] = [RunTable(analysis, lang), *([] if only else _findings(analysis, lang))]
    called = rows.labels(analysis)
    for found in analysis.comparisons:
        parts += ["", *comparison(found, called, lang)]
    for dead in () if only == "comparison" else analysis.postmortems:
        parts += ["", *postmortem(dead, lang)]
    parts += [""] if analysis.notes else []
    parts += [_note(note, lang) for note in analysis.notes]
    return Group(*parts)


@dataclass(frozen=True)
class RunTable:
    """One row per run: state, steps, last (best) values of key metrics, as many as the console has room for, tags."""

    analysis: Analysis
    lang: Lang

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table with the most metrics that leave its other columns whole."""
        shown = rows.overview(self.analysis)[:MOST_COLUMNS]
        for count in range(len(shown), 0, -1):
            table = self._table(shown[:count])
            if _least_width(table, console) <= options.max_width:
                break
        else:
            table = self._table([])
        yield table

    def _table(self, shown: Sequence[rows.Row]) -> Table:
        table = _plain_table()
        called = rows.labels(self.analysis)
        names = [_name(run, called[run.id], self.lang) for run in self.analysis.runs]
        longest = max((cell_len(line) for name in names for line in name.plain.split("\n")), default=0)
        table.add_column(word("run", self.lang), overflow="fold", min_width=min(LEAST_NAME, longest))
        table.add_column(word("state", self.lang), no_wrap=True)
        table.add_column(word("steps", self.lang), justify="right", no_wrap=True)
        for row in shown:
            table.add_column(Text(_in_lines(row.label(self.lang))), justify="right", no_wrap=True)
        table.add_column(word("tag", self.lang), overflow="fold", min_width=18)
        for run, name in zip(self.analysis.runs, names, strict=True):
            values = [Text(_level(run, row)) for row in shown]
            table.add_row(name, _state(run, self.lang), Text(rows.last_step(run)), *values, _tags(run, self.lang))
        return table


def _plain_table() -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def _least_width(table: Table, console: Console) -> int:
    """Return the width below which a table loses text: whole cells, but columns that fold at their least width."""
    widths = 0
    for column in table.columns:
        cells = [Measurement.get(console, console.options, cell).maximum for cell in (column.header, *column.cells)]
        widths += max(column.min_width or 0, max(cells) if column.no_wrap else 0)
    return widths + 2 * len(table.columns)  # the padding, and the blank edges that SIMPLE_HEAD draws


def _in_lines(label: str) -> str:
    """Return a column's head, a line per word, in lines of at most HEAD_WIDTH characters where underscores allow it."""
    lines = []
    for name in label.split():
        lines.append("")
        for piece in re.split(r"(?<=_)", name):
            if lines[-1] and len(lines[-1] + piece) > HEAD_WIDTH:
                lines.append("")
            lines[-1] += piece
    return "\n".join(lines)


def _name(run: RunReport, label: str, lang: Lang) -> Text:
    text = Text(plain(label))
    about = [plain(run.id)] if run.id != label else []
    about += [word("baseline", lang)] if run.is_baseline else []
    return text.append(f"\n{' · '.join(about)}", style="dim") if about else text


def _state(run: RunReport, lang: Lang) -> Text:
    return Text(word(run.state, lang), style=STATES.get(run.state, ""))


def _level(run: RunReport, row: rows.Row) -> str:
    found = rows.endpoint(run.statistics, row)
    if found.last is None:
        return MISSING
    return (
        figure(found.last)
        if row in rows.NO_BEST or found.best == found.last
        else f"{figure(found.last)}\n({figure(found.best)})"
    )


def _tags(run: RunReport, lang: Lang) -> Text:
    shown = [Text(one.tag, style=STYLES[one.severity]) for one in tags(run.findings, lang)]
    return Text("\n").join(shown) if shown else Text(word("nothing found", lang), style="dim")


def _findings(analysis: Analysis, lang: Lang) -> Iterator[RenderableType]:
    called = rows.labels(analysis)
    for run in analysis.runs:
        if not (run.findings or run.events or run.notes):
            continue
        yield ""
        yield _line(plain(called[run.id]), "bold")
        for finding in ranked(run.findings):
            yield from _finding(tell(finding, lang), lang)
        for event in run.events[-3:]:
            yield _indented(_line(f"{event.step:,}: {plain(event.message or event.kind)}", "yellow"), 2)
        for note in run.notes:
            yield _indented(_note(note, lang), 2)


def _finding(one: Told, lang: Lang) -> Iterator[RenderableType]:
    """Yield a finding's sentence, which has the numbers; for what needs acting on, its window and limits beneath."""
    yield _indented(Text.assemble((one.tag, STYLES[one.severity]), f"  {plain(one.sentence)}"), 2)
    if one.severity == "info":
        return
    where = [text for text in (one.metric, one.window) if text]
    limits = [f"{word('threshold', lang)} {name}={value} ({origin})" for name, value, origin in one.limits]
    for text in (", ".join(where), *limits):
        if text:
            yield _indented(_line(plain(text), "dim"), 6)


def comparison(found: Comparison, called: Mapping[str, str], lang: Lang) -> Iterator[RenderableType]:
    """Yield a comparison: its verdict, a row per pair of runs, its notes."""
    verdict = found.verdict
    ours, theirs = (plain(side) for side in rows.comparison_title(found, called))
    yield Text.assemble(
        (f"{ours} {word('vs', lang)} {theirs}", "bold"),
        f"  {plain(found.metric)}: ",
        (wording.verdict_word(verdict, lang), VERDICTS[verdict.word]),
    )
    yield _indented(_line(plain(wording.verdict_basis(verdict, lang)), ""), 2)
    table = _plain_table()
    for name in (word("run", lang), word("baseline", lang)):
        table.add_column(name, overflow="fold")
    for name in (word("seed", lang), word("score", lang), word("last", lang), word("best", lang)):
        table.add_column(name, justify="right")
    for pair in found.pairs:
        seed = MISSING if pair.seed is None else str(pair.seed)
        values = (_difference(one, lang) for one in (pair.score, pair.last, pair.best))
        table.add_row(Text(plain(pair.run)), Text(plain(pair.baseline)), seed, *values)
    yield table
    yield from (_indented(_note(note, lang), 2) for note in found.notes)


def _difference(one: Difference | None, lang: Lang) -> Text:
    if one is None:
        return Text(MISSING)
    change_text = "" if one.percent is None else f" ({signed(one.percent)})"
    below = f"{word('vs', lang)} {figure(one.baseline)}{_steps(one, lang)}"
    return Text(f"{figure(one.ours)}{change_text}\n").append(below, style="dim")


def _steps(one: Difference, lang: Lang) -> str:
    """Return the steps of both values on a line of their own, one where they agree; nothing where none is known."""
    if one.step is None and one.baseline_step is None:
        return ""
    ours, theirs = ("?" if step is None else f"{step:,}" for step in (one.step, one.baseline_step))
    return f"\n@ {ours}" if ours == theirs else f"\n@ {ours} {word('vs', lang)} {theirs}"


def postmortem(found: PostMortem, lang: Lang) -> Iterator[RenderableType]:
    """Yield a post-mortem: what differs, suspects first, what explains the regression, the one change to test."""
    yield _line(
        f"{postmortem_title([found], lang)}: {plain(found.run)} {word('vs', lang)} {plain(found.baseline)}", "bold"
    )
    yield _indented(_line(plain(wording.mechanism(found, lang)), ""), 2)
    if found.differences:
        table = _plain_table()
        table.add_column(word("setting", lang), overflow="fold")
        for name in (found.baseline, found.run, word("factor", lang)):
            table.add_column(Text(plain(name)), justify="right", overflow="fold")
        table.add_column("")
        for one in found.differences:
            mark = Text(word("could explain", lang), style="yellow") if one.could_explain else Text("")
            factor = MISSING if one.factor is None else f"x{one.factor:.4g}"
            table.add_row(
                Text(plain(one.key)),
                Text(plain(wording.setting(one.better, lang))),
                Text(plain(wording.setting(one.worse, lang))),
                factor,
                mark,
            )
        yield table
    tests = [*([found.test] if found.test else []), *found.follow_up]
    for place, test in enumerate(tests, start=1):
        yield _indented(_line(f"{place}. {plain(wording.change(test, lang))}", "green" if place == 1 else ""), 2)
    yield from (_indented(_note(note, lang), 2) for note in found.notes)


def _note(note: str, lang: Lang) -> Text:
    return _line(f"{word('note', lang)}: {plain(wording.note(note, lang))}", "dim")


def _line(text: str, style: str) -> Text:
    return Text(text, style=style)


def _indented(text: Text, columns: int) -> Padding:
    return Padding(text, (0, 0, 0, columns))
