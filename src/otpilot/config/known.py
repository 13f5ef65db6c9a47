"""Which keys a config class has, and which values cannot be theirs; LeRobot's choices (policy.type) are looked up."""

import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import draccus

from otpilot.config.hints import allows_null, is_single, is_text, named, options
from otpilot.errors import ConfigError, closest

FEW = 3
"""Places of an unknown key, in the sections below, that are named at most."""


def check_keys(body: Mapping[str, Any], schema: type, where: str = "") -> None:
    """Raise ConfigError for the first key, at any depth, that the dataclass `schema` does not know or allow so."""
    for _, problem in unknown_keys(body, schema, where):
        raise ConfigError(problem)


def unknown_keys(body: Mapping[str, Any], schema: type, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted path of each key, at any depth, that the dataclass `schema` does not know, and a sentence.

    So are keys that are null, true, false, a list or a section where that is not allowed: LeRobot's parser lets them
    through, or does not say what is allowed.

    Raises:
        ConfigError: If a LeRobot choice (policy.type, optimizer.type, ...) is unknown.
    """
    known = {f.name: f for f in dataclasses.fields(schema) if f.init}
    hints = typing.get_type_hints(schema)
    for key, value in body.items():
        if key == draccus.CHOICE_TYPE_KEY and hasattr(schema, "get_known_choices"):
            continue
        if key not in known:
            yield where + key, f"Unknown config key {where + key!r}.{_suggest(key, schema, body, where)}"
            continue
        for problem in _misfits(value, hints[key], where + key):
            yield where + key, problem + (" Leave it out for the default." if _has_default(known[key]) else "")
            break
        else:
            for child, nested, place in _nested(value, hints[key], where + key):
                yield from unknown_keys(child, nested, place)


def hints_of(schema: type, key: str, body: Mapping[str, Any]) -> list[Any]:
    """Return the type hints of a dotted key; none if there is no such key.

    Several where the config does not say which of LeRobot's choices (policy.type, ...) it has.
    """
    return list(_hints(schema, key.split("."), body))


def _hints(hint: Any, parts: Sequence[str], value: Any) -> Iterator[Any]:
    if not parts:
        yield hint
        return
    part, rest = parts[0], parts[1:]
    for option in options(hint):
        origin, args = typing.get_origin(option), typing.get_args(option)
        if origin in (list, tuple) and args:
            inside = value[int(part)] if isinstance(value, list) and part.isdigit() and int(part) < len(value) else None
            yield from _hints(args[0], rest, inside)
        elif origin is dict:
            yield from _hints(args[1], rest, value.get(part) if isinstance(value, Mapping) else None)
        elif isinstance(option, type) and dataclasses.is_dataclass(option):
            yield from _field_hints(option, parts, value if isinstance(value, Mapping) else {})


def _field_hints(schema: Any, parts: Sequence[str], value: Mapping[str, Any]) -> Iterator[Any]:
    is_choice = hasattr(schema, "get_known_choices")
    if is_choice and parts[0] == draccus.CHOICE_TYPE_KEY:
        yield str
        return
    chosen = value.get(draccus.CHOICE_TYPE_KEY)
    choices = schema.get_known_choices() if is_choice else {}
    schemas = ([choices[chosen]] if chosen in choices else choices.values()) if is_choice else [schema]
    for one in schemas:
        inner = typing.get_type_hints(one).get(parts[0])
        if inner is not None:
            yield from _hints(inner, parts[1:], value.get(parts[0]))


def _misfits(value: Any, hint: Any, place: str) -> Iterator[str]:
    """Yield a sentence for each null, true, false, list or section that stands where it may not."""
    if value is None and not allows_null(hint):
        yield f"{place} is null; allowed: {named(hint)}."
    elif isinstance(value, bool) and is_text(hint):
        word = str(value).lower()
        yield f'{place} is {word}; allowed: {named(hint)}. Where that is the word, write it in quotes: "{word}".'
    elif isinstance(value, list | Mapping) and options(hint) and is_single(hint):
        yield f"{place} is {value!r}; allowed: {named(hint)}."
    for option in options(hint):
        origin, args = typing.get_origin(option), typing.get_args(option)
        if origin in (list, tuple) and args and isinstance(value, list):
            for index, item in enumerate(value):
                yield from _misfits(item, args[0], f"{place}.{index}")
        elif origin is dict and isinstance(value, Mapping):
            for key, item in value.items():
                yield from _misfits(item, args[1], f"{place}.{key}")


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _suggest(key: str, schema: type, body: Mapping[str, Any], where: str) -> str:
    below = [repr(where + place) for place in _places_below(key, schema, body)]
    if 0 < len(below) <= FEW:
        return f" Did you mean {' or '.join(below)}?"
    known = [f.name for f in dataclasses.fields(schema) if f.init]
    return closest(key, known) or f" Known keys here: {', '.join(sorted(known))}."


def _places_below(key: str, schema: type, body: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a key stands in the sections of a schema, at any depth; of LeRobot's choices in the chosen ones."""
    hints = typing.get_type_hints(schema)
    for section in (f.name for f in dataclasses.fields(schema) if f.init):
        inside = body.get(section)
        inside = inside if isinstance(inside, Mapping) else {}
        for option in options(hints[section]):
            if not (isinstance(option, type) and dataclasses.is_dataclass(option)):
                continue
            chosen: Any = option
            if hasattr(option, "get_known_choices"):
                chosen = option.get_known_choices().get(inside.get(draccus.CHOICE_TYPE_KEY))
            if chosen is None:
                continue
            if key in {f.name for f in dataclasses.fields(chosen) if f.init}:
                yield f"{section}.{key}"
            yield from (f"{section}.{place}" for place in _places_below(key, chosen, inside))


def _nested(value: Any, hint: Any, place: str) -> Iterator[tuple[Mapping[str, Any], type, str]]:
    """Yield (dict, dataclass, prefix) for each dataclass that `value` spells out."""
    for option in options(hint):
        if typing.get_origin(option) in (list, tuple) and isinstance(value, list):
            for index, item in enumerate(value):
                yield from _nested(item, typing.get_args(option)[0], f"{place}.{index}")
        elif isinstance(option, type) and dataclasses.is_dataclass(option) and isinstance(value, Mapping):
            yield value, _chosen(option, value, place), f"{place}."


def _chosen(schema: Any, value: Mapping[str, Any], place: str) -> type:
    """Resolve a LeRobot choice (policy, optimizer, ...) by its `type`."""
    if not hasattr(schema, "get_known_choices"):
        return typing.cast(type, schema)
    choices = schema.get_known_choices()
    name = value.get(draccus.CHOICE_TYPE_KEY)
    if name not in choices:
        hint = closest(str(name), choices)
        raise ConfigError(f"{place}.type is {name!r}; allowed: {', '.join(sorted(choices))}.{hint}")
    return typing.cast(type, choices[name])
