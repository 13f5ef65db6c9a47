"""What `otpilot train`, `otpilot views` and `otpilot evaluate` do, once their arguments are read."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from lerobot.utils.import_utils import register_third_party_plugins

from otpilot.config.feature_keys import faint_target, wrong_keys
from otpilot.config.hygiene import few_rows
from otpilot.config.schema import TrainConfig, load_config
from otpilot.data.domains import open_domains
from otpilot.errors import ConfigError, MissingFileError
from otpilot.report.result import MethodResult
from otpilot.runs.paths import RunPaths
from otpilot.runs.record import Outcome
from otpilot.sim.env_config import TabletopEnvConfig
from otpilot.training.artifacts import draw_views
from otpilot.training.envs import success_rates
from otpilot.training.parts import load_policy
from otpilot.training.process import set_threads
from otpilot.training.progress import Progress
from otpilot.training.session import train
from otpilot.training.views import make_source_views

MODEL_FOLDER = "pretrained_model"


def run_training(args: Sequence[str], progress: Progress) -> tuple[Outcome, RunPaths]:
    """Read the config from command-line arguments and train; returns how it ended, and where the run lies.

    Raises:
        OtpilotError: If the input is wrong, or training breaks.
    """
    register_third_party_plugins()
    loaded = load_config(args)
    for note in (*loaded.notes, *few_rows(loaded.config), *faint_target(loaded.config)):
        progress.note(note)
    _check_keys(loaded.config)
    return train(loaded.config, progress=progress), RunPaths(Path(loaded.config.output_dir))


def _check_keys(config: TrainConfig) -> None:
    """Raise ConfigError if a term names what a dataset does not hold, before anything is read or fitted."""
    problem = next(wrong_keys(config), None)
    if problem is not None:
        raise ConfigError(problem)


def look_at_views(args: Sequence[str], folder: Path, tell: Callable[[str], None]) -> list[Path]:
    """Fit the views that a config's training would use, draw them in a folder, and return the pictures.

    Raises:
        OtpilotError: If the config or its data are wrong, or its training would use no views.
    """
    register_third_party_plugins()
    config = load_config(args, check_output=False).config
    _check_keys(config)
    set_threads(config.threads)
    views = make_source_views(config, open_domains(config), torch.device("cpu"), tell)
    if views is None:
        raise ConfigError(
            "This config shows no source picture in the target's view: ot.view_share is 0, there are no pairs or no "
            "pictures, or auto finds it not worth it; give --ot.view_share=0.5 to see it all the same."
        )
    return list(draw_views(folder, views).values())


def evaluate_checkpoint(
    path: Path,
    *,
    cells: Sequence[str] = (),
    episodes: int = 100,
    seed: int | None = None,
    progress: Callable[[str], None] | None = None,
) -> MethodResult:
    """Return the closed-loop success of a checkpoint on the tabletop.

    Args:
        path: A run folder (its last checkpoint), a checkpoint, or its pretrained_model folder.
        cells: NAME=DOMAIN:REGION; those of the run's own config if empty.
        episodes: Episodes per cell.
        seed: Seed of the episodes; that of the run's own config if None.
        progress: Called with the name of the cell that begins.

    Raises:
        MissingFileError: If there is no checkpoint.
        ConfigError: If a cell is malformed, or the policy does not fit the tabletop.
    """
    folder = find_model(path)
    env = _environment(folder)
    env = replace(env, cells=list(cells) or env.cells, seed=env.seed if seed is None else seed)
    policy, preprocessor, postprocessor = load_policy(folder)
    cameras = [key.removeprefix("observation.images.") for key in policy.config.image_features]
    sizes = {feature.shape[-1] for feature in policy.config.image_features.values()}
    if policy.config.action_feature.shape != (3,) or len(sizes) != 1:
        raise ConfigError(f"{folder} holds a policy for another robot; the tabletop has 3 actions and square images.")
    env = replace(env, cameras=cameras, image_size=sizes.pop())
    results = success_rates(policy, preprocessor, postprocessor, env, episodes=episodes, progress=progress)
    return MethodResult(
        name=path.name, about=str(path), success={result.cell.name: result.success for result in results}
    )


def find_model(path: Path) -> Path:
    """Return the pretrained_model folder that a path means.

    Raises:
        MissingFileError: If there is none.
    """
    for folder in (path, path / MODEL_FOLDER, RunPaths(path).last_checkpoint / MODEL_FOLDER):
        if (folder / "config.json").is_file() and (folder / "model.safetensors").is_file():
            return folder
    raise MissingFileError(f"No checkpoint at {path}; give a run folder, or CHECKPOINT/{MODEL_FOLDER}.")


def _environment(folder: Path) -> TabletopEnvConfig:
    """Return the tabletop section that a checkpoint was trained with, or the default one."""
    path = folder / "train_config.json"
    section = json.loads(path.read_text(encoding="utf-8")).get("env") if path.is_file() else None
    if not section or section.get("type") != "otpilot_tabletop":
        return TabletopEnvConfig()
    return TabletopEnvConfig(cells=section["cells"], max_steps=section["max_steps"], seed=section["seed"])
