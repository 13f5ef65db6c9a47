"""Success over the number of target demonstrations as a drawing: a panel per question, a line per method."""

import math
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.transfer.chart import OURS
from benchmarks.transfer.suite import SPOKEN
from benchmarks.transfer.suites import get_suite
from benchmarks.transfer.tables import Row, Section
from otpilot.report.campaign.drawing import picture
from otpilot.report.svg import safe_text

METHODS = (OURS, "co-training")
QUESTIONS = ("target_id", "target_ood")
WIDTH, HEIGHT, LEFT, TOP, GAP, END = 250, 190, 44, 40, 60, 96
Line = Mapping[int, Row]


def lines(section: Section) -> dict[str, Line]:
    """Return the rows of each method by number of target demonstrations, for methods with two numbers or more."""
    usual = get_suite(section.suite).targets
    found: dict[str, Line] = {}
    for method in METHODS:
        plain = section.row(method)
        rows = {usual: plain} if plain is not None else {}
        for row in section.rows:
            words = row.recipe.ablations
            if row.recipe.method == method and len(words) == 1 and words[0].startswith("targets="):
                rows[int(words[0].removeprefix("targets="))] = row
        if len(rows) > 1:
            found[method] = dict(sorted(rows.items()))
    return found


def chart_demonstrations(section: Section, *, standalone: bool) -> str | None:
    """Return an SVG, or None where nothing was trained on several numbers of demonstrations."""
    drawn = lines(section)
    if not drawn:
        return None
    counts = sorted({count for line in drawn.values() for count in line})
    body: list[str] = []
    for place, question in enumerate(QUESTIONS):
        body += _panel(drawn, counts, question, left=LEFT + place * (WIDTH + GAP), last=place == len(QUESTIONS) - 1)
    label = f"Success over the number of target demonstrations: {section.suite}, {section.policy}"
    width = LEFT + len(QUESTIONS) * (WIDTH + GAP) - GAP + END
    return picture(body, width=width, height=TOP + HEIGHT + 48, label=label, standalone=standalone)


def _panel(
    drawn: Mapping[str, Line], counts: Sequence[int], question: str, *, left: float, last: bool
) -> Iterator[str]:
    first, span = math.log(counts[0]), math.log(counts[-1] / counts[0])

    def at(count: int, share: float) -> tuple[float, float]:
        return left + WIDTH * (math.log(count) - first) / span, TOP + HEIGHT * (1 - share)

    yield f'<text class="run" x="{left}" y="18">{safe_text(f"success on {SPOKEN[question]}")}</text>'
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = at(counts[0], tick)[1]
        yield f'<line class="grid" x1="{left}" x2="{left + WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
    for count in counts:
        yield f'<text x="{at(count, 0)[0]:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{count}</text>'
    yield f'<text x="{left + WIDTH / 2}" y="{TOP + HEIGHT + 38}" text-anchor="middle">target demonstrations</text>'
    for method, line in drawn.items():
        yield f'<g class="{"better" if method == OURS else "neutral"}">'
        means = {count: row.estimate(question).mean for count, row in line.items()}
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(count, mean) for count, mean in means.items()))
        yield f'<polyline class="interval" points="{points}"/>'
        for count, row in line.items():
            for record in row.records.values():
                x, y = at(count, record.rate(question).rate)
                yield f'<circle class="hollow" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
        if last:
            end = max(line)
            x, y = at(end, means[end])
            yield f'<text class="said" x="{x + 10:.1f}" y="{y + 4:.1f}">{safe_text(method)}</text>'
        yield "</g>"
