import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from otpilot.cli import app
from otpilot.config.files import read_config_file
from otpilot.config.recipes import list_recipes, read_recipe
from otpilot.errors import ConfigError, MissingFileError

CONFIGS = sorted((Path(__file__).parents[1] / "data" / "configs").glob("*.json"))
runner = CliRunner()


def run(*args):
    return runner.invoke(app, [str(arg) for arg in args])


def test_check_many_files():
    result = run("config", "check", *CONFIGS, "recipe:iter1")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].startswith("6 files: no problems; 0 problems,")


def test_check_counts_the_bad_ones(world, tmp_path):
    path = world.write(tmp_path / "cfg.json", batch_size=32)
    result = run("config", "check", path, tmp_path / "nowhere.json", "--steps=0")
    assert result.exit_code == 1
    assert "steps is 0" in result.stdout
    assert result.stdout.splitlines()[-1] == "2 files: 2 with problems; 2 problems, 0 notes."


@pytest.mark.parametrize("words", [["--steps=0"], ["--steps", "0"]])
@pytest.mark.parametrize("first", [True, False])
def test_check_takes_overrides_as_training_does(world, tmp_path, words, first):
    path = world.write(tmp_path / "cfg.json", batch_size=32)
    result = run("config", "check", *((*words, path) if first else (path, *words)))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "1 file: 1 with problems; 1 problem, 0 notes."
    assert "steps is 0" in result.stdout


@pytest.mark.parametrize("words", [["recipe:r1", "--steps", "7"], ["--steps", "7", "recipe:r1"]])
def test_show_takes_overrides_as_training_does(words):
    assert "steps = 7  (override)" in run("config", "show", *words).stdout.splitlines()


def test_show_shows_one_file():
    assert "given: recipe:r1, recipe:r2" in str(run("config", "show", "recipe:r1", "recipe:r2").exception)


@pytest.mark.parametrize("text", ["day: 2025-12-29\n", "steps: 3\n"])
def test_migrate_gives_json_for_what_yaml_calls_a_day(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    assert json.loads(run("config", "migrate", tmp_path / "a.yaml").stdout) in ({"day": "2025-12-29"}, {"steps": 3})


@pytest.mark.parametrize("text", ["1: 2\n", "ot: {lambda_ot: .inf}\n", "day: !!timestamp 2025-12-29\n"])
def test_migrate_refuses_what_json_cannot_hold(tmp_path, text):
    (tmp_path / "a.yaml").write_text(text)
    result = run("config", "migrate", tmp_path / "a.yaml")
    assert isinstance(result.exception, ConfigError)
    assert result.stdout == ""


def test_show_as_json_reads_back(tmp_path):
    result = run("config", "show", "recipe:r1", "--json", "--steps=7")
    body = json.loads(result.stdout)
    assert body["steps"] == 7
    (tmp_path / "full.json").write_text(result.stdout)
    assert run("config", "check", tmp_path / "full.json").exit_code == 0


def test_show_says_where_values_come_from():
    lines = run("config", "show", CONFIGS[0]).stdout.splitlines()
    assert "batch_size = 16  (file)" in lines
    assert "ot.loss_config.prior = diagonal  (translated)" in lines
    assert "ema_decay = None" in lines


def test_diff_has_the_exit_code_of_diff():
    result = run("config", "diff", "recipe:iter4a", "recipe:iter4c")
    assert result.exit_code == 1
    assert "batch_size: 16 -> 20" in result.stdout.splitlines()
    assert run("config", "diff", "recipe:iter4a", "recipe:iter4a").exit_code == 0


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_migrate_writes_the_new_form_once(tmp_path, suffix):
    out = tmp_path / f"new.{suffix}"
    assert run("config", "migrate", CONFIGS[0], "--out", out).exit_code == 0
    body = read_config_file(out)
    assert body["ot"]["loss_config"]["prior"] == "diagonal"
    assert "eval_freq" not in body
    again = run("config", "migrate", out)
    assert json.loads(again.stdout) == body  # migrating twice changes nothing more
    assert again.stderr == ""
    assert isinstance(run("config", "migrate", CONFIGS[0], "--out", out).exception, ConfigError)
    assert read_config_file(out) == body


def test_migrate_to_stdout_keeps_the_notes_apart():
    result = run("config", "migrate", CONFIGS[0])
    assert json.loads(result.stdout)["env_eval_freq"] == 0
    assert "heuristic" in result.stderr
    assert isinstance(run("config", "migrate", "nowhere.json").exception, MissingFileError)
    assert isinstance(run("config", "migrate", CONFIGS[0], "--out", "nowhere/x.json").exception, ConfigError)


def test_recipes_list_show_write(tmp_path):
    listed = run("recipes", "list").stdout
    assert all(recipe.name in listed for recipe in list_recipes())
    shown = run("recipes", "show", "iter5b")
    assert json.loads(shown.stdout) == read_recipe("iter5b")
    assert "suspect" not in shown.stderr
    assert "suspect" in run("recipes", "show", "recipe:r1").stderr
    out = tmp_path / "mine.json"
    assert run("recipes", "write", "iter5b", "--out", out).exit_code == 0
    assert read_config_file(out) == read_recipe("iter5b")
    assert isinstance(run("recipes", "write", "iter5b", "--out", out).exception, ConfigError)


def test_a_yaml_migration_keeps_its_numbers(tmp_path):
    body = {"optimizer": {"type": "adamw", "lr": 5e-5}, "use_policy_training_preset": True}
    (tmp_path / "a.json").write_text(json.dumps(body))
    run("config", "migrate", tmp_path / "a.json", "--out", tmp_path / "a.yaml")
    assert read_config_file(tmp_path / "a.yaml") == body
    assert yaml.safe_load((tmp_path / "a.yaml").read_text())


@pytest.mark.parametrize(
    "words", [["recipes", "list"], ["config", "--help"], ["config", "migrate", "recipe:iter1"], ["--version"]]
)
def test_what_needs_no_lerobot_does_not_load_it(words):
    code = (
        "import sys\nfrom otpilot.cli import app\n"
        f"try:\n    app({words!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'lerobot'} & set(sys.modules), 'loaded'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
