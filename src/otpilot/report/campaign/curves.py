"""Curves of evaluations of the configs that matter: the baseline, every incumbent, and the last round's variants."""

from collections.abc import Sequence

from otpilot.report.analysis.words import Lang
from otpilot.report.campaign.result import CampaignResult, TrialResult
from otpilot.report.palette import line_styles
from otpilot.report.result import Chart, Curve
from otpilot.report.svg import chart_svg

MOST_ARMS = 6
LEAST_POINTS = 2


def curves_svg(result: CampaignResult, lang: Lang) -> list[str]:
    """Return a chart per seed of the common ones: a curve per config; none where nothing was evaluated twice."""
    del lang  # the chart's own words are figures and names
    arms = chosen(result)
    styles = line_styles(arms)
    charts = []
    for seed in result.seeds:
        curves = [
            Curve(run=arm, steps=tuple(step for step, _ in curve), values=tuple(value for _, value in curve))
            for arm in arms
            if (curve := _curve(result.trials, arm, seed, result.steps))
        ]
        if len(curves) > 1:
            title = f"{result.metric}, seed {seed}"
            chart = Chart(metric=title, about=title, curves=tuple(curves), is_rate=result.is_rate)
            charts.append(chart_svg(chart, styles=styles, standalone=False))
    return charts


def chosen(result: CampaignResult) -> list[str]:
    """Return whose curves are shown: the baseline and the line of incumbents, then the newest variants."""
    line = [one.name for one in result.incumbents]
    newest = [node.name for node in reversed(result.nodes)]
    names = list(dict.fromkeys([*line[:1], *reversed(line[1:]), *newest]))
    return names[:MOST_ARMS]


def _curve(trials: Sequence[TrialResult], arm: str, seed: int, steps: int) -> tuple[tuple[int, float], ...]:
    for trial in trials:
        if (trial.arm, trial.seed, trial.steps) == (arm, seed, steps):
            return trial.curve if len(trial.curve) >= LEAST_POINTS else ()
    return ()
