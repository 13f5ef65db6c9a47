"""The loop end to end, tiny: repeatable, resumable, equal to LeRobot where it must be, and honest about its end."""

import copy
import json

import numpy as np
import pytest
import torch
from lerobot.datasets.factory import resolve_delta_timestamps
from lerobot.optim.factory import make_optimizer_and_scheduler
from lerobot.policies.factory import make_policy, make_pre_post_processors
from lerobot.utils.random_utils import set_seed

from otpilot.config.schema import load_config
from otpilot.data.batches import BatchStream
from otpilot.data.domains import open_domains
from otpilot.data.pairs import make_samplers
from otpilot.errors import ConfigError, TrainingError
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_config, read_metrics, read_outcome
from otpilot.training.parts import load_policy
from otpilot.training.process import fuse
from otpilot.training.session import train

TIMES = ("update_s", "dataloading_s")


def lines(folder, kind="train"):
    """Return (step, values) of every log line of a kind, without the clock."""
    records = read_metrics(RunPaths(folder).metrics).records
    return [(r.step, {k: v for k, v in r.values.items() if k not in TIMES}) for r in records if r.kind == kind]


def weights(folder, step):
    policy, _, _ = load_policy(RunPaths(folder).checkpoints / f"{step:06d}" / "pretrained_model")
    return policy.state_dict()


def equal(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture(scope="module")
def four_steps(world, tmp_path_factory):
    """One uninterrupted run of four steps with OT, dropout and the automatic weight."""
    root = tmp_path_factory.mktemp("four")
    path = world.write(
        root / "cfg.json", save_checkpoint=True, **{"ot.lambda_ot": "auto", "ot.health.check_every_n_steps": 2}
    )
    train(load_config([f"--config_path={path}", f"--output_dir={root / 'run'}"]).config)
    return root


def test_the_run_folder_keeps_the_contract(four_steps):
    paths = RunPaths(four_steps / "run")
    outcome = read_outcome(paths.root)
    assert (outcome.status, outcome.last_step) == ("finished", 4)
    assert read_config(paths.root)["ot"]["lambda_ot"] == "auto"
    environment = json.loads(paths.environment.read_text())
    assert environment["versions"]["lerobot"] == "0.6.1"
    assert [step for step, _ in lines(paths.root)] == [1, 2, 3, 4]
    values = lines(paths.root)[-1][1]
    for name in ("loss", "bc_loss", "l1_loss", "grad_norm", "lr", "ot_loss", "ot_pi_sum", "ot_pi_diag", "ot_energy",
                 "ot_plan_cost", "ot_diag_share", "ot_entropy", "ot_unmatched_src", "ot_iterations", "ot_gap",
                 "ot_grad_share", "ot_weight", "ot_cost/images", "ot_cost/action_lbl"):  # fmt: skip
        assert name in values, name
    assert values["loss"] == pytest.approx(values["bc_loss"] + values["ot_weight"] * values["ot_loss"], rel=1e-5)
    with np.load(paths.artifacts / "plan.npz") as plan:
        assert plan["unit_plan"].sum() == pytest.approx(1.0, abs=1e-5)
        assert plan["source"].shape[1:] == (32, 32, 3)


def test_the_same_seed_gives_identical_losses(four_steps, world, tmp_path):
    config = load_config([f"--config_path={four_steps / 'cfg.json'}", f"--output_dir={tmp_path / 'again'}"]).config
    train(config)
    assert lines(tmp_path / "again") == lines(four_steps / "run")
    assert equal(weights(tmp_path / "again", 4), weights(four_steps / "run", 4))


def test_two_steps_resumed_for_two_equal_four(four_steps, tmp_path):
    path = four_steps / "cfg.json"
    half = load_config([f"--config_path={path}", f"--output_dir={tmp_path / 'half'}", "--steps=2"]).config
    train(half)
    assert lines(tmp_path / "half") == lines(four_steps / "run")[:2]
    saved = RunPaths(tmp_path / "half").last_checkpoint / "pretrained_model" / "train_config.json"
    train(load_config(["--resume=true", f"--config_path={saved}", "--steps=4"]).config)
    assert lines(tmp_path / "half") == lines(four_steps / "run")
    assert equal(weights(tmp_path / "half", 4), weights(four_steps / "run", 4))
    assert read_outcome(tmp_path / "half").status == "finished"
    for name in ("config.json", "checkpoints/000004/pretrained_model/train_config.json"):
        body = json.loads((tmp_path / "half" / name).read_text())
        assert (body["resume"], body["policy"]["pretrained_path"]) == (False, None)


def test_resuming_a_finished_run_says_what_to_do(four_steps):
    saved = RunPaths(four_steps / "run").last_checkpoint / "pretrained_model" / "train_config.json"
    before = RunPaths(four_steps / "run").metrics.read_bytes()
    with pytest.raises(TrainingError, match=r"at step 4 already; give --steps above it"):
        train(load_config(["--resume=true", f"--config_path={saved}"]).config)
    assert RunPaths(four_steps / "run").metrics.read_bytes() == before


def test_a_finished_run_is_told_before_any_data_are_read(four_steps, monkeypatch):
    config = load_config(["--resume=true", f"--config_path={four_steps / 'run'}"]).config
    monkeypatch.setattr("otpilot.training.session.open_domains", lambda _: pytest.fail("data were read"))
    with pytest.raises(TrainingError, match=r"at step 4 already; give --steps above it"):
        train(config)


def test_weight_zero_equals_lerobots_own_training_on_the_same_batches(load):
    config = load(save_checkpoint=True, **{"ot.lambda_ot": 0.0})
    domains = open_domains(config)
    stream = BatchStream(config, domains, make_samplers(config, domains))
    set_seed(config.seed)
    theirs = copy.deepcopy(config)
    policy = make_policy(cfg=theirs.policy, ds_meta=domains.target.reader.meta)
    preprocessor, _ = make_pre_post_processors(policy_cfg=theirs.policy, dataset_stats=domains.stats)
    optimizer, _ = make_optimizer_and_scheduler(theirs, policy)
    fuse(optimizer)
    losses = []
    policy.train()
    for step in range(config.steps):
        rows = dict(stream[step].rows)
        rows["observation.images.top"] = rows["observation.images.top"].float() / 255.0
        loss, _ = policy.forward(preprocessor(rows))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), theirs.optimizer.grad_clip_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    train(config)
    assert [values["loss"] for _, values in lines(config.output_dir)] == losses
    assert equal(weights(config.output_dir, 4), policy.state_dict())


def test_the_checkpoint_acts_through_lerobots_own_loading_code(four_steps):
    from lerobot.policies.act.modeling_act import ACTPolicy

    folder = RunPaths(four_steps / "run").last_checkpoint / "pretrained_model"
    policy = ACTPolicy.from_pretrained(folder)
    preprocessor, postprocessor = make_pre_post_processors(policy_cfg=policy.config, pretrained_path=str(folder))
    observation = {"observation.images.top": torch.rand(2, 3, 32, 32), "observation.state": torch.rand(2, 3)}
    action = postprocessor(policy.select_action(preprocessor(observation)))
    assert action.shape == (2, 3)
    assert torch.isfinite(action).all()


def test_the_loader_asks_the_dataset_for_what_lerobot_would(load):
    config = load()
    meta = open_domains(config).target.reader.meta
    assert resolve_delta_timestamps(config.policy, meta) == {"action": [0.0, 0.1, 0.2, 0.3]}


@pytest.mark.parametrize("rows", ["shared", "separate"])
@pytest.mark.parametrize("method", ["ot", "paired", "energy_distance", "mmd", "coral", "none"])
def test_every_method_trains(load, rows, method):
    config = load(steps=2, **{"ot.rows": rows, "ot.method": method, "ot.lambda_ot": 0.1})
    assert train(config).status == "finished"
    values = lines(config.output_dir)[-1][1]
    assert ("ot_loss" in values) == (method != "none")
    assert np.isfinite(values["loss"])


def test_the_transport_changes_the_encoder(load):
    saved = {"steps": 2, "save_checkpoint": True}
    plain, moved = load(**saved, **{"ot.lambda_ot": 0.0}), load(name="moved", **saved, **{"ot.lambda_ot": 1.0})
    train(plain)
    train(moved)
    one, two = weights(plain.output_dir, 2), weights(moved.output_dir, 2)
    name = "model.encoder_img_feat_input_proj.weight"
    assert not torch.equal(one[name], two[name])


def test_held_out_loss_and_closed_loop_are_logged(load):
    env = {"type": "otpilot_tabletop", "cells": ["id=target:left"], "max_steps": 3}
    config = load(steps=2, eval_steps=1, env=env, eval={"n_episodes": 2}, **{"dataset.eval_split": 0.3})
    train(config)
    evaluations = lines(config.output_dir, "eval")
    assert [step for step, _ in evaluations] == [1, 2]
    values = evaluations[-1][1]
    assert values["offline_eval/avg_loss"] == values["offline_eval/target/avg_loss"] > 0
    assert values["offline_eval/avg_l1"] == pytest.approx(values["offline_eval/avg_loss"])  # ACT without VAE
    assert "offline_eval/source/avg_loss" in values
    assert lines(config.output_dir, "sim") == [
        (
            2,
            {
                "n_episodes": 2.0,
                "success_id": 0.0,
                "success_id_low": 0.0,
                "success_id_high": pytest.approx(0.8419, abs=1e-4),
                "success_mean": 0.0,
            },
        )
    ]


def test_a_diverging_run_says_so(load):
    config = load(steps=6, **{"policy.optimizer_lr": 1e30, "policy.optimizer_lr_backbone": 1e30})
    with pytest.raises(TrainingError, match=r"at step \d.*optimizer_lr"):
        train(config)
    outcome = read_outcome(config.output_dir)
    assert outcome.status == "diverged"
    assert outcome.last_step == len(lines(config.output_dir))


def test_a_crash_says_so(load, monkeypatch):
    config = load(save_checkpoint=True)
    monkeypatch.setattr(
        "otpilot.training.checkpoint.save_checkpoint", lambda **_: (_ for _ in ()).throw(OSError("disk full"))
    )
    with pytest.raises(OSError, match="disk full"):
        train(config)
    assert read_outcome(config.output_dir).status == "crashed"
    assert not RunPaths(config.output_dir).last_checkpoint.exists()
    assert list(RunPaths(config.output_dir).checkpoints.glob("*")) == []


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"ot.pair_info_path": None}, r"ot\.pair_info_path is not set; make a pair table with `otpilot pair`"),
        ({"ot.loss_config.features": [{"src_key": "nothing", "weight_label": 1.0}]}, r"names 'nothing'.*allowed"),
        (
            {"ot.loss_config.features": [{"src_key": "action", "use_learned_embed": True, "weight_embed": 1.0}]},
            r"no learned embedding for 'action'",
        ),
    ],
)
def test_wrong_settings_write_nothing(load, changes, match):
    config = load(**changes)
    with pytest.raises(ConfigError, match=match):
        train(config)
    assert not config.output_dir.exists()


def test_wandb_offline_mirrors_the_log(load, monkeypatch):
    for name in ("WANDB_SILENT", "WANDB_MODE"):
        monkeypatch.setenv(name, "true" if name == "WANDB_SILENT" else "offline")
    config = load(steps=2, wandb={"enable": True, "mode": "offline", "project": "test", "disable_artifact": True})
    assert train(config).status == "finished"
    assert list(config.output_dir.glob("wandb/offline-run-*/run-*.wandb"))


def test_an_unusable_wandb_does_not_stop_training(load, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no network")

    monkeypatch.setattr("otpilot.training.wandb_session.RunLogger", refuse)
    config = load(steps=1, wandb={"enable": True})
    assert train(config).status == "finished"


def test_mixed_precision_trains_with_the_solve_in_full(load):
    config = load(steps=2, **{"policy.use_amp": True, "ot.health.check_every_n_steps": 1})
    assert train(config).status == "finished"
    values = lines(config.output_dir)[-1][1]
    assert np.isfinite(values["loss"])
    assert values["ot_error_bound"] < 1e-3  # the solver's own certificate: bfloat16 could not give it
    assert values["ot_grad_share"] > 0
