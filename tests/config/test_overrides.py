"""What stands behind --key= is taken as it stands where a word or a path is meant, and read as YAML elsewhere."""

from pathlib import Path

import pytest

import otpilot.sim.env_config  # noqa: F401 - registers the env type
from otpilot.config.overrides import override, parse_options, split_options
from otpilot.config.schema import TrainConfig, load_config, read_arguments
from otpilot.errors import ConfigError


def given(*words):
    return read_arguments(words).translation.config


def at(body, key):
    for part in key.split("."):
        body = body[int(part)] if isinstance(body, list) else body[part]
    return body


@pytest.mark.parametrize(
    "key",
    [
        "output_dir", "job_name", "wandb.notes", "wandb.run_id", "dataset.repo_id", "ot.src_root", "guard.grad_spike",
        "policy.repo_id", "policy.pretrained_path", "policy.path", "rename_map.a", "ot.loss_config.cost",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "text", ["/tmp/run #3", "007", "on", "off", "12:30:15", "12e3", "a: b", "2025-12-29", "[x]", "'q'", "true", "- x"]
)
def test_words_and_paths_stay_as_they_are(key, text):
    assert at(given(f"--{key}={text}"), key) == text


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("--seed=010", "010"),  # which int() reads as 10
        ("--steps=20", 20),
        ("--steps=1_000", 1000),
        ("--policy.optimizer_lr=5e-5", 5e-5),
        ("--ot.enable=false", False),
        ("--ot.enable", True),
        ("--ot.lambda_ot=auto", "auto"),
        ("--ot.lambda_ot=0.5", 0.5),
        ("--dataset.episodes=[1, 2]", [1, 2]),
        ("--ot.obs_keys=[a, b]", ["a", "b"]),
        ("--output_dir=null", None),
        ("--ot.loss_config.tau_src=null", None),
        ("--job_name=", ""),
        ("--env={type: pusht}", {"type": "pusht"}),
    ],
)
def test_other_values_are_yaml(word, value):
    found = at(given(word), word[2:].partition("=")[0])
    assert found == value
    assert type(found) is type(value)


def test_a_whole_number_with_a_nought_before_it_is_decimal(world, tmp_path):
    path = world.write(tmp_path / "cfg.json")
    assert load_config([f"--config_path={path}", "--seed=010"], check_output=False).config.seed == 10


@pytest.mark.parametrize(("old", "new"), [("name", "job_name"), ("train.optimizer", "optimizer.type")])
def test_older_names_of_a_word_as_well(old, new):
    body = {}
    override(body, old, "007", TrainConfig)
    assert at(body, old) == "007", new


def test_words_inside_lists():
    body = {"ot": {"obs_keys": ["a"], "loss_config": {"features": [{"src_key": "action"}]}}}
    override(body, "ot.obs_keys.0", "007", TrainConfig)
    override(body, "ot.loss_config.features.0.src_key", "on", TrainConfig)
    override(body, "ot.loss_config.features.0.weight_label", "2", TrainConfig)
    assert body["ot"]["obs_keys"] == ["007"]
    assert body["ot"]["loss_config"]["features"] == [{"src_key": "on", "weight_label": 2}]


def test_a_choice_that_is_known_decides_what_a_key_is():
    body = {"scheduler": {"type": "diffuser"}}
    override(body, "scheduler.name", "007", TrainConfig)
    override(body, "scheduler.num_warmup_steps", "7", TrainConfig)
    assert body["scheduler"] == {"type": "diffuser", "name": "007", "num_warmup_steps": 7}


@pytest.mark.parametrize(
    "key", ["output_dir", "dataset.root", "ot.src_root", "ot.pair_info_path", "policy.path", "policy.pretrained_path"]
)
def test_a_tilde_is_the_home_folder(key, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert at(given(f"--{key}=~/x"), key) == "/home/me/x"
    assert at(given(f"--{key}=/a/~/x"), key) == "/a/~/x"
    with pytest.raises(ConfigError, match="no home folder"):
        given(f"--{key}=~nobody-of-that-name/x")


def test_a_tilde_in_a_file_and_for_the_file_itself(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "cfg.json").write_text('{"output_dir": "~/x", "ot": {"more_sources": [{"repo_id": "a", "root": "~"}]}}')
    found = read_arguments(["--config_path=~/cfg.json"])
    assert Path(found.config_path) == tmp_path / "cfg.json"
    assert found.translation.config["output_dir"] == str(tmp_path / "x")
    assert found.translation.config["ot"]["more_sources"][0]["root"] == str(tmp_path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--config", "cfg.json"], "--config is no setting; the config file is given by --config_path=FILE"),
        (["--config_path"], "--config_path names no file"),
        (["--config_path="], "--config_path names no file"),
        (["--config_path", "--steps=3"], "--config_path names no file"),
        (["--output_dir", "--steps=3"], "--output_dir has no value; write --output_dir=VALUE"),
        (["--ot.lambda_ot=[1"], r"Cannot read the value of --ot\.lambda_ot=\[1"),
        (["--ot.lambda_ot=.inf"], "The value is inf; allowed: a finite number"),
        (["--env={type: a, type: b}"], "type stands twice"),
        (["--dataset.episodes=" + "[" * 5000], "nested too deeply"),
    ],
)
def test_what_cannot_be_read(words, told):
    with pytest.raises(ConfigError, match=told):
        given(*words)


def test_options_with_and_without_an_equals_sign():
    assert parse_options(["--a=1", "--b", "2", "--c", "--d=x=y"]) == {"a": "1", "b": "2", "c": None, "d": "x=y"}
    assert split_options(["f", "--a", "1", "g", "--b=2", "h", "--c"]) == (["f", "g", "h"], ["--a", "1", "--b=2", "--c"])
