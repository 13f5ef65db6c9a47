"""Every recipe is what the report that names it says, complete, in today's form, and its base in all else."""

import json
from pathlib import Path

import pytest

from otpilot.config.canonical import ABSENT, diff
from otpilot.config.compat import translate
from otpilot.config.recipes import find_recipe, list_recipes, read_recipe, recipe_text
from otpilot.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "data" / "configs"
FEATURES = "ot.loss_config.features"
ADAMW = {"optimizer.type": "adamw", "use_policy_training_preset": False, "scheduler.name": "cosine"}
DP_ADAMW = {**ADAMW, "optimizer.lr": 3e-4, "optimizer.weight_decay": 1e-4, "scheduler.num_warmup_steps": 1000}
LABEL = f"{FEATURES}[action_lbl].weight_label"
RATE = {"policy.optimizer_lr": 1e-4, "policy.scheduler_name": "cosine", "policy.scheduler_warmup_steps": 1000}
TAUS = ("ot.loss_config.tau_src", "ot.loss_config.tau_tgt")


def tau(value):
    return dict.fromkeys(TAUS, value)


SEEDS_SAY = {
    "dp_ot_stable_v1": {
        **ADAMW, "optimizer.lr": 5e-5, "optimizer.weight_decay": 0.02, "optimizer.grad_clip_norm": 1.0,
        "warmup_ratio": 0.05, "batch_size": 128, "grad_accum_steps": 2, "ema_decay": 0.999, "eval_use_ema": True,
        "ot.lambda_ot": 0.5, "ot.loss_config.reg": 0.5, "ot.loss_config.max_iterations": 60,
        "ot.loss_config.tolerance": 1e-3,
    },
    "dp_ot_reg_v1": {
        **ADAMW, "optimizer.lr": 1e-4, "optimizer.weight_decay": 0.05, "scheduler.num_warmup_steps": 2000,
        "optimizer.grad_clip_norm": 1.0, "ema_decay": 0.999, "eval_use_ema": True,
        "early_stopping.monitor": "eval/offline_eval/avg_loss", "early_stopping.mode": "min",
        "early_stopping.patience_eval_intervals": 5, "ot.lambda_ot": 0.3, "state_noise_std": 0.01,
        "action_noise_std": 0.01, "discrete_actions.label_smoothing": 0.05, "discrete_actions.discrete_dims": [7],
    },
    "dp_ot_sched_v1": {
        **ADAMW, "optimizer.lr": 1e-4, "warmup_ratio": 0.1, "grad_accum_steps": 2, "optimizer.grad_clip_norm": 1.0,
        "ema_decay": 0.9995, "eval_use_ema": True, "ot.lambda_ot": 1.0, "ot.loss_config.reg": 0.1,  # where both end
        "ot.lambda_ot_schedule.type": "linear", "ot.lambda_ot_schedule.start_step": 0,
        "ot.lambda_ot_schedule.end_ratio_of_steps": 0.1, "ot.lambda_ot_schedule.start_value": 0.0,
        "ot.lambda_ot_schedule.end_value": 1.0, "ot.loss_config.reg_schedule.type": "linear",
        "ot.loss_config.reg_schedule.start_value": 0.5, "ot.loss_config.reg_schedule.end_value": 0.1,
        "ot.loss_config.reg_schedule.end_ratio_of_steps": 0.3, "ot.loss_config.max_iterations": 50,
    },
    "iter1": {**RATE, "steps": 50000, LABEL: 0.02, "eval_steps": 1000, "log_freq": 100, "save_freq": 10000},
    "iter2": {**RATE, "steps": 50000, LABEL: 0.02, "ot.lambda_ot": 0.15, "ot.loss_config.reg": 0.01},
    "iter3": {**DP_ADAMW, "steps": 100000, LABEL: 0.02},
    "iter4a": {**DP_ADAMW, "steps": 50000, LABEL: 0.02, "batch_size": 16, "ot.loss_config.prior": "diagonal"},
    "iter4b": {**DP_ADAMW, "steps": 50000, "ot.lambda_ot": 0.2, "ot.loss_config.reg": 0.01, **tau(0.02), LABEL: 0.02},
    "iter4c": {**DP_ADAMW, "steps": 100000, "batch_size": 20, LABEL: 0.02},
    "iter5a": {**DP_ADAMW, "steps": 50000, LABEL: 0.005, "ot.lambda_ot": 0.1, "ot.loss_config.reg": 0.02},
    "iter5b": {**DP_ADAMW, "steps": 50000, LABEL: 0.005, "ot.loss_config.prior": "product", **tau(0.005)},
    "iter5c": {
        **DP_ADAMW, "steps": 100000, LABEL: 0.01, f"{FEATURES}[images].weight_embed": 2.0,
        "ot.loss_config.prior": "diagonal", **tau(0.01),
    },
    "stable_ot": {
        **ADAMW, "optimizer.lr": 2e-4, "optimizer.weight_decay": 0.05, "warmup_ratio": 0.1, "batch_size": 256,
        "grad_accum_steps": 4, "optimizer.grad_clip_norm": 1.0, "ema_decay": 0.999, "seed": 42,
        "eval_use_ema": True,
        "policy.chunk_size": 128, "ot.lambda_ot": 0.5, "ot.loss_config.cost": "l2", "ot.loss_config.reg": 0.1,
        "ot.loss_config.max_iterations": 200, "ot.weight_warmup_ratio": 0.3, "eval_steps": 2000,
    },
    "ot_tune": {
        **ADAMW, "optimizer.lr": 3e-4, "optimizer.weight_decay": 0.02, "warmup_ratio": 0.05, "batch_size": 128,
        "grad_accum_steps": 2, "policy.chunk_size": 160, "ot.lambda_ot": 0.7, "ot.loss_config.cost": "l2_squared",
        "ot.loss_config.reg": 0.07, "ot.loss_config.max_iterations": 160, "ot.compute_every_n_steps": 2,
        "eval_steps": 2000,
    },
    "action_lbl_focus": {
        **ADAMW, "optimizer.lr": 2.5e-4, "optimizer.weight_decay": 0.05, "warmup_ratio": 0.1, "batch_size": 192,
        "grad_accum_steps": 2, "ot.lambda_ot": 0.2, f"{FEATURES}[action_lbl].term_weight": 2.0,
        "discrete_actions.label_smoothing": 0.05, "discrete_actions.focal_gamma": 1.5,
        "discrete_actions.class_balance": True, "discrete_actions.discrete_dims": [7], "ot.loss_config.cost": "l2",
        "ot.loss_config.reg": 0.05, "ot.loss_config.max_iterations": 120, "eval_steps": 1500,
    },
    **{f"sweep_a_reg{v:.2f}": {"ot.loss_config.reg": v, "ot.lambda_ot": 0.1, LABEL: 0.02} for v in (0.08, 0.1, 0.12)},
    **{
        f"sweep_b_lambda{v:.2f}": {"ot.lambda_ot": v, "ot.loss_config.reg": 0.1, LABEL: 0.02}
        for v in (0.08, 0.1, 0.12)
    },
    **{f"sweep_c_label{v:.2f}": {LABEL: v, "ot.lambda_ot": 0.1, "ot.loss_config.reg": 0.1} for v in (0.02, 0.04)},
    "r1": {"ot.window_size": 30, "ot.loss_config.reg": 2.0, **tau(10.0), "ot.lambda_ot": 0.1,
           f"{FEATURES}[observation.state].weight_label": 0.0005, f"{FEATURES}[observation.state].weight_embed": 1.0},
    "r2": {"ot.window_size": 20, "ot.loss_config.reg": 2.0, **tau(10.0), "ot.lambda_ot": 0.1,
           f"{FEATURES}[observation.state].weight_label": 0.0},
    "r3": {"ot.window_size": 30, "ot.loss_config.reg": 2.0, **tau(10.0), "ot.lambda_ot": 0.2,
           f"{FEATURES}[observation.state].weight_label": 0.0005},
    "embed_only_3cam": {"ot.window_size": 20, "ot.loss_config.reg": 1.0, **tau(5.0), LABEL: 0.0, "ot.lambda_ot": 0.1},
    "balanced": {"ot.window_size": 8, "ot.sharpness": 0.75, **tau(1.0), "ot.loss_config.reg": 0.15,
                 "ot.lambda_ot": 0.14, LABEL: 0.015, "ot.topk_src_episodes": 15},
    "align": {"ot.window_size": 0, "ot.sharpness": 2.0, **tau(0.5), "ot.loss_config.reg": 0.15, "ot.lambda_ot": 0.18,
              LABEL: 0.03, "ot.batch_ratio": 0.75, "ot.topk_src_episodes": 10},
    "nowindow": {"ot.no_window": True, "ot.window_size": 0, **tau(2.0), "ot.loss_config.reg": 0.15,
                 "ot.lambda_ot": 0.15, LABEL: 0.01},
    "next_w6_sharp1": {"ot.window_size": 6, "ot.sharpness": 1.0, "ot.loss_config.reg": 0.2, "ot.lambda_ot": 0.16,
                       LABEL: 0.01},
    "light": {"ot.window_size": 12, **tau(0.25), "ot.loss_config.reg": 0.1, "ot.lambda_ot": 0.08, LABEL: 0.005},
    "topk20": {"ot.topk_src_episodes": 20, "ot.window_size": 8, "ot.sharpness": 0.5, **tau(1.0),
               "ot.loss_config.reg": 0.2, "ot.lambda_ot": 0.12, LABEL: 0.02},
}  # fmt: skip
"""What the reports 000 to 004 write down for each configuration, in today's keys."""

HOUSEKEEPING = (
    "job_name", "output_dir", "wandb.", "num_workers", "save_", "eval_steps", "log_freq", "dataset.episodes",
    "dataset.streaming", "policy.device", "policy.pretrained_", "policy.optimizer_", "optimizer", "scheduler",
    "ot.obs_keys",
)  # fmt: skip
"""Keys in which a recipe may differ from its base without a report saying so: names, logging, idle keys."""

NAMES = [recipe.name for recipe in list_recipes()]


def flat(body):
    return {one.path: one.left for one in diff(body, {})}


def test_every_configuration_that_the_reports_name_is_there():
    assert list(SEEDS_SAY) == NAMES
    folder = Path(__file__).parents[2] / "src" / "otpilot" / "recipes"
    assert {file.stem for file in folder.glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_the_report_says(name):
    values = flat(read_recipe(name))
    assert {key: values.get(key, ABSENT) for key in SEEDS_SAY[name]} == SEEDS_SAY[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_differs_from_its_base_in_nothing_else(name):
    base = translate(json.loads((CONFIGS / f"{find_recipe(name).base}.json").read_text())).config
    recipe = read_recipe(name)
    for term, named in zip(base["ot"]["loss_config"]["features"], recipe["ot"]["loss_config"]["features"], strict=True):
        term.pop("embed_name", None)
        term["term_name"] = named["term_name"]
        if term.get("dim_slice", 0) is None:
            del term["dim_slice"]
    for one in diff(base, recipe):
        said = one.path in SEEDS_SAY[name] and SEEDS_SAY[name][one.path] == one.right
        section = one.right is not ABSENT and any(key.startswith(f"{one.path}.") for key in SEEDS_SAY[name])
        assert said or section or one.path.startswith(HOUSEKEEPING), one


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_complete_and_in_todays_form(name):
    body = read_recipe(name)
    assert translate(body).config == body
    assert translate(body).notes == ()
    loss = body["ot"]["loss_config"]
    spelled_out = {
        "cost",
        "cost_normalization",
        "embed_normalization",
        "objective",
        "prior",
        "reg",
        *("tau_src", "tau_tgt"),
    }
    assert spelled_out | {"tau_src", "tau_tgt"} <= set(loss)
    assert {"rows", "stats", "bc_src_weight", "lambda_ot"} <= set(body["ot"])
    assert body["job_name"] == name


@pytest.mark.parametrize("recipe", list_recipes(), ids=lambda recipe: recipe.name)
def test_a_recipe_says_what_it_is_for(recipe):
    assert recipe.seed in {"000", "001", "002", "003", "004"}
    assert recipe.what.endswith(".")
    assert recipe.when.endswith(".")
    diagonal = read_recipe(recipe.name)["ot"]["loss_config"]["prior"] == "diagonal"
    assert ("no transport happens" in recipe.suspect) is diagonal


def test_sweeps_move_one_knob_only():
    for prefix, knob in {"sweep_a_": "ot.loss_config.reg", "sweep_b_": "ot.lambda_ot", "sweep_c_": LABEL}.items():
        members = [name for name in NAMES if name.startswith(prefix)]
        assert len(members) >= 2
        for name in members[1:]:
            moved = {one.path for one in diff(read_recipe(members[0]), read_recipe(name))}
            assert moved == {knob, "job_name"}


def test_an_unknown_name_gets_the_closest():
    with pytest.raises(ConfigError, match=r"'iter4d'.*recipes list.*Did you mean 'iter4"):
        recipe_text("iter4d")
    with pytest.raises(ConfigError, match="no recipe"):
        recipe_text("../compat")
