"""Config files as plain dicts: JSON, YAML, a checkpoint's folder, or a recipe by name. No lerobot."""

import json
import tempfile
from pathlib import Path
from typing import Any

from otpilot.config.notation import Notation, parse
from otpilot.config.recipes import RECIPE_PREFIX, read_recipe
from otpilot.errors import ConfigError, MissingFileError

YAML_SUFFIXES = (".yaml", ".yml")
CHECKPOINT_CONFIG = "train_config.json"


def read_config_file(name: str | Path) -> dict[str, Any]:
    """Return what a config file holds; `name` is a file, a checkpoint's pretrained_model folder, or recipe:NAME.

    Raises:
        MissingFileError: If it is not there.
        ConfigError: If it cannot be read.
    """
    if str(name).startswith(RECIPE_PREFIX):
        return read_recipe(str(name).removeprefix(RECIPE_PREFIX))
    path = Path(name)
    if path.is_dir():
        path = path / CHECKPOINT_CONFIG
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows put a mark before the text
    except FileNotFoundError as error:
        raise MissingFileError(f"No config file at {path}.") from error
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    kind: Notation = "YAML" if path.suffix.lower() in YAML_SUFFIXES else "JSON"
    try:
        body = parse(text, kind)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid {kind}: {' '.join(str(error).split())}.") from error
    if not isinstance(body, dict):
        raise ConfigError(f"{path} holds a {type(body).__name__}; a config is a {kind} object.")
    return body


def to_json(body: dict[str, Any]) -> str:
    """Return a config as the text of a JSON file."""
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def check_folder(folder: Path, option: str) -> None:
    """Make sure that a folder can be made, or written if it is there, before hours of work are put into it.

    Raises:
        ConfigError: If it cannot; `option` says where another one is given.
    """
    folder = folder.absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        Path(tempfile.mkdtemp(prefix=".otpilot-", dir=there)).rmdir()
    except OSError as error:
        where = "" if there == folder else f" in {there}"
        raise ConfigError(
            f"The folder {folder} cannot be {'written' if there == folder else 'made'}{where} "
            f"({error.strerror or error}); give another {option}."
        ) from error
