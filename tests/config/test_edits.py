"""Edits stay within kind, limits and direction; the canonical form tells experiments apart and nothing else."""

import copy
import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpilot.config.bounds import BOUNDS, POLICY_BOUNDS, TERM, bound_of, default_of
from otpilot.config.canonical import ABSENT, TOP_DEFAULTS, canonical, config_hash, diff, flatten
from otpilot.config.compat import translate
from otpilot.config.edits import Edit, apply, learning_rate_path, value_at, values_at
from otpilot.config.ot import OTConfig
from otpilot.config.plain import build_section, plain
from otpilot.errors import ConfigError


def act(**ot: Any) -> dict[str, Any]:
    loss = {
        "features": [
            {"src_key": "observation.images.top", "use_learned_embed": True, "weight_embed": 1.0, "term_name": "img"},
            {"src_key": "action", "weight_label": 0.02},
        ],
        "reg": 0.1,
        "tau_src": 0.5,
        "tau_tgt": 0.5,
        **ot.pop("loss_config", {}),
    }
    return {
        "policy": {"type": "act", "optimizer_lr": 1e-5},
        "batch_size": 8,
        "ot": {"lambda_ot": 0.1, "window_size": 10, "loss_config": loss, **ot},
    }


def one(config: dict[str, Any], path: str, op: Any, value: Any, direction: Any = None) -> dict[str, Any]:
    return apply(config, [Edit(path=path, op=op, value=value, direction=direction)])[0]


REG = "ot.loss_config.reg"


@pytest.mark.parametrize(
    ("op", "value", "expected"),
    [("set", 0.3, 0.3), ("mul", 1.5, 0.15), ("add", 0.05, 0.15), ("min", 0.05, 0.05), ("max", 3, 3.0)],
)
def test_operations(op: str, value: float, expected: float) -> None:
    before = act()
    kept = copy.deepcopy(before)
    after = one(before, REG, op, value)
    assert after["ot"]["loss_config"]["reg"] == expected
    assert before == kept, "the config given is never changed"


def test_changes_name_terms_and_defaults() -> None:
    config, changes = apply(
        act(),
        [
            Edit(path="ot.loss_config.features.*.weight_label", op="mul", value=0.5),
            Edit(path="ot.sharpness", op="max", value=1.0),
        ],
    )
    assert [(c.path, c.old, c.new) for c in changes] == [
        ("ot.loss_config.features[action].weight_label", 0.02, 0.01),
        ("ot.sharpness", 0.0, 1.0),
    ]
    assert "weight_label" not in config["ot"]["loss_config"]["features"][0], "a term at its default is not written"


def test_terms_by_name_and_number() -> None:
    for path in ("features[img]", "features[0]", "features.0"):
        after = one(act(), f"ot.loss_config.{path}.weight_embed", "set", 2.0)
        assert after["ot"]["loss_config"]["features"][0]["weight_embed"] == 2.0
    assert values_at(act(), "ot.loss_config.features.*.weight_label") == {
        "ot.loss_config.features[img].weight_label": 0.0,
        "ot.loss_config.features[action].weight_label": 0.02,
    }
    with pytest.raises(ConfigError, match="nothing in this config"):
        one(act(), "ot.loss_config.features[state].weight_embed", "set", 2.0)


@pytest.mark.parametrize(
    ("path", "op", "value", "says"),
    [
        ("ot.lambda_ot", "set", -0.1, "0.0 to 10.0"),
        (REG, "set", 0.0, "allowed"),
        ("ot.window_size", "set", 2.5, "whole number"),
        ("ot.loss_config.prior", "set", "diagnol", "Did you mean 'diagonal'"),
        ("ot.loss_config.regg", "set", 1.0, "Did you mean 'reg'"),
        ("ot.loss_config.prior", "mul", 2.0, "no limits"),
        ("optimizer.lr", "mul", 2.0, "only policy.optimizer_"),
        ("optimizer", "set", {"type": "adamw"}, "only policy.optimizer_"),
        ("scheduler.num_warmup_steps", "max", 10, "only policy.optimizer_"),
        ("early_stopping.patience_eval_intervals", "set", 3, "no early_stopping section"),
        ("policy.kl_weight", "set", 3.0, "same type"),
        ("dataset", "set", {"repo_id": "x"}, "put in whole"),
        ("use_policy_training_preset", "set", False, "needs an optimizer"),
        ("use_policy_training_preset", "set", 0, "true or false"),
        ("early_stopping", "set", {"patience_eval_intervals": 0}, "allowed"),
        ("ot..reg", "set", 1, "Cannot read"),
        ("ot.loss_config.target_mass", "mul", 0.5, "not a number"),
        ("ot.loss_config.tau_src", "set", None, "hard marginal"),
    ],
)
def test_refused(path: str, op: str, value: Any, says: str) -> None:
    config = act(loss_config={"target_mass": 0.5}) if says == "hard marginal" else act()
    with pytest.raises(ConfigError, match=says):
        one(config, path, op, value)


def test_words_of_an_edit() -> None:
    with pytest.raises(ConfigError, match="op is"):
        Edit(path="a", op="times", value=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="direction is"):
        Edit(path="a", op="mul", value=1, direction="up")  # type: ignore[arg-type]
    for value in (float("nan"), "2", None, True):
        with pytest.raises(ConfigError, match="finite number"):
            Edit(path="a", op="mul", value=value)


def test_direction_is_kept() -> None:
    tau = "ot.loss_config.tau_src"
    assert value_at(one(act(), tau, "set", 1.0, "raise"), tau) == 1.0
    for value in (0.25, 0.5):  # the other way; not at all
        with pytest.raises(ConfigError, match="meant to raise"):
            one(act(), tau, "set", value, "raise")
    hard = act(loss_config={"tau_src": None})  # null is the hard marginal: infinite
    with pytest.raises(ConfigError, match="meant to raise"):
        one(hard, tau, "set", 2.0, "raise")
    assert value_at(one(act(), tau, "set", None, "raise"), tau) is None
    with pytest.raises(ConfigError, match="meant to lower"):  # 0 of the image term would rise
        one(act(), "ot.loss_config.features.*.weight_label", "set", 0.001, "lower")
    lowered = one(act(), "ot.loss_config.features.*.weight_label", "min", 0.001, "lower")
    assert values_at(lowered, "ot.loss_config.features[*].weight_label").popitem()[1] == 0.001


def test_all_edits_or_none() -> None:
    config = act()
    kept = copy.deepcopy(config)
    with pytest.raises(ConfigError):
        apply(config, [Edit(path=REG, op="mul", value=2), Edit(path="ot.lambda_ot", op="set", value=-1)])
    assert config == kept


def test_limits_stop_arithmetic_and_never_push_a_value_back() -> None:
    assert value_at(one(act(), REG, "mul", 1e9), REG) == BOUNDS[REG].high
    outside = act(loss_config={"reg": 5000.0})
    assert value_at(one(outside, REG, "mul", 2.0), REG) == 5000.0
    assert value_at(one(outside, REG, "mul", 0.5), REG) == 2500.0
    with pytest.raises(ConfigError, match="nothing moves"):
        one(outside, REG, "mul", 2.0, "raise")


def test_null_that_means_infinity() -> None:
    topk = "ot.topk_src_episodes"
    assert value_at(one(act(), topk, "min", 20.0, "lower"), topk) == 20
    assert value_at(one(act(), topk, "min", 10_001.0), topk) == BOUNDS[topk].high
    assert value_at(one(act(), topk, "max", 20.0), topk) is None


def test_whole_numbers_round_away_from_the_old_value() -> None:
    assert value_at(one(act(), "ot.window_size", "mul", 1.15, "raise"), "ot.window_size") == 12
    assert value_at(one(act(window_size=3), "ot.window_size", "mul", 0.9, "lower"), "ot.window_size") == 2
    assert type(value_at(one(act(), "batch_size", "set", 16.0), "batch_size")) is int


def test_automatic_weight_has_its_own_knob() -> None:
    auto = act(lambda_ot="auto")
    config, changes = apply(auto, [Edit(path="ot.lambda_ot", op="mul", value=0.5, direction="lower")])
    assert [c.path for c in changes] == ["ot.target_grad_share"]
    assert value_at(config, "ot.target_grad_share") == 0.05
    assert value_at(config, "ot.lambda_ot") == "auto"
    with pytest.raises(ConfigError, match="auto"):
        one(auto, "ot.lambda_ot", "max", 0.2)
    assert value_at(one(auto, "ot.lambda_ot", "set", 0.2), "ot.lambda_ot") == 0.2
    assert value_at(one(act(), "ot.lambda_ot", "set", "auto"), "ot.lambda_ot") == "auto"


def test_preset_decides_which_learning_rate_counts() -> None:
    explicit = [
        Edit(path="use_policy_training_preset", op="set", value=False),
        Edit(path="optimizer", op="set", value={"type": "adamw", "lr": 1e-4}),
        Edit(path="scheduler", op="set", value={"type": "diffuser", "name": "cosine", "num_warmup_steps": 1000}),
    ]
    config, changes = apply(act(), explicit)
    assert [c.path for c in changes] == ["use_policy_training_preset", "optimizer", "scheduler"]
    assert learning_rate_path(act()) == "policy.optimizer_lr"
    assert learning_rate_path(config) == "optimizer.lr"
    assert value_at(one(config, "optimizer.lr", "mul", 0.5), "optimizer.lr") == 5e-5
    with pytest.raises(ConfigError, match="only optimizer and scheduler"):
        one(config, "policy.optimizer_lr", "mul", 2)
    with pytest.raises(ConfigError, match=r"optimizer.lr is 1.0"):
        apply(act(), [explicit[0], Edit(path="optimizer", op="set", value={"type": "adamw", "lr": 1.0}), explicit[2]])


def test_limits_of_a_policy_stand_first() -> None:
    assert value_at(one(act(), "policy.optimizer_lr", "mul", 1000), "policy.optimizer_lr") == 3e-4
    diffusion = {"policy": {"type": "diffusion"}}
    assert value_at(diffusion, "policy.optimizer_lr") == 1e-4
    assert value_at(one(diffusion, "policy.optimizer_lr", "mul", 1000), "policy.optimizer_lr") == 1e-3


@pytest.mark.parametrize("key", [k for k in BOUNDS if k.startswith("ot.")])
def test_limits_lie_within_the_schema(key: str) -> None:
    bound = BOUNDS[key]
    path = key.replace("[*]", "[action]" if "weight_embed" not in key else "[img]")
    for value in (bound.low, bound.high):
        config = act(loss_config={"tau_src": 1.0})
        edited = one(config, path, "set", int(value) if bound.kind == "int" else value)
        assert isinstance(build_section(OTConfig, edited["ot"], "ot"), OTConfig)
    default = default_of(key, None)
    if isinstance(default, float | int):
        assert bound.low <= default <= bound.high


VALUES = st.one_of(st.floats(-1e6, 1e6), st.integers(-1000, 1000), st.none(), st.sampled_from(["auto", "ema", True]))
EDITS = st.builds(
    lambda path, op, value, direction: (path, op, value, direction),
    st.sampled_from([k.replace("[*]", ".*") for k in BOUNDS]),
    st.sampled_from(["set", "mul", "add", "min", "max"]),
    VALUES,
    st.sampled_from([None, "raise", "lower"]),
)


@given(st.lists(EDITS, max_size=8))
def test_no_sequence_of_edits_leaves_limits_or_schema(edits: list[tuple[Any, ...]]) -> None:
    config = act()
    for path, op, value, direction in edits:
        try:
            config = one(config, path, op, value, direction)
        except ConfigError:
            continue
    build_section(OTConfig, config["ot"], "ot")
    for key in BOUNDS:
        for place, value in values_at(config, key).items() if config.get(key.split(".")[0]) is not None else ():
            if value is None or value == "auto":
                continue
            bound = bound_of(key, "act")
            assert bound is not None
            assert not isinstance(value, bool)
            assert bound.low <= value <= bound.high, place
            assert bound.kind == "float" or isinstance(value, int), place


def test_canonical_form_leaves_out_names_and_machine() -> None:
    config = act()
    noisy = {
        **copy.deepcopy(config),
        "seed": 3, "steps": 100, "output_dir": "/x", "job_name": "y", "wandb": {"enable": True}, "resume": True,
        "num_workers": 9, "log_freq": 1, "eval_steps": 5, "save_freq": 3, "_why": "a comment", "batch_size": 8.0,
    }  # fmt: skip
    noisy["policy"]["device"] = "cuda"
    noisy["ot"]["comment"] = "stronger"
    noisy["ot"]["loss_config"]["reg"] = 0.1 + 1e-17
    assert config_hash(noisy) == config_hash(config)
    assert canonical(canonical(config)) == canonical(config)


def test_missing_keys_equal_their_defaults() -> None:
    config = act()
    full = {**config, "ot": plain(build_section(OTConfig, config["ot"], "ot")), **copy.deepcopy(dict(TOP_DEFAULTS))}
    assert config_hash(full) == config_hash(config)


@pytest.mark.parametrize(
    ("path", "value"),
    [(REG, 0.11), ("ot.lambda_ot", "auto"), ("batch_size", 16), ("policy.optimizer_lr", 2e-5), ("ema_decay", 0.999)],
)
def test_what_changes_training_changes_the_hash(path: str, value: Any) -> None:
    assert config_hash(one(act(), path, "set", value)) != config_hash(act())


def test_a_new_key_leaves_the_hashes_on_disk_as_they_were() -> None:
    """Ledgers and recorded results know a config by its hash; add a key that came later to ADDED in canonical.py."""
    assert config_hash(act()) == "eb4a596560fdfb02"
    config = act()
    assert config_hash({**config, "ot": {**config["ot"], "view_background": False}}) == config_hash(config)
    assert config_hash({**config, "ot": {**config["ot"], "view_background": True}}) != config_hash(config)


def test_settings_without_effect_do_not_change_the_hash() -> None:
    config = act()
    assert config_hash({**config, "optimizer": {"type": "adamw", "lr": 3e-4}}) == config_hash(config)
    assert config_hash({**config, "ot": {**config["ot"], "target_grad_share": 0.3}}) == config_hash(config)
    stopping = {**config, "early_stopping": {}}
    assert config_hash({**stopping, "eval_steps": 5}) != config_hash({**stopping, "eval_steps": 50})
    off = {**config, "ot": {**config["ot"], "enable": False}}
    assert config_hash(off) == config_hash({key: value for key, value in config.items() if key != "ot"})


def test_a_seed_era_file_and_its_migrated_form_are_one_experiment() -> None:
    old = act()
    old["ot"]["loss_config"]["heuristic"] = True
    old["ot"]["loss_config"]["epsilon"] = old["ot"]["loss_config"].pop("reg")
    old["eval_freq"] = 50
    migrated = translate(old).config
    assert migrated != old
    assert config_hash(old) == config_hash(migrated)
    assert config_hash(old) != config_hash(act()), "the fork's loss is another one"


def test_differences_by_dotted_key() -> None:
    config = act()
    other, _ = apply(config, [Edit(path="ot.loss_config.features[action].weight_label", op="set", value=0)])
    other["schedule_horizon"] = 500
    found = {d.path: (d.left, d.right) for d in diff(config, other)}
    assert found == {
        "ot.loss_config.features[action].weight_label": (0.02, 0),
        "schedule_horizon": (ABSENT, 500),
    }
    assert diff(config, {**config, "batch_size": 8.0}) == ()
    assert flatten({"a": {"b": [1, 2]}, "c": {}}) == {"a.b": [1, 2], "c": {}}


def test_defaults_are_those_of_the_trainer() -> None:
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig

    from otpilot.config.schema import TrainConfig

    fields = {f.name: f for f in dataclasses.fields(TrainConfig)}
    for name, value in TOP_DEFAULTS.items():
        if fields[name].default_factory is dataclasses.MISSING:
            assert fields[name].default == value, name
    for key, bound in BOUNDS.items():
        if "." not in key and bound.default is not None:
            assert fields[key].default == bound.default, key
    policies = {"act": ACTConfig(), "diffusion": DiffusionConfig()}
    for (policy, key), bound in POLICY_BOUNDS.items():
        if bound.default is not None:
            assert getattr(policies[policy], key.removeprefix("policy.")) == bound.default, key
    assert f"{TERM}.weight_label" in BOUNDS
