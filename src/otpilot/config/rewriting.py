"""A config while it is being rewritten: dotted access to nested dicts, and one sentence for each change."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from otpilot.errors import ConfigError, closest

MISSING: Final = object()


def read(body: Mapping[str, Any], path: str, default: Any = None) -> Any:
    """Return the value at a dotted path, or `default` where a part of the path is missing."""
    place: Any = body
    for part in path.split("."):
        if not isinstance(place, Mapping) or part not in place:
            return default
        place = place[part]
    return place


def drop(body: dict[str, Any], path: str) -> Any:
    """Remove the value at a dotted path and return it, or MISSING where there is none."""
    *parents, last = path.split(".")
    place = read(body, ".".join(parents), MISSING) if parents else body
    return place.pop(last, MISSING) if isinstance(place, dict) else MISSING


class Rewriting:
    """The body of a config, changed in place, and what was changed.

    Args:
        body: A plain dict; a deep copy is rewritten.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body: dict[str, Any] = copy.deepcopy(dict(body))
        self.notes: list[str] = []

    def get(self, path: str, default: Any = None) -> Any:
        """Return the value at a dotted path, or `default`."""
        return read(self.body, path, default)

    def has(self, path: str) -> bool:
        """Return whether there is a value at a dotted path; null is one."""
        return self.get(path, MISSING) is not MISSING

    def take(self, path: str) -> Any:
        """Remove the value at a dotted path and return it, or MISSING."""
        return drop(self.body, path)

    def section(self, path: str) -> dict[str, Any] | None:
        """Return the section at a dotted path, or None where there is none.

        Raises:
            ConfigError: If something else than a section is there.
        """
        value = self.get(path)
        if value is not None and not isinstance(value, dict):
            raise ConfigError(f"{path} is {value!r}; it must be a section, such as {{...}} in JSON.")
        return value

    def set(self, path: str, value: Any, *, told: str | None = None) -> None:
        """Write a value at a dotted path, making sections on the way; `told` is the sentence for it."""
        *parents, last = path.split(".")
        for end in range(1, len(parents) + 1):
            if self.section(".".join(parents[:end])) is None:
                self._place(parents[: end - 1])[parents[end - 1]] = {}
        self._place(parents)[last] = copy.deepcopy(value)
        if told:
            self.notes.append(told)

    def set_from(self, old: str, value: Any, new: str) -> None:
        """Write at `new` what `old` said, and say so.

        Raises:
            ConfigError: If `new` has another value already.
        """
        given = self.get(new, MISSING)
        if given is not MISSING and given is not None and given != value:
            raise ConfigError(f"{old} = {value} and {new} = {given} name the same thing; keep {new} only.")
        self.set(new, value, told=f"{old} is read as {new} = {value}.")

    def move(self, old: str, new: str) -> None:
        """Rename a key if it is there, and say so.

        Raises:
            ConfigError: If `new` has another value already.
        """
        value = self.take(old)
        if value is not MISSING:
            self.set_from(old, value, new)

    def fill(self, path: str, values: Mapping[str, Any], why: str) -> None:
        """Add the values that a section lacks, if the section is there, and say which and why in one sentence."""
        section = self.section(path)
        if section is None:
            return
        missing = {key: value for key, value in values.items() if key not in section}
        section.update(copy.deepcopy(missing))
        if missing:
            self.notes.append(f"{path}: {why}: {', '.join(f'{key} = {value!r}' for key, value in missing.items())}.")

    def note(self, text: str) -> None:
        """Say something that changes no key."""
        self.notes.append(text)

    def close(self, path: str, known: Iterable[str]) -> None:
        """Remove a section whose keys were all taken.

        Raises:
            ConfigError: For the first key that is left.
        """
        section = self.section(path)
        for place in _leaves(section or {}, path):
            names = sorted(known)
            hint = closest(place, names) or f" Known keys here: {', '.join(names)}."
            raise ConfigError(f"Unknown config key {place!r}.{hint}")
        if section is not None:
            self.take(path)

    def _place(self, parents: list[str]) -> dict[str, Any]:
        place = self.body
        for part in parents:
            place = place[part]
        return place


def _leaves(section: Mapping[str, Any], path: str) -> Iterator[str]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{path}.{key}")
        else:
            yield f"{path}.{key}"
