"""The tree: no boxes overlap, children lie right of their parents, circles and lost parents are survived."""

import re

from hypothesis import given
from hypothesis import strategies as st

from otpilot.report.campaign.lineage import BOX, HIGH, brief, lineage_svg, place
from otpilot.report.campaign.result import Edge, Node
from tests.report.campaign.builders import campaign


def node(number):
    return Node(name=str(number), standing="rejected", round=number)


@given(st.lists(st.integers(0, 10**6), max_size=40), st.integers(0, 6))
def test_boxes_never_overlap(draws, edits):
    nodes = [node(number) for number in range(len(draws) + 1)]
    edges = [
        Edge(parent=str(draw % child), child=str(child), edits=("a = 1",) * edits)
        for child, draw in enumerate(draws, start=1)
    ]
    placed, height = place(nodes, edges, gap=120)
    assert {one.node.name for one in placed} == {one.name for one in nodes}
    for at, one in enumerate(placed):
        assert 0 <= one.y <= height - HIGH
        for other in placed[at + 1 :]:
            assert abs(one.x - other.x) >= BOX or abs(one.y - other.y) >= HIGH, (one, other)
    where = {one.node.name: one for one in placed}
    for edge in edges:
        assert where[edge.child].x >= where[edge.parent].x + BOX


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=20))
def test_any_edges_give_every_node_a_place(pairs):
    nodes = [node(number) for number in range(6)]  # some edges lead to nodes that are not there, or in circles
    edges = [Edge(parent=str(parent), child=str(child), edits=()) for parent, child in pairs]
    placed, _ = place(nodes, edges, gap=100)
    assert len(placed) == 6


def test_a_line_of_a_thousand_incumbents_has_a_place():
    nodes = [node(number) for number in range(1000)]
    edges = [Edge(parent=str(number - 1), child=str(number), edits=()) for number in range(1, 1000)]
    placed, _ = place(nodes, edges, gap=100)
    assert placed[-1].x > placed[0].x


def test_edits_are_on_the_lines_and_whole_in_the_tool_tip():
    drawing = lineage_svg(campaign(), "en")
    assert re.search(r'class="edit"[^>]*>reg \*= 2.0</text>', drawing)
    assert "<title>a: ot.loss_config.reg *= 2.0</title>" in drawing
    assert re.search(r'class="edit"[^>]*>ot.warmup_steps = 500</text>', drawing)
    assert "0.0949 · incumbent" in drawing


def test_long_paths_are_told_by_their_end():
    assert brief("ot.loss_config.features.*.weight_label *= 2.0") == "weight_label *= 2.0"
    assert brief("ot.lambda_ot = 0.2") == "ot.lambda_ot = 0.2"
    assert len(brief("ot.a.b = " + "9" * 100)) == 40
