"""Terminal, Markdown and JSON: nothing breaks out of its place, nothing is lost, keys stay."""

# ruff: noqa: E501 - tables of names

import dataclasses
import io
import json
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from rich.console import Console

from otpilot.analysis.postmortem import postmortem
from otpilot.analysis.result import analyze
from otpilot.report.analysis.html import render_html
from otpilot.report.analysis.json import render_json
from otpilot.report.analysis.markdown import charts_of, render_report, render_update, write_markdown
from otpilot.report.analysis.rows import overview
from otpilot.report.analysis.terminal import render
from otpilot.runs.history import Curve, Event, RunHistory
from tests.report.analysis.builders import analysis, campaign, curve, finding, noisy, run

NAMES = (
    "<script>alert(1)</script>",
    "[red]x[/nonsense]",
    "a | b\n# c",
    "[x](javascript:alert(1))",
    "\x1b[31mred\x07",
    "`",
    "",
)
LANGS = ("en", "zh")


def printed(made, lang="en", width=100):
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(render(made, lang))
    return out.getvalue()


@pytest.mark.parametrize("lang", LANGS)
def test_the_terminal_shows_runs_findings_and_verdicts_within_100_columns(lang):
    text = printed(campaign(), lang)
    for part in ("run 0", "0.0004321", "steps 8,000 to 10,000", "report 004", "+5.0% [+1.0%, +9.0%]", "x30"):
        if lang == "en" or (part.isascii() and "steps" not in part):
            assert part in text
    # Chinese characters are two columns wide.
    wide = [
        len(line) + len(re.findall("[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]", line)) for line in text.splitlines()
    ]
    assert max(wide) <= 100


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lang", LANGS)
def test_a_name_stays_a_name(name, lang, tmp_path):
    hostile = run(name, [noisy("train/loss", 0), noisy(f"train/ot_cost/{name}", 1)], run_id=name or "-", url="javascript:alert(1)", reason=name, notes=(name,),
                  findings=(dataclasses.replace(finding(), metric=name),), settings={name: name},
                  events=(Event(step=1, kind=name, message=name),))  # fmt: skip
    made = analysis(hostile, run("other", [noisy("train/loss", 2)]), notes=(name,))
    text = printed(made, lang)
    assert "\x1b" not in text
    assert "\x07" not in text
    if name == "[red]x[/nonsense]":
        assert name in text
    for document in (render_report(made, lang=lang, note=name), render_update(made, lang=lang, note=name)):
        assert "<script" not in document
        assert "\n# c" not in document
        assert not re.search(r"(?<!\\)\]\(javascript", document)
        rows = [line for line in document.splitlines() if line.startswith("| ")]
        assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {8}
    for body in charts_of(made, lang).values():
        ET.fromstring(body)
    assert json.loads(render_json(made))["runs"][0]["name"] == name
    write_markdown(made, tmp_path / "r.md", lang=lang)


def test_huge_and_infinite_values_and_10_000_metrics_do_no_harm():
    steps = np.arange(1, 7, dtype=np.int64)
    values = np.array([1e308, -math.inf, math.nan, -1e308, 5e-324, 1.0])
    curves = {f"train/m{k}": Curve(name=f"train/m{k}", steps=steps, values=values) for k in range(10_000)}
    curves["train/loss"] = Curve(name="train/loss", steps=steps, values=values)
    curves["train/ot_pi_sum"] = Curve(name="train/ot_pi_sum", steps=steps, values=values)
    made = analyze([RunHistory(id="wild", name="wild", source="x", curves=curves)])
    assert "wild" in printed(made)
    assert "1e+308" in render_report(made, lang="en")
    assert "[NaN 1, inf 1]" in render_report(made, lang="zh")
    assert len(render_html(made)) < 2_000_000
    body = json.loads(render_json(made))
    assert body["runs"][0]["metrics"]["train/loss"]["endpoint"]["nan"] == 1
    assert "NaN" not in json.dumps(body["runs"][0]["metrics"]["train/loss"])


def test_json_has_its_documented_keys_and_no_bare_nan():
    made = campaign()
    body = json.loads(render_json(made), parse_constant=pytest.fail)
    assert list(body) == ["format", "version", "generated", "baselines", "notes", "runs", "comparisons", "postmortems",
                          "thresholds"]  # fmt: skip
    assert body["generated"] == "2025-12-24T10:11:00+00:00"
    assert list(body["runs"][1]) == ["id", "name", "source", "state", "reason", "url", "group", "tags", "is_baseline",
                                     "updated", "notes", "config", "settings", "shared", "events", "metrics", "findings"]  # fmt: skip
    assert list(body["runs"][1]["findings"][0]) == [
        "tag",
        "severity",
        "metric",
        "window",
        "evidence",
        "thresholds",
        "text",
    ]
    assert body["runs"][1]["findings"][0]["window"] == [8000, 10000]
    assert list(body["runs"][1]["metrics"]["train/loss"]) == ["endpoint", "stability", "tail"]
    assert body["comparisons"][0]["verdict"]["word"] == "worse"
    assert body["postmortems"][0]["test"] == {"key": "policy.optimizer_lr", "value": 1e-05, "instead_of": 0.0003}
    odd = analysis(run("r", [], findings=(dataclasses.replace(finding(), evidence={"x": math.inf, "y": math.nan}),)))
    assert json.loads(render_json(odd))["runs"][0]["findings"][0]["evidence"] == {"x": "Infinity", "y": "NaN"}


def test_markdown_counts_what_is_not_finite_and_prints_nan_for_what_is_missing():
    text = render_report(analysis(run("r", [curve("train/loss", [2.0, math.nan, 1.0, math.inf])])), lang="en")
    assert "- train/loss: first=2, last=1, best=1@150 [NaN 1, inf 1], Δ=-1 (-50.00%)" in text
    assert "- ot_loss: first=nan, last=nan, best=nan@None" in text


def test_a_diffusion_policy_is_reported_by_its_evaluation_loss():
    made = analysis(run("r", [curve("eval/offline_eval/avg_loss", [0.6, 0.3])]))
    text = render_report(made, lang="zh")
    assert "- 离线评估损失: 首=0.6, 末=0.3, 最优=0.3@100, Δ=-0.3 (-50.00%)" in text
    assert "离线评估L1" not in text
    assert "eval_loss last_mean" in text


def test_closed_loop_success_comes_last_in_the_block_and_its_best_is_the_highest():
    made = analysis(
        run("r", [curve("sim/success_ood", [0.1, 0.5, 0.3]), curve("sim/success_ood_low", [0.0, 0.3, 0.1])])
    )
    assert "- success(ood): first=0.1, last=0.3, best=0.5@100, Δ=0.2 (200.00%)" in render_report(made, lang="en")


def test_both_languages_have_the_same_layout():
    made = campaign()
    shapes = []
    for lang in LANGS:
        lines = render_report(made, lang=lang).splitlines()
        shapes.append([re.match(r"\s*(#+|- |\||\d+\. |\*\*)?", line).group() for line in lines])
    assert shapes[0] == shapes[1]


def test_charts_are_named_by_their_date_so_that_updates_keep_theirs(tmp_path):
    made = campaign(2)
    write_markdown(made, tmp_path / "r.md")
    write_markdown(dataclasses.replace(made, generated=made.generated + 86400), tmp_path / "r.md", append=True)
    stamps = {re.match(r"\d+-\d+", path.name).group() for path in (tmp_path / "r_files").iterdir()}
    assert len(stamps) == 2
    text = (tmp_path / "r.md").read_text()
    for link in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (tmp_path / link).exists()


def test_metrics_whose_names_differ_in_odd_letters_only_have_charts_of_their_own(tmp_path):
    made = analysis(run("r", [curve("sim/success_左", [0.1, 0.5]), curve("sim/success_右", [0.9, 0.8])]))
    write_markdown(made, tmp_path / "r.md")
    links = dict(re.findall(r"!\[(.*?)\]\((.*?)\)", (tmp_path / "r.md").read_text()))
    assert len(set(links.values())) == len(links) == 2
    for name, link in links.items():
        assert name.replace("\\", "") in (tmp_path / link).read_text()


def test_the_mean_success_is_the_first_of_the_overview_whatever_the_order_of_the_log():
    cells = [curve(f"sim/success_{cell}", [0.1, 0.5]) for cell in ("a", "b", "c", "d", "mean")]
    shown = [row.names[0] for row in overview(analysis(run("r", cells)))]
    assert shown[:3] == ["sim/success_mean", "sim/success_a", "sim/success_b"]


def summaries(configs):
    figures = {"r3": (0.3851, 650), "r1": (0.3429, 1250)}
    return [
        RunHistory(
            id=name,
            name=name,
            source="s.json",
            config=configs,
            summary={"eval/offline_eval/avg_l1": {"first": 0.9, "last": last, "best": last, "best_step": step}},
        )
        for name, (last, step) in figures.items()
    ]


@pytest.mark.parametrize("lang", LANGS)
def test_a_post_mortem_without_configs_promises_no_causes(lang):
    worse, better = summaries({})
    made = dataclasses.replace(analyze([worse, better], baselines=["r1"]), postmortems=(postmortem(worse, better),))
    for text in (printed(made, lang), render_report(made, lang=lang), render_html(made, lang=lang)):
        assert "Regression Root Causes" not in text
        assert "性能回退原因" not in text
        assert {"en": "configs were not recorded", "zh": "未记录配置"}[lang] in " ".join(text.split())


def test_figures_without_curves_show_the_steps_that_are_known():
    text = printed(analyze(summaries({}), baselines=["r1"]))
    assert re.search(r"r3 .*≥ 650 ", text)
    assert "@ 650 vs 1,250" in text


def test_the_table_of_runs_keeps_names_and_tags_in_80_columns():
    cells = [f"sim/success_far_left_rotated_{number}" for number in range(4)]
    runs = [
        run(f"a-run-with-a-long-name_w8_reg0.24_from-x7k{place}", [curve(name, [0.5, 0.6, 0.55]) for name in (*cells, "train/loss")],
            findings=(finding("underfitting_after_optimiser_change"),))
        for place in range(2)
    ]  # fmt: skip
    made = analysis(*runs)
    lines = printed(made, width=80).splitlines()
    head = next(line for line in lines if line.strip().startswith("run "))
    assert re.search(r"state +steps +rotated_0 +tag", head)
    assert head.rstrip().endswith("tag")
    text = "".join(line[:26].strip() for line in lines[: len(lines) // 2])
    assert "a-run-with-a-long-name_w8_reg0.24_from-x7k0" in text
    tags = "\n".join(lines[: lines.index("a-run-with-a-long-name_w8_reg0.24_from-x7k0")])
    assert tags.count("underfitting after") == tags.count("change ") == 2
    assert max(map(len, lines)) <= 80
    assert printed(made, width=200).count("far_left") >= 3
