"""Builds the plain config sections (`ot`, `early_stopping`, ...) from JSON dicts, without LeRobot's parser."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from otpilot.config.hints import named
from otpilot.config.ot import OTConfig
from otpilot.config.training import DiscreteActionsConfig, EarlyStoppingConfig, GuardConfig
from otpilot.errors import ConfigError, closest

SECTIONS: dict[str, type] = {
    "ot": OTConfig,
    "early_stopping": EarlyStoppingConfig,
    "guard": GuardConfig,
    "discrete_actions": DiscreteActionsConfig,
}
"""Sections of TrainConfig that are our own; the rest is LeRobot's and only its parser can check it."""


def build_section[T](schema: type[T], body: Mapping[str, Any], where: str) -> T:
    """Return the dataclass that a plain dict spells out, nested ones too; missing keys take their defaults.

    Raises:
        ConfigError: If a key is unknown or missing, or a value has the wrong type or range; `where` opens the message.
    """
    fields = {f.name: f for f in dataclasses.fields(schema) if f.init}  # type: ignore[arg-type]
    hints = typing.get_type_hints(schema)
    for key in body:
        if key not in fields:
            hint = closest(key, fields) or f" Known keys here: {', '.join(sorted(fields))}."
            raise ConfigError(f"Unknown config key '{where}.{key}'.{hint}")
    required = [
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    for name in required:
        if name not in body:
            raise ConfigError(f"{where}.{name} is missing; it has no default.")
    return schema(**{key: _value(hints[key], value, f"{where}.{key}") for key, value in body.items()})


def check_sections(config: Mapping[str, Any]) -> None:
    """Raise ConfigError unless each of our own sections that the config holds can be built."""
    for name, schema in SECTIONS.items():
        body = config.get(name)
        if body is None:
            continue
        if not isinstance(body, Mapping):
            raise ConfigError(f"{name} is {body!r}; it must be a section, such as {{...}} in JSON.")
        build_section(schema, body, name)


def plain(value: Any) -> Any:
    """Return dataclasses and tuples as the dicts and lists that JSON has."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def _value(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _union(args, value, where)
    if origin in (list, tuple) and isinstance(value, list | tuple):
        inner = list(args) if origin is tuple and args[-1] is not Ellipsis else [args[0]] * len(value)
        if len(inner) == len(value):
            return origin(_value(h, item, f"{where}.{i}") for i, (h, item) in enumerate(zip(inner, value, strict=True)))
    if dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return build_section(typing.cast(type, hint), value, where)
    # The words of a Literal are checked, with a hint, by the section itself.
    kind = {Literal: str}.get(origin, hint)
    if kind in (bool, int, float, str) and isinstance(value, bool) == (kind is bool):
        if kind is float and isinstance(value, int):
            return float(value)
        if isinstance(value, kind):
            return value
    raise ConfigError(f"{where} is {value!r}; allowed: {named(hint, where.rpartition('.')[2])}.")


def _union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    chosen = [option for option in options if option is not type(None)]
    if len(chosen) == 1:
        return _value(chosen[0], value, where)
    for option in chosen:
        try:
            return _value(option, value, where)
        except ConfigError:
            continue
    allowed = " or ".join(named(option, where.rpartition(".")[2]) for option in chosen)
    raise ConfigError(f"{where} is {value!r}; allowed: {allowed}.")
