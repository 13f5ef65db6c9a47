"""Type hints in words: whether they allow null, whether they are text, and what they allow. No lerobot."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal

WORDS: dict[Any, tuple[str, str]] = {
    float: ("a number", "numbers"),
    int: ("a whole number", "whole numbers"),
    bool: ("true or false", "trues and falses"),
    str: ("a word", "words"),
    Path: ("a path", "paths"),
}
"""What a plain type allows, one of it and many."""


def options(hint: Any) -> tuple[Any, ...]:
    """Return what a hint allows one by one, null left out."""
    if not _is_union(hint):
        return () if hint in (None, type(None)) else (hint,)
    return tuple(option for part in typing.get_args(hint) for option in options(part))


def allows_null(hint: Any) -> bool:
    """Whether None may stand there."""
    return hint in (None, type(None), Any) or (_is_union(hint) and any(map(allows_null, typing.get_args(hint))))


def is_text(hint: Any) -> bool:
    """Whether only words and paths may stand there (and null)."""
    found = options(hint)
    return bool(found) and all(map(_is_word, found))


def is_single(hint: Any) -> bool:
    """Whether only one word, path, number, true or false may stand there (and null), no list and no section."""
    return all(option in WORDS or typing.get_origin(option) is Literal for option in options(hint))


def named(hint: Any, key: str = "") -> str:
    """Return what a hint allows, in words; `key` is the section's own name, for settings that may stand in TOML."""
    found = options(hint)
    if len(found) != 1:
        return " or ".join(named(option, key) for option in found)
    (one,) = found
    origin, args = typing.get_origin(one), typing.get_args(one)
    if origin is Literal:
        return ", ".join(map(repr, args))
    if origin in (list, tuple) and args:
        return _list(origin, args)
    if dataclasses.is_dataclass(one) or origin is dict:
        return f"a section ({{...}} in JSON, a table [{key}] in TOML)" if key else "a section, such as {...} in JSON"
    return WORDS[one][0] if one in WORDS else str(one).replace("typing.", "")


def _list(origin: type, args: tuple[Any, ...]) -> str:
    count = f"{len(args)} " if origin is tuple and Ellipsis not in args else ""
    many = WORDS[args[0]][1] if args[0] in WORDS else "sections" if dataclasses.is_dataclass(args[0]) else "values"
    return f"a list of {count}{many}"


def _is_union(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union


def _is_word(hint: Any) -> bool:
    if typing.get_origin(hint) is Literal:
        return all(isinstance(word, str) for word in typing.get_args(hint))
    return isinstance(hint, type) and issubclass(hint, str | Path)
