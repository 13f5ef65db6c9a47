import json
from pathlib import Path

import pytest
import torch
import yaml

import otpilot.sim.env_config  # noqa: F401 - registers the env type
from otpilot.config.ot import OTConfig
from otpilot.config.schema import decode, encode, load_config
from otpilot.errors import ConfigError, MissingFileError

SEED_CONFIGS = sorted((Path(__file__).parents[1] / "data" / "configs").glob("*.json"))


@pytest.fixture
def path(world, tmp_path):
    return world.write(tmp_path / "cfg.json")


def read(path, *overrides):
    return load_config([f"--config_path={path}", *overrides]).config


@pytest.mark.parametrize("file", SEED_CONFIGS, ids=lambda file: file.stem)
def test_the_seeds_own_configs_load_unchanged(file, tmp_path):
    loaded = load_config([f"--config_path={file}", f"--output_dir={tmp_path / 'run'}"])
    raw = json.loads(file.read_text())["ot"]
    ot = loaded.config.ot
    assert ot.loss_config.reg == raw["loss_config"]["reg"]
    assert ot.loss_config.prior == "diagonal"  # heuristic: true
    assert (ot.loss_config.cost_normalization, ot.loss_config.objective) == ("none", "plan_cost")
    assert ot.rows == "separate"
    assert [term.name for term in ot.loss_config.features] == [
        term.get("term_name") or term["src_key"] for term in raw["loss_config"]["features"]
    ]
    assert loaded.config.eval_steps == json.loads(file.read_text())["eval_freq"]
    assert loaded.config.dataset.eval_split == 0.1
    assert len(loaded.notes) == len(set(loaded.notes)) >= 4  # each change is told once


def test_round_trip(path):
    config = read(path, "--ot.lambda_ot=auto", "--ot.loss_config.tau_src=null", "--env.type=otpilot_tabletop")
    assert config.ot.lambda_ot == "auto"
    assert config.ot.loss_config.tau_src is None
    again = decode(encode(config))
    assert encode(again) == encode(config)


def test_overrides_reach_into_lists(world, tmp_path):
    features = [{"src_key": "action", "weight_label": 1.0}]
    path = world.write(tmp_path / "cfg.json", **{"ot.loss_config.features": features})
    config = read(path, "--ot.loss_config.features.0.weight_label=2.5", "--steps", "9", "--ot.lambda_ot=1e-3")
    assert config.ot.loss_config.features[0].weight_label == 2.5
    assert (config.steps, config.ot.lambda_ot) == (9, 1e-3)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("--ot.lambda_ott=1", ["'ot.lambda_ott'", "Did you mean 'lambda_ot'"]),
        ("--polcy.type=act", ["'polcy'", "Did you mean 'policy'"]),
        ("--policy.chunksize=3", ["'policy.chunksize'", "Did you mean 'chunk_size'"]),
        ("--policy.type=actt", ["actt", "Did you mean 'act'"]),
        ("--ot.lambda_ot=-3", ["ot.lambda_ot", "-3"]),
        ("--ot.lambda_ot=most", ["ot.lambda_ot", "most", "auto"]),
        ("--ot.loss_config.reg=0", ["ot.loss_config.reg", "0"]),
        ("--ot.loss_config.prior=diag", ["diag", "diagonal"]),
        ("--ot.loss_config.features.0.weight_label=1", ["features.0", "number"]),
        ("--steps=many", ["steps", "many"]),
        ("--env.type=otpilot_tabletop --env.cells=[nowhere:full]", ["nowhere"]),
        ("steps=3", ["steps=3", "--key=value"]),
    ],
)
def test_bad_settings_name_key_value_and_way_out(path, override, words):
    with pytest.raises(ConfigError) as caught:
        read(path, *override.split())
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_keys_deep_inside_are_found(world, tmp_path):
    features = [{"src_key": "action", "weight_lable": 1.0}]
    path = world.write(tmp_path / "cfg.json", **{"ot.loss_config.features": features})
    with pytest.raises(ConfigError, match=r"features\.0\.weight_lable.*Did you mean 'weight_label'"):
        read(path)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere\.json"):
        read(tmp_path / "nowhere.json")
    (tmp_path / "half.json").write_text('{"steps": 1')
    with pytest.raises(ConfigError, match=r"half\.json is not valid JSON"):
        read(tmp_path / "half.json")


def test_the_era_is_that_of_the_file_not_of_an_override(path):
    loaded = load_config([f"--config_path={path}", "--eval_freq=200"])
    assert (loaded.config.eval_steps, loaded.config.dataset.eval_split) == (200, 0.1)
    assert loaded.config.ot.rows == "shared"  # the file is in today's form
    again = load_config([f"--config_path={path}", "--eval_steps=10", "--dataset.eval_split=0.5", "--eval_freq=200"])
    assert (again.config.eval_steps, again.config.dataset.eval_split) == (200, 0.5)


@pytest.mark.parametrize("override", ["--ot.loss_config.prior=product", "--ot.loss_config.heuristic=false"])
def test_overrides_in_either_spelling_replace_what_a_seed_era_file_says(override):
    config = load_config([f"--config_path={SEED_CONFIGS[0]}", override, "--eval_steps=7"], check_output=False).config
    assert config.ot.loss_config.prior == "product"
    assert config.ot.rows == "separate"  # still a config of the fork
    assert config.eval_steps == 7


def test_a_yaml_file_trains_as_well(world, tmp_path):
    path = tmp_path / "cfg.yaml"
    path.write_text(yaml.safe_dump(world.config()) + "train: {lr: 5e-5, scheduler: cosine}\n")
    config = read(path)
    assert (config.optimizer.lr, config.scheduler.name) == (5e-5, "cosine")


def test_a_constant_rate_without_the_preset(world, tmp_path):
    optimizer = {"type": "adamw", "lr": 1e-4}
    path = world.write(tmp_path / "cfg.json", use_policy_training_preset=False, optimizer=optimizer, scheduler=None)
    config = read(path)
    module = torch.nn.Linear(1, 1)
    built = config.optimizer.build(module.parameters())
    schedule = config.scheduler.build(built, 100)
    rates = []
    for _ in range(5):
        built.step()
        schedule.step()
        rates.append(built.param_groups[0]["lr"])
    assert rates == [1e-4] * 5


def test_an_existing_output_folder_is_refused(path, tmp_path):
    with pytest.raises(ConfigError, match=r"exists already.*resume"):
        read(path, f"--output_dir={tmp_path}")


def test_an_overruled_optimizer_is_told(path):
    loaded = load_config([f"--config_path={path}", "--optimizer.type=adamw", "--optimizer.lr=1"])
    assert any("use_policy_training_preset" in note for note in loaded.notes)


def test_defaults_are_the_living_ones():
    loss = OTConfig().loss_config
    assert (loss.cost_normalization, loss.objective, loss.prior) == ("ema", "energy", "mixed")
