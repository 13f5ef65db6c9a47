"""Two drawings of a campaign: every trial's score by config, and every comparison's difference with its interval."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from otpilot.analysis.verdict import Verdict
from otpilot.report.analysis.words import Lang
from otpilot.report.axes import Axis, value_axis
from otpilot.report.campaign import told
from otpilot.report.campaign.drawing import cut, picture, text_width
from otpilot.report.campaign.result import CampaignResult, TrialResult
from otpilot.report.campaign.words import said
from otpilot.report.svg import safe_text

LONGEST_NAME = 40
ROW, TOP, EDGE = 26, 8, 14
WIDTH, LEAST_PLOT = 1190, 380
"""Drawings fill a page's width; the plot takes what names and words leave."""


@dataclass(frozen=True, kw_only=True)
class _Frame:
    """A value axis from `left`, `wide`; what lies beyond its ends is drawn at the ends."""

    left: float
    wide: float
    axis: Axis
    bottom: float

    def x(self, value: float) -> float:
        place = self.axis.place(value) if not self.axis.log_scale or value > 0 else 0.0
        return self.left + self.wide * min(1.0, max(0.0, place))

    def inside(self, value: float) -> bool:
        return self.axis.low <= (math.log10(value) if self.axis.log_scale else value) <= self.axis.high

    def ticks(self, labels: Mapping[float, str] | None = None) -> Iterator[str]:
        for value, label in self.axis.ticks:
            x = self.x(value)
            yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{self.bottom}"/>'
            text = safe_text(labels[value] if labels else label)
            yield f'<text x="{x:.1f}" y="{self.bottom + 17}" text-anchor="middle">{text}</text>'


def scores_svg(result: CampaignResult, lang: Lang, *, standalone: bool = False) -> str:
    """Return one row a config with its trials of equal steps, and the band of the baseline's noise; "" without any."""
    groups: dict[str, list[TrialResult]] = {node.name: [] for node in result.nodes}
    for trial in result.trials:
        if trial.score is not None and trial.steps == result.steps and math.isfinite(trial.score):
            groups.setdefault(trial.arm, []).append(trial)
    rows = [(name, trials) for name, trials in groups.items() if trials]
    if not rows:
        return ""
    unit = 100.0 if result.is_rate else 1.0
    low, high = _band(result)
    values = [unit * trial.score for _, trials in rows for trial in trials if trial.score is not None]
    kept, beyond = _within(values)
    axis = value_axis([*kept, *(unit * end for end in (low, high) if end is not None)], log_scale=False)
    names = [cut(name, LONGEST_NAME) for name, _ in rows]
    frame = _frame(names, [], axis)
    body: list[str] = []
    if low is not None and high is not None:
        x0, x1 = frame.x(unit * low), frame.x(unit * high)
        body.append(f'<rect class="band" x="{x0:.1f}" y="{TOP}" width="{x1 - x0:.1f}" height="{frame.bottom - TOP}"/>')
    body += frame.ticks({value: f"{label} %" for value, label in axis.ticks} if result.is_rate else None)
    standing = {node.name: node.standing for node in result.nodes}
    for number, ((name, trials), shown) in enumerate(zip(rows, names, strict=True)):
        tone = told.TONES[standing.get(name, "running")]
        body += _score_row(frame, TOP + ROW * (number + 0.5), shown, trials, result=result, tone=tone, unit=unit)
    height = frame.bottom + 26
    if beyond:
        body.append(f'<text x="2" y="{height + 10}">{said("left out", lang, count=beyond)}</text>')
        height += 18
    width = frame.left + frame.wide + EDGE
    return picture(body, width=width, height=height, label=said("scores", lang), standalone=standalone)


def _score_row(
    frame: _Frame, y: float, name: str, trials: Sequence[TrialResult], *, result: CampaignResult, tone: str, unit: float
) -> Iterator[str]:
    yield f'<g class="{tone}"><text class="said" x="2" y="{y + 4:.1f}">{safe_text(name)}</text>'
    common = [unit * t.score for t in trials if t.score is not None and t.seed in result.seeds]
    if common and frame.inside(sum(common) / len(common)):
        x = frame.x(sum(common) / len(common))
        yield f'<line class="mean" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9:.1f}" y2="{y + 9:.1f}"/>'
    for trial in sorted(trials, key=lambda trial: trial.seed in result.seeds):
        value = unit * (trial.score or 0.0)
        title = f"{trial.name}: {told.score(trial.score or 0.0, rate=result.is_rate)}"
        kind = "dot" if trial.seed in result.seeds else "hollow"
        x = frame.x(value)
        if frame.inside(value):
            mark = f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4" fill-opacity=".55">'
        else:
            tip = 6 if value > frame.axis.high else -6
            mark = f'<path class="{kind}" d="M{x:.1f} {y - 4:.1f} l{tip} 4 l{-tip} 4 z">'
        yield f"{mark}<title>{safe_text(title)}</title></{'circle' if 'circle' in mark else 'path'}>"
    yield "</g>"


def _band(result: CampaignResult) -> tuple[float | None, float | None]:
    """Return the baseline's mean and one standard deviation to both sides, on the scale of comparisons."""
    values, spread = list(result.noise.scores.values()), result.noise.deviation
    if not values or spread is None:
        return None, None
    if result.noise.scale == "log" and min(values) > 0:
        middle = math.exp(sum(map(math.log, values)) / len(values))
        return middle * math.exp(-spread), middle * math.exp(spread)
    middle = sum(values) / len(values)
    return middle - spread, middle + spread


def _within(values: Sequence[float]) -> tuple[list[float], int]:
    """Return the values that share an axis, and how many lie so far out that the others would be a line beside them."""
    middle = median(values)
    spread = median(abs(value - middle) for value in values) or max(abs(middle) * 0.05, 1e-12)
    kept = [value for value in values if abs(value - middle) <= 25 * spread]
    return kept, len(values) - len(kept)


def differences_svg(result: CampaignResult, lang: Lang, *, standalone: bool = False) -> str:
    """Return one row a comparison: mean and 95 % interval of paired differences beside zero; "" without any."""
    rows = [row for row in told.comparisons(result, lang) if row.found.verdict.mean is not None]
    if not rows:
        return ""
    percent = 100.0 if result.is_rate or any(row.found.verdict.scale == "log" for row in rows) else 1.0
    unit = said("points", lang) if result.is_rate else "%" if percent > 1 else ""
    reach = _reach([row.found.verdict for row in rows]) * percent
    axis = value_axis([-reach, reach], log_scale=False)
    names = [_row_name(row, result, lang) for row in rows]
    words = [_told(row, lang) for row in rows]
    frame = _frame(names, words, axis)
    body = list(frame.ticks({value: f"{label} {unit}".strip() for value, label in axis.ticks}))
    zero = frame.x(0.0)
    body.append(f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="{TOP}" y2="{frame.bottom}"/>')
    for number, (row, name) in enumerate(zip(rows, names, strict=True)):
        body += _difference_row(frame, TOP + ROW * (number + 0.5), name, row, percent=percent, result=result, lang=lang)
    width = frame.left + frame.wide + EDGE + 10 + max(map(text_width, words))
    return picture(body, width=width, height=frame.bottom + 26, label=said("verdicts", lang), standalone=standalone)


def _row_name(row: told.Row, result: CampaignResult, lang: Lang) -> str:
    ours = cut(row.found.ours, LONGEST_NAME)
    steps = "" if row.found.steps == result.steps else f", {said('so many steps', lang, count=row.found.steps)}"
    return f"{row.round}  {ours}: {row.stage}{steps}"


def _told(row: told.Row, lang: Lang) -> str:
    word = told.verdict_word(row.found.verdict, lang)
    return f"{word}, {row.outcome}" if row.outcome else word


def _difference_row(
    frame: _Frame, y: float, name: str, row: told.Row, *, percent: float, result: CampaignResult, lang: Lang
) -> Iterator[str]:
    verdict, tone = row.found.verdict, told.verdict_tone(row.found.verdict)
    mean = percent * (verdict.mean or 0.0)
    title = told.verdict_numbers(row.found, rate=result.is_rate, lang=lang)
    yield f'<g class="{tone}"><title>{safe_text(f"{row.found.ours} / {row.found.other}: {title}")}</title>'
    yield f'<text x="2" y="{y + 4:.1f}">{safe_text(name)}</text>'
    if verdict.low is not None and verdict.high is not None:
        x0, x1 = frame.x(percent * verdict.low), frame.x(percent * verdict.high)
        thin = "" if row.found.fresh else " thin"
        yield f'<line class="interval{thin}" x1="{x0:.1f}" x2="{x1:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        for x, value in ((x0, percent * verdict.low), (x1, percent * verdict.high)):
            if frame.inside(value):
                yield f'<line class="interval" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 4:.1f}" y2="{y + 4:.1f}"/>'
            else:
                tip = 6 if value > 0 else -6
                yield f'<path class="interval" d="M{x - tip:.1f} {y - 4:.1f} l{tip} 4 l{-tip} 4"/>'
    kind = "dot" if row.found.fresh else "hollow"
    yield f'<circle class="{kind}" cx="{frame.x(mean):.1f}" cy="{y:.1f}" r="4"/>'
    said_ = safe_text(_told(row, lang))
    yield f'<text class="said {tone}" x="{frame.left + frame.wide + EDGE:.1f}" y="{y + 4:.1f}">{said_}</text></g>'


def _reach(verdicts: Sequence[Verdict]) -> float:
    """Return how far the axis goes: to the ends of most intervals; those of few seeds may go on beyond the edge."""
    means = [abs(verdict.mean or 0.0) for verdict in verdicts]
    ends = [max(abs(end) for end in (v.low, v.high, v.mean) if end is not None) for v in verdicts]
    return max(1.15 * max(means), 1.1 * median(ends), 1e-6)


def _frame(names: Sequence[str], words: Sequence[str], axis: Axis) -> _Frame:
    """Return the frame between names on the left and words on the right, one row a name."""
    left = 16 + max(text_width(name) for name in names)
    right = EDGE + max((10 + text_width(word) for word in words), default=0.0)
    wide = max(WIDTH - left - right, LEAST_PLOT)
    return _Frame(left=left, wide=wide, axis=axis, bottom=TOP + ROW * len(names))
