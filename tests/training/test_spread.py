"""One step over accumulated batches or processes has the gradient of one large batch."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics, read_outcome
from otpilot.training.session import train

# Plain gradient descent shows a wrong gradient as it is; Adam would blow rounding up to its sign.
PLAIN = {
    "use_policy_training_preset": False,
    "optimizer": {"type": "sgd", "lr": 0.02, "grad_clip_norm": 10.0},
    "scheduler": {"type": "constant_with_warmup", "num_warmup_steps": 0},
    "policy.dropout": 0.0,
    "steps": 3,
    "save_checkpoint": True,
    "ot.lambda_ot": "auto",
    "ot.target_grad_share": 0.5,
    "ot.health.check_every_n_steps": 2,
}
TOLERANCE = 1e-4
FIGURES = ("loss", "bc_loss", "l1_loss", "grad_norm", "ot_loss", "ot_pi_sum", "ot_weight", "ot_grad_share")


def trained(root, step=3):
    return load_file(RunPaths(root).checkpoints / f"{step:06d}" / "pretrained_model" / "model.safetensors")


def furthest(one, two):
    return max(float((one[key] - two[key]).abs().max()) for key in one)


def figures(root):
    records = read_metrics(RunPaths(root).metrics).records
    return [{k: r.values[k] for k in FIGURES if k in r.values} for r in records if r.kind == "train"]


def check_equal(one, two):
    for ours, theirs in zip(figures(one), figures(two), strict=True):
        assert ours == pytest.approx(theirs, rel=2e-3)
    assert furthest(trained(one), trained(two)) < TOLERANCE


@pytest.mark.parametrize("rows", ["shared", "separate"])
def test_two_accumulated_batches_of_8_equal_one_of_16(load, rows):
    whole = load(name="whole", batch_size=16, **PLAIN, **{"ot.rows": rows})
    parts = load(name="parts", batch_size=8, grad_accum_steps=2, **PLAIN, **{"ot.rows": rows})
    plain = load(name="plain", batch_size=16, **(PLAIN | {"ot.lambda_ot": 0.0}), **{"ot.rows": rows})
    for config in (whole, parts, plain):
        train(config)
    check_equal(parts.output_dir, whole.output_dir)
    assert furthest(trained(plain.output_dir), trained(whole.output_dir)) > 5 * TOLERANCE  # the transport matters


def test_a_problem_per_batch_is_another_problem(load):
    one = load(name="one", batch_size=8, grad_accum_steps=2, **PLAIN)
    local = load(name="local", batch_size=8, grad_accum_steps=2, **PLAIN, **{"ot.scope": "local"})
    for config in (one, local):
        train(config)
    assert furthest(trained(one.output_dir), trained(local.output_dir)) > 5 * TOLERANCE
    assert read_outcome(local.output_dir).status == "finished"


def test_resuming_with_accumulation_dropout_and_an_average_equals_going_on(load, tmp_path):
    settings = {
        "grad_accum_steps": 2,
        "save_checkpoint": True,
        "ema_decay": 0.9,
        "ot.lambda_ot": "auto",
        "ot.health.check_every_n_steps": 2,
        "num_workers": 2,
        "dataloader_multiprocessing_context": "fork",
        "use_policy_training_preset": False,
        "optimizer": {"type": "adamw", "lr": 1e-3},
        "scheduler": {"type": "diffuser", "name": "cosine", "num_warmup_steps": None},
        "warmup_ratio": 0.5,
        "schedule_horizon": 8,
        "state_noise_std": 0.01,
    }
    from otpilot.config.schema import load_config

    straight = load(name="straight", steps=4, **settings)
    train(straight)
    half = load(name="half", steps=2, **settings)
    train(half)
    checkpoint = RunPaths(half.output_dir).last_checkpoint / "pretrained_model" / "train_config.json"
    train(load_config([f"--config_path={checkpoint}", "--resume=true", "--steps=4"]).config)
    ours, theirs = trained(half.output_dir, 4), trained(straight.output_dir, 4)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    state = "training_state/otpilot_weights.safetensors"
    ours = load_file(RunPaths(half.output_dir).last_checkpoint / state)
    theirs = load_file(RunPaths(straight.output_dir).last_checkpoint / state)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert figures(half.output_dir) == figures(straight.output_dir)


def launch(program, *arguments):
    """Run a program on two processes, by torch's launcher, because accelerate's starts several on GPUs only."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--rdzv-backend=c10d"]
    command += ["--rdzv-endpoint=localhost:0", *program, "train", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_two_processes_equal_one(load, tmp_path, world):
    one = load(name="one", batch_size=8, **PLAIN)
    train(one)
    path = world.write(tmp_path / "two.json", batch_size=4, **PLAIN)
    launch(["-m", "otpilot"], f"--config_path={path}", f"--output_dir={tmp_path / 'two'}")
    check_equal(tmp_path / "two", one.output_dir)
    assert json.loads((tmp_path / "two" / "outcome.json").read_text())["status"] == "finished"


BROKEN = """
import os

from otpilot.cli import main
from otpilot.errors import NonFiniteError
from otpilot.training.step import CoTrainingLoss

solve = CoTrainingLoss.solve


def broken(self, *sides, step, **settings):
    if os.environ["RANK"] == "1" and step in (2, 3):
        raise NonFiniteError("The cost is not finite.")
    return solve(self, *sides, step=step, **settings)


CoTrainingLoss.solve = broken
main()
"""


def own_problems(**changes):
    return PLAIN | {"batch_size": 4, "ot.scope": "local", "guard.nonfinite": "skip", "schedule_horizon": 4} | changes


def saved_means(root):
    """Return the running means of the cost of every process, as the last checkpoint has them."""
    state = torch.load(RunPaths(root).last_checkpoint / "training_state" / "otpilot_state.pt", weights_only=True)
    return [process["loss"]["transport"]["cost"] for process in state["processes"]]


def test_a_problem_that_fails_on_one_process_is_skipped_by_all(tmp_path, world):
    script, root = tmp_path / "broken.py", tmp_path / "two"
    script.write_text(BROKEN)
    path = world.write(tmp_path / "two.json", **own_problems())
    launch([str(script)], f"--config_path={path}", f"--output_dir={root}", "--steps=4")
    records = read_metrics(RunPaths(root).metrics).records
    alarms = [(r.step, r.values["alarm"]) for r in records if r.kind == "health"]
    assert alarms == [(2, "nonfinite"), (3, "nonfinite")]  # while gradients are measured, and while they are taken
    assert read_outcome(root).status == "finished"


@pytest.mark.slow
def test_every_process_resumes_with_the_running_means_of_its_own(tmp_path, world):
    path = world.write(tmp_path / "two.json", **own_problems())
    straight, half = tmp_path / "straight", tmp_path / "half"
    launch(["-m", "otpilot"], f"--config_path={path}", f"--output_dir={straight}", "--steps=4")
    launch(["-m", "otpilot"], f"--config_path={path}", f"--output_dir={half}", "--steps=2")
    one, two = saved_means(half)
    assert all(one[term]["mean"] != two[term]["mean"] for term in one)
    launch(["-m", "otpilot"], "--resume=true", f"--config_path={half}", "--steps=4")
    assert saved_means(half) == saved_means(straight)
    assert furthest(trained(half, 4), trained(straight, 4)) == 0
