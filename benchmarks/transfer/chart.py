"""Success on one question as a drawing: a strip per method with its seeds, mean and interval."""

from collections.abc import Iterator, Sequence

from benchmarks.transfer.tables import Row, Section
from otpilot.report.campaign.drawing import picture, text_width
from otpilot.report.svg import safe_text

PLOT, ROW, TOP, GAP, SIDE = 380, 26, 46, 34, 14
OURS = "ot"


def chart(sections: Sequence[Section], *, cell: str, standalone: bool) -> str:
    """Return an SVG with one panel per section, its methods ordered by mean success in `cell`."""
    panels = [(section, _ordered(section, cell)) for section in sections if section.plain()]
    names = [row.recipe.label for _, rows in panels for row in rows]
    left = SIDE + max((text_width(name) * 1.06 for name in names), default=60.0) + 12
    body: list[str] = []
    top = 8.0
    for section, rows in panels:
        body += _panel(section, rows, cell, left=left, top=top)
        top += TOP + ROW * len(rows) + GAP
    label = f"Success on {cell.replace('_', ' ')} by method, with 95 % intervals"
    return picture(body, width=left + PLOT + 120, height=top, label=label, standalone=standalone)


def _ordered(section: Section, cell: str) -> list[Row]:
    return sorted(section.plain(), key=lambda row: -row.estimate(cell).mean)


def _panel(section: Section, rows: Sequence[Row], cell: str, *, left: float, top: float) -> Iterator[str]:
    words = f"{section.suite}, {section.policy}, {section.steps} steps: success on {cell.replace('_', ' ')}"
    yield f'<text class="run" x="{SIDE}" y="{top + 14:.1f}">{safe_text(words)}</text>'
    bottom = top + TOP + ROW * len(rows) - 8
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = left + PLOT * tick
        yield f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top + TOP - 14:.1f}" y2="{bottom:.1f}"/>'
        yield f'<text x="{x:.1f}" y="{top + TOP - 19:.1f}" text-anchor="middle">{tick:g}</text>'
    for place, row in enumerate(rows):
        yield from _strip(row, cell, left=left, y=top + TOP + ROW * place + 6)


def _strip(row: Row, cell: str, *, left: float, y: float) -> Iterator[str]:
    found = row.estimate(cell)
    low, high, mean = (left + PLOT * value for value in (found.low, found.high, found.mean))
    tone = "better" if row.recipe.method == OURS else "neutral"
    yield f'<g class="{tone}">'
    name = safe_text(row.recipe.label)
    yield f'<text class="run" x="{left - 10:.1f}" y="{y + 4:.1f}" text-anchor="end">{name}</text>'
    yield f'<line class="interval" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    for record in row.records.values():
        yield f'<circle class="hollow" cx="{left + PLOT * record.rate(cell).rate:.1f}" cy="{y:.1f}" r="3"/>'
    yield f'<line class="mean" x1="{mean:.1f}" x2="{mean:.1f}" y1="{y - 7:.1f}" y2="{y + 7:.1f}"/>'
    seeds = f"{found.seeds} seed{'s' if found.seeds > 1 else ''}"
    yield f'<text x="{left + PLOT + 12:.1f}" y="{y + 4:.1f}">{found.mean:.2f} ({seeds})</text></g>'
