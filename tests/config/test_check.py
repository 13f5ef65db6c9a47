"""`otpilot config check` finds what keeps a config from training, and says what it says in vain."""

import json
from pathlib import Path

import pytest
import yaml

import otpilot.sim.env_config  # noqa: F401 - registers the env type
from otpilot.config.check import check_config
from otpilot.config.hygiene import IDLE, contradictions
from otpilot.config.recipes import list_recipes
from otpilot.config.schema import encode, load_config
from otpilot.errors import ConfigError

CONFIGS = sorted((Path(__file__).parents[1] / "data" / "configs").glob("*.json"))
FEATURE = {"src_key": "action", "weight_label": 1.0}


@pytest.fixture
def check(world, tmp_path):
    """Return a function that checks the shared tiny config with changes."""

    def look(*overrides, **changes):
        return check_config(str(world.write(tmp_path / "cfg.json", **changes)), overrides)

    return look


def has(sentences, *words):
    return any(all(word in sentence for word in words) for sentence in sentences)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_the_seeds_own_configs_pass_unchanged(file):
    result = check_config(str(file))
    assert result.problems == ()
    assert has(result.notes, "heuristic", "no transport happens")
    assert has(result.notes, "dataset.root is not on this machine")
    assert len(result.notes) == len(set(result.notes))


@pytest.mark.parametrize("recipe", list_recipes(), ids=lambda recipe: recipe.name)
def test_every_recipe_passes_and_says_nothing_in_vain(recipe):
    result = check_config(f"recipe:{recipe.name}")
    assert result.problems == ()
    assert not has(result.notes, "no effect", "") or recipe.name in {"r2", "embed_only_3cam"}


def test_a_good_config_has_nothing_to_say(check):
    result = check("--batch_size=32")
    assert (result.problems, result.notes) == ((), ())


def test_all_unknown_keys_are_found_at_once_and_the_rest_is_checked(check):
    features = [{**FEATURE, "weight_lable": 1.0}]
    result = check("--polcy.type=act", "--ot.lambda_ott=1", "--steps=0", **{"ot.loss_config.features": features})
    assert has(result.problems, "'polcy'", "'policy'")
    assert has(result.problems, "'ot.lambda_ott'", "'lambda_ot'")
    assert has(result.problems, "features.0.weight_lable", "'weight_label'")
    assert has(result.problems, "steps is 0")
    assert len(result.problems) == 4


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("--ot.lambda_ot=-1", ["ot.lambda_ot is -1"]),
        ("--policy.type=actt", ["actt", "Did you mean 'act'"]),
        ("--batch_size=0", ["batch_size is 0"]),
        ("--num_workers=-1", ["num_workers is -1"]),
        ("--log_freq=-1", ["log_freq is -1"]),
        ("--seed=-1", ["seed is -1; allowed: a whole number >= 0"]),
        ("--seed=4294967296", ["seed is 4294967296; allowed: a whole number from 0 to 4294967295"]),
        ("--threads=-2", ["threads is -2; allowed: a whole number >= 1"]),
        ("--save_freq=-5", ["save_freq is -5"]),
        ("--env_eval_freq=-5", ["env_eval_freq is -5"]),
        ("--max_eval_samples=-5", ["max_eval_samples is -5"]),
        ("--prefetch_factor=0", ["prefetch_factor is 0"]),
        ("--eval.n_episodes=0", ["eval.n_episodes is 0"]),
        ("--policy.optimizer_lr=-1", ["policy.optimizer_lr is -1.0; allowed: a finite number >= 0"]),
        ("--policy.optimizer_lr=nan", ["policy.optimizer_lr is nan"]),
        ("--ot.batch_ratio=5", ["ot.batch_ratio is 5.0", "2.0"]),
        ("--eval_steps=10", ["eval_split"]),
        ("--early_stopping.patience_eval_intervals=3", ["early_stopping watches eval/offline_eval/avg_loss"]),
        ("--early_stopping.monitor=sim/success_mean", ["early_stopping watches sim/", "closed loop"]),
        ("--warmup_ratio=0.1", ["warmup_ratio", "no schedule"]),
        ("--keep_best=true", ["keep_best", "nothing is evaluated"]),
        ("--ot.pair_info_path=null", ["ot.pair_info_path is not set"]),
        ("--use_policy_training_preset=false", ["Optimizer and Scheduler"]),
        ("--ot.loss_config.epsilon=0.1 --ot.loss_config.sinkhorn_epsilon=0.2", []),
        ("steps", ["--key=value"]),
    ],
)
def test_problems(check, override, words):
    result = check(*override.split())
    if words:
        assert has(result.problems, *words), result
    else:
        assert result.problems == ()  # the later override of the same thing wins


@pytest.mark.parametrize("key", ["optimizer.lr", "optimizer.weight_decay", "scheduler.num_warmup_steps"])
def test_a_section_that_is_used_instead_of_the_preset_is_checked_as_well(check, key):
    body = {
        "use_policy_training_preset": False,
        "optimizer": {"type": "adamw", "lr": 1e-4},
        "scheduler": {"type": "diffuser", "name": "cosine", "num_warmup_steps": 0},
    }
    assert check(**body).problems == ()
    assert has(check(f"--{key}=-1", **body).problems, f"{key} is -1")


def test_an_unknown_choice_is_told_once(check):
    assert len(check("--policy.type=actt").problems) == 1


def test_training_refuses_what_check_finds_and_notes_what_is_said_in_vain(world, tmp_path):
    path = world.write(tmp_path / "cfg.json")

    def load(*words):
        return load_config([f"--config_path={path}", *words], check_output=False)

    with pytest.raises(ConfigError, match=r"^steps is -5; .* batch_size is 0; [^.]*\.$"):
        load("--steps=-5", "--batch_size=0")
    with pytest.raises(ConfigError, match="early_stopping watches sim/success_mean"):
        load("--early_stopping.monitor=sim/success_mean")
    with pytest.raises(ConfigError, match="keep_best is true, but nothing is evaluated"):
        load("--keep_best=true")
    words = ["--use_policy_training_preset=false", "--optimizer={type: adamw, lr: 1e-4}"]
    loaded = load(*words, "--policy.optimizer_lr=1e-4", "--policy.optimizer_lr_backbone=1e-4")
    assert has(loaded.notes, "policy.optimizer_lr has no effect")
    assert not has(loaded.notes, "optimizer_lr_backbone")  # ACT reads it beside any optimizer
    assert load().notes == ()


def test_a_config_that_a_machine_filled_in_says_nothing_in_vain(world, tmp_path):
    full = encode(load_config([f"--config_path={world.write(tmp_path / 'cfg.json')}"], check_output=False).config)
    full["policy"]["device"] = "cpu"
    (tmp_path / "full.json").write_text(json.dumps(full))
    assert not has(load_config([f"--config_path={tmp_path / 'full.json'}"], check_output=False).notes, "no effect")


def test_terms_that_a_policy_cannot_embed(check):
    features = [{"src_key": "action", "use_learned_embed": True, "weight_embed": 1.0}]
    assert has(check(**{"ot.loss_config.features": features}).problems, "no learned embedding for 'action'")


def test_missing_source(check):
    result = check(**{"ot.src_repo_id": "", "ot.src_root": None})
    assert has(result.problems, "no source dataset")


VALUES = {
    "ot.obs_keys": ["action"], "ot.batch_ratio": 0.25, "ot.target_grad_share": 0.2, "ot.cutoff_quantile": 0.1,
    "ot.src_weight": 2.0, "ot.loss_config.cost_ema_decay": 0.5, "ot.loss_config.prior_kappa": 0.1,
    "ot.window_size": 3, "eval_use_ema": True, "max_eval_samples": 5, "save_freq": 7, "keep_best": True,
    "plan_images_every": 2, "discrete_actions": {"focal_gamma": 1.0}, "dataset.streaming": True,
    "peft": {"r": 2}, "sample_weighting": {"type": "rabc"}, "reward_model": None, "job": {"target": "a10g"},
    "save_checkpoint_to_hub": True,
}  # fmt: skip
ALSO = {
    "ot.window_size": {"ot.no_window": True},
    "ot.loss_config.prior_kappa": {"ot.loss_config.prior": "product"},
    "ot.loss_config.cost_ema_decay": {"ot.loss_config.cost_normalization": "none"},
    "save_checkpoint_to_hub": {"policy.repo_id": "me/it"},
}
REFUSED = {"reward_model"}  # LeRobot reads a reward model's features before we can speak


@pytest.mark.parametrize("idle", [idle for idle in IDLE if idle.key not in REFUSED], ids=lambda idle: idle.key)
def test_what_is_said_in_vain_is_noted(check, idle):
    result = check(**{idle.key: VALUES[idle.key], **ALSO.get(idle.key, {})})
    assert has(result.notes, f"{idle.key} has no effect: {idle.why}."), result


def test_a_policys_own_rate_beside_an_optimizer(check):
    result = check(
        **{
            "policy.optimizer_lr": 1e-4,
            "use_policy_training_preset": False,
            "optimizer": {"type": "adamw", "lr": 1e-4},
            "scheduler": {"type": "diffuser", "name": "cosine", "num_warmup_steps": 0},
        }
    )
    assert has(result.notes, "policy.optimizer_lr has no effect")
    assert has(check(optimizer={"type": "adamw", "lr": 1}).notes, "the policy's own optimizer is used")


def test_a_device_that_is_elsewhere_is_a_note(check):
    result = check("--policy.device=cuda:7")
    assert result.problems == ()
    assert has(result.notes, "policy.device = cuda:7 is not available on this machine")


def test_weights_that_have_to_be_downloaded_are_noted(check, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = "--policy.pretrained_backbone_weights=ResNet18_Weights.IMAGENET1K_V1"
    assert has(check(name).notes, "pretrained_backbone_weights", "set it to null", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth").touch()
    assert check(name, "--batch_size=32").notes == ()


def test_a_policy_in_a_checkpoint_that_is_elsewhere(check):
    result = check(**{"policy": {"path": "/nowhere/pretrained_model"}})
    assert (result.problems, result.notes) == ((), ("policy.path is not on this machine: /nowhere/pretrained_model.",))


def test_a_policy_whose_weights_are_elsewhere_is_a_note(check):
    result = check(batch_size=32, **{"policy.pretrained_path": "/nowhere/pretrained_model"})
    told = ("policy.pretrained_path is not on this machine: /nowhere/pretrained_model.",)
    assert (result.problems, result.notes) == ((), told)


def test_files_that_cannot_be_read_are_problems(tmp_path):
    (tmp_path / "half.yaml").write_text("a: [1")
    for name in (tmp_path / "half.yaml", tmp_path / "nowhere.json", "recipe:nowhere"):
        assert len(check_config(str(name)).problems) == 1


def test_a_yaml_file_is_checked_as_well(world, tmp_path):
    path = tmp_path / "cfg.yaml"
    path.write_text(yaml.safe_dump(json.loads(json.dumps(world.config()))) + "train: {lr: 5e-5, schedular: cosine}\n")
    assert has(check_config(str(path)).problems, "train.schedular", "train.scheduler")


@pytest.mark.parametrize(
    ("overrides", "rows"),
    [
        (["--batch_size=8"], "2"),
        (["--batch_size=8", "--ot.view_share=0"], None),
        (["--batch_size=8", "--ot.bc_src_weight=0.9"], "0.8"),
        (["--batch_size=8", "--grad_accum_steps=2", "--ot.scope=local"], "2"),
        (["--batch_size=8", "--ot.rows=separate", "--ot.batch_ratio=0.25"], "2"),
        (["--batch_size=16", "--ot.view_share=0"], None),
        (["--batch_size=8", "--grad_accum_steps=4"], None),
        (["--batch_size=8", "--ot.lambda_ot=0"], None),
        (["--batch_size=8", "--ot.enable=false"], None),
        (["--batch_size=8", "--ot.normalize_bc_weights_by_ds_size=false"], None),
    ],
)
def test_a_batch_that_leaves_the_transport_few_rows_is_noted(check, overrides, rows):
    result = check("--ot.view_share=auto", "--ot.bc_src_weight=auto", *overrides)
    assert result.problems == ()
    assert has(result.notes, "batch_size is 8", f"about {rows} target rows") is (rows is not None)
    assert has(result.notes, "target rows at a time") is (rows is not None)


@pytest.mark.parametrize(
    ("frames", "overrides", "part"),
    [
        (96, [], "0.9%"),
        (369, [], None),
        (96, ["--ot.stats=rows"], None),
        (96, ["--dataset.use_imagenet_stats=true"], None),
        (96, ["--ot.enable=false"], None),
    ],
)
def test_a_target_that_statistics_of_all_frames_hardly_know_is_noted(check, tmp_path, frames, overrides, part):
    roots = []
    for name, count in (("source", 10631), ("target", frames)):
        roots.append(tmp_path / name)
        (roots[-1] / "meta").mkdir(parents=True)
        features = {key: {} for key in ("observation.images.top", "observation.state", "action")}
        (roots[-1] / "meta" / "info.json").write_text(json.dumps({"features": features, "total_frames": count}))
    result = check(f"--ot.src_root={roots[0]}", f"--dataset.root={roots[1]}", *overrides)
    assert has(result.notes, f"{part} of all frames are the target's", "ot.stats to rows") is (part is not None)
    assert has(result.notes, "of all frames") is (part is not None)


WRONG_KEYS = {
    "source": ({"src_key": "observation.stat", "weight_label": 1.0}, "src_key is 'observation.stat'", "source"),
    "target": ({**FEATURE, "tgt_key": "actoin"}, "tgt_key is 'actoin'", "target"),
    "camera": (
        {"src_key": "observation.images.wrist", "use_learned_embed": True, "weight_embed": 1.0},
        "src_key is 'observation.images.wrist'", "source",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_KEYS)
def test_a_key_that_no_dataset_holds_is_a_problem_where_the_dataset_lies_here(check, world, case):
    feature, told, side = WRONG_KEYS[case]
    wrong = {"ot.loss_config.features": [feature]}
    folder = world.source if side == "source" else world.target
    problems = check(**wrong).problems
    assert has(problems, told, f"the {side} dataset in {folder}", "allowed:", "observation.state", "action", "Did you")
    assert len(problems) == (1 if "tgt_key" in feature else 2)
    away = check("--dataset.root=/nowhere/t", "--ot.src_root=/nowhere/s", **wrong)
    assert not has(away.problems, "dataset in")
    assert not has(check("--ot.enable=false", **wrong).problems, "dataset in")


def test_keys_that_stand_for_several_and_renamed_ones_are_no_problem(check):
    features = [
        {"src_key": key, "use_learned_embed": True, "weight_embed": 1.0, "term_name": key}
        for key in ("observation.images", "fused", "observation.images.top", "observation.state")
    ]
    assert check(**{"ot.loss_config.features": [*features, FEATURE]}).problems == ()
    cameras = {"observation.images.top": "observation.images.front"}
    renamed = [{**FEATURE, "src_key": "observation.images.front"}]
    assert not has(check(**{"rename_map": cameras, "ot.loss_config.features": renamed}).problems, "dataset in")


def test_renamed_features_do_not_go_with_statistics_per_domain(load):
    """LeRobot lets names be changed for a pretrained policy only."""
    config = load(**{"ot.stats": "per_domain"})
    assert not has(contradictions(config), "per_domain")
    config.rename_map = {"observation.images.top": "observation.images.front"}
    assert has(contradictions(config), "per_domain", "rename_map", "set ot.stats to")
