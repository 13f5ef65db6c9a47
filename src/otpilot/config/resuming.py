"""What is special about the config of a resumed run: which checkpoint, whose folder, and what must not change."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from otpilot.config.files import CHECKPOINT_CONFIG
from otpilot.errors import ConfigError

POLICY_FOLDER = "pretrained_model"
WEIGHTS = "model.safetensors"
POLICY_CONFIG = "config.json"
CHECKPOINTS = "checkpoints"
KEPT = ("optimizer", "scheduler", "policy.optimizer_", "policy.scheduler_", "policy.type", "use_policy_training_preset")
"""Beginnings of keys that a resumed run takes from its checkpoint: optimiser and schedule go on from their states."""
INSIDE = (Path(POLICY_FOLDER), Path(CHECKPOINTS, "last", POLICY_FOLDER), Path("last", POLICY_FOLDER))
"""Where a policy lies in its checkpoint, its run, and the run's folder of checkpoints."""
MISSING: Any = object()


def find_checkpoint_config(name: str) -> Path:
    """Return the train_config.json of the checkpoint that a path means.

    It may name that file, its folder, the checkpoint, or the run, whose last checkpoint is taken then.

    Raises:
        ConfigError: If there is no checkpoint.
    """
    given = Path(name).expanduser()
    root = given.parent if given.is_file() else given
    for place in (Path(),) if given.name == CHECKPOINT_CONFIG else (Path(), *INSIDE):
        folder = root / place
        if (folder / CHECKPOINT_CONFIG).is_file() and (folder / WEIGHTS).is_file():
            return folder / CHECKPOINT_CONFIG
    raise ConfigError(
        f"No checkpoint at {given}. To resume a run give --config_path=RUN, its folder, or "
        f"--config_path=RUN/{CHECKPOINTS}/STEP/{POLICY_FOLDER}/{CHECKPOINT_CONFIG}."
    )


def policy_inside(folder: Path) -> Path | None:
    """Return where in a checkpoint or a run (its last checkpoint) the policy lies; None if it is neither."""
    return next((folder / place for place in INSIDE if (folder / place / POLICY_CONFIG).is_file()), None)


def check_kept(before: Mapping[str, Any], after: Mapping[str, Any], keys: Collection[str]) -> None:
    """Return nothing if none of the keys given on the command line changes what comes from the checkpoint.

    Raises:
        ConfigError: If one does; it would be recorded, and change nothing.
    """
    for key in keys:
        old, new = _value_at(before, key), _value_at(after, key)
        if key.startswith(KEPT) and old != new:
            shown = "not set" if old in (MISSING, None) else repr(old)
            raise ConfigError(
                f"--{key}={new} cannot change what is resumed (it is {shown}): optimiser and schedule go on from the "
                "checkpoint. To train on from its weights with other settings, begin a new run with "
                f"--policy.path=RUN/{CHECKPOINTS}/STEP/{POLICY_FOLDER}."
            )


def run_folder(config_file: Path, saved: str | Path | None, *, told: bool) -> tuple[Path, str | None]:
    """Return the folder of the run to go on in, and a note where it is not the one that the config names.

    A run goes on where its checkpoint lies, even if it was moved. `told`: `saved` was given on the command line.

    Raises:
        ConfigError: If it cannot be known, or another run lies in the folder that was given.
    """
    checkpoint = config_file.parent.parent
    own = checkpoint.parent.parent if checkpoint.parent.name == CHECKPOINTS else None
    if told and saved is not None:
        given = Path(saved).expanduser()
        if (own is None or given.resolve() != own.resolve()) and _has_checkpoints(given):
            raise ConfigError(
                f"{checkpoint} does not belong to the run in {given}, whose log would be cut and mixed with another's. "
                "Give another --output_dir, or resume from a checkpoint in that folder."
            )
        return given, None
    if own is None:
        raise ConfigError(
            f"{checkpoint} lies in no run's {CHECKPOINTS} folder, so it is not known which run goes on. Give "
            "--output_dir for a run of its own."
        )
    if saved is not None and Path(saved).expanduser().resolve() == own.resolve():
        return Path(saved).expanduser(), None
    return own, f"The run goes on in {own}, where its checkpoint lies; its config names {saved}."


def without_resumption(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config as if the run had not been resumed: runs of earlier versions kept the path of the checkpoint."""
    body = dict(config)
    policy = body.get("policy")
    if body.get("resume") is True and isinstance(policy, Mapping) and "pretrained_path" in policy:
        body["policy"] = {**policy, "pretrained_path": None}
    return body


def _has_checkpoints(run: Path) -> bool:
    folder = run / CHECKPOINTS
    return folder.is_dir() and any(path.name.isdigit() for path in folder.iterdir())


def _value_at(body: Any, key: str) -> Any:
    for part in key.split("."):
        if isinstance(body, list) and part.isdigit() and int(part) < len(body):
            body = body[int(part)]
        elif isinstance(body, Mapping) and part in body:
            body = body[part]
        else:
            return MISSING
    return body
