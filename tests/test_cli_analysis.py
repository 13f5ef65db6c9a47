"""analyze, compare, postmortem and watch as users meet them: on run folders, with files written and errors made."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from otpilot import cli
from otpilot.commands import analysis as commands
from otpilot.runs.record import MetricRecord

HEAVY = ("torch", "lerobot", "wandb", "matplotlib", "numba", "scipy", "pandas")


def make(root, name, *, seed=0, level=0.35, lr=1e-5, steps=2000):
    """A run folder with a config, 100 train lines, 10 evaluations and an outcome."""
    folder = root / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    config = {
        "seed": seed, "steps": steps, "policy": {"type": "act"}, "use_policy_training_preset": False,
        "optimizer": {"type": "adamw", "lr": lr, "weight_decay": 1e-4, "grad_clip_norm": 10.0},
        "ot": {"window_size": 10, "lambda_ot": 0.1, "loss_config": {"reg": 0.1, "tau_src": 0.5, "tau_tgt": 0.5}},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    start = time.time() - 3600
    lines = []
    for step in range(steps // 100, steps + 1, steps // 100):
        fall = np.exp(-step / 300)
        values = {"loss": 1 + 14 * fall, "l1_loss": 0.2 + 0.3 * fall, "ot_pi_sum": 0.2, "ot_loss": 0.1 * fall}
        noisy = {key: float(value * np.exp(0.02 * rng.standard_normal())) for key, value in values.items()}
        lines.append(MetricRecord(step=step, time=start + step, kind="train", values=noisy))
        if step % (steps // 10) == 0:
            held_out = {"offline_eval/avg_l1": float((level + 0.3 * fall) * np.exp(0.005 * rng.standard_normal()))}
            lines.append(MetricRecord(step=step, time=start + step, kind="eval", values=held_out))
    (folder / "metrics.jsonl").write_text("".join(line.to_line() + "\n" for line in lines))
    outcome = {"status": "finished", "reason": "all steps done", "last_step": steps}
    (folder / "outcome.json").write_text(json.dumps(outcome))
    return folder


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    """A folder with three seeds of a baseline, a run with a higher learning rate, and a run with a hostile name."""
    root = tmp_path_factory.mktemp("campaign")
    for seed in range(3):
        make(root, f"base/s{seed}", seed=seed, level=0.35 + 0.002 * seed)
        make(root, f"better/s{seed}", seed=seed, level=0.25 + 0.002 * seed)
    make(root, "fast", lr=3e-4, level=0.6)
    make(root, "[red]x[bold]", level=0.36)
    return root


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; return exit code, stdout, stderr."""

    def call(*words, width=100):
        monkeypatch.setattr(sys, "argv", ["otpilot", *map(str, words)])
        for module in (cli, commands):
            monkeypatch.setattr(module, "console", cli.Console(highlight=False, width=width))
        monkeypatch.setattr(cli, "errors", cli.Console(stderr=True, highlight=False, width=200))
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return call


def test_help_imports_nothing_heavy():
    program = (
        "import sys\nfrom otpilot.cli import app\n"
        "for command in ('analyze', 'compare', 'postmortem', 'watch'):\n"
        "    try:\n        app([command, '--help'])\n"
        "    except SystemExit as end:\n        assert not end.code, end.code\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("HEAVY []\n")


def test_the_commands_import_neither_torch_nor_lerobot(campaign, tmp_path):
    program = (
        "import sys\nfrom otpilot.cli import app\n"
        f"root, out = {str(campaign)!r}, {str(tmp_path)!r}\n"
        "calls = [\n"
        "    ['analyze', root, '--baseline', 'base/s0', '--md', out + '/a.md', '--html', out + '/a.html',\n"
        "     '--json', out + '/a.json'],\n"
        "    ['compare', root + '/better', root + '/base'],\n"
        "    ['postmortem', root + '/fast', '--baseline', root + '/base/s0'],\n"
        "    ['watch', root, '--once'],\n"
        "]\n"
        "for call in calls:\n"
        "    try:\n        app(call)\n"
        "    except SystemExit as end:\n        assert not end.code, (call, end.code)\n"
        "print('HEAVY', [name for name in ('torch', 'lerobot', 'wandb') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert answer.stdout.endswith("HEAVY []\n")


def test_analyze_prints_and_writes_all_three_forms(run, campaign, tmp_path):
    files = {kind: tmp_path / f"report.{kind}" for kind in ("md", "html", "json")}
    words = [word for kind, path in files.items() for word in (f"--{kind}", path)]
    code, out, _ = run("analyze", campaign, "--baseline", "base/s0", "--baseline", "base/s1", *words)
    assert code == 0
    assert max(map(len, out.split("Markdown ->")[0].splitlines())) <= 100
    assert "[red]x[bold]" in out
    assert "underfitting after an" in out
    assert "baseline" in out
    body = json.loads(files["json"].read_text())
    assert (body["format"], body["version"]) == ("otpilot.analysis", 1)
    assert body["baselines"] == ["base/s0", "base/s1"]
    assert len(body["runs"]) == 8
    fast = next(one for one in body["runs"] if one["id"] == "fast")
    assert fast["metrics"]["eval/offline_eval/avg_l1"]["endpoint"]["last_step"] == 2000
    assert fast["config"]["lr"] == 3e-4
    worst = fast["findings"][0]
    assert worst["thresholds"][0].keys() == {"name", "value", "origin"}
    assert worst["text"]["zh"] != worst["text"]["en"]
    assert body["postmortems"][0]["test"]["key"].endswith("lr")
    text = files["md"].read_text()
    assert text.startswith("# ACT-OT Report\n")
    links = [line.split("(")[-1].rstrip(")") for line in text.splitlines() if line.startswith("![")]
    assert len(links) == 5
    assert all((tmp_path / link).read_text().startswith("<svg") for link in links)
    assert "<!doctype html>" in files["html"].read_text()


def test_append_keeps_the_old_text_and_may_be_repeated(run, campaign, tmp_path):
    report = tmp_path / "act_ot.md"
    report.write_text("# 我的报告\n\nwritten by hand\n")
    for _ in range(2):
        code, _, error = run("analyze", campaign / "fast", "--md", report, "--append", "--lang", "zh")
        assert (code, error) == (0, "")
    text = report.read_text()
    assert text.startswith("# 我的报告\n\nwritten by hand\n\n\n\n---\n\n## 实验记录更新（")
    assert text.count("## 实验记录更新（") == 2
    assert text.count("### fast  act") == 2


def test_append_to_a_file_that_is_not_there_writes_a_whole_report(run, campaign, tmp_path):
    code, _, _ = run("analyze", campaign / "fast", "--md", tmp_path / "new.md", "--append")
    assert code == 0
    assert (tmp_path / "new.md").read_text().startswith("# ACT-OT Report\n")


def test_compare_pairs_seeds_and_gives_a_verdict(run, campaign):
    code, out, _ = run("compare", campaign / "better", campaign / "base")
    assert code == 0
    assert "eval/offline_eval/avg_l1: better" in out
    assert "3 seeds paired" in out
    code, out, _ = run("compare", campaign / "base" / "s0", campaign / "base" / "s1", "--lang", "zh", "--noise", 0.12)
    assert code == 0
    assert "无法区分" in out


def test_compare_and_analyze_tell_runs_of_one_name_apart(run, campaign):
    code, out, _ = run("compare", campaign / "base" / "s0", campaign / "better" / "s0")
    assert code == 0
    assert "s0#2" in out


def test_postmortem_names_the_single_change(run, campaign):
    code, out, _ = run("postmortem", campaign / "fast", "--baseline", campaign / "base" / "s0")
    assert code == 0
    assert "optimizer.lr" in out
    assert "x30" in out
    assert "change nothing else" in out
    code, again, _ = run("postmortem", "fast", "--baseline", "base/s0", "--among", campaign)
    assert code == 0
    assert "change nothing else" in again


def test_a_verdict_that_one_seed_cannot_give_names_both_ways_to_one(run, campaign):
    for lang in ("en", "zh"):
        words = ["postmortem", campaign / "fast", "--baseline", campaign / "base" / "s0", "--lang", lang]
        code, out, _ = run(*words)
        assert code == 0
        assert "--noise 0.12" in " ".join(out.split())
        code, out, _ = run(*words, "--noise", 0.12)
        assert code == 0
        assert {"en": "avg_l1: worse", "zh": "avg_l1: 更差"}[lang] in out


def test_watch_once_prints_the_table(run, campaign):
    code, out, _ = run("watch", campaign, "--once")
    assert code == 0
    assert "2,000/2,000" in out
    assert "[red]x[bold]" in out
    assert "0 running, 8 runs below" in out


BAD = {
    "no such source": (["analyze", "{root}/bse"], "Did you mean 'base'"),
    "empty folder": (["analyze", "{tmp}"], "holds no run"),
    "unknown baseline": (["analyze", "{root}", "--baseline", "base/s9"], "Did you mean 'base/s"),
    "file exists": (["analyze", "{root}/fast", "--json", "{tmp}/there.json"], "exists already"),
    "md exists": (["analyze", "{root}/fast", "--md", "{tmp}/there.json"], "--append"),
    "no folder": (["analyze", "{root}/fast", "--html", "{tmp}/no/page.html"], "There is no folder"),
    "a folder": (["analyze", "{root}/fast", "--html", "{tmp}"], "is a folder"),
    "one file twice": (["analyze", "{root}/fast", "--html", "{tmp}/x", "--json", "{tmp}/x"], "same file"),
    "append to what": (["analyze", "{root}/fast", "--append"], "name it with --md"),
    "unknown limit": (["analyze", "{root}/fast", "--thresholds", "{tmp}/limits.toml"], "Did you mean 'mass_low'"),
    "two runs": (["postmortem", "{root}/base", "--baseline", "{root}/fast"], "holds 3 runs"),
    "the same run": (["postmortem", "fast", "--baseline", "fast", "--among", "{root}"], "the same run"),
    "no such run": (["postmortem", "fest", "--baseline", "base/s0", "--among", "{root}"], "Did you mean 'fast'"),
    "watch nowhere": (["watch", "{root}/fats", "--once"], "Did you mean 'fast'"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_told_in_one_line_and_leave_nothing(run, campaign, tmp_path, case):
    (tmp_path / "there.json").write_text("mine")
    (tmp_path / "limits.toml").write_text("mass_lo = 0.1\n")
    words, expected = BAD[case]
    code, _, error = run(*[word.format(root=campaign, tmp=tmp_path) for word in words])
    assert code == 2
    assert error.startswith("Error: ")
    assert expected in " ".join(error.split())
    assert ",," not in error
    assert (tmp_path / "there.json").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["limits.toml", "there.json"]


@pytest.fixture
def without_a_key(monkeypatch, tmp_path):
    """No key, no server, and nothing in the cache."""
    for name in ("WANDB_API_KEY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("OTPILOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")


SUMMARIES = Path(__file__).parent / "data" / "summaries" / "compare_runs_3.json"


@pytest.mark.usefixtures("without_a_key")
def test_what_lies_here_is_analysed_where_wandb_cannot_be_asked(run, campaign, tmp_path):
    """Report 004: where the network or the key fails, the analysis falls back on local compare_runs*.json."""
    for place, sources in enumerate((("wandb:E/P", SUMMARIES), (SUMMARIES, "wandb:E/P"))):
        report = tmp_path / f"{place}.md"
        code, out, error = run("analyze", *sources, "--md", report)
        assert (code, error) == (0, "")
        for text in (out, report.read_text()):
            assert "could not be asked for E/P" in " ".join(text.split())
            assert "r1" in text
    code, out, error = run("analyze", campaign / "fast", "--baseline", "wandb:E/P")
    assert (code, error) == (0, "")


@pytest.mark.usefixtures("without_a_key")
def test_where_only_wandb_was_named_the_error_says_what_can_be_given(run, campaign):
    code, _, error = run("analyze", "wandb:E/P")
    assert code == 2
    told = " ".join(error.split())
    assert all(word in told for word in ("WANDB_API_KEY", "compare_runs*.json", "CSV", "offline folder", "run folders"))
    assert run("compare", campaign / "fast", "wandb:E/P")[0] == 2
    assert run("compare", "wandb:E/P", campaign / "fast")[0] == 2
    assert run("postmortem", campaign / "fast", "--baseline", "wandb:E/P")[0] == 2


def test_overwrite_writes_over_a_report(run, campaign, tmp_path):
    for _ in range(2):
        code, _, error = run(
            "analyze", campaign / "fast", "--md", tmp_path / "r.md", "--json", tmp_path / "r.json", "--overwrite"
        )
        assert (code, error) == (0, "")
    assert (tmp_path / "r.md").read_text().count("# ACT-OT Report") == 1


def test_a_baseline_may_be_given_by_its_folder(run, campaign):
    for given in ("base/s1", campaign / "base" / "s1"):
        code, out, _ = run("analyze", campaign, "--baseline", given)
        assert code == 0
        assert "better/s1" in out
    code, out, _ = run("analyze", campaign / "fast", "--baseline", campaign / "base" / "s0")
    assert code == 0
    assert "fast vs s0" in out


def test_watch_leaves_cleanly_at_ctrl_c(campaign):
    # The signal is sent by the process itself, once it waits between two looks at the folder.
    program = (
        "import os, signal, time\nfrom otpilot.cli import app\nfrom otpilot.report.analysis import watch\n"
        "watch.watch.__kwdefaults__['sleep'] = lambda seconds: (os.kill(os.getpid(), signal.SIGINT), time.sleep(5))\n"
        f"app(['watch', {str(campaign)!r}])\n"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "2,000/2,000" in answer.stdout
