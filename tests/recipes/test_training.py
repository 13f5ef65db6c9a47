"""The seeds' own configs, unchanged, and every recipe train when they are pointed at data."""

import math
from pathlib import Path

import pytest

from otpilot.config.files import read_config_file
from otpilot.config.recipes import list_recipes
from otpilot.config.rewriting import read
from otpilot.config.schema import load_config
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics, read_outcome
from otpilot.training.session import train

CONFIGS = sorted((Path(__file__).parents[1] / "data" / "configs").glob("*.json"))
RECIPES = [recipe.name for recipe in list_recipes()]
QUICK = {"dp_ot_reg_v1", "action_lbl_focus", "nowindow"}
"""Recipes that together use most settings; the others take a minute and more."""


def two_steps(name, robot, folder):
    policy = read(read_config_file(name), "policy.type")
    loaded = load_config([f"--config_path={name}", *robot.overrides(policy, folder)])
    train(loaded.config)
    assert read_outcome(folder).status == "finished"
    records = read_metrics(RunPaths(folder).metrics).records
    values = next(record.values for record in records if record.kind == "train")
    assert all(math.isfinite(values[key]) for key in ("loss", "bc_loss", "grad_norm", "ot_loss", "ot_pi_sum"))
    assert any(record.kind == "eval" for record in records)
    return loaded.config, values


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_the_seeds_own_configs_train(file, robot, tmp_path):
    config, values = two_steps(file, robot, tmp_path / "run")
    raw = read_config_file(file)
    assert config.ot.loss_config.reg == raw["ot"]["loss_config"]["reg"]
    assert values["ot_weight"] == pytest.approx(raw["ot"]["lambda_ot"])
    names = [term.get("term_name") or term["src_key"] for term in raw["ot"]["loss_config"]["features"]]
    assert {f"ot_cost/{name}" for name in names} <= set(values)


@pytest.mark.parametrize("name", sorted(QUICK))
def test_a_recipe_trains(name, robot, tmp_path):
    two_steps(f"recipe:{name}", robot, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in RECIPES if name not in QUICK])
def test_every_other_recipe_trains(name, robot, tmp_path):
    two_steps(f"recipe:{name}", robot, tmp_path / "run")
