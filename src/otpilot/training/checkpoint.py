"""Checkpoints in LeRobot's own layout plus our state, complete or absent, never half."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lerobot.common.train_utils import (
    get_step_checkpoint_dir,
    load_training_state,
    save_checkpoint,
    update_last_checkpoint,
)

from otpilot.config.schema import TrainConfig
from otpilot.errors import TrainingError
from otpilot.training.parts import Parts

STATE_FILE = Path("training_state") / "otpilot_state.pt"


def save(config: TrainConfig, parts: Parts, *, step: int, state: Mapping[str, Any]) -> Path:
    """Write the checkpoint of a step and point `checkpoints/last` at it; returns its folder.

    Everything goes into a sibling folder first, which is moved into place when it is complete.
    """
    folder: Path = get_step_checkpoint_dir(Path(config.output_dir), config.steps, step)
    draft = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        save_checkpoint(
            checkpoint_dir=draft,
            step=step,
            cfg=config,
            policy=parts.policy,
            optimizer=parts.optimizer,
            scheduler=parts.scheduler,
            preprocessor=parts.preprocessor,
            postprocessor=parts.postprocessor,
            num_processes=1,
            batch_size=config.batch_size,
        )
        torch.save(dict(state), draft / STATE_FILE)
        shutil.rmtree(folder, ignore_errors=True)
        draft.rename(folder)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    update_last_checkpoint(folder)
    return folder


def restore(config: TrainConfig, parts: Parts) -> tuple[int, dict[str, Any]]:
    """Load optimiser, schedule and random state of the checkpoint being resumed; returns its step and our state.

    Call it last, right before the loop: it sets the random state of torch, numpy and Python.

    Raises:
        TrainingError: If the checkpoint is incomplete, or training has already reached `steps`.
    """
    checkpoint = config.checkpoint_path
    if checkpoint is None:
        raise TrainingError("resume = true needs --config_path=<checkpoint>/pretrained_model/train_config.json.")
    try:
        state: dict[str, Any] = torch.load(checkpoint / STATE_FILE, weights_only=True)
        step, _, _ = load_training_state(checkpoint, parts.optimizer, parts.scheduler)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TrainingError(f"Checkpoint {checkpoint} is incomplete ({error}); resume from an earlier one.") from error
    if step >= config.steps:
        raise TrainingError(f"Checkpoint {checkpoint} is at step {step} already; give --steps above it to go on.")
    return step, state
