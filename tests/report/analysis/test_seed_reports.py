"""Reports on data that reproduce the seeds' runs have the seeds' rows, figures to the printed digits, and layout.

The expected lines are those of tests/data/reports (origin in its README). Curves are built to have the printed
statistics: digits beyond the printed ones are searched for, so that differences and percentages come out, too.
"""

# ruff: noqa: E501 - scripts for the page and tables of figures

import calendar
import io
import time
from pathlib import Path

import numpy as np
import pytest

from otpilot.analysis.result import analyze
from otpilot.report.analysis import blocks
from otpilot.report.analysis.markdown import render_report, render_update
from otpilot.runs.history import Curve, RunHistory

REPORTS = Path(__file__).parents[2] / "data" / "reports"
WANDB = "https://wandb.ai/kjust-pinduoduo/lerobot/runs/"
METRICS = ("train/loss", "train/l1_loss", "eval/offline_eval/avg_l1", "train/ot_loss", "train/ot_pi_sum",
           "train/ot_pi_diag", "train/ot_cost/observation.state")  # fmt: skip
ENGLISH = {"训练总损失": "train/loss", "训练L1": "train/l1_loss", "离线评估L1": "eval/avg_l1", "OT损失": "ot_loss",
           "π总和": "ot_pi_sum", "π对角和": "ot_pi_diag", "OT cost(state)": "ot_cost(state)", "首=": "first=",
           "末=": "last=", "最优=": "best=", "配置：": "Config:", "结果：": "Metrics:"}  # fmt: skip


def lines_of(name):
    return (REPORTS / name).read_text(encoding="utf-8").rstrip("\n").splitlines()


def curve(name, values, every=50):
    steps = every * np.arange(1, len(values) + 1, dtype=np.int64)
    return Curve(name=name, steps=steps, values=np.asarray(values, dtype=np.float64))


def history(run_id, curves, *, name=None, config=None):
    return RunHistory(id=run_id, name=name or run_id, source="wandb", url=WANDB + run_id, config=config or {},
                      curves={one.name: one for one in curves})  # fmt: skip


def config_of(*, window, reg, tau, embed, label, lambda_ot, optimizer=None, scheduler=None):
    loss = {"reg": reg, "tau_src": tau, "tau_tgt": tau, "heuristic": True,
            "features": [{"name": "state", "weight_embed": embed, "weight_label": label}]}  # fmt: skip
    body = {"policy": {"type": "act"}, "ot": {"window_size": window, "lambda_ot": lambda_ot, "loss_config": loss}}
    return body | {"use_policy_training_preset": False, "optimizer": optimizer or {}, "scheduler": scheduler}


def with_endpoints(name, first, last, best, best_step, final, *, rest=""):
    """A curve whose endpoint figures print as the seeds' do."""
    first, last = hidden_digits(first, last, rest) if rest else (float(first), float(last))
    best = {float(f"{first:.4g}"): first, float(f"{last:.4g}"): last}.get(float(best), float(best))
    values = np.full(final // 50, max(first, last, best) * 1.5)
    values[0], values[-1], values[best_step // 50 - 1] = first, last, best
    return curve(name, values)


def hidden_digits(first, last, rest):
    """Two numbers that print as `first` and `last`, and whose change prints as `rest`."""
    spread = np.linspace(-0.5, 0.5, 61)[1:-1]
    for one in float(first) + spread * unit(first):
        for other in float(last) + spread * unit(last):
            delta = other - one
            fits = (f"{one:.4g}", f"{other:.4g}") == (first, last)
            if fits and f"Δ={delta:.4g} ({100 * delta / one:.2f}%)" == rest:
                return one, other
    raise AssertionError(f"no digits give {rest}")


def unit(text):
    return 10.0 ** (np.floor(np.log10(abs(float(text)))) - 3)


def endpoints(lines, final):
    """Curves from lines such as `- π总和: 首=0.1536, 末=0.03095, 最优=0.001345@150, Δ=-0.1226 (-79.85%)`."""
    curves = []
    for name, line in zip(METRICS, lines, strict=True):
        first, last, best, *rest = line.split(": ", 1)[1].split(", ")
        first, last, (best, step) = first.split("=")[1], last.split("=")[1], best.split("=")[1].split("@")
        if first != "nan":
            curves.append(with_endpoints(name, first, last, best, int(step), final, rest="".join(rest)))
    return curves


def tail_curve(name, mean, std=0.0, slope=0.0, jitter=0.0):
    """A curve of 1,000 points whose last 100 have the given mean, spread, slope and jitter."""
    rows = np.arange(100)
    basis, _ = np.linalg.qr(np.stack([np.ones(100), rows - 49.5, (-1.0) ** rows, np.cos(rows / 9.0)], axis=1))
    left = std**2 * 100 - (slope**2) * ((rows - 49.5) ** 2).sum()

    def made(angle):
        wave = np.sqrt(max(left, 0.0)) * (np.cos(angle) * basis[:, 2] + np.sin(angle) * basis[:, 3])
        return mean + slope * (rows - 49.5) + wave

    low, high = 0.0, np.pi / 2  # from all alternating (largest jitter) to all slow
    for _ in range(60):
        middle = (low + high) / 2
        tail = made(middle)
        low, high = (middle, high) if np.diff(tail).std() / abs(np.median(tail)) > jitter else (low, middle)
    return curve(name, np.append(np.full(900, 2 * mean), made((low + high) / 2)))


def generated(text):
    """Seconds since the epoch of a local time, and how to pretend that it is now."""
    return time.mktime(time.strptime(text, "%Y-%m-%d %H:%M"))


def at(analysis, text):
    import dataclasses

    return dataclasses.replace(analysis, generated=generated(text))


def contains(text, lines):
    block = "\n".join(lines)
    assert block in text, f"{block}\n--- is not in ---\n{text}"


def in_english(line):
    for zh, en in ENGLISH.items():
        line = line.replace(zh, en)
    return line


def test_r1_of_seed_report_003_in_chinese_and_english():
    expected = lines_of("r1.md")
    run = history("m55wsgj6", endpoints(expected[1:], 1050), name="R1")
    made = analyze([run])
    contains(render_report(made, lang="zh"), expected)
    contains(render_report(made, lang="en"), [in_english(line) for line in expected])


def test_the_dated_update_of_seed_report_003():
    expected = lines_of("r1_update.md")
    config = config_of(window=30, reg=2.0, tau=10.0, embed=1.0, label=0.0005, lambda_ot=0.1)
    run = history("m55wsgj6", endpoints(expected[7:], 1500), name="R1_latest", config=config)
    made = at(analyze([run]), "2025-12-24 07:47")
    assert render_update(made, lang="zh").splitlines()[: len(expected)] == expected


def test_the_english_update_with_a_metric_that_was_never_logged():
    expected = lines_of("english_update.md")
    config = config_of(window=20, reg=1.0, tau=5.0, embed=1 / 3, label=0.0, lambda_ot=0.1)
    run = history("8wdzd9cy", endpoints(expected[9:], 2850), name="act", config=config)
    made = at(analyze([run]), "2025-12-24 10:11")
    note = "Baseline 3-cam embedOnly (reg=1.0,tau=5,λ=0.1)"
    assert render_update(made, lang="en", note=note).splitlines()[: len(expected)] == expected


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_table_of_seed_report_002(lang):
    expected = lines_of("table.md")
    runs = []
    for line in expected[4:]:
        run_id, *figures = (cell.strip() for cell in line.strip("|").split("|"))
        mean, std, slope, jitter, ot_loss, l1 = map(float, figures)
        curves = [tail_curve("train/ot_cost/action_lbl", mean, std, slope, jitter),
                  tail_curve("train/ot_loss", ot_loss), tail_curve("eval/offline_eval/avg_l1", l1)]  # fmt: skip
        runs.append(history(run_id, curves))
    text = render_report(analyze(runs), lang=lang)
    contains(text, expected[2:])
    assert (expected[0] in text) == (lang == "en")
    for line in expected[4:]:
        assert f"- {line.split()[1]} · {line.split()[1]} · {WANDB}{line.split()[1]}" in text


def test_the_data_summary_of_seed_report_000():
    expected = lines_of("data_summary.md")
    rng = np.random.default_rng(0)
    others = rng.standard_normal(70).repeat(2)  # every value twice: at least half of the changes are 0
    mean = (142 * 0.01106 - 2 * 0.008028) / 140
    spread = np.sqrt((142 * (0.002039**2 + 0.01106**2) - 2 * 0.008028**2) / 140 - mean**2)
    cost = np.append(mean + spread * (others - others.mean()) / others.std(), [0.008028] * 2)
    loss = np.append(np.linspace(0.5, 0.7, 114), 0.6897 - 2.16e-6 * 1000 * (np.arange(28) - 27))
    loss[10] = 0.0343
    run = history(
        "ufiskzhp", [curve("train/ot_cost/action_lbl", cost, 1000), curve("eval/offline_eval/avg_loss", loss, 1000)]
    )
    contains("\n".join(blocks.summary_lines(analyze([run]).runs[0])), expected[1:])
    for lang in ("en", "zh"):
        contains(render_report(analyze([run]), lang=lang), expected)


def test_the_post_mortem_and_the_comparison_of_seed_report_002():
    expected = lines_of("postmortem.md")
    worse = history(
        "z851dpqu",
        [tail_curve("eval/offline_eval/avg_l1", 0.6379), tail_curve("train/ot_cost/action_lbl", 0.02185, 0.006, 0, 0.3865)],
        config=config_of(window=10, reg=0.1, tau=0.5, embed=0.0, label=0.02, lambda_ot=0.1,
                         optimizer={"lr": 2e-4, "weight_decay": 0.05, "grad_clip_norm": 1.0},
                         scheduler={"type": "cosine_decay_with_warmup"}),
    )  # fmt: skip
    base = history("4gb7zc4r", [tail_curve("eval/offline_eval/avg_l1", 0.3944)],
                   config=config_of(window=10, reg=0.1, tau=0.5, embed=0.0, label=0.02, lambda_ot=0.1,
                                    optimizer={"lr": 1e-5, "weight_decay": 1e-4, "grad_clip_norm": 10.0}))  # fmt: skip
    text = render_report(analyze([worse, base], baselines=["4gb7zc4r"]), lang="en")
    contains(text, expected[:3])
    contains(text, ["  - optimizer: lr=1e-05, wd=0.0001, clip=10, sched=None"])


def test_the_baseline_comparison_of_seed_report_002():
    expected = lines_of("postmortem.md")[3:]

    def run(run_id, last, best=None, at_step=None):
        values = np.full(20, 0.46)
        values[-1] = last
        if best is not None:
            values[at_step // 1000 - 1] = best
        return history(run_id, [curve("eval/offline_eval/avg_l1", values, 1000)])

    runs = [run("8dfuhytp", 0.4130, 0.3813, 4000), run("avj1u2ok", 0.3982, 0.3849, 5000)]
    bases = [run("4gb7zc4r", 0.3944), run("80h5t9k8", 0.4457)]
    text = render_report(analyze([*runs, *bases], baselines=["4gb7zc4r", "80h5t9k8"]), lang="en")
    contains(text, expected[:3])
    assert "Baseline Comparison: 8dfuhytp & avj1u2ok" in text
    alone = render_report(analyze([*runs, bases[0]], baselines=["4gb7zc4r"]), lang="en")
    contains(alone, expected[3:])
    assert "  - 8dfuhytp 最优 0.3813（优于 4gb7zc4r -3.3%），第 4000 步" in render_report(
        analyze([runs[0], bases[0]], baselines=["4gb7zc4r"]), lang="zh"
    )


def test_a_best_value_is_compared_with_the_baselines_best():
    """The least of many evaluations against one value makes any run look better; the last is named, with its number."""

    def run(run_id, best, last):
        return history(run_id, [curve("eval/offline_eval/avg_l1", [0.46] * 3 + [best] + [0.45] * 15 + [last], 1000)])

    runs = [run("8dfuhytp", 0.3813, 0.4130), run("4gb7zc4r", 0.3899, 0.3944)]
    found = analyze(runs, baselines=["4gb7zc4r"])
    assert (
        "  - 8dfuhytp best 0.3813 (better than 4gb7zc4r's best 0.3899 by -2.2%; its last 0.3944: -3.3%) at step ~4000"
        in render_report(found, lang="en")
    )
    assert "  - 8dfuhytp 最优 0.3813（优于 4gb7zc4r 的最优 0.3899 -2.2%；其末值 0.3944：-3.3%），第 4000 步" in (
        render_report(found, lang="zh")
    )
    same = render_report(analyze([runs[0], run("b", 0.3813, 0.4)], baselines=["b"]), lang="en")
    assert "best 0.3813 (the same as b; its last 0.4000: -4.7%) at step ~4000" in same


def test_times_are_local_in_headings_and_utc_in_the_head():
    made = at(analyze([history("a", [curve("train/loss", [1.0, 0.5])])]), "2025-12-24 07:47")
    stamp = next(line for line in render_report(made, lang="en").splitlines() if line.startswith("Generated: "))
    assert calendar.timegm(time.strptime(stamp, "Generated: %Y-%m-%dT%H:%M:%SZ")) == made.generated


def test_a_chinese_report_is_chinese():
    """Names of metrics, settings and statistics stay; headers, evidence and what readers note do not."""
    from rich.console import Console

    from otpilot.report.analysis.html import render_html
    from otpilot.report.analysis.terminal import render
    from otpilot.runs.sources.summary_json import SummaryFile

    summaries = [*SummaryFile(path=REPORTS.parent / "summaries" / "compare_runs_3.json").runs()]
    rates = [
        history(f"run{k}", [curve("sim/success_mean", [0.1, 0.4 + k / 100, 0.4 + k / 100]), curve("train/loss", [1.0] * 30)],
                config={"seed": k, "batch_size": 8} | ({"grad_accum_steps": 4} if k else {}))
        for k in range(2)
    ]  # fmt: skip
    first = analyze(summaries, baselines=["r1"])
    second = analyze(rates, baselines=["run0"])
    for found in (first, second):
        printed = io.StringIO()
        Console(width=160, file=printed).print(render(found, "zh"))
        for text in (
            render_report(found, lang="zh"),
            printed.getvalue(),
            render_html(found, lang="zh").split("<script")[0],
        ):
            body = text.split("<body", 1)[-1]
            for word in ("The source holds", "rests on", "end points", "success_mean vs", "成功率 mean", "(mean)", "(not set)",
                         ">seed<", " seed ", "vs 0", "hold no"):  # fmt: skip
                assert word not in body, (word, text[:80])
    assert "来源只有汇总数值，没有曲线。" in render_report(first, lang="zh")
    assert "判断所据=首末值" in render_report(first, lang="zh")
    assert "种子" in printed.getvalue()
