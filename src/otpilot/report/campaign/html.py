"""A campaign as one self-contained HTML page: plain HTML and SVG, nothing is loaded from anywhere."""

from collections.abc import Iterator
from pathlib import Path

from otpilot.report.analysis.sheets import table
from otpilot.report.analysis.words import Lang, says
from otpilot.report.campaign import told
from otpilot.report.campaign.cards import round_section
from otpilot.report.campaign.curves import curves_svg
from otpilot.report.campaign.drawing import DRAWING_CSS
from otpilot.report.campaign.lineage import lineage_svg
from otpilot.report.campaign.markdown import how_to
from otpilot.report.campaign.result import CampaignResult
from otpilot.report.campaign.strips import differences_svg, scores_svg
from otpilot.report.campaign.words import said
from otpilot.report.files import write_atomically
from otpilot.report.page import asset, page_head
from otpilot.report.svg import CHART_CSS, safe_text


def write_html(result: CampaignResult, path: Path, *, lang: Lang = "en") -> None:
    """Write the page to `path`, whole or not at all.

    Raises:
        OSError: The folder is missing or not writable.
    """
    write_atomically(path, render_html(result, lang=lang).encode("utf-8", errors="replace"))


def render_html(result: CampaignResult, *, lang: Lang = "en") -> str:
    """Return the page: what it came to, what to do, lineage, scores, verdicts, each round, curves, invalid trials."""
    title = said("title", lang, name=result.name)
    drawn = (("lineage", lineage_svg), ("scores", scores_svg), ("verdicts", differences_svg))
    sections = [
        ("next", said("next", lang), _next(result, lang)),
        ("incumbents", said("incumbents", lang), _incumbents(result, lang)),
        *((key, said(key, lang), _drawing(draw(result, lang), how_to(key, result, lang))) for key, draw in drawn),
    ]
    rounds = [(f"round-{one.number}", told.round_title(one, lang), one) for one in result.rounds]
    after = [
        ("curves", said("curves", lang), _curves(result, lang)),
        ("invalid", said("invalid", lang), _invalid(result, lang)),
        ("trials", said("all trials", lang), _trials(result, lang)),
        ("notes", said("notes", lang), (f"<p>{safe_text(note)}</p>" for note in result.notes)),
    ]
    first = [(name, heading, body) for name, heading, lines in sections if (body := "\n".join(lines))]
    last = [(name, heading, body) for name, heading, lines in after if (body := "\n".join(lines))]
    links = [(name, heading) for name, heading, _ in (*first, *rounds, *last)]
    packages = ("otpilot.report", "otpilot.report.analysis", "otpilot.report.campaign")
    style = "\n".join([*(asset(package, "page.css") for package in packages), CHART_CSS, DRAWING_CSS])
    scripts = [asset("otpilot.report", "page.js"), asset("otpilot.report.campaign", "page.js")]
    parts = [
        *page_head(title, lang=lang, style=style, scripts=scripts),
        *_top(result, title, lang),
        f'<nav aria-label="{said("sections", lang)}">',
        *(f'<a href="#{name}">{safe_text(heading)}</a>' for name, heading in links),
        "</nav>",
        *(_section(*one) for one in first),
        *("\n".join(round_section(one, name, heading, result, lang)) for name, heading, one in rounds),
        *([] if len(rounds) > 1 else [f"<p>{said('no rounds', lang)}</p>"]),
        *(_section(*one) for one in last),
        "</main>",
        *(f"<script>{script}</script>" for script in scripts),
        "</html>",
        "",
    ]
    return "\n".join(parts)


def _section(name: str, heading: str, body: str) -> str:
    return f'<section id="{name}"><h2>{safe_text(heading)}</h2>\n{body}\n</section>'


def _top(result: CampaignResult, title: str, lang: Lang) -> Iterator[str]:
    switch = f'<button type="button" id="theme">{said("theme", lang)}</button>'
    yield f'<div class="top"><h1>{safe_text(title)}</h1>{switch}</div>'
    better = said("higher" if result.direction == "max" else "lower", lang)
    facts = [
        (said("generated", lang), told.moment(result.generated)),
        (said("base", lang), result.base),
        (said("metric", lang), f"{result.metric} ({better})"),
        (said("steps", lang), f"{result.steps:,}"),
        (said("seeds", lang), ", ".join(map(str, result.seeds))),
        (said("proposer", lang), result.proposer),
        (said("used", lang), "; ".join(told.use(one, lang) for one in result.budget)),
    ]
    if result.folder:
        facts.append((said("folder", lang), result.folder))
    yield '<dl class="facts">'
    yield from (f"<div><dt>{safe_text(key)}</dt><dd>{safe_text(value)}</dd></div>" for key, value in facts)
    yield "</dl>"
    headline, numbers, tone = told.headline(result, lang)
    state = said("over" if result.over else "State", lang)
    yield f'<div class="card head {tone}"><h2>{safe_text(headline)}</h2>'
    if numbers:
        yield f'<p class="numbers">{safe_text(numbers)}</p>'
    yield f"<p>{says(f'<b>{state}</b>', safe_text(result.over or result.phase), lang)}</p>"
    yield f'<p class="quiet">{safe_text(result.question)}</p>'
    chosen = says(f"{said('metric', lang)} {result.metric}", result.metric_reason, lang)
    yield f'<p class="quiet">{safe_text(chosen)}</p>'
    yield f'<p class="quiet">{safe_text(told.noise(result, lang))}</p></div>'


def _next(result: CampaignResult, lang: Lang) -> Iterator[str]:
    if not result.next_steps:
        yield f"<p>{said('no next', lang)}</p>"
        return
    yield '<div class="card"><ol class="todo">'
    yield from (f"<li>{safe_text(step)}</li>" for step in result.next_steps)
    yield "</ol></div>"


def _incumbents(result: CampaignResult, lang: Lang) -> Iterator[str]:
    if not result.incumbents:
        return
    keys = ("since round", "incumbent", "score", "ground", "reason")
    body = []
    for one in result.incumbents:
        level = said("broken", lang) if one.score is None else told.score(one.score, rate=result.is_rate)
        body.append(
            f'<tr><td>{one.round}</td><th class="text name">{safe_text(one.name)}</th><td>{level}</td>'
            f'<td class="text">{told.ground(one, lang)}</td><td class="text reason">{safe_text(one.reason)}</td></tr>'
        )
    yield table([said(key, lang) for key in keys], body, text=(1, 3, 4))


def _drawing(drawing: str, about: str) -> Iterator[str]:
    if drawing:
        yield f'<p class="quiet">{safe_text(about)}</p><div class="card canvas">{drawing}</div>'


def _curves(result: CampaignResult, lang: Lang) -> Iterator[str]:
    charts = curves_svg(result, lang)
    if charts:
        yield '<div class="charts">'
        yield from (f'<figure class="card">{chart}</figure>' for chart in charts)
        yield "</div>"


def _invalid(result: CampaignResult, lang: Lang) -> Iterator[str]:
    if not result.invalid:
        yield f"<p>{said('no invalid', lang)}</p>"
        return
    body = [
        f'<tr><th class="text name">{safe_text(one.name)}</th><td class="text">{safe_text(one.kind)}</td>'
        f'<td class="text">{safe_text(one.state)}</td><td>{one.last_step or 0:,}</td>'
        f'<td class="text">{safe_text(one.why)}</td></tr>'
        for one in result.invalid
    ]
    head = [said(key, lang) for key in ("trial", "kind", "state", "at step", "why")]
    yield table(head, body, text=(0, 1, 2, 4))


def _trials(result: CampaignResult, lang: Lang) -> Iterator[str]:
    if not result.trials:
        return
    body = [
        f'<tr><th class="text name">{safe_text(one.name)}</th><td class="text">{safe_text(one.kind)}</td>'
        f"<td>{one.round}</td><td>{one.seed}</td><td>{one.steps:,}</td>"
        f'<td class="text">{safe_text(told.trial_end(one, rate=result.is_rate))}</td>'
        f"<td>{told.duration(one.seconds)}</td></tr>"
        for one in result.trials
    ]
    keys = ("trial", "kind", "rounds", "seed", "step", "score", "time")
    inner = table([said(key, lang) for key in keys], body, text=(0, 1, 5))
    yield f"<details><summary>{said('all trials', lang)} ({len(result.trials)})</summary>{inner}</details>"
