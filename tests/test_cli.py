"""The command line as users meet it: fast help, one-line errors with exit code 2, nothing half-written."""

import subprocess
import sys
from importlib import metadata

import pytest

from otpilot import cli
from otpilot.pairing.storage import load_table
from otpilot.runs.paths import RunPaths

HEAVY = ("torch", "lerobot", "matplotlib", "wandb", "numba", "scipy")


def run(monkeypatch, capsys, *args):
    """Run the command line in this process; return exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["otpilot", *map(str, args)])
    monkeypatch.setattr(cli, "console", cli.Console(highlight=False, width=200))
    monkeypatch.setattr(cli, "errors", cli.Console(stderr=True, highlight=False, width=200))
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


@pytest.mark.parametrize("command", ["", "train", "pair", "pair inspect", "evaluate", "demo", "calibrate", "views"])
def test_help_imports_nothing_heavy(command):
    program = (
        "import sys\n"
        "from otpilot.cli import app\n"
        f"try:\n    app({[*command.split(), '--help']!r})\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('HEAVY', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("HEAVY []\n")
    assert "otpilot" in answer.stdout or "Usage" in answer.stdout


def test_the_module_and_the_script_are_the_same_command():
    answer = subprocess.run([sys.executable, "-m", "otpilot", "--help"], capture_output=True, text=True, check=True)
    for command in ("train", "pair", "calibrate", "views", "evaluate", "demo"):
        assert command in answer.stdout


def test_the_version_is_that_of_the_package(monkeypatch, capsys):
    code, text, _ = run(monkeypatch, capsys, "--version")
    assert (code, text) == (0, f"otpilot {metadata.version('otpilot')}\n")


def test_pair_writes_a_table_and_refuses_to_overwrite(monkeypatch, capsys, world, tmp_path):
    out = tmp_path / "pairs.npz"
    args = ("pair", "--source", world.source, "--target", world.target, "--out", out)
    code, text, _ = run(monkeypatch, capsys, *args)
    assert code == 0
    assert "18 episode pairs" in text
    assert load_table(out).pairs == 18
    before = out.read_bytes()
    code, _, error = run(monkeypatch, capsys, *args)
    assert (code, out.read_bytes()) == (2, before)
    assert "exists already" in error


def test_train_then_evaluate(monkeypatch, capsys, world, tmp_path):
    env = {"type": "otpilot_tabletop", "cells": ["id=target:left"], "max_steps": 2}
    config = world.write(tmp_path / "cfg.json", env=env, eval={"n_episodes": 2}, save_checkpoint=True)
    folder = tmp_path / "run"
    code, text, error = run(
        monkeypatch, capsys, "train", f"--config_path={config}", f"--output_dir={folder}", "--steps=1"
    )
    assert (code, error) == (0, "")
    assert f"finished: all steps done (1 steps) -> {folder}\n" in text
    assert "Go on with" not in text
    assert "leaves the transport about 2 target rows at a time, among which there is little to choose" in text
    for place in (folder, folder / "checkpoints" / "last", folder / "checkpoints" / "last" / "pretrained_model"):
        code, text, _ = run(monkeypatch, capsys, "evaluate", place, "--episodes", 3, "--cell", "ood=target:right")
        assert code == 0
        assert "3 episodes" in text
        assert "ood" in text
        assert "[.00, .71]" in text


BAD = {
    "unknown key": (["--ot.lambda_ott=1"], "Did you mean 'lambda_ot'"),
    "no dataset folder": (["--dataset.root=/nowhere"], "No dataset folder at /nowhere"),
    "not a dataset": (["--dataset.root={tmp}"], "not a LeRobot dataset"),
    "output folder exists": (["--output_dir={tmp}"], "exists already"),
    "no pairs": (["--ot.pair_info_path=/nowhere.npz"], "/nowhere.npz is not there"),
    "bad number": (["--ot.loss_config.reg=-1"], "ot.loss_config.reg is -1"),
    "no steps": (["--steps=-5"], "steps is -5; allowed: a whole number >= 1"),
    "a null": (["--steps=null"], "steps is null; allowed: a whole number"),
    "no such episode": (["--dataset.episodes=[99]"], "names episode 99"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(monkeypatch, capsys, world, tmp_path, case):
    overrides, words = BAD[case]
    config = world.write(tmp_path / "cfg.json")
    folder = tmp_path / "run"
    options = [option.replace("{tmp}", str(tmp_path)) for option in overrides]
    if not any(option.startswith("--output_dir") for option in options):
        options.append(f"--output_dir={folder}")
    code, _, error = run(monkeypatch, capsys, "train", f"--config_path={config}", *options)
    assert code == 2
    assert words in error
    assert error.startswith("Error: ")
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cfg.json"]


def test_missing_config_and_missing_checkpoint(monkeypatch, capsys, tmp_path):
    code, _, error = run(monkeypatch, capsys, "train", "--config_path=/nowhere.json")
    assert (code, "No config file at /nowhere.json" in error) == (2, True)
    code, _, error = run(monkeypatch, capsys, "evaluate", tmp_path)
    assert (code, "No checkpoint at" in error) == (2, True)
    code, _, error = run(monkeypatch, capsys, "demo", "--out", tmp_path)
    assert (code, "exists already" in error) == (2, True)
    code, _, error = run(monkeypatch, capsys, "demo", "--out", tmp_path / "d", "--method", "co-trainin")
    assert (code, "Did you mean 'co-training'" in error) == (2, True)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["views", "--config_path={cfg}", "--out=/proc/v"], "The folder /proc/v cannot be made in /proc"),
        (["views", "--config_path={cfg}", "--out={cfg}/v"], "another --out"),
        (["demo", "--out=/proc/d/e"], "The folder /proc/d cannot be made"),
        (["calibrate", "--config_path={cfg}", "--write=/proc/c.json"], "The folder /proc cannot be written"),
        (["pair", "--source=a", "--target=b", "--out=/proc/p.npz"], "The folder /proc cannot be written"),
        (["train", "--config_path={cfg}", "--output_dir=/proc/x"], "The folder /proc/x cannot be made in /proc"),
    ],
)
def test_folders_are_tried_before_anything_else(monkeypatch, capsys, world, tmp_path, command, words):
    config = world.write(tmp_path / "cfg.json")
    code, _, error = run(monkeypatch, capsys, *(word.replace("{cfg}", str(config)) for word in command))
    assert (code, error.startswith("Error: "), error.count("\n")) == (2, True, 1)
    assert words in error


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (PermissionError(13, "Permission denied", "/data/[x]/a"), 2, "Error: /data/[x]/a: Permission denied.\n"),
        (OSError("disk\nfull"), 2, "Error: OSError: disk full\n"),
        (BrokenPipeError(32, "Broken pipe"), 1, ""),
    ],
)
def test_what_the_system_refuses_is_one_line(monkeypatch, capfd, error, code, told):
    def fail():
        raise error

    monkeypatch.setattr(cli, "app", fail)
    monkeypatch.setattr(cli, "errors", cli.Console(stderr=True, highlight=False, width=200))
    monkeypatch.setattr(cli, "_let_go_of_the_output", lambda: None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert (end.value.code, capfd.readouterr().err) == (code, told)


def test_a_disk_that_fails_a_training_is_no_wrong_config(monkeypatch, capsys, world, tmp_path):
    """Exit code 2 would tell a pilot that another try is in vain."""

    def fail(*_):
        raise OSError(28, "No space left on device", "/data/run")

    monkeypatch.setattr("otpilot.training.command.run_training", fail)
    config = world.write(tmp_path / "cfg.json")
    code, _, error = run(monkeypatch, capsys, "train", f"--config_path={config}")
    assert (code, error) == (1, "Error: /data/run: No space left on device.\n")


@pytest.mark.parametrize(("saved", "again"), [(True, True), (False, False)])
def test_a_training_that_was_stopped_says_how_it_goes_on(monkeypatch, capsys, tmp_path, saved, again):
    from otpilot.runs.record import Outcome

    paths = RunPaths(tmp_path / "a run")
    if saved:
        paths.last_checkpoint.mkdir(parents=True)
    outcome = Outcome(status="killed", reason="SIGINT at step 3", last_step=3)
    monkeypatch.setattr("otpilot.training.command.run_training", lambda *_: (outcome, paths))
    code, text, _ = run(monkeypatch, capsys, "train", "--config_path=cfg.json")
    assert code == 130
    assert f"killed: SIGINT at step 3 (3 steps) -> {paths.root}\n" in text
    assert (f"Go on with: otpilot train --resume=true --config_path='{paths.root}'\n" in text) is again


def test_a_reader_that_goes_away_ends_it_quietly():
    command = f"{sys.executable} -m otpilot config migrate recipe:iter1 | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr
    assert "rror" not in done.stderr


@pytest.mark.parametrize("option", ["--steps=-1", "--steps=0", "--seed=-1", "--episodes=0"])
def test_numbers_of_the_demo_that_cannot_be(monkeypatch, capsys, tmp_path, option):
    code, _, error = run(monkeypatch, capsys, "demo", "--out", tmp_path / "demo", option)
    assert (code, f"Invalid value for '{option.partition('=')[0]}'" in error) == (2, True)
    assert not (tmp_path / "demo").exists()


def test_views_draws_what_training_would_use(monkeypatch, capsys, world, tmp_path):
    monkeypatch.setattr("otpilot.transport.views.LEVELS", ((16, 20),))  # the fit itself: tests/transport/test_views.py
    config = world.write(tmp_path / "cfg.json", **{"ot.view_share": "auto"})
    code, text, _ = run(monkeypatch, capsys, "views", f"--config_path={config}", "--out", tmp_path / "drawn")
    assert code == 0
    assert "Target's view of top: turned by" in text
    assert (tmp_path / "drawn" / "view_top.png").stat().st_size > 1000
    code, _, error = run(monkeypatch, capsys, "views", f"--config_path={config}", "--ot.view_share=0")
    assert code == 2
    assert "ot.view_share is 0" in error
    features = [{"src_key": "observation.stat", "weight_label": 1.0}]
    config = world.write(tmp_path / "wrong.json", **{"ot.view_share": "auto", "ot.loss_config.features": features})
    for command in (("views",), ("train", f"--output_dir={tmp_path / 'run'}")):
        code, _, error = run(monkeypatch, capsys, *command, f"--config_path={config}")
        assert code == 2
        assert "src_key is 'observation.stat', which the target dataset in" in error
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "calibrate", "views"])
def test_a_fresh_process_knows_the_tabletop(world, tmp_path, command):
    env = {"type": "otpilot_tabletop", "cells": ["id=target:left"]}
    config = world.write(tmp_path / "cfg.json", env=env, **{"dataset.root": "/nowhere"})
    words = [sys.executable, "-m", "otpilot", command, f"--config_path={config}", f"--output_dir={tmp_path / 'run'}"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    assert answer.returncode == 2
    assert "No dataset folder at /nowhere" in answer.stderr
