"""Dotted keys of a plain config dict: which places they name, what stands there, how they read."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from otpilot.config.bounds import default_of
from otpilot.errors import ConfigError

Place = tuple[str | int, ...]
"""Keys of sections and numbers of list items, from the root down."""
PART = re.compile(r"([^.\[\]]+)(?:\[([^\]]+)\])?(?:\.|$)")


def resolve(config: Mapping[str, Any], path: str) -> Iterator[Place]:
    """Yield the places that a dotted key names; `*` means every item of a list, `[name]` the term of that name.

    Raises:
        ConfigError: If the key cannot be read.
    """
    parts: list[str] = []
    end = 0
    for match in PART.finditer(path):
        if match.start() != end:
            break
        end = match.end()
        parts += [match[1]] if match[2] is None else [match[1], f"[{match[2]}]"]
    if not parts or end != len(path) or path.endswith("."):
        raise ConfigError(f"Cannot read the key {path!r}; keys look like ot.loss_config.features[action].weight_label.")
    yield from _descend(config, parts, ())


def _descend(place: Any, parts: Sequence[str], done: Place) -> Iterator[Place]:
    if not parts:
        yield done
        return
    part, rest = parts[0], parts[1:]
    if isinstance(place, list | tuple):
        for index, item in enumerate(place):
            if part in ("*", str(index), "[*]", f"[{index}]", f"[{term_name(item)}]"):
                yield from _descend(item, rest, (*done, index))
        return
    if part == "*" or part.startswith("["):  # an absent list has no items
        return
    yield from _descend(place.get(part) if isinstance(place, Mapping) else None, rest, (*done, part))


def read(config: Any, keys: Sequence[str | int], policy: str | None) -> Any:
    """Return what stands at a place, or the default that training would use."""
    place: Any = config
    for key in keys:
        known: Any = place
        if (isinstance(place, Mapping) and key in place) or (isinstance(place, list | tuple) and isinstance(key, int)):
            place = known[key]
        else:
            return copy.deepcopy(default_of(pattern(keys), policy))
    return place


def write(config: dict[str, Any], keys: Sequence[str | int], value: Any) -> None:
    """Put a value at a place; sections that are not there are made."""
    place: Any = config
    for key in keys[:-1]:
        if isinstance(key, str) and place.get(key) is None:
            place[key] = {}
        place = place[key]
    place[keys[-1]] = value


def pattern(keys: Sequence[str | int]) -> str:
    """Return the key as the tables have it: `ot.loss_config.features[*].weight_label`."""
    return "".join("[*]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def pretty(config: Any, keys: Sequence[str | int]) -> str:
    """Return the key with terms by name: `ot.loss_config.features[action].weight_label`."""
    text, place = "", config
    for key in keys:
        if isinstance(key, int):
            place = place[key]
            text += f"[{term_name(place) or key}]"
        else:
            place = place.get(key) if isinstance(place, Mapping) else None
            text += f".{key}"
    return text.removeprefix(".")


def term_name(item: Any) -> str | None:
    """Return the name under which a term of the cost is logged."""
    return (item.get("term_name") or item.get("src_key")) if isinstance(item, Mapping) else None
