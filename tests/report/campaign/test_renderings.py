"""What every rendering says: all of it, in words where something is missing, and no name is ever markup."""

import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from otpilot.report.campaign import words
from otpilot.report.campaign.html import render_html
from otpilot.report.campaign.lineage import lineage_svg
from otpilot.report.campaign.markdown import append_round, render_markdown, render_update, write_markdown
from otpilot.report.campaign.strips import differences_svg, scores_svg
from otpilot.report.campaign.terminal import render
from otpilot.report.campaign.words import WORDS, said
from tests.report.campaign.builders import FRESH, broken, campaign, rates, renamed, trials, unmeasured

ATTACK = '<script>alert(1)</script>[red]`|\x1b[31m\n# "'
FOLDER = Path(words.__file__).parent
RESULTS = {"night": campaign, "unmeasured": unmeasured, "rates": rates}


class Texts(HTMLParser):
    """Collects the texts of the cells and definitions of a page."""

    def __init__(self):
        super().__init__()
        self.cells, self.inside = [], 0

    def handle_starttag(self, tag, attrs):
        if tag in ("td", "th", "dd", "code"):
            self.cells.append("")
            self.inside += 1

    def handle_endtag(self, tag):
        self.inside -= tag in ("td", "th", "dd", "code")

    def handle_data(self, data):
        if self.inside:
            self.cells[-1] += data


def terminal(result, lang="en", width=100):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(render(result, lang))
    return console.file.getvalue()


def everything(result, lang="en"):
    return {
        "terminal": terminal(result, lang),
        "markdown": render_markdown(result, lang=lang),
        "html": re.sub(r"<(style|script).*?</\1>", "", render_html(result, lang=lang), flags=re.DOTALL),
    }


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", RESULTS)
def test_nothing_is_a_dash_nor_a_none_nor_a_nan(name, lang):
    for kind, text in everything(RESULTS[name](), lang).items():
        found = re.findall(r"\bNone\b|\bnan\b|\{\w+\}|[|>:]\s*[-–—]\s*[|<\n]", text)
        assert not found, f"{kind}: {found}"
    page = Texts()
    page.feed(everything(RESULTS[name](), lang)["html"])
    empty = [cell for cell in page.cells if cell.strip() in ("-", "–", "—")]
    assert not empty
    assert page.cells


def test_a_night_is_told_everywhere():
    for text in everything(campaign()).values():
        flat = " ".join(text.split())
        for part in (
            "w8_reg0.24_from-base beside the baseline: better", "-7.0 %", "not accepted", "lambda0.2_from-x7k2",
            "loss is NaN at step 640", "Train it to the end.", "3.40 of 8 hours, 4.60 left", "27 trials (no limit)",
        ):  # fmt: skip
            assert part in flat, part


def test_the_whole_report_has_reasons_scores_and_decisions():
    for kind in ("markdown", "html"):
        text = everything(campaign())[kind].replace("\\", "")
        for part in (
            "the plan is dead: its mass is 1e-9", "the mass rises", "train/ot_pi_sum below 0.01", "seed 70001", "0.112",
            "sweep_tau: known already", "It still falls.", "10,000 steps", "report 004",
            "the sign of failure was not there", "differ by 9 % (standard deviation", "it could not be told",
        ):  # fmt: skip
            assert part in text, (kind, part)


def test_what_is_missing_is_said():
    text = terminal(unmeasured())
    assert "The noise is not known: The baseline is not yet measured." in " ".join(text.split())
    night = render_markdown(campaign(), lang="en")
    assert "0 common seeds have scores, two are needed (seed 0: invalid, seed 1: invalid, seed 2: invalid)" in night
    assert "invalid: loss is NaN at step 640" in night
    assert "No round has begun" in render_markdown(unmeasured(), lang="en")
    assert "This round is not finished." in render_html(rates())


def test_rates_are_percent_and_their_differences_points():
    text = " ".join(render_markdown(rates(), lang="en").split())
    assert "seed 0: 60.0 %" in text
    assert "+10.0 points (3 paired seeds; all differences equal, so the noise cannot be seen)" in text
    assert "5 points (standard deviation" in text


def test_a_hostile_name_stays_a_name():
    result = renamed(campaign(), ATTACK)
    page = render_html(result)
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") > 20
    text = render_markdown(result, lang="en")
    outside_code = re.sub(r"`[^`\n]*`", "", text)
    assert "<script>" not in outside_code
    assert not re.search(r'^# "', text, re.MULTILINE)
    printed = terminal(result)
    assert "\x1b" not in printed
    assert "[red]" in printed
    for draw in (lineage_svg, scores_svg, differences_svg):
        ElementTree.fromstring(draw(result, "en", standalone=True))


@pytest.mark.parametrize("name", RESULTS)
def test_drawings_are_xml_with_figures_in_them(name):
    result = RESULTS[name]()
    for draw in (lineage_svg, scores_svg, differences_svg):
        drawing = draw(result, "zh", standalone=True)
        assert drawing or name == "unmeasured"
        if drawing:
            root = ElementTree.fromstring(drawing)
            assert float(root.get("width")) > 100
            assert not re.search(r'="(nan|-?inf|None)', drawing)


def test_far_scores_do_not_squeeze_the_others():
    night = campaign()
    far = replace(night, trials=(*night.trials, *trials("energy_from-base", {0: 5e6}), *broken("x")))
    drawing = scores_svg(far, "en")
    assert "Marks beyond the edge, at the arrows: 1." in drawing
    near = [float(x) for x in re.findall(r'class="dot" cx="([\d.]+)"', drawing)]
    assert max(near) - min(near) > 200


def test_the_terminal_keeps_to_its_width():
    assert max(map(len, terminal(campaign(), width=100).splitlines())) <= 100
    assert max(map(len, terminal(renamed(campaign(), "x" * 150)).splitlines())) <= 100


def test_markdown_lies_with_its_drawings(tmp_path):
    path = tmp_path / "my report.md"
    write_markdown(campaign(), path)
    text = path.read_text()
    links = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert links == [f"my%20report_files/{name}.svg" for name in ("lineage", "scores", "differences")]
    for link in links:
        assert (tmp_path / link.replace("%20", " ")).is_file()
    write_markdown(campaign(), path)
    assert path.read_text() == text, "written again it is the same, not twice"


def test_a_round_is_appended_once_and_what_was_there_stays(tmp_path):
    path = tmp_path / "act_ot.md"
    before = "# ACT-OT\n\n老内容 \n"
    path.write_text(before, encoding="utf-8")
    assert append_round(campaign(), path, 1, lang="zh")
    assert append_round(campaign(), path, 2, lang="zh")
    assert not append_round(campaign(), path, 1, lang="zh")
    text = path.read_text(encoding="utf-8")
    assert text.startswith(before)
    assert text.count("\n---\n") == 2
    assert (
        len(re.findall(r"^## 实验记录更新（\d{4}-\d\d-\d\d \d\d:\d\d）overnight 第 [12] 轮$", text, re.MULTILINE)) == 2
    )
    other = replace(campaign(), folder="another night")
    assert append_round(other, path, 1, lang="zh"), "another campaign's round 1 is another"
    with pytest.raises(ValueError, match=r"Round 7 is not in the campaign; it has \[0, 1, 2\]"):
        render_update(campaign(), 7, lang="en")


def test_a_round_into_a_new_file(tmp_path):
    assert append_round(campaign(), tmp_path / "new.md", 1)
    text = (tmp_path / "new.md").read_text()
    assert "\n---\n" not in text
    assert re.search(r"^## overnight Round 1, Report Update \(\d{4}", text, re.MULTILINE)
    assert f"seed {FRESH[0]}" in text


def test_both_languages_have_the_same_fields():
    for key, (en, zh) in WORDS.items():
        assert set(re.findall(r"\{(\w+)", en)) == set(re.findall(r"\{(\w+)", zh)), key
        assert zh, key
        assert en, key


def test_every_word_is_used():
    code = "\n".join(path.read_text() for path in FOLDER.glob("*.py") if path.name != "words.py")
    spoken_by_value = {
        "baseline", "incumbent", "former", "rolled back", "rejected", "not confirmed", "not decided", "broken",
        "running", "health", "none", "score", "hours", "trials", "GPU-hours", "better", "worse",
        "not distinguishable", "confirmation", "promotion",
    }  # fmt: skip
    unused = [key for key in WORDS if key not in spoken_by_value and f'"{key}"' not in code and f"'{key}'" not in code]
    assert unused == []
    assert said("round", "zh", number=3) == "第 3 轮"
