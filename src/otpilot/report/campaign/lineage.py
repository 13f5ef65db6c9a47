"""The lineage of a campaign as an SVG tree, left to right: configs in boxes, their edits on the lines."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from otpilot.report.analysis.words import Lang
from otpilot.report.campaign import told
from otpilot.report.campaign.drawing import cut, picture, text_width
from otpilot.report.campaign.result import CampaignResult, Edge, Node
from otpilot.report.campaign.words import said
from otpilot.report.svg import safe_text

BOX, HIGH, LINE = 204, 44, 15
LONGEST_NAME, LONGEST_EDIT = 24, 40
GAP_LEAST, GAP_MOST = 110, 310
MONOSPACED = 1.07  # characters of edits beside those of other texts
MOST_EDITS = 3


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A node with the upper left corner of its box, and the line that leads to it (None for a root)."""

    node: Node
    edge: Edge | None
    x: float
    y: float


def lineage_svg(result: CampaignResult, lang: Lang, *, standalone: bool = False) -> str:
    """Return the tree; `standalone` gives it colours and namespace of its own, as a file needs."""
    if not result.nodes:
        return ""
    gap = _gap(result.edges)
    placed, height = place(result.nodes, result.edges, gap=gap)
    width = max(one.x for one in placed) + BOX + 2
    by_name = {one.node.name: one for one in placed}
    body: list[str] = []
    for one in placed:
        if one.edge is not None:
            body += _line(by_name[one.edge.parent], one)
    for one in placed:
        body += _box(one, result, lang)
    return picture(body, width=width, height=height, label=said("lineage", lang), standalone=standalone)


def place(nodes: Sequence[Node], edges: Sequence[Edge], *, gap: float) -> tuple[list[Placed], float]:
    """Return every node in its place, and the height of all: children right of their parent, leaves one below another.

    A node whose parent is not there, or that would be its own ancestor, is a root.
    """
    names = {node.name: node for node in nodes}
    order = {name: number for number, name in enumerate(names)}
    into: dict[str, Edge] = {}
    for edge in edges:
        # Parents come before their children, so no circle can close.
        if edge.child in names and edge.parent in names and order[edge.parent] < order[edge.child]:
            into.setdefault(edge.child, edge)
    children: dict[str, list[str]] = {name: [] for name in names}
    for name, edge in into.items():
        children[edge.parent].append(name)
    depth, below = _depths(names, into), 2.0
    top: dict[str, float] = {}
    for name in _leaves_first(names, children):
        if children[name]:
            top[name] = (top[children[name][0]] + top[children[name][-1]]) / 2
        else:
            top[name] = below
            below += _row_height(into.get(name))
    placed = [
        Placed(node=node, edge=into.get(name), x=2 + depth[name] * (BOX + gap), y=top[name])
        for name, node in names.items()
    ]
    return placed, max([below, *(one.y + HIGH + 4 for one in placed)])


def _row_height(edge: Edge | None) -> float:
    beneath = 0 if edge is None else min(len(edge.edits), MOST_EDITS + 1) - 1
    return max(HIGH + 16, HIGH / 2 + beneath * LINE + 24)


def _depths(names: Mapping[str, Node], into: Mapping[str, Edge]) -> dict[str, int]:
    depth: dict[str, int] = {}
    for name in names:  # parents first
        depth[name] = depth[into[name].parent] + 1 if name in into else 0
    return depth


def _leaves_first(names: Mapping[str, Node], children: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield every name after its children, the subtrees in order; without recursion, for lines of any length."""
    inner = {child for kids in children.values() for child in kids}
    waiting = [(name, False) for name in reversed(list(names)) if name not in inner]
    while waiting:
        name, done = waiting.pop()
        if done:
            yield name
            continue
        waiting.append((name, True))
        waiting += [(child, False) for child in reversed(children[name])]


def _gap(edges: Sequence[Edge]) -> float:
    widest = max((text_width(brief(edit)) for edge in edges for edit in edge.edits[:MOST_EDITS]), default=0.0)
    return min(max(MONOSPACED * widest + 40, GAP_LEAST), GAP_MOST)


def brief(edit: str) -> str:
    """Return an edit for a line: of a long path its last part, which tells it apart; the whole is in the tool tip."""
    path, space, rest = edit.partition(" ")
    if path.count(".") > 1:
        path = path.rpartition(".")[2]
    return cut(f"{path}{space}{rest}", LONGEST_EDIT)


def _line(parent: Placed, child: Placed) -> Iterator[str]:
    x0, y0, x1, y1 = parent.x + BOX, parent.y + HIGH / 2, child.x, child.y + HIGH / 2
    bend = x0 + 16
    path = f"M{x0:.1f} {y0:.1f} H{bend:.1f} V{y1:.1f} H{x1 - 1:.1f}"
    yield f'<path class="link {child.node.standing.replace(" ", "-")}" d="{path}"/>'
    edge = child.edge
    if edge is None:
        return
    yield f"<g><title>{safe_text(f'{edge.rule}: ' if edge.rule else '')}{safe_text('; '.join(edge.edits))}</title>"
    shown = [brief(edit) for edit in edge.edits[:MOST_EDITS]]
    if len(edge.edits) > MOST_EDITS:
        shown.append(f"+ {len(edge.edits) - MOST_EDITS}")
    for number, edit in enumerate(shown):
        y = y1 - 5 if number == 0 else y1 + 1 + number * LINE - 2
        yield f'<text class="edit" x="{bend + 8:.1f}" y="{y:.1f}">{safe_text(edit)}</text>'
    yield "</g>"


def _box(one: Placed, result: CampaignResult, lang: Lang) -> Iterator[str]:
    node = one.node
    level = told.score(node.score, rate=result.is_rate) if node.score is not None else ""
    second = " · ".join(part for part in (level, said(node.standing, lang)) if part)
    more = [node.name, second, node.why, *node.problems]
    kind = f"node {node.standing.replace(' ', '-')}"
    yield f'<g class="{kind}"><title>{safe_text(chr(10).join(part for part in more if part))}</title>'
    yield f'<rect x="{one.x:.1f}" y="{one.y:.1f}" width="{BOX}" height="{HIGH}" rx="8"/>'
    x, name = one.x + 12, safe_text(cut(node.name, LONGEST_NAME))
    yield f'<text class="run" x="{x:.1f}" y="{one.y + 18:.1f}">{name}</text>'
    yield f'<text class="standing" x="{x:.1f}" y="{one.y + 34:.1f}">{safe_text(cut(second, 31))}</text></g>'
