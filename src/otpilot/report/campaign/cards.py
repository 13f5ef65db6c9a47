"""A round on the page: a card for each variant, one for each confirmation and promotion, and its decisions."""

from collections.abc import Iterator

from otpilot.report.analysis.words import Lang, says
from otpilot.report.campaign import told
from otpilot.report.campaign.result import CampaignResult, Comparison, Contest, RoundResult, VariantResult
from otpilot.report.campaign.words import said
from otpilot.report.svg import safe_text


def round_section(found: RoundResult, name: str, heading: str, result: CampaignResult, lang: Lang) -> Iterator[str]:
    """Yield a round's section; names and texts are escaped."""
    tone = "better" if found.accepted else "neutral"
    outcome = f'<span class="tag {tone}">{safe_text(told.round_outcome(found, lang))}</span>'
    yield f'<section id="{name}" class="round"><header><h2>{safe_text(heading)}</h2>{outcome}</header>'
    for parent, reason in found.parents:
        yield f"<p>{says(said('derived from', lang), f'<b>{safe_text(parent)}</b> ({safe_text(reason)})', lang)}</p>"
    if found.number == 0:
        yield from _baseline(result, lang)
    if found.variants:
        yield '<div class="cards">'
        for variant in found.variants:
            yield from _variant(variant, result, lang)
        yield "</div>"
    if found.contests:
        yield '<div class="cards contests">'
        for contest in found.contests:
            yield from _contest(contest, result, lang)
        yield "</div>"
    for key, texts in (("not proposed", found.refused), ("advice", found.advice)):
        if texts:
            items = "".join(f"<li>{safe_text(text)}</li>" for text in texts)
            summary = f"{said(key, lang)} ({len(texts)})"
            yield f'<details><summary>{summary}</summary><ul class="findings">{items}</ul></details>'
    if found.decisions:
        yield f"<details><summary>{said('decisions', lang)} ({len(found.decisions)})</summary>"
        yield '<div class="card"><ol class="log">'
        for one in found.decisions:
            when, why = f"<time>{told.moment(one.time)}</time>", safe_text(one.reason)
            yield f"<li>{when}<b>{safe_text(one.kind)}</b><span>{why}</span></li>"
        yield "</ol></div></details>"
    yield "</section>"


def _baseline(result: CampaignResult, lang: Lang) -> Iterator[str]:
    """Yield the baseline's trials, whose spread is the noise."""
    trials = [trial for trial in result.trials if trial.kind == "baseline"]
    yield f'<div class="card"><p>{safe_text(told.noise(result, lang))}</p><table class="pairs narrow"><tbody>'
    for trial in trials:
        words = safe_text(told.trial_end(trial, rate=result.is_rate))
        kind = "" if trial.score is not None else ' class="words"'
        yield f"<tr><th>{said('seed', lang)} {trial.seed}</th><td{kind}>{words}</td></tr>"
    yield "</tbody></table></div>"


def _variant(variant: VariantResult, result: CampaignResult, lang: Lang) -> Iterator[str]:
    review = variant.review
    # Of several variants one looks better by luck, so the card is coloured by what became of it, not by its screening.
    standing = next((node.standing for node in result.nodes if node.name == variant.name), "running")
    tone, became = told.TONES[standing], said(standing, lang)
    yield f'<div class="card variant {tone}"><header><h3>{safe_text(variant.name)}</h3>'
    yield f'<span class="tag {tone}">{became}</span></header>'
    yield f'<div class="edits">{"".join(f"<code>{safe_text(edit)}</code>" for edit in variant.edits)}</div>'
    if review is None:
        yield f"<p>{said('waiting', lang)}</p>"
    else:
        numbers = safe_text(told.verdict_numbers(review, rate=result.is_rate, lang=lang))
        word = f"<b>{told.verdict_word(review.verdict, lang)}</b>"
        yield f"<p>{says(said('screening', lang), f'{word} {numbers}', lang)}</p>"
        yield from _pairs(review, result, lang, variant=variant)
        yield from _tags(review, lang)
    yield f"<p>{safe_text(variant.reason)}</p>"
    yield from _about(variant, lang)
    yield "</div>"


def _about(variant: VariantResult, lang: Lang) -> Iterator[str]:
    evidence = ", ".join(
        f"{key} = {value:.4g}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in variant.evidence.items()
    )
    rule = " · ".join(part for part in (variant.rule, variant.source) if part)
    sign = told.remedy(variant.remedy_failed, reviewed=variant.review is not None, lang=lang)
    rows = [
        (said("derived from", lang), variant.parent),
        (said("rule", lang), rule),
        (said("evidence", lang), evidence),
        (said("expected", lang), variant.expected),
        (said("failed if", lang), f"{variant.failed_if} ({sign})" if variant.failed_if else ""),
    ]
    yield '<dl class="about">'
    yield from (f"<dt>{key}</dt><dd>{safe_text(value)}</dd>" for key, value in rows if value)
    yield "</dl>"


def _contest(contest: Contest, result: CampaignResult, lang: Lang) -> Iterator[str]:
    found, word = contest.compared, told.contest_word(contest, lang)
    tone = "better" if contest.accepted else "warning"
    title = f"{said(contest.kind, lang)}: {safe_text(found.ours)}"
    yield f'<div class="card variant {tone}"><header><h3>{title}</h3>'
    yield f'<span class="verdict {tone}">{word}</span></header>'
    where = f"{said('fresh', lang)}, {said('so many steps', lang, count=found.steps)}"
    numbers = safe_text(told.verdict_numbers(found, rate=result.is_rate, lang=lang))
    verdict = f'<b class="verdict {told.verdict_tone(found.verdict)}">{told.verdict_word(found.verdict, lang)}</b>'
    yield f"<p>{verdict} {numbers}</p>"
    yield from _pairs(found, result, lang)
    yield from _tags(found, lang)
    yield f'<p>{safe_text(contest.reason)}</p><p class="quiet">{where}</p></div>'


def _tags(found: Comparison, lang: Lang) -> Iterator[str]:
    tags = [f'<span class="tag better">− {safe_text(tag)}</span>' for tag in found.cured]
    tags += [f'<span class="tag problem">+ {safe_text(tag)}</span>' for tag in found.caught]
    if tags:
        yield f'<p title="{said("health", lang)}">{"".join(tags)}</p>'


def _pairs(
    found: Comparison, result: CampaignResult, lang: Lang, *, variant: VariantResult | None = None
) -> Iterator[str]:
    """Yield the scores seed by seed; where there is none, how the trial ended."""
    why = {trial.seed: trial for trial in variant.trials} if variant is not None else {}
    seeds = sorted({*found.scores, *found.other_scores, *found.ends})
    ours, other = safe_text(found.ours), safe_text(found.other)
    yield f'<table class="pairs"><thead><tr><th></th><th>{ours}</th><th>{other}</th></tr></thead><tbody>'
    for seed in seeds:
        if seed in found.scores:
            mine = f"<td>{told.score(found.scores[seed], rate=result.is_rate)}</td>"
        else:
            end = told.trial_end(why[seed], rate=result.is_rate) if seed in why else found.ends.get(seed)
            mine = f'<td class="words">{safe_text(end or said("broken", lang))}</td>'
        its = found.other_scores.get(seed)
        level = said("broken", lang) if its is None else told.score(its, rate=result.is_rate)
        yield f"<tr><th>{said('seed', lang)} {seed}</th>{mine}<td>{level}</td></tr>"
    yield "</tbody></table>"
