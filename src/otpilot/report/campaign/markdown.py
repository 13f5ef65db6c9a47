"""A campaign as Markdown: a whole report, or one round as a dated update at the end of a file."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from otpilot.report.analysis.append import append_atomically
from otpilot.report.analysis.markdown import RULE
from otpilot.report.analysis.words import Lang, says, word
from otpilot.report.campaign import told
from otpilot.report.campaign.lineage import lineage_svg
from otpilot.report.campaign.result import CampaignResult, Contest, RoundResult, VariantResult
from otpilot.report.campaign.strips import differences_svg, scores_svg
from otpilot.report.campaign.words import said
from otpilot.report.files import write_atomically
from otpilot.report.markdown import escape_markdown as escape

type Lines = Iterator[str]


def write_markdown(result: CampaignResult, path: Path, *, lang: Lang = "en") -> None:
    """Write the report to `path`, in place of an earlier one, and its drawings into `<stem>_files` beside it.

    Raises:
        OSError: The folder is missing or not writable.
    """
    folder = path.parent / f"{path.stem}_files"
    drawings = _drawings(result, lang)
    if drawings:
        folder.mkdir(exist_ok=True)
    for name, body in drawings.items():
        write_atomically(folder / name, body.encode("utf-8", "replace"))
    links = {name: f"{quote(folder.name)}/{quote(name)}" for name in drawings}
    write_atomically(path, render_markdown(result, lang=lang, links=links).encode("utf-8", "replace"))


def append_round(result: CampaignResult, path: Path, number: int, *, lang: Lang = "en") -> bool:
    """Add a dated section about one round to the end of `path` (made if missing), once; returns whether it was added.

    Raises:
        OSError: The folder is missing or not writable.
    """
    mark = f"<!-- campaign {escape(result.folder or result.name).replace('--', '- -')}, round {number} -->"
    before = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if mark in before:
        return False
    update = render_update(result, number, lang=lang)
    addition = f"{RULE if before else ''}{mark}\n{update}"
    append_atomically(path, addition.encode("utf-8", "replace"))
    return True


def render_markdown(result: CampaignResult, *, lang: Lang, links: dict[str, str] | None = None) -> str:
    """Return the whole report; `links` are the drawings that it shows, by name."""
    links = links or {}
    title = said("title", lang, name=escape(result.name))
    lines = [f"# {title} {said('report', lang)}", "", *_facts(result, lang), ""]
    lines += [f"## {said('conclusion', lang)}", "", *_conclusion(result, lang), ""]
    lines += [f"## {said('next', lang)}", "", *_numbered(result.next_steps, lang), ""]
    if result.incumbents:
        lines += [f"## {said('incumbents', lang)}", "", *_incumbents(result, lang), ""]
    for name, key in (("lineage.svg", "lineage"), ("scores.svg", "scores"), ("differences.svg", "verdicts")):
        if name in links:
            lines += [
                f"## {said(key, lang)}",
                "",
                how_to(key, result, lang),
                "",
                f"![{said(key, lang)}]({links[name]})",
            ]
            lines += ["", *(_tree(result, lang) if key == "lineage" else ()), ""]
    if len(result.rounds) < 2:
        lines += [f"## {said('rounds', lang)}", "", said("no rounds", lang), ""]
    for found in result.rounds:
        lines += [f"## {told.round_title(found, lang)}", "", *_round(found, result, lang), ""]
    lines += [f"## {said('invalid', lang)}", "", *_invalid(result, lang), ""]
    if result.notes:
        lines += [f"## {said('notes', lang)}", "", *(f"- {escape(note)}" for note in result.notes), ""]
    return _joined(lines)


def render_update(result: CampaignResult, number: int, *, lang: Lang) -> str:
    """Return a dated section about one round, its budget and what comes next.

    Raises:
        ValueError: The campaign has no such round.
    """
    found = next((one for one in result.rounds if one.number == number), None)
    if found is None:
        raise ValueError(f"Round {number} is not in the campaign; it has {[one.number for one in result.rounds]}.")
    when = told.moment(result.generated)
    round_title = told.round_title(found, lang)
    name = escape(result.name)
    title = (
        f"## {said('update', lang)}（{when}）{name} {round_title}"
        if lang == "zh"
        else f"## {name} {round_title}, {said('update', lang)} ({when})"
    )
    used = "; ".join(told.use(one, lang) for one in result.budget)
    lines = [title, "", f"- {says(said('used', lang), used, lang)}", *_round(found, result, lang)]
    return _joined(lines)


def how_to(key: str, result: CampaignResult, lang: Lang) -> str:
    """Return how to read a drawing."""
    if key == "scores":
        apart = {trial.steps for trial in result.trials} - {result.steps}
        text = said("scores how", lang, steps=result.steps)
        return text + (" " * (lang == "en") + said("promoted apart", lang) if apart else "")
    if key == "verdicts":
        side = said("right is better" if result.direction == "max" else "left is better", lang)
        return said("verdicts how", lang, direction=side)
    return said("lineage how", lang)


def _drawings(result: CampaignResult, lang: Lang) -> dict[str, str]:
    found = {
        "lineage.svg": lineage_svg(result, lang, standalone=True),
        "scores.svg": scores_svg(result, lang, standalone=True),
        "differences.svg": differences_svg(result, lang, standalone=True),
    }
    return {name: body for name, body in found.items() if body}


def _facts(result: CampaignResult, lang: Lang) -> Lines:
    better = said("higher" if result.direction == "max" else "lower", lang)
    seeds = ", ".join(map(str, result.seeds))
    facts = [
        (said("generated", lang), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(result.generated))),
        (said("question", lang), result.question),
        (said("base", lang), result.base),
        (said("metric", lang), f"{result.metric} ({better}): {result.metric_reason}"),
        (
            said("steps", lang),
            f"{result.steps:,}; {said('seeds', lang)} {seeds}; {said('proposer', lang)} {result.proposer}",
        ),
        (said("noise", lang), told.noise(result, lang)),
        (said("used", lang), "; ".join(told.use(one, lang) for one in result.budget)),
    ]
    if result.folder:
        facts.append((said("folder", lang), result.folder))
    yield from (f"- {says(key, escape(value), lang)}" for key, value in facts)


def _conclusion(result: CampaignResult, lang: Lang) -> Lines:
    title, numbers, _ = told.headline(result, lang)
    yield f"**{escape(title)}**"
    yield ""
    if numbers:
        yield f"- {escape(numbers)}"
    if result.final is not None:
        for name, scores in ((result.final.ours, result.final.scores), (result.final.other, result.final.other_scores)):
            yield f"- {says(escape(name), escape(told.scores(scores, rate=result.is_rate, lang=lang)), lang)}"
    yield f"- {says(said('over' if result.over else 'State', lang), escape(result.over or result.phase), lang)}"


def _numbered(steps: Sequence[str], lang: Lang) -> Lines:
    if not steps:
        yield said("no next", lang)
    yield from (f"{place}. {escape(step)}" for place, step in enumerate(steps, start=1))


def _incumbents(result: CampaignResult, lang: Lang) -> Lines:
    head = (
        said("since round", lang),
        said("incumbent", lang),
        said("score", lang),
        said("ground", lang),
        said("reason", lang),
    )
    yield from _table(
        head,
        [
            (
                str(one.round),
                one.name,
                said("broken", lang) if one.score is None else told.score(one.score, rate=result.is_rate),
                told.ground(one, lang),
                one.reason,
            )
            for one in result.incumbents
        ],
    )


def _tree(result: CampaignResult, lang: Lang) -> Lines:
    """Yield the lineage as a nested list, readable where drawings are not shown."""
    depth: dict[str, int] = {}
    into = {edge.child: edge for edge in result.edges}
    children: dict[str, list[str]] = {}
    for node in result.nodes:
        edge = into.get(node.name)
        parent = edge.parent if edge is not None and edge.parent in depth else ""
        depth[node.name] = depth[parent] + 1 if parent else 0
        children.setdefault(parent, []).append(node.name)
    nodes = {node.name: node for node in result.nodes}
    waiting = list(reversed(children.get("", [])))
    while waiting:
        name = waiting.pop()
        node, edge = nodes[name], into.get(name)
        edits = f" `{'; '.join(edge.edits).replace('`', ' ')}`" if edge is not None and edge.edits else ""
        level = f"{told.score(node.score, rate=result.is_rate)}, " if node.score is not None else ""
        yield f"{'  ' * depth[name]}- {escape(name)}{edits}: {level}{said(node.standing, lang)}"
        waiting += reversed(children.get(name, []))


def _round(found: RoundResult, result: CampaignResult, lang: Lang) -> Lines:
    yield f"- {says(said('outcome', lang), escape(told.round_outcome(found, lang)), lang)}"
    for name, reason in found.parents:
        yield f"- {says(said('derived from', lang), f'{escape(name)} ({escape(reason)})', lang)}"
    for variant in found.variants:
        yield from ("", f"### {escape(variant.name)}", *_variant(variant, result, lang))
    for contest in found.contests:
        yield from ("", f"### {_contest_title(contest, lang)}", *_contest(contest, result, lang))
    lists = (("not proposed", found.refused), ("advice", found.advice))
    for key, texts in lists:
        if texts:
            yield from ("", f"**{said(key, lang)}**", "", *(f"- {escape(text)}" for text in texts))
    if found.decisions:
        yield from ("", f"**{said('decisions', lang)}**", "")
        yield from (f"- {told.moment(one.time)} **{escape(one.kind)}** {escape(one.reason)}" for one in found.decisions)


def _variant(variant: VariantResult, result: CampaignResult, lang: Lang) -> Lines:
    yield f"- {says(said('changes', lang), ', '.join(f'`{edit}`' for edit in _quiet(variant.edits)), lang)}"
    rule = f"{variant.rule}, {variant.source}" if variant.rule and variant.source else variant.rule
    yield f"  - {says(said('Reason', lang), escape(variant.reason) + (f' ({escape(rule)})' if rule else ''), lang)}"
    if variant.evidence:
        evidence = ", ".join(f"{key}={_short(value)}" for key, value in variant.evidence.items())
        yield f"  - {says(said('evidence', lang), escape(evidence), lang)}"
    if variant.expected:
        yield f"  - {says(said('expected', lang), escape(variant.expected), lang)}"
    if variant.failed_if:
        sign = told.remedy(variant.remedy_failed, reviewed=variant.review is not None, lang=lang)
        yield f"  - {says(said('failed if', lang), f'{escape(variant.failed_if)} ({sign})', lang)}"
    yield f"- {says(said('results', lang), '', lang).rstrip()}"
    for trial in variant.trials:
        told_ = escape(told.trial_end(trial, rate=result.is_rate))
        yield f"  - {says(f'{said("seed", lang)} {trial.seed}', told_, lang)}"
    if variant.review is None:
        yield f"  - {said('waiting', lang)}"
        return
    numbers = escape(told.verdict_numbers(variant.review, rate=result.is_rate, lang=lang))
    verdict = f"**{told.verdict_word(variant.review.verdict, lang)}** {numbers}"
    beside = f"{said('screening', lang)}, {word('vs', lang)} {escape(variant.review.other)}"
    yield f"- {says(said('verdict', lang), f'{verdict} ({beside})', lang)}"


def _contest_title(contest: Contest, lang: Lang) -> str:
    kind = said(contest.kind, lang)
    title = f"{kind[:1].upper()}{kind[1:]} {escape(contest.compared.ours)}"
    return says(title, told.contest_word(contest, lang), lang)


def _contest(contest: Contest, result: CampaignResult, lang: Lang) -> Lines:
    found = contest.compared
    numbers = escape(told.verdict_numbers(found, rate=result.is_rate, lang=lang))
    where = f"{said('so many steps', lang, count=found.steps)}, {said('fresh', lang)}"
    yield f"- {says(said('verdict', lang), f'**{told.verdict_word(found.verdict, lang)}** {numbers} ({where})', lang)}"
    for name, scores in ((found.ours, found.scores), (found.other, found.other_scores)):
        told_ = told.scores(scores, rate=result.is_rate, lang=lang) or said("broken", lang)
        yield f"- {says(escape(name), escape(told_), lang)}"
    yield f"- {says(said('Reason', lang), escape(contest.reason), lang)}"


def _invalid(result: CampaignResult, lang: Lang) -> Lines:
    if not result.invalid:
        yield said("no invalid", lang)
        return
    head = (said("trial", lang), said("kind", lang), said("state", lang), said("at step", lang), said("why", lang))
    rows = [(t.name, t.kind, t.state, "0" if t.last_step is None else str(t.last_step), t.why) for t in result.invalid]
    yield from _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Lines:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    yield from (f"| {' | '.join(escape(cell) for cell in row)} |" for row in rows)


def _quiet(edits: Sequence[str]) -> list[str]:
    return [" ".join(edit.replace("`", " ").split()) for edit in edits]


def _short(value: float | int | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _joined(lines: Sequence[str]) -> str:
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).rstrip("\n") + "\n"
