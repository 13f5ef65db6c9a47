"""A campaign's numbers as texts that every rendering prints alike; what is missing is said in words."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from otpilot.analysis.verdict import Verdict
from otpilot.report.analysis.words import Lang, says
from otpilot.report.axes import short
from otpilot.report.campaign.result import CampaignResult, Comparison, Contest, Incumbent, RoundResult, TrialResult, Use
from otpilot.report.campaign.words import said

Tone = Literal["better", "worse", "warning", "neutral"]
TONES: Mapping[str, Tone] = {
    "baseline": "neutral",
    "incumbent": "better",
    "former": "better",
    "rolled back": "warning",
    "rejected": "neutral",
    "not confirmed": "warning",
    "not decided": "neutral",
    "broken": "worse",
    "running": "neutral",
}


def score(value: float, *, rate: bool) -> str:
    """Return a score: four digits, success rates in percent."""
    return f"{100 * value:.1f} %" if rate else short(value)


def scores(found: Mapping[int, float], *, rate: bool, lang: Lang) -> str:
    """Return scores by seed: `0.0412 (seed 0), 0.0398 (seed 1)`."""
    return ", ".join(f"{score(value, rate=rate)} ({said('seed', lang)} {seed})" for seed, value in found.items())


def difference(value: float, verdict: Verdict, *, rate: bool, lang: Lang, unit: bool = True) -> str:
    """Return a difference with its sign: percent on the log scale, points for rates, else the plain number."""
    if verdict.scale == "log":
        return f"{100 * value:+.1f}{' %' if unit else ''}"
    if rate:
        return f"{100 * value:+.1f}{' ' + said('points', lang) if unit else ''}"
    return f"{value:+.4g}"


def verdict_word(verdict: Verdict, lang: Lang) -> str:
    """Return better, worse, not distinguishable, or that nothing can be said."""
    return said("no verdict" if verdict.mean is None else verdict.word, lang)


def verdict_numbers(found: Comparison, *, rate: bool, lang: Lang) -> str:
    """Return mean, interval and pairs of a verdict, or why there are none."""
    verdict = found.verdict
    if verdict.mean is None:
        ends = ", ".join(f"{said('seed', lang)} {seed}: {state}" for seed, state in found.ends.items())
        return said("too few", lang, count=verdict.pairs) + (f" ({ends})" if ends else "")
    mean = difference(verdict.mean, verdict, rate=rate, lang=lang)
    pairs = said("pairs", lang, count=verdict.pairs)
    if verdict.low is None or verdict.high is None:
        return f"{mean} ({pairs}; {said('no spread', lang)})"
    low = difference(verdict.low, verdict, rate=rate, lang=lang, unit=False)
    high = difference(verdict.high, verdict, rate=rate, lang=lang)
    to = "至" if lang == "zh" else "to"
    return f"{mean} (95 %: {low} {to} {high}; {pairs})"


def verdict_tone(verdict: Verdict) -> Tone:
    """Return how a verdict is coloured."""
    if verdict.mean is None:
        return "warning"
    return "better" if verdict.word == "better" else "worse" if verdict.word == "worse" else "neutral"


def amount(value: float, scale: str, *, rate: bool, lang: Lang) -> str:
    """Return a size without sign on the scale of comparisons."""
    if scale == "log":
        return f"{100 * value:.2g} %"
    return f"{100 * value:.2g} {said('points', lang)}" if rate else f"{value:.3g}"


def noise(result: CampaignResult, lang: Lang) -> str:
    """Return how much equal runs differ, and what that allows to see, or why it is not known."""
    found = result.noise
    if found.deviation is None:
        return said("not measured", lang, why=found.why)
    rate = result.is_rate
    told = amount(found.deviation, found.scale, rate=rate, lang=lang)
    text = said("noise of", lang, deviation=told, count=len(found.scores) or len(result.seeds))
    if found.resolvable is not None:
        limit = amount(found.resolvable, found.scale, rate=rate, lang=lang)
        text += ("" if lang == "zh" else " ") + said("resolvable", lang, count=found.confirm_seeds, amount=limit)
    return text


def use(one: Use, lang: Lang) -> str:
    """Return how much of a budget is used and left."""
    whole = one.what == "trials"
    what = said(one.what, lang)
    used = f"{one.used:.0f}" if whole else f"{one.used:.2f}"
    if one.allowed is None or one.left is None:
        return said("used alone", lang, used=used, what=what)
    left = f"{one.left:.0f}" if whole else f"{one.left:.2f}"
    return said("of", lang, used=used, allowed=f"{one.allowed:g}", left=left, what=what)


def duration(seconds: float) -> str:
    """Return a time as people say it: `48 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def moment(seconds: float) -> str:
    """Return a local date and time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def trial_end(trial: TrialResult, *, rate: bool) -> str:
    """Return a trial's score, or its state and why it has none."""
    if trial.score is not None:
        return score(trial.score, rate=rate)
    return f"{trial.state}: {trial.why}" if trial.why else trial.state


def ground(one: Incumbent, lang: Lang) -> str:
    """Return on what ground a config became the incumbent."""
    return said(one.ground, lang)


def contest_word(contest: Contest, lang: Lang) -> str:
    """Return what came of a contest in a word or two."""
    if contest.kind == "promotion":
        return said("kept" if contest.accepted else "taken back", lang)
    return said("accepted" if contest.accepted else "refused", lang)


def round_title(found: RoundResult, lang: Lang) -> str:
    """Return the heading of a round."""
    return said("baseline round", lang) if found.number == 0 else said("round", lang, number=found.number)


def round_outcome(found: RoundResult, lang: Lang) -> str:
    """Return what a round came to, in a few words."""
    if found.finished is None:
        return said("still runs", lang)
    if found.number == 0:
        return said("measured", lang)
    key = "incumbent becomes" if found.accepted else "incumbent stays"
    return said(key, lang, name=found.incumbent_after)


def headline(result: CampaignResult, lang: Lang) -> tuple[str, str, Tone]:
    """Return what the campaign came to: a headline, the numbers or the reason beneath it, its tone."""
    if result.final is None:
        return result.final_why, "", "neutral"
    word = verdict_word(result.final.verdict, lang)
    title = said("beside baseline", lang, ours=result.final.ours, word=word)
    where = said("fresh" if result.final.fresh else "common", lang)
    numbers = verdict_numbers(result.final, rate=result.is_rate, lang=lang)
    return title, says(f"{result.metric}, {where}", numbers, lang), verdict_tone(result.final.verdict)


def remedy(failed: bool | None, *, reviewed: bool, lang: Lang) -> str:
    """Return whether the sign of failure was there, or that it cannot be told."""
    if not reviewed:
        return said("sign pending", lang)
    return said("sign unknown" if failed is None else "sign there" if failed else "sign not there", lang)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison of the campaign as a line: in which round, which stage, what was decided."""

    round: int
    stage: str
    found: Comparison
    outcome: str


def comparisons(result: CampaignResult, lang: Lang) -> Iterator[Row]:
    """Yield every comparison in the order in which it was made; the last one against the baseline at the end."""
    for one in result.rounds:
        for variant in one.variants:
            if variant.review is not None:
                yield Row(round=one.number, stage=said("screening", lang), found=variant.review, outcome="")
        for contest in one.contests:
            found, word = contest.compared, contest_word(contest, lang)
            yield Row(round=one.number, stage=said(contest.kind, lang), found=found, outcome=word)
    if result.final is not None:
        last = result.rounds[-1].number if result.rounds else 0
        yield Row(round=last, stage=said("final", lang), found=result.final, outcome="")
