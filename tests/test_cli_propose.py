"""`otpilot propose` as users meet it: run folders in, reasons on the screen, configs with lineage in a folder."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from otpilot import cli
from otpilot.commands import propose as commands
from otpilot.config.canonical import config_hash
from otpilot.pilot.variants import read_lineage
from otpilot.runs.record import MetricRecord
from tests.pilot.rules.cases import act, ours


def make(root, name, *, config=None, mass=1e-8, level=0.35, seed=0, steps=2000, more=None):
    """A run folder in which cloning converges and the transport carries `mass`; `more` is logged at every step."""
    folder = root / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    if config is not False:
        (folder / "config.json").write_text(json.dumps({**(config or act()), "seed": seed, "steps": steps}))
    start, lines = time.time() - 3600, []
    for step in range(steps // 100, steps + 1, steps // 100):
        fall = np.exp(-step / 300)
        noise = np.exp(0.02 * rng.standard_normal(4))
        values = {"l1_loss": (0.2 + 0.3 * fall) * noise[0], "ot_pi_sum": mass * noise[1], "ot_pi_diag": mass * noise[1]}
        values |= more or {}
        lines.append(MetricRecord(step=step, time=start + step, kind="train", values=values))
        if step % (steps // 10) == 0:
            held_out = {"offline_eval/avg_l1": float((level + 0.3 * fall) * noise[3] ** 0.2)}
            lines.append(MetricRecord(step=step, time=start + step, kind="eval", values=held_out))
    (folder / "metrics.jsonl").write_text("".join(line.to_line() + "\n" for line in lines))
    outcome = {"status": "finished", "reason": "all steps done", "last_step": steps}
    (folder / "outcome.json").write_text(json.dumps(outcome))
    return folder


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process; return exit code, stdout, stderr."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["otpilot", *map(str, words)])
        monkeypatch.setattr(cli, "errors", cli.Console(stderr=True, highlight=False, width=200))
        for name in ("console", "errors"):
            monkeypatch.setattr(commands, name, cli.Console(stderr=name == "errors", highlight=False, width=200))
        with pytest.raises(SystemExit) as end:
            cli.main()
        captured = capsys.readouterr()
        return end.value.code or 0, captured.out, captured.err

    return call


def test_a_dead_transport_gets_three_variants_with_lineage(run, tmp_path):
    make(tmp_path, "x7k2", seed=3)
    out = tmp_path / "next"
    code, text, _ = run("propose", tmp_path / "x7k2", "--out", out)
    assert code == 0
    names = sorted(path.name for path in out.iterdir() if not path.name.endswith(".lineage.json"))
    assert "costnorm-ema_from-x7k2.json" in names
    assert len(names) == 3
    for name in names:
        config = json.loads((out / name).read_text())
        told = read_lineage(out / name)
        assert told["config_hash"] == config_hash(config)
        assert told["parent"] == "x7k2"
        assert config["seed"] == 3
        assert told["rule"] in text
        assert f"otpilot train --config_path={out / name}" in text
    assert "transport_dead (problem)" in text
    assert "failed if" in text
    assert "transport.md" in text


def test_dry_run_writes_nothing(run, tmp_path):
    make(tmp_path, "x7k2")
    out = tmp_path / "next"
    code, text, _ = run("propose", tmp_path / "x7k2", "--out", out, "--dry-run", "--max", 1)
    assert code == 0
    assert not out.exists()
    assert text.count("expected") == 1
    assert "otpilot train" not in text


def test_what_was_run_is_not_proposed_again(run, tmp_path):
    make(tmp_path / "runs", "x7k2")
    run("propose", tmp_path / "runs", "--out", tmp_path / "one", "--max", 1)
    written = next(p for p in (tmp_path / "one").iterdir() if not p.name.endswith(".lineage.json"))
    make(tmp_path / "runs", "done", config=json.loads(written.read_text()))
    _, text, _ = run("propose", tmp_path / "runs", "--dry-run", "--max", 3)
    assert "costnorm-ema_from-x7k2" not in text
    assert "2 runs to derive from" in text


def test_base_config_is_used_instead_and_told(run, tmp_path):
    make(tmp_path, "x7k2")
    make(tmp_path, "nothing", config=False)
    base = tmp_path / "base.json"
    base.write_text(json.dumps(ours(lambda_ot=0.3)))
    out = tmp_path / "next"
    code, _, notes = run("propose", tmp_path / "x7k2", "--base", base, "--out", out, "--steps", 500)
    assert code == 0
    config = json.loads(next(p for p in out.iterdir() if not p.name.endswith(".lineage.json")).read_text())
    assert config["ot"]["src_repo_id"] == "source"
    assert "eval_freq" not in config
    assert (config["steps"], config["schedule_horizon"]) == (500, 20_000)
    assert "had other settings than the base config" in notes
    code, text, notes = run("propose", tmp_path / "nothing", "--dry-run")
    assert code == 0
    assert "nothing has no config" in notes
    assert "Nothing to propose" in text


def test_one_group_own_rules_and_other_proposers(run, tmp_path):
    make(tmp_path, "x7k2")
    broken = tmp_path / "mine.py"
    broken.write_text("import nowhere_to_be_found")
    options = ["--dry-run", "--only", "ot", "--rules", broken, "--seed", 1, "--seed", 2, "--max", 2]
    code, text, notes = run("propose", tmp_path / "x7k2", *options)
    assert code == 0
    assert text.count("touches ot") == 4
    assert "touches bc" not in text
    assert "mine.py" in notes
    assert "ModuleNotFoundError" in notes
    for proposer in ("bayes", "random", "grid", "optuna"):
        code, text, _ = run("propose", tmp_path / "x7k2", "--dry-run", "--proposer", proposer)
        assert code == 0
        assert f"{proposer} (pilot/proposers/space.py)" in text


def test_an_optimiser_change_shows_against_a_baseline(run, tmp_path):
    make(tmp_path, "base", mass=0.2, level=0.35, config=act(reg=0.12))
    changed = {**act(), "policy": {"type": "act", "optimizer_lr": 2e-4, "optimizer_weight_decay": 0.05}}
    make(tmp_path, "fast", mass=0.2, level=0.6, config=changed, seed=1)
    _, text, notes = run("propose", tmp_path, "--dry-run", "--max", 6)
    assert "revert_optimiser" not in text, "which run is the baseline is not guessed"
    told = next(line for line in notes.splitlines() if "No run was named as the baseline" in line)
    assert "The best by eval/offline_eval/avg_l1 is base (0.3" in told
    assert told.endswith("--baseline base")
    code, text, notes = run("propose", tmp_path, "--baseline", "base", "--dry-run", "--max", 6)
    assert code == 0
    assert "No run was named" not in notes
    _, _, notes = run("propose", tmp_path / "fast", "--dry-run")
    assert "No run was named" not in notes, "one run has nothing to be compared with"
    assert "underfitting_after_optimiser_change (problem)" in text
    assert "revert_optimiser (report 002, post-mortem" in text


def test_how_a_run_is_watched_and_fed_is_advised_and_carried(run, tmp_path):
    """Such edits leave the hash as it is, which was run, and are new all the same (seed 001, iter 1)."""
    slow = {"update_s": 0.1, "dataloading_s": 0.3}
    make(tmp_path, "x7k2", config={**act(), "eval_freq": 50, "num_workers": 2}, mass=0.2, steps=20_000, more=slow)
    out = tmp_path / "next"
    _, text, _ = run("propose", tmp_path / "x7k2", "--out", out)
    assert "for every run (evaluate_less_often): eval_steps at least 1000" in text
    assert "for every run (more_workers): num_workers *= 2" in text
    configs = [json.loads(p.read_text()) for p in out.iterdir() if not p.name.endswith(".lineage.json")]
    assert len(configs) == 3
    assert {(config["eval_steps"], config["num_workers"]) for config in configs} == {(1000, 4)}
    make(tmp_path, "done", config={**configs[0], "eval_steps": 1000}, mass=0.2, steps=20_000)
    _, text, _ = run("propose", tmp_path / "done", "--dry-run")
    assert "done" in text
    assert "for every run" not in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Give --out"),
        (["--dry-run", "--proposer", "rule"], "Did you mean 'rules'"),
        (["--dry-run", "--base", "missing.json"], "No config file"),
        (["--dry-run", "--baseline", "x7k3"], "Did you mean 'x7k2'"),
    ],
)
def test_errors_are_one_line(run, tmp_path, words, says):
    make(tmp_path, "x7k2")
    code, _, told = run("propose", tmp_path / "x7k2", *words)
    assert code == 2
    assert says in told
    assert len(told.strip().splitlines()) == 1


def test_a_hostile_name_does_no_harm(run, tmp_path):
    make(tmp_path, "[red]x[bold]")
    code, text, _ = run("propose", tmp_path / "[red]x[bold]", "--out", tmp_path / "next")
    assert code == 0
    assert "[red]x[bold]" in text
    assert all("[" not in path.name for path in (tmp_path / "next").iterdir())


def test_it_imports_neither_torch_nor_lerobot(tmp_path):
    make(tmp_path, "x7k2")
    program = (
        "import sys\nfrom otpilot.cli import app\n"
        f"for call in (['propose', '--help'], ['propose', {str(tmp_path / 'x7k2')!r}, '--dry-run']):\n"
        "    try:\n        app(call)\n"
        "    except SystemExit as end:\n        assert not end.code, end.code\n"
        "print('HEAVY', [name for name in ('torch', 'lerobot', 'wandb', 'optuna') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert answer.stdout.endswith("HEAVY []\n")
