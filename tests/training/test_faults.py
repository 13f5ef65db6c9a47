"""What goes wrong in the middle of training: the outcome says so, and no checkpoint is torn."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from otpilot.errors import TrainingError
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics, read_outcome
from otpilot.training import checkpoint, trainer
from otpilot.training.guard import Verdict
from otpilot.training.parts import load_policy, make_accelerator
from otpilot.training.progress import Silence
from otpilot.training.session import assemble, train

STARVED = {"reg": 1e-3, "tau_src": 1e-3, "tau_tgt": 1e-3}


def whole_checkpoints(root):
    """Return the steps whose checkpoints load; every folder that is there must."""
    folders = sorted(p for p in RunPaths(root).checkpoints.glob("*") if not p.is_symlink())
    for folder in folders:
        load_policy(folder / "pretrained_model")
        assert (folder / checkpoint.STATE_FILE).is_file()
        assert torch.load(folder / checkpoint.STATE_FILE, weights_only=True)["guard"]
    return [int(folder.name) for folder in folders]


def alarms(root):
    return [(r.step, r.values["alarm"]) for r in read_metrics(RunPaths(root).metrics).records if r.kind == "health"]


@contextlib.contextmanager
def bad_batch(monkeypatch, number, key="observation.state"):
    """Make the state (or another key) of one batch NaN, as a broken sensor would."""
    plain = trainer.BatchStream.__getitem__

    def broken(self, k):
        batch = plain(self, k)
        if k == number:
            batch.rows[key] = batch.rows[key] * torch.nan
        return batch

    with monkeypatch.context() as patch:
        patch.setattr(trainer.BatchStream, "__getitem__", broken)
        yield


def with_scaler(load, monkeypatch):
    """Return a trainer whose gradients are scaled as in fp16 on CUDA, while it computes in full precision."""
    config = load(batch_size=2, **{"ot.lambda_ot": 0.0})
    accelerator = make_accelerator(config)
    accelerator.scaler, accelerator.native_amp = torch.amp.GradScaler("cpu"), True
    monkeypatch.setitem(accelerator.state._shared_state, "_mixed_precision", "fp16")
    monkeypatch.setattr(accelerator, "autocast", contextlib.nullcontext)
    made = assemble(config, accelerator, Silence())
    made.parts.policy.train()
    return made


def one_step(made, number, **factors):
    batch = made.stream[number]
    rows = made.inputs.for_training(batch.rows, batch.map)
    return made.update([(rows | {key: rows[key] * factor for key, factor in factors.items()}, batch.map)], number + 1)


def test_with_fp16_a_loss_that_is_nan_is_not_taken_for_an_overflow(load, monkeypatch):
    made = with_scaler(load, monkeypatch)
    one_step(made, 0)
    with pytest.raises(TrainingError, match=r"at step 2"):
        one_step(made, 1, **{"observation.state": torch.nan})


def test_with_fp16_training_goes_on_behind_a_step_that_was_skipped(load, monkeypatch):
    made = with_scaler(load, monkeypatch)

    def weights():
        return torch.cat([part.detach().flatten() for part in made.parts.policy.parameters()])

    assert float(one_step(made, 0)["grad_norm"]) < 1e4, "not unscaled"
    before = weights()
    with monkeypatch.context() as patch:
        patch.setattr(made.guard, "check", lambda **_: Verdict(action="skip", alarm="spike", message="high"))
        assert "skipped_steps" in one_step(made, 1)
    assert torch.equal(before, weights())
    assert "skipped_steps" not in one_step(made, 2)
    assert not torch.equal(before, weights())


def test_a_nan_batch_ends_the_run(load, monkeypatch):
    config = load(steps=4, save_checkpoint=True, save_freq=1)
    with bad_batch(monkeypatch, 2), pytest.raises(TrainingError, match=r"at step 3"):
        train(config)
    outcome = read_outcome(config.output_dir)
    assert (outcome.status, outcome.last_step) == ("diverged", 2)
    assert "at step 3" in outcome.reason
    assert whole_checkpoints(config.output_dir) == [1, 2]


@pytest.mark.parametrize("batches", [1, 2])
def test_a_loss_that_is_nan_ends_the_run_though_its_gradient_is_finite(load, monkeypatch, batches):
    """Where an action label is NaN, the gradient of ACT's L1 loss is 0."""
    config = load(steps=4, grad_accum_steps=batches, **{"ot.lambda_ot": 0.0})
    with bad_batch(monkeypatch, 2 * batches, "action"), pytest.raises(TrainingError, match="loss is nan at step 3"):
        train(config)


@pytest.mark.parametrize("lambda_ot", [0.0, 0.01])
def test_a_nan_batch_can_be_skipped(load, monkeypatch, lambda_ot):
    config = load(steps=4, **{"guard.nonfinite": "skip", "ot.lambda_ot": lambda_ot}, save_checkpoint=True)
    with bad_batch(monkeypatch, 2):
        assert train(config).status == "finished"
    assert alarms(config.output_dir) == [(3, "nonfinite")]
    policy, _, _ = load_policy(RunPaths(config.output_dir).last_checkpoint / "pretrained_model")
    assert all(torch.isfinite(p).all() for p in policy.parameters())


def test_an_exploding_learning_rate_can_be_stopped_by_its_gradient(load):
    settings = {"policy.optimizer_lr": 10.0, "policy.optimizer_lr_backbone": 10.0}
    config = load(steps=30, **settings, **{"guard.grad_spike": "stop", "guard.grad_spike_factor": 1.5})
    with pytest.raises(TrainingError, match=r"times the median|Lower the learning rate"):
        train(config)
    assert read_outcome(config.output_dir).status == "diverged"


def test_a_dead_transport_can_end_the_run(load):
    config = load(
        steps=20,
        **{
            "guard.transport": "stop",
            "ot.loss_config": {"cost_normalization": "none", "objective": "plan_cost"} | STARVED,
            "ot.lambda_ot": 0.1,
            "ot.health": {"check_every_n_steps": 1, "window": 2, "warmup_steps": 2},
        },
    )  # fmt: skip
    with pytest.raises(TrainingError, match=r"guard.transport = 'stop'"):
        train(config)
    assert read_outcome(config.output_dir).status == "diverged"


def test_early_stopping_keeps_the_best(load):
    config = load(
        steps=8,
        eval_steps=1,
        save_checkpoint=True,
        keep_best=True,
        early_stopping={"patience_eval_intervals": 2, "min_delta": 100.0},
        **{"dataset.eval_split": 0.3},
    )
    outcome = train(config)
    assert (outcome.status, outcome.last_step) == ("stopped_early", 3)
    assert "did not improve over 2 evaluations" in outcome.reason
    paths = RunPaths(config.output_dir)
    assert paths.best_checkpoint.resolve().name == "000001"
    assert paths.last_checkpoint.resolve().name == "000003"


def test_only_the_best_and_the_scheduled_checkpoints_stay(load):
    config = load(
        steps=3,
        eval_steps=1,
        keep_best=True,
        save_checkpoint=True,
        **{"dataset.eval_split": 0.3, "policy.dropout": 0.0},
    )
    train(config)
    paths = RunPaths(config.output_dir)
    values = [r.values["offline_eval/avg_loss"] for r in read_metrics(paths.metrics).records if r.kind == "eval"]
    best = values.index(min(values)) + 1
    assert paths.best_checkpoint.resolve().name == f"{best:06d}"
    assert whole_checkpoints(config.output_dir) == sorted({best, 3})


def test_sigterm_in_the_middle_of_a_checkpoint_waits_for_it(load, monkeypatch):
    config = load(steps=4, save_checkpoint=True, save_freq=2)
    plain = checkpoint.save_checkpoint

    def slow(**kwargs):
        os.kill(os.getpid(), signal.SIGTERM)
        plain(**kwargs)

    monkeypatch.setattr(checkpoint, "save_checkpoint", slow)
    outcome = train(config)
    assert (outcome.status, outcome.last_step) == ("killed", 2)
    assert "SIGTERM at step 2" in outcome.reason
    assert read_outcome(config.output_dir) == outcome
    assert whole_checkpoints(config.output_dir) == [2]


def test_an_interrupted_run_saves_a_checkpoint_and_resumes_as_if_nothing_had_been(load, monkeypatch, world, tmp_path):
    from otpilot.config.schema import load_config

    straight = load(name="straight", steps=4, save_checkpoint=True)
    train(straight)
    config = load(steps=4, save_checkpoint=True)
    update = trainer.Trainer.update

    def interrupted(self, batches, step):
        if step == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return update(self, batches, step)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "update", interrupted)
        outcome = train(config)
    assert (outcome.status, outcome.last_step) == ("killed", 3)
    assert "a checkpoint of it is saved" in outcome.reason
    saved = RunPaths(config.output_dir).last_checkpoint / "pretrained_model" / "train_config.json"
    train(load_config([f"--config_path={saved}", "--resume=true"]).config)
    ours, theirs = (
        load_policy(RunPaths(one.output_dir).last_checkpoint / "pretrained_model")[0].state_dict()
        for one in (config, straight)
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_sigterm_from_outside_ends_the_process_with_a_checkpoint(world, tmp_path):
    path = world.write(tmp_path / "cfg.json", steps=100000, save_checkpoint=True)
    command = [sys.executable, "-m", "otpilot", "train", f"--config_path={path}", f"--output_dir={tmp_path / 'run'}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    metrics = RunPaths(tmp_path / "run").metrics
    deadline = time.monotonic() + 600  # a loaded machine takes minutes to import LeRobot
    while not (metrics.exists() and metrics.read_text().count("\n") >= 2):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=300)
    assert process.returncode == 143, told
    outcome = read_outcome(tmp_path / "run")
    assert outcome.status == "killed"
    assert whole_checkpoints(tmp_path / "run") == [outcome.last_step]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 220 MB: a tiny ACT's checkpoint takes 135 MB, so one fits and two do not."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=220m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a tmpfs needs the rights of root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_while_saving(load, small_disk):
    config = load(steps=4, save_checkpoint=True, save_freq=1)
    config.output_dir = small_disk / "run"
    with pytest.raises(Exception, match=r"(?i)no space|space left|I/O error|os error 28"):
        train(config)
    outcome = read_outcome(config.output_dir)
    assert outcome.status == "crashed"
    assert whole_checkpoints(config.output_dir) == [1]
    assert RunPaths(config.output_dir).last_checkpoint.resolve().name == "000001"
    assert not [p for p in RunPaths(config.output_dir).checkpoints.iterdir() if "partial" in p.name]


def test_a_full_disk_while_logging(load, small_disk):
    config = load(steps=200)
    config.output_dir = small_disk / "run"
    update = trainer.Trainer.update

    def filled(self, batches, step):
        if step == 3:
            with (small_disk / "filler").open("wb") as file, contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * 4096)
                    file.flush()
        return update(self, batches, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "update", filled)
        with pytest.raises(OSError, match="No space left") as caught:
            train(config)
    assert caught.value.errno == errno.ENOSPC
    outcome = read_outcome(config.output_dir)
    assert outcome.status == "crashed"
    assert "No space left" in outcome.reason
    assert [r.step for r in read_metrics(RunPaths(config.output_dir).metrics).records][:2] == [1, 2]
