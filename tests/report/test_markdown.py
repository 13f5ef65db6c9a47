import re
from urllib.parse import unquote

import pytest

from otpilot.report.markdown import escape_markdown, render_markdown, write_markdown


def test_table_has_a_row_per_method_and_a_column_per_cell(report):
    rows = [line for line in render_markdown(report, picture_folder="f").splitlines() if line.startswith("|")]
    assert rows == [
        "| method | source | target ood |",
        "|---|---|---|",
        "| co-training | 0.92 (0.85 to 0.96), n = 100 | 0.00 (0.00 to 0.07), n = 50 |",
        r"| pipe \| &lt;script&gt;alert(1)&lt;/script&gt; | 0.92 (0.85 to 0.96), n = 100 | not evaluated |",
    ]


def test_every_link_leads_to_a_written_file(report, tmp_path):
    write_markdown(report, tmp_path / "my report.md")
    text = (tmp_path / "my report.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)]*)\)", text)
    files = [tmp_path / unquote(link) for link in links]
    assert [file.suffix for file in files] == [".svg"] * 3 + [".png"] * 2
    assert {*files} == {*(tmp_path / "my report_files").iterdir()}
    assert [file.read_bytes() for file in files[3:]] == [picture.png for picture in report.pictures]


def test_no_raw_html_or_stray_heading(report):
    text = render_markdown(report, picture_folder="f")
    assert "<" not in text
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert headings == ["## Success", "## Findings", "## Curves", "## Pictures"]
    assert r"- \# not a heading nor two lines" in text.splitlines()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("target_ood", "target_ood"),
        ("_slanted_", r"\_slanted\_"),
        ("1. first", r"1\. first"),
        ("- item", r"\- item"),
        (r"back\slash", r"back\\slash"),
        ("a\n\nb", "a b"),
        ("R&D <b>", "R&amp;D &lt;b&gt;"),
        ("[x](y)", r"\[x\](y)"),
    ],
)
def test_escape(text, expected):
    assert escape_markdown(text) == expected
