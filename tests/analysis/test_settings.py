"""Settings: the same answers whoever wrote the config down."""

import json
from pathlib import Path

import pytest

from otpilot.analysis.settings import comparable, flatten, key_settings, nested

from .build import changed

CONFIGS = Path(__file__).parents[1] / "data" / "configs"
BASELINE = json.loads((CONFIGS / "act_fr3_ot_99_20_baseline.json").read_text())
DIFFUSION = json.loads((CONFIGS / "diffusion_fr3_ot.json").read_text())


def wrapped(config):
    """W&B's config.yaml: every top-level key in a {"value": ...}."""
    return {"_wandb": {"value": {"cli_version": "0.31"}}} | {k: {"value": v, "desc": None} for k, v in config.items()}


def dotted(config, place=""):
    """W&B's flattened form: dotted keys, lists kept."""
    flat = {}
    for key, value in config.items():
        if isinstance(value, dict):
            flat |= dotted(value, f"{place}{key}.")
        else:
            flat[place + key] = value
    return flat


def indexed(config):
    """Lists flattened too: features.0.weight_label."""
    flat = {}
    for key, value in dotted(config).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for index, item in enumerate(value):
                flat |= {f"{key}.{index}.{name}": one for name, one in item.items()}
        else:
            flat[key] = value
    return flat


SHAPES = {
    "nested": lambda c: c,
    "wrapped": wrapped,
    "dotted": dotted,
    "indexed": indexed,
    "slashed": lambda c: {key.replace(".", "/"): value for key, value in dotted(c).items()},
    "text": lambda c: {key: json.dumps(value) if isinstance(value, dict) else value for key, value in c.items()},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_key_settings(shape):
    found = key_settings(SHAPES[shape](BASELINE))
    assert found == key_settings(BASELINE)
    assert (found.window_size, found.reg, found.tau_src, found.tau_tgt, found.heuristic) == (10, 0.1, 0.5, 0.5, True)
    assert (found.weight_embed, found.weight_label, found.lambda_ot) == (0.3333, 0.02, 0.1)
    assert (found.lr, found.weight_decay, found.grad_clip_norm, found.scheduler) == (1e-5, 1e-4, 10.0, None)
    assert found.label_terms == ("action_lbl",)
    assert found.objective == "plan_cost"
    assert (found.seed, found.steps, found.batch_size, found.policy) == (42, 20000, 8, "act")


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_compares_equal(shape):
    assert comparable(SHAPES[shape](BASELINE)) == comparable(BASELINE)


def test_paths_names_and_logging_do_not_count():
    other = json.loads(json.dumps(BASELINE))
    other |= {"output_dir": "/elsewhere", "job_name": "x", "log_freq": 1, "num_workers": 9, "eval_freq": 7}
    other["wandb"] = {"enable": False, "project": "y"}
    other["dataset"]["root"] = other["ot"]["src_root"] = "/elsewhere"
    other["ot"]["pair_info_path"] = "/elsewhere/it_99to20_pair_info.json"
    assert comparable(other) == comparable(BASELINE)
    other["ot"]["pair_info_path"] = "/elsewhere/another.json"
    assert comparable(other) != comparable(BASELINE)


def test_terms_go_by_name_so_that_their_order_does_not_count():
    other = json.loads(json.dumps(BASELINE))
    other["ot"]["loss_config"]["features"].reverse()
    assert comparable(other) == comparable(BASELINE)
    assert comparable(other)["ot.loss_config.features[action_lbl].weight_label"] == 0.02


def test_the_preset_decides_whose_optimiser_counts():
    own = changed(policy__optimizer_lr=3e-4)
    assert key_settings(own).lr == comparable(own)["optimizer.lr"] == 3e-4
    section = own | {"use_policy_training_preset": False}
    assert key_settings(section).lr == comparable(section)["optimizer.lr"] == 1e-5
    scheduled = changed(scheduler={"type": "cosine_decay_with_warmup", "num_warmup_steps": 500})
    assert (key_settings(scheduled).scheduler, key_settings(scheduled).warmup_steps) == (
        "cosine_decay_with_warmup",
        500,
    )


def test_other_spellings_and_our_own_settings():
    loss = {"epsilon": 0.3, "prior": "mixed", "objective": "energy", "tau_src": 0.5, "tau_tgt": None}
    found = key_settings({"ot": {"loss_config": loss, "lambda_ot": "auto", "method": "ot"}})
    assert (found.reg, found.heuristic, found.prior, found.objective) == (0.3, False, "mixed", "energy")
    assert (found.hard_src, found.hard_tgt, found.lambda_ot) == (False, True, "auto")
    assert comparable({"ot": {"loss_config": {"epsilon": 0.3}}}) == {"ot.loss_config.reg": 0.3}
    assert key_settings({"ot": {"enable": False}}).method == "none"
    assert key_settings(DIFFUSION).weight_label == 0.05


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"ot": None, "policy": "act", "optimizer": 3, "scheduler": "cosine"},
        {"ot": {"loss_config": [], "lambda_ot": "many"}, "seed": "x", "steps": float("nan")},
        {"ot": {"loss_config": {"features": [1, None, {"src_key": None}]}}},
        {"a.b": 1, "a": 2, "a.b.c": 3},
        {"steps": 10**400, "x": "{not json}", "y": [object()], "z": {1: {2: 3}}},
    ],
)
def test_odd_configs_break_nothing(config):
    key_settings(config)
    flatten(config)
    comparable(config)


def test_nothing_is_lost_where_keys_collide():
    assert set(flatten({"a": 2, "a.b": 3}).values()) == {2, 3}
    assert nested({"a.b": 1, "a.c": 2}) == {"a": {"b": 1, "c": 2}}
