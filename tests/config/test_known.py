"""Values that a key cannot have are refused by name, and whatever training itself writes is read back."""

import dataclasses
import json
import typing
from pathlib import Path

import pytest

import otpilot.sim.env_config  # noqa: F401 - registers the env type
from otpilot.config.compat import translate
from otpilot.config.files import read_config_file
from otpilot.config.hints import allows_null
from otpilot.config.known import check_keys, unknown_keys
from otpilot.config.ot import HealthConfig, LossConfig, OTConfig, ScheduleConfig, TermConfig
from otpilot.config.recipes import list_recipes
from otpilot.config.schema import TrainConfig, decode, encode, load_config
from otpilot.config.training import DiscreteActionsConfig, EarlyStoppingConfig, GuardConfig
from otpilot.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[1] / "data" / "configs").glob("*.json"))
OURS = {
    "": TrainConfig,
    "ot": OTConfig,
    "ot.loss_config": LossConfig,
    "ot.health": HealthConfig,
    "ot.lambda_ot_schedule": ScheduleConfig,
    "guard": GuardConfig,
    "early_stopping": EarlyStoppingConfig,
    "discrete_actions": DiscreteActionsConfig,
}


def nested(path, value):
    body = value
    for part in reversed(path.split(".")):
        body = {part: body}
    return body


def keys(nullable):
    for section, schema in OURS.items():
        hints = typing.get_type_hints(schema)
        for field in dataclasses.fields(schema):
            if field.init and allows_null(hints[field.name]) is nullable:
                yield f"{section}.{field.name}".removeprefix(".")


@pytest.mark.parametrize("key", [*keys(nullable=False)])
def test_null_is_refused_where_it_means_nothing(key):
    with pytest.raises(ConfigError, match=rf"^{key} is null; allowed: [^.]"):
        check_keys(nested(key, None), TrainConfig)


@pytest.mark.parametrize("key", [*keys(nullable=True)])
def test_null_stays_where_it_says_none(key):
    check_keys(nested(key, None), TrainConfig)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"policy": {"type": "act", "optimizer_lr": None}}, r"policy\.optimizer_lr is null; allowed: a number"),
        ({"dataset": {"repo_id": None}}, r"dataset\.repo_id is null; allowed: a word\.$"),
        ({"dataset": {"episodes": [0, None]}}, r"dataset\.episodes\.1 is null; allowed: a whole number"),
        ({"ot": {"obs_keys": [None]}}, r"ot\.obs_keys\.0 is null; allowed: a word"),
        ({"rename_map": {"a": None}}, r"rename_map\.a is null; allowed: a word"),
        ({"ot": {"loss_config": {"features": [None]}}}, r"features\.0 is null; allowed: a section"),
        ({"ot": {"lambda_ot": None}}, r"ot\.lambda_ot is null; allowed: a number or 'auto'\. Leave it out"),
        ({"ot": None}, r"^ot is null; allowed: a section, such as {...} in JSON\. Leave it out for the default\.$"),
        ({"job_name": True}, r'job_name is true; allowed: a word\. .* in quotes: "true"'),
        ({"batch_size": [1]}, r"batch_size is \[1\]; allowed: a whole number"),
        ({"ot": {"lambda_ot": {"a": 1}}}, r"ot\.lambda_ot is {'a': 1}; allowed: a number or 'auto'"),
        ({"guard": {"grad_spike": False}}, r"guard\.grad_spike is false; allowed: 'off', 'warn', 'skip', 'stop'"),
    ],
)
def test_what_cannot_stand_there(body, words):
    with pytest.raises(ConfigError, match=words):
        check_keys(body, TrainConfig)


@pytest.mark.parametrize("name", [*map(str, CONFIGS), *(f"recipe:{recipe.name}" for recipe in list_recipes())])
def test_real_configs_hold_nothing_that_is_refused(name):
    assert list(unknown_keys(translate(read_config_file(name)).config, TrainConfig)) == []


@pytest.mark.parametrize("policy", ["act", "diffusion", "vqbet", "smolvla", "pi0"])
@pytest.mark.parametrize("env", [{}, {"env": {"type": "otpilot_tabletop"}}, {"env": {"type": "pusht"}}])
def test_what_training_writes_holds_nothing_that_is_refused(policy, env):
    """As train_config.json of a checkpoint: every default spelled out, null where LeRobot has None."""
    config = decode({"dataset": {"repo_id": "a"}, "policy": {"type": policy, "device": "cpu"}, **env})
    config.optimizer, config.scheduler = config.policy.get_optimizer_preset(), config.policy.get_scheduler_preset()
    body = json.loads(json.dumps(encode(config)))
    assert list(unknown_keys(body, TrainConfig)) == []
    assert encode(decode(body)) == body


def test_the_term_and_its_own_nulls():
    term = {f.name: None for f in dataclasses.fields(TermConfig)} | {"src_key": "action"}
    found = [path for path, _ in unknown_keys({"ot": {"loss_config": {"features": [term]}}}, TrainConfig)]
    names = {path.rpartition(".")[2] for path in found}
    assert names == {"use_learned_embed", "weight_embed", "weight_label", "term_weight", "detach_cost_grad"}


@pytest.mark.parametrize("key", ["steps", "ot", "guard", "wandb", "dataset", "ot.loss_config.features"])
def test_null_on_the_command_line(world, tmp_path, key):
    path = world.write(tmp_path / "cfg.json")
    with pytest.raises(ConfigError, match=rf"{key} is null"):
        load_config([f"--config_path={path}", f"--{key}=null"], check_output=False)
