"""The YAML sketches of the reports become today's keys; nothing in them is dropped in silence."""

from pathlib import Path

import pytest

from otpilot.config.compat import translate
from otpilot.config.files import read_config_file
from otpilot.config.rewriting import read
from otpilot.config.sketch import RENAMED, SPECIAL
from otpilot.errors import ConfigError

SKETCHES = sorted((Path(__file__).parents[1] / "data" / "sketches").glob("*.yaml"))

STABLE_V1 = {
    "job_name": "dp_ot_stable_v1", "optimizer.type": "adamw", "optimizer.lr": 5e-5, "optimizer.weight_decay": 0.02,
    "optimizer.grad_clip_norm": 1.0, "scheduler.type": "diffuser", "scheduler.name": "cosine", "warmup_ratio": 0.05,
    "batch_size": 128, "grad_accum_steps": 2, "ema_decay": 0.999, "eval_use_ema": True, "ot.lambda_ot": 0.5,
    "ot.loss_config.reg": 0.5, "ot.loss_config.max_iterations": 60, "ot.loss_config.tolerance": 1e-3,
    "use_policy_training_preset": False,
}  # fmt: skip
REG_V1 = {
    "scheduler.num_warmup_steps": 2000, "early_stopping.monitor": "eval/offline_eval/avg_loss",
    "early_stopping.patience_eval_intervals": 5, "ot.lambda_ot": 0.3, "action_noise_std": 0.01,
    "state_noise_std": 0.01, "discrete_actions.label_smoothing": 0.05,
}  # fmt: skip
SCHED_V1 = {
    "ot.lambda_ot_schedule": {
        "type": "linear", "start_step": 0, "end_ratio_of_steps": 0.1, "start_value": 0.0, "end_value": 1.0
    },
    "ot.loss_config.reg_schedule": {
        "type": "linear", "start_value": 0.5, "end_value": 0.1, "end_ratio_of_steps": 0.3
    },
    "ema_decay": 0.9995,
}  # fmt: skip
STABLE_OT = {
    "job_name": "stable_ot", "optimizer.lr": 2e-4, "optimizer.weight_decay": 0.05, "warmup_ratio": 0.1,
    "grad_accum_steps": 4, "ema_decay": 0.999, "seed": 42, "policy.chunk_size": 128, "ot.lambda_ot": 0.5,
    "ot.loss_config.cost": "l2", "ot.loss_config.reg": 0.1, "ot.loss_config.max_iterations": 200,
    "ot.weight_warmup_ratio": 0.3, "eval_steps": 2000,
}  # fmt: skip
OT_TUNE = {"ot.compute_every_n_steps": 2, "ot.loss_config.cost": "l2_squared", "ot.lambda_ot": 0.7}
FOCUS = {
    "discrete_actions.label_smoothing": 0.05, "discrete_actions.focal_gamma": 1.5,
    "discrete_actions.class_balance": True, "ot.lambda_ot": 0.2, "eval_steps": 1500,
}  # fmt: skip
EXPECTED = {
    "dp_ot_stable_v1": ("diffusion", STABLE_V1),
    "dp_ot_reg_v1": ("diffusion", REG_V1),
    "dp_ot_sched_v1": ("diffusion", SCHED_V1),
    "stable_ot": ("act", STABLE_OT),
    "ot_tune": ("act", OT_TUNE),
    "action_lbl_focus": ("act", FOCUS),
}


@pytest.mark.parametrize("file", SKETCHES, ids=lambda file: file.stem)
def test_the_seeds_own_sketches(file):
    policy, expected = EXPECTED[file.stem]
    body = {**read_config_file(file), "dataset": {"repo_id": "a"}, "policy": {"type": policy}}
    made = translate(body).config
    assert {key: read(made, key) for key in expected} == expected
    assert not {"train", "loss", "model", "data", "logging", "eval", "name", "experiment"} & set(made)
    assert translate(made).config == made


def test_every_sketch_was_found():
    assert {file.stem for file in SKETCHES} == set(EXPECTED)


@pytest.mark.parametrize("key", [*RENAMED, *SPECIAL])
def test_every_key_of_a_sketch_is_told(key):
    value = {"train.ema": True, "loss.ot.detach_cost_grad": True, "train.optimizer": "adamw"}.get(key, 2)
    value = "cosine" if key == "train.scheduler" else value
    *parents, last = key.split(".")
    body = {"policy": {"type": "act", "optimizer_lr": 1e-5}, "ot": {"lambda_ot": 0.1}}
    if key in {"loss.weights.ot", "loss.weights.ot_action_lbl"}:
        body = {"policy": {"type": "act"}}
    place = body
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = value
    made = translate(body)
    assert any(key in note for note in made.notes), made.notes
    assert read(made.config, key) is None


def test_the_weight_of_the_label_is_that_of_the_terms_that_compare_actions():
    features = [{"src_key": "observation.state"}, {"src_key": "action", "weight_label": 0.02}]
    made = translate({"loss": {"weights": {"action_lbl": 2.0}}, "ot": {"loss_config": {"features": features}}})
    assert made.config["ot"]["loss_config"]["features"] == [features[0], {**features[1], "term_weight": 2.0}]
    made = translate({"loss": {"weights": {"action_lbl": 2.0}}})
    assert [term.get("term_weight") for term in made.config["ot"]["loss_config"]["features"]] == [None, 2.0]
    with pytest.raises(ConfigError, match="src_key = 'action'"):
        translate({"loss": {"weights": {"action_lbl": 2.0}}, "ot": {"loss_config": {"features": features[:1]}}})


def test_only_the_ratio_of_the_loss_weights_counts():
    assert translate({"loss": {"weights": {"bc": 1.0, "ot": 0.3}}}).config["ot"]["lambda_ot"] == 0.3
    assert translate({"loss": {"weights": {"bc": 2.0, "ot": 0.3}}}).config["ot"]["lambda_ot"] == 0.15
    with pytest.raises(ConfigError, match=r"loss\.weights\.bc is 0"):
        translate({"loss": {"weights": {"bc": 0, "ot": 0.3}}})


def test_ema_with_and_without_a_decay():
    assert translate({"train": {"ema": True}}).config == {"ema_decay": 0.999}
    assert translate({"train": {"ema": True, "ema_decay": 0.9}}).config == {"ema_decay": 0.9}
    assert translate({"train": {"ema": False}}).config == {}
    with pytest.raises(ConfigError, match="contradicts"):
        translate({"train": {"ema": False, "ema_decay": 0.9}})


def test_an_optimizer_without_a_rate_takes_the_policys_or_is_refused():
    body = {"train": {"grad_clip_norm": 1.0}, "policy": {"type": "act", "optimizer_lr": 3e-5}}
    assert translate(body).config["optimizer"] == {"grad_clip_norm": 1.0, "type": "adamw", "lr": 3e-5}
    with pytest.raises(ConfigError, match="no lr"):
        translate({"train": {"grad_clip_norm": 1.0}})


def test_what_cannot_be_fulfilled_is_said():
    with pytest.raises(ConfigError, match="never taken"):
        translate({"loss": {"ot": {"detach_cost_grad": False}}})
    with pytest.raises(ConfigError, match=r"set policy\.type"):
        translate({"data": {"seq_len": 64}})
    with pytest.raises(ConfigError, match="given twice"):
        translate({"scheduler": {"type": "cosine", "warmup_steps": 10, "warmup_ratio": 0.1}})
    with pytest.raises(ConfigError, match=r"'train\.grad_acum'.*Did you mean 'train\.grad_accum'"):
        translate({"train": {"grad_acum": 2}})
    with pytest.raises(ConfigError, match=r"'loss\.weights\.kl'"):
        translate({"loss": {"weights": {"kl": 2}}})
    notes = translate({"model": {"head_dropout": 0.2}, "policy": {"type": "diffusion"}}).notes
    assert any("not honoured" in note for note in notes)
    assert translate({"model": {"head_dropout": 0.2}, "policy": {"type": "act"}}).config["policy"]["dropout"] == 0.2


def test_lerobots_own_sections_stay():
    body = {
        "use_policy_training_preset": False,
        "optimizer": {"type": "adamw", "lr": 1e-4},
        "scheduler": {"type": "cosine_decay_with_warmup", "num_warmup_steps": 5},
    }
    assert translate(body).config == body
