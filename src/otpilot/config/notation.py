"""What a JSON or YAML text spells, as plain data: words, finite numbers, lists, sections. No lerobot."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import yaml

from otpilot.errors import ConfigError

Notation = Literal["JSON", "YAML"]

DEEPEST = 64
"""Levels of sections and lists; no config has ten."""
TAG = "tag:yaml.org,2002:"
INTEGER = re.compile(r"^[-+]?(0|[1-9][\d_]*|0x[\da-fA-F_]+|0b[01_]+)$")
FLOAT = re.compile(
    r"^[-+]?((\d[\d_]*\.[\d_]*|\.\d[\d_]*)([eE][-+]?\d+)?|\d[\d_]*[eE][-+]?\d+|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$"
)


class _Loader(yaml.SafeLoader):
    """Reads 5e-5 as a number, and 010, 1:30 and 2025-12-29 as words, as everybody means them; YAML 1.1 does not."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own way
        first: [(tag, words) for tag, words in rules if tag not in {f"{TAG}int", f"{TAG}float", f"{TAG}timestamp"}]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(f"{TAG}int", INTEGER, list("-+0123456789"))
_Loader.add_implicit_resolver(f"{TAG}float", FLOAT, list("-+.0123456789"))


class _Doubled(dict[str, Any]):
    """An object in which a key stood twice."""

    def __init__(self, pairs: list[tuple[str, Any]], key: str) -> None:
        super().__init__(pairs)
        self.key = key


def parse(text: str, notation: Notation) -> Any:
    """Return the value that a text spells.

    Raises:
        ValueError: If the text is not in that notation.
        ConfigError: If a key stands twice or is no word, or a value is none that a config can hold.
    """
    return parse_json(text) if notation == "JSON" else parse_yaml(text)


def parse_json(text: str) -> Any:
    """Return the value that a JSON text spells.

    Raises:
        ValueError: If it is not JSON.
        ConfigError: As `parse`.
    """
    try:
        value = json.loads(text, object_pairs_hook=_object)
    except RecursionError as error:
        raise ConfigError(_too_deep("")) from error
    _check_value(value, ())
    return value


def parse_yaml(text: str) -> Any:
    """Return the value that a YAML text spells, such as the right-hand side of --key=value.

    Raises:
        ValueError: If it is not YAML.
        ConfigError: As `parse`.
    """
    try:
        value = _construct(text)
    except RecursionError as error:
        raise ConfigError(_too_deep("")) from error
    except (yaml.YAMLError, KeyError, AttributeError, TypeError) as error:  # the last three: `!!bool maybe`
        raise ValueError(str(error)) from error
    _check_value(value, ())
    return value


def _construct(text: str) -> Any:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_node(node, ())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) == len(pairs):
        return made
    return _Doubled(pairs, _twice([key for key, _ in pairs]) or "")


def _twice(keys: list[str]) -> str | None:
    return next((key for place, key in enumerate(keys) if key in keys[:place]), None)


def _check_node(node: yaml.Node, where: tuple[str, ...]) -> None:
    """Raise ConfigError for the first key that stands twice in one section of a YAML text."""
    _check_depth(where)
    if isinstance(node, yaml.SequenceNode):
        for place, item in enumerate(node.value):
            _check_node(item, (*where, str(place)))
    elif isinstance(node, yaml.MappingNode):
        pairs = [(str(key.value), item) for key, item in node.value]
        if (key := _twice([key for key, _ in pairs])) is not None:
            raise ConfigError(_doubled((*where, key)))
        for key, item in pairs:
            _check_node(item, (*where, key))


def _check_value(value: Any, where: tuple[str, ...]) -> None:
    """Raise ConfigError for the first key or value that no config can hold."""
    _check_depth(where)
    if isinstance(value, Mapping):
        if isinstance(value, _Doubled):
            raise ConfigError(_doubled((*where, value.key)))
        for key, item in value.items():
            if not isinstance(key, str):
                raise ConfigError(
                    f"{'.'.join((*where, str(key)))}: the key {key!r} is no word; write it in quotes, or correct it."
                )
            _check_value(item, (*where, key))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _check_value(item, (*where, str(place)))
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{_named(where)} is {value}; allowed: a finite number.")
    elif value is not None and not isinstance(value, str | bool | int | float):
        raise ConfigError(
            f"{_named(where)} is a {type(value).__name__}; allowed: words, numbers, true, false, null, lists, sections."
        )


def _check_depth(where: tuple[str, ...]) -> None:
    if len(where) > DEEPEST:
        raise ConfigError(_too_deep(" at " + ".".join(where[:3])))


def _too_deep(where: str) -> str:
    return f"The text is nested too deeply{where}; a config has at most {DEEPEST} levels."


def _doubled(where: tuple[str, ...]) -> str:
    return f"{'.'.join(where)} stands twice; keep one of them."


def _named(where: tuple[str, ...]) -> str:
    return ".".join(where) or "The value"
