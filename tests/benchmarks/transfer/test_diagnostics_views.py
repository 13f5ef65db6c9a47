import json
from dataclasses import asdict

import pytest

from benchmarks.transfer.blocks import render_markdown
from benchmarks.transfer.diagnostics_views import ViewDiagnosis, diagnose_view, read_views, views_blocks
from benchmarks.transfer.training import Workplace


def diagnosis(suite, right):
    return ViewDiagnosis(
        suite=suite,
        date="2026-11-21T00:00:00+00:00",
        pose="turned by 3 degrees",
        apart={"pairs": 0.5, "left": 0.4, "right": 0.4},
        left={"pairs": 0.1, "left": 0.05, "right": right},
    )


def test_the_newest_line_of_each_suite_counts(tmp_path):
    found = [diagnosis("tabletop", 0.3), diagnosis("metaworld", 0.2), diagnosis("tabletop", 0.1)]
    (tmp_path / "views.jsonl").write_text("".join(json.dumps(asdict(one)) + "\n" for one in found))
    assert read_views(tmp_path) == [found[2], found[1]]
    assert read_views(tmp_path / "nowhere") == []


def test_the_table_says_before_and_after():
    page = render_markdown(list(views_blocks([diagnosis("tabletop", 0.1)])))
    assert "| tabletop | 0.500 to 0.100 | 0.400 to 0.050 | 0.400 to 0.100 | turned by 3 degrees |" in page
    assert list(views_blocks([])) == []


@pytest.mark.slow
def test_twins_come_nearer_on_either_side(tmp_path):
    found = diagnose_view("tabletop", Workplace(root=tmp_path), tmp_path / "found")
    for region in ("left", "right"):
        assert found.left[region] < 0.15 * found.apart[region]
    assert (tmp_path / "found" / "view_tabletop.png").stat().st_size > 1000
    assert read_views(tmp_path / "found") == [found]
