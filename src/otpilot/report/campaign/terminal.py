"""A campaign for a terminal: what it came to, who was incumbent, each round's variants and verdicts, what to do."""

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from otpilot.report.analysis.told import plain
from otpilot.report.analysis.words import Lang, says
from otpilot.report.campaign import told
from otpilot.report.campaign.result import CampaignResult, RoundResult, VariantResult
from otpilot.report.campaign.words import said

STYLES = {"better": "bold green", "worse": "bold red", "warning": "yellow", "neutral": ""}
MOST_INVALID = 10


def render(result: CampaignResult, lang: Lang = "en") -> Group:
    """Return everything that is printed, readable at 100 columns; names are never markup."""
    return Group(*_parts(result, lang))


def _parts(result: CampaignResult, lang: Lang) -> Iterator[RenderableType]:
    yield Text(plain(result.name), style="bold")
    yield _line(result.over or result.phase, "dim")
    title, numbers, tone = told.headline(result, lang)
    yield ""
    yield _line(title, STYLES[tone] or "bold")
    if numbers:
        yield _indented(_line(numbers), 2)
    yield ""
    yield from _facts(result, lang)
    for found in result.rounds[1:]:
        yield ""
        yield from _round(found, result, lang)
    if result.invalid:
        yield ""
        yield from _invalid(result, lang)
    if result.next_steps:
        yield ""
        yield Text(said("next", lang), style="bold")
        for place, step in enumerate(result.next_steps, start=1):
            yield _indented(_line(f"{place}. {step}"), 2)
    for note in result.notes:
        yield _line(says(said("notes", lang), note, lang), "dim")


def _facts(result: CampaignResult, lang: Lang) -> Iterator[RenderableType]:
    better = said("higher" if result.direction == "max" else "lower", lang)
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    rows = [
        (said("metric", lang), f"{result.metric} ({better})"),
        (said("noise", lang), told.noise(result, lang)),
        (said("used", lang), "; ".join(told.use(one, lang) for one in result.budget)),
    ]
    for one in result.incumbents:
        level = f", {told.score(one.score, rate=result.is_rate)}" if one.score is not None else ""
        rows.append((said("round", lang, number=one.round), f"{one.name}{level} ({told.ground(one, lang)})"))
    for key, value in rows:
        grid.add_row(key, Text(plain(value)))
    yield grid


def _round(found: RoundResult, result: CampaignResult, lang: Lang) -> Iterator[RenderableType]:
    tone = "green" if found.accepted else "dim"
    yield Text.assemble((told.round_title(found, lang), "bold"), "  ", (plain(told.round_outcome(found, lang)), tone))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(said("variant", lang), overflow="fold", max_width=30)
    table.add_column(said("edits", lang), overflow="fold", max_width=34)
    table.add_column(f"{said('screening', lang)} ({said('common', lang)})", overflow="fold")
    for variant in found.variants:
        edits = Text("\n".join(plain(edit) for edit in variant.edits))
        edits.append(f"\n{plain(variant.rule)}" if variant.rule else "", style="dim")
        table.add_row(Text(plain(variant.name)), edits, _screened(variant, result, lang))
    yield _indented(table, 2)
    for contest in found.contests:
        word = told.contest_word(contest, lang)
        numbers = told.verdict_numbers(contest.compared, rate=result.is_rate, lang=lang)
        style = STYLES[told.verdict_tone(contest.compared.verdict)] or "bold"
        yield _indented(
            Text.assemble(
                f"{said(contest.kind, lang)} {plain(contest.compared.ours)}: ",
                (told.verdict_word(contest.compared.verdict, lang), style),
                f" {numbers}: {word}",
            ),
            2,
        )


def _screened(variant: VariantResult, result: CampaignResult, lang: Lang) -> Text:
    if variant.review is None:
        return Text(said("waiting", lang), style="dim")
    verdict = variant.review.verdict
    text = Text(told.verdict_word(verdict, lang), style=STYLES[told.verdict_tone(verdict)])
    return text.append(f"\n{told.verdict_numbers(variant.review, rate=result.is_rate, lang=lang)}", style="dim")


def _invalid(result: CampaignResult, lang: Lang) -> Iterator[RenderableType]:
    yield Text(f"{said('invalid', lang)} ({len(result.invalid)})", style="bold")
    groups: dict[tuple[str, int, str], list[int]] = {}
    for trial in result.invalid:
        end = told.trial_end(trial, rate=result.is_rate)
        groups.setdefault((trial.arm, trial.steps, end), []).append(trial.seed)
    for (arm, steps, end), seeds in list(groups.items())[:MOST_INVALID]:
        which = said("seeds listed", lang, seeds=", ".join(map(str, seeds)))
        more = "" if steps == result.steps else f", {said('so many steps', lang, count=steps)}"
        yield _indented(_line(f"{arm} ({which}{more}): {end}"), 2)
    if len(groups) > MOST_INVALID:
        yield _indented(_line(f"+ {len(groups) - MOST_INVALID}", "dim"), 2)


def _line(text: str, style: str = "") -> Text:
    return Text(plain(text), style=style)


def _indented(what: RenderableType, columns: int) -> Padding:
    return Padding(what, (0, 0, 0, columns))
