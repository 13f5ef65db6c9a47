"""Config files as plain dicts: JSON, YAML, a checkpoint's folder, or a recipe by name. No lerobot."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from otpilot.config.recipes import RECIPE_PREFIX, read_recipe
from otpilot.errors import ConfigError, MissingFileError

YAML_SUFFIXES = (".yaml", ".yml")
CHECKPOINT_CONFIG = "train_config.json"


class _Loader(yaml.SafeLoader):
    """Reads 5e-5 as a number, as everybody means it; YAML 1.1 wants 5.0e-5."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"), list("-+.0123456789")
)


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
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise MissingFileError(f"No config file at {path}.") from error
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    kind = "YAML" if path.suffix.lower() in YAML_SUFFIXES else "JSON"
    try:
        body = parse_yaml(text) if kind == "YAML" else json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not valid {kind}: {' '.join(str(error).split())}.") from error
    if not isinstance(body, dict):
        raise ConfigError(f"{path} holds a {type(body).__name__}; a config is a {kind} object.")
    return body


def parse_yaml(text: str) -> Any:
    """Return the value that a YAML text spells, such as the right-hand side of --key=value.

    Raises:
        yaml.YAMLError: If it is not YAML.
    """
    return yaml.load(text, Loader=_Loader)


def to_json(body: dict[str, Any]) -> str:
    """Return a config as the text of a JSON file."""
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"
