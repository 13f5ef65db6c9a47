"""Checkpoints in LeRobot's own layout plus our state, complete or absent, never half."""

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lerobot.common.train_utils import (
    get_step_checkpoint_dir,
    load_training_state,
    load_training_step,
    save_checkpoint,
)
from lerobot.policies.pretrained import PreTrainedPolicy
from safetensors.torch import load_model, save_model

from otpilot.config.schema import TrainConfig, as_begun
from otpilot.errors import TrainingError
from otpilot.runs.paths import RunPaths
from otpilot.training.ema import WeightAverage
from otpilot.training.parts import Parts

TRAINING_STATE_DIR = "training_state"
STATE_FILE = Path(TRAINING_STATE_DIR) / "otpilot_state.pt"
OTHER_WEIGHTS = Path(TRAINING_STATE_DIR) / "otpilot_weights.safetensors"


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The policy that is trained, and the running mean of its weights, if there is one.

    `saved` is the one that checkpoints carry as the policy; the other one lies beside the training state.
    """

    trained: PreTrainedPolicy
    average: WeightAverage | None = None
    use_average: bool = True

    @property
    def saved(self) -> PreTrainedPolicy:
        """The policy to evaluate and to save."""
        return self.trained if self.average is None or not self.use_average else self.average.policy

    @property
    def other(self) -> PreTrainedPolicy | None:
        """The one that is not saved as the policy, or None."""
        if self.average is None:
            return None
        return self.trained if self.use_average else self.average.policy


def save(
    config: TrainConfig, parts: Parts, weights: Weights, *, step: int, state: Mapping[str, Any], processes: int = 1
) -> Path:
    """Write the checkpoint of a step and point `checkpoints/last` at it; returns its folder.

    Everything goes into a hidden sibling folder first, which is moved into place when it is complete.
    """
    folder = folder_of(config, step)
    draft = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        save_checkpoint(
            checkpoint_dir=draft,
            step=step,
            cfg=as_begun(config),
            policy=weights.saved,
            optimizer=parts.optimizer,
            scheduler=parts.scheduler,
            preprocessor=parts.preprocessor,
            postprocessor=parts.postprocessor,
            num_processes=processes,
            batch_size=config.batch_size,
        )
        if weights.other is not None:
            save_model(weights.other, str(draft / OTHER_WEIGHTS))
        torch.save({**state, "saved_is_average": weights.saved is not weights.trained}, draft / STATE_FILE)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    _link(RunPaths(Path(config.output_dir)).last_checkpoint, folder)
    return folder


def folder_of(config: TrainConfig, step: int) -> Path:
    """Return where the checkpoint of a step lies."""
    folder: Path = get_step_checkpoint_dir(Path(config.output_dir), config.steps, step)
    return folder


def mark_best(config: TrainConfig, folder: Path) -> None:
    """Point `checkpoints/best` at a checkpoint; the best so far is removed unless its step is saved anyway."""
    link = RunPaths(Path(config.output_dir)).best_checkpoint
    before = link.resolve() if link.is_symlink() else None
    _link(link, folder)
    if before is None or before == folder.resolve() or not before.name.isdigit():
        return
    if config.save_freq <= 0 or int(before.name) % config.save_freq != 0:
        shutil.rmtree(before, ignore_errors=True)


def restore(config: TrainConfig, parts: Parts, weights: Weights) -> tuple[int, dict[str, Any]]:
    """Load weights, optimiser, schedule and random state of the checkpoint being resumed; returns its step and state.

    Call it last, right before the loop: it sets the random state of torch, numpy and Python. Where the checkpoint has
    no running mean of the weights, the mean begins at its policy.

    Raises:
        TrainingError: If the checkpoint is incomplete, or training has already reached `steps`.
    """
    checkpoint = config.checkpoint_path
    if checkpoint is None:
        raise TrainingError("resume = true needs --config_path=<checkpoint>/pretrained_model/train_config.json.")
    try:
        state: dict[str, Any] = torch.load(checkpoint / STATE_FILE, weights_only=True)
        _restore_weights(checkpoint, weights, saved_is_average=bool(state.get("saved_is_average", False)))
        step, _, _ = load_training_state(checkpoint, parts.optimizer, parts.scheduler)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TrainingError(f"Checkpoint {checkpoint} is incomplete ({error}); resume from an earlier one.") from error
    _check_step(checkpoint, step, config.steps)
    return step, state


def check_unfinished(config: TrainConfig) -> None:
    """Raise TrainingError if the checkpoint being resumed is at `steps` already; `restore` checks all the rest."""
    checkpoint = config.checkpoint_path
    if checkpoint is None:
        return
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # incomplete, as `restore` will say
        _check_step(checkpoint, load_training_step(checkpoint / TRAINING_STATE_DIR), config.steps)


def _check_step(checkpoint: Path, step: int, steps: int) -> None:
    if step >= steps:
        raise TrainingError(f"Checkpoint {checkpoint} is at step {step} already; give --steps above it to go on.")


def _restore_weights(checkpoint: Path, weights: Weights, *, saved_is_average: bool) -> None:
    """Set trained and averaged weights; the policy that was saved has been loaded into the trained one."""
    there = (checkpoint / OTHER_WEIGHTS).exists()
    if weights.average is not None:
        weights.average.policy.load_state_dict(weights.trained.state_dict())
        if there and not saved_is_average:
            load_model(weights.average.policy, str(checkpoint / OTHER_WEIGHTS))
    if there and saved_is_average:
        load_model(weights.trained, str(checkpoint / OTHER_WEIGHTS))


def _link(link: Path, folder: Path) -> None:
    """Point a link at a sibling folder, without a moment in which there is none."""
    draft = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    draft.unlink(missing_ok=True)
    draft.symlink_to(folder.name)
    draft.replace(link)
