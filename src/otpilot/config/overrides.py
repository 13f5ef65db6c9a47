"""Settings from the command line: `--dotted.key=value` put into a plain config, words and paths as they stand."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from otpilot.config.compat import SAME_VALUE
from otpilot.config.hints import is_text
from otpilot.config.known import hints_of
from otpilot.config.notation import parse_yaml
from otpilot.errors import ConfigError

CONFIG_PATH = "config_path"
SAID_FOR_IT = ("config", "config_file", "config-file", "config-path", "cfg")
CONFIG_FILES = (".json", ".yaml", ".yml")
NOT_IN_THE_SCHEMA = ("policy.path", "reward_model.path")
"""Paths that LeRobot reads from the command line, though its classes do not have them."""
PATHS = ("output_dir", "dataset.root", "ot.src_root", "ot.pair_info_path", "policy.path", "policy.pretrained_path")
PATHS_OF_A_SOURCE = ("root", "pair_info_path")


def parse_options(args: Sequence[str]) -> dict[str, str | None]:
    """Return what `--key=value`, `--key value` and `--key` (None) say.

    Raises:
        ConfigError: If a word is no option, or one of the options is another program's.
    """
    options: dict[str, str | None] = {}
    rest = list(args)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            file = f"; a config file is given by --{CONFIG_PATH}={word}" if word.endswith(CONFIG_FILES) else ""
            raise ConfigError(f"Cannot read {word!r}; settings look like --key=value or --section.key=value{file}.")
        name, equals, value = word[2:].partition("=")
        if name in SAID_FOR_IT:
            raise ConfigError(f"--{name} is no setting; the config file is given by --{CONFIG_PATH}=FILE.")
        if not equals:
            options[name] = rest.pop(0) if rest and not rest[0].startswith("--") else None
        else:
            options[name] = value
        if name == CONFIG_PATH and not options[name]:
            raise ConfigError(f"--{CONFIG_PATH} names no file; write --{CONFIG_PATH}=FILE.")
    return options


def split_options(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words that are no options, such as files, and the others; `--key value` is one of them."""
    files: list[str] = []
    options: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            files.append(word)
            continue
        options.append(word)
        if "=" not in word and rest and not rest[0].startswith("--"):
            options.append(rest.pop(0))
    return files, options


def is_yes(text: str | None) -> bool:
    """Whether what an option says is true: it stands alone (None), or YAML reads it so."""
    return text is None or text.lower() in ("true", "yes", "on")


def override(body: dict[str, Any], key: str, text: str | None, schema: type) -> None:
    """Set a dotted key; numbers index lists, missing sections are made. No text (None) is true.

    A word or a path is taken as it stands (null is none), anything else is read as YAML.

    Raises:
        ConfigError: If there is no such place, or the text cannot be read.
    """
    value = _value(body, key, text, schema)
    *parents, last = key.split(".")
    place: Any = body
    for part, following in itertools.pairwise([*parents, last]):
        if isinstance(place, list):
            place = place[_list_index(place, part, key)]
            continue
        if place.get(part) is None and following.isdigit():
            raise ConfigError(
                f"Cannot set --{key}: the config has no list {part!r}, so there is no number {following}."
            )
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict | list):
            raise ConfigError(f"Cannot set --{key}: {part!r} is a value, not a section.")
    if isinstance(place, list):
        place[_list_index(place, last, key)] = value
    else:
        place[last] = value


def expand_home(body: dict[str, Any]) -> None:
    """Put the home folder in the place of a ~ that begins a path.

    Raises:
        ConfigError: If there is no such user.
    """
    for key in PATHS:
        *parents, last = key.split(".")
        place: Any = body
        for part in parents:
            place = place.get(part) if isinstance(place, dict) else None
        _expand(place, last)
    ot = body.get("ot")
    sources = ot.get("more_sources") if isinstance(ot, dict) else None
    for source in sources if isinstance(sources, list) else []:
        for key in PATHS_OF_A_SOURCE:
            _expand(source, key)


def home_of(path: str) -> str:
    """Return a path with the home folder in the place of a ~ that begins it.

    Raises:
        ConfigError: If there is no such user.
    """
    if not path.startswith("~"):
        return path
    try:
        return str(Path(path).expanduser())
    except RuntimeError as error:
        raise ConfigError(f"{path}: there is no home folder of that name; write the path in full.") from error


def _expand(place: Any, key: str) -> None:
    if isinstance(place, dict) and isinstance(place.get(key), str):
        place[key] = home_of(place[key])


def _value(body: dict[str, Any], key: str, text: str | None, schema: type) -> Any:
    hints = hints_of(schema, SAME_VALUE.get(key, key), body)
    is_word = key in NOT_IN_THE_SCHEMA or (bool(hints) and all(map(is_text, hints)))
    if text is None:
        if is_word:
            raise ConfigError(f"--{key} has no value; write --{key}=VALUE.")
        return True
    if is_word or not text:
        return None if text == "null" else text
    try:
        return parse_yaml(text)
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"Cannot read the value of --{key}={text}: {' '.join(str(error).split())}") from error


def _list_index(items: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(items):
        raise ConfigError(f"Cannot set --{key}: {part!r} must be a number from 0 to {len(items) - 1}.")
    return int(part)
