import json
import shutil
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


@pytest.fixture
def saved_policy(world, path):
    """Return a folder with a policy's config, as a checkpoint has it."""
    folder = path.with_name("policy")
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(world.config()["policy"]))
    return folder


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
        ("--device=cpu", ["'device'", "Did you mean 'policy.device'?"]),
        ("--eval_split=0.1", ["'eval_split'", "Did you mean 'dataset.eval_split'?"]),
        ("--ot.tau_src=3", ["'ot.tau_src'", "Did you mean 'ot.loss_config.tau_src'?"]),
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
        ("mine.json", ["'mine.json'", "a config file is given by --config_path=mine.json"]),
        ("--policy.chunk_size=0", ["policy: ", "chunk size", "Got 4 for `n_action_steps` and 0"]),
        ("--policy.n_action_steps=1000", ["policy: ", "Got 1000 for `n_action_steps`"]),
        ("--policy.device=tpu", ["policy: Unknown device tpu", "cuda"]),
        ("--policy.optimizer_lr=fast", ["`policy.optimizer_lr`: Couldn't parse 'fast'"]),
        ("--dataset.eval_split=1.5", ["eval_split must be in [0.0, 1.0), got 1.5"]),
        ("--dataset.episodes=[0,0]", ["duplicates: [0]"]),
        ("--policy.push_to_hub=true", ["policy.push_to_hub=false", "policy.repo_id"]),
        ("--policy.path=/nope", ["policy.path: there is no folder /nope", "owner/name"]),
        ("--policy.pretrained_path=/nope", ["policy.pretrained_path: there is no folder /nope"]),
        ("--policy.path={policy} --policy.optimizer_lrr=3", ["'policy.optimizer_lrr'", "Did you mean 'optimizer_lr'"]),
        ("--policy.path={policy} --policy.dropout=lots", ["dropout", "lots"]),
        ("--policy.path={policy} --policy.chunk_size=1", ["chunk size", "1 for `chunk_size`"]),
        ("--output_dir={policy}/config.json/x", ["config.json", "cannot be made", "another --output_dir"]),
        ("--output_dir=/proc/x/y", ["/proc/x/y cannot be made in /proc", "another --output_dir"]),
    ],
)
def test_bad_settings_name_key_value_and_way_out(path, saved_policy, override, words):
    with pytest.raises(ConfigError) as caught:
        read(path, *override.replace("{policy}", str(saved_policy)).split())
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["policy.path", "policy.pretrained_path"])
@pytest.mark.parametrize("given", ["run", "run/checkpoints/000002", "run/checkpoints/last"])
def test_a_run_in_the_place_of_its_policy_is_told_where_that_lies(path, saved_policy, tmp_path, key, given):
    step = tmp_path / "run" / "checkpoints" / "000002"
    shutil.copytree(saved_policy, step / "pretrained_model")
    step.with_name("last").symlink_to(step.name)
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(ConfigError) as caught:
        read(path, f"--{key}={tmp_path / given}")
    inside = "" if "checkpoints" in given else "/checkpoints/last"
    assert f"{key} is {tmp_path / given}" in str(caught.value)
    assert f"give {tmp_path / given}{inside}/pretrained_model" in str(caught.value)


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


def test_a_saved_policy_is_taken_with_changes(path, saved_policy):
    config = read(path, f"--policy.path={saved_policy}", "--policy.dropout=0.3")
    assert (config.policy.dropout, config.policy.chunk_size) == (0.3, 4)
    assert config.policy.pretrained_path == saved_policy
    assert read(path, "--policy.path=null").policy.pretrained_path is None


@pytest.mark.parametrize("words", [[], ["--steps=3"]])
def test_without_a_dataset_it_says_what_to_give(words):
    with pytest.raises(ConfigError, match=r"names no dataset; give dataset\.repo_id .* --config_path=FILE"):
        load_config(words)


def test_an_output_folder_is_only_tried(path, tmp_path):
    before = sorted(tmp_path.iterdir())
    read(path, f"--output_dir={tmp_path / 'a' / 'b'}")
    assert sorted(tmp_path.iterdir()) == before


def test_a_sketch_trains_once_robot_and_data_are_named(world):
    """What docs/knobs.md says must be given beside a sketch is all that it lacks."""
    ours = world.config()
    data = [
        f"--{section}.{key}={ours[section][key]}"
        for section, key in (
            ("dataset", "repo_id"),
            ("dataset", "root"),
            ("ot", "src_repo_id"),
            ("ot", "src_root"),
            ("ot", "pair_info_path"),
        )
    ]
    sketch = Path(__file__).parents[1] / "data" / "sketches" / "stable_ot.yaml"
    args = [
        f"--config_path={sketch}",
        "--policy.type=act",
        "--dataset.eval_split=0.1",
        "--policy.n_action_steps=8",
        *data,
    ]
    with pytest.raises(ConfigError, match=r"policy\.push_to_hub=false"):
        load_config(args, check_output=False)
    assert load_config([*args, "--policy.push_to_hub=false"], check_output=False).config.seed == 42


def test_an_existing_output_folder_is_refused(path, tmp_path):
    with pytest.raises(ConfigError, match=r"exists already.*resume"):
        read(path, f"--output_dir={tmp_path}")


def test_an_overruled_optimizer_is_told(path):
    loaded = load_config([f"--config_path={path}", "--optimizer.type=adamw", "--optimizer.lr=1"])
    assert any("use_policy_training_preset" in note for note in loaded.notes)


def test_defaults_are_the_living_ones():
    loss = OTConfig().loss_config
    assert (loss.cost_normalization, loss.objective, loss.prior) == ("ema", "energy", "mixed")
