"""A config with everything filled in: where each value comes from, and what sets two configs apart."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from otpilot.config.canonical import Difference, diff, flatten
from otpilot.config.chatter import caught_warnings
from otpilot.config.files import read_config_file
from otpilot.config.overrides import parse_options
from otpilot.config.rewriting import MISSING, Rewriting, read
from otpilot.config.schema import complete, encode, read_arguments

Origin = Literal["file", "override", "translated", "default"]

ABOUT_THIS_MACHINE = ("policy.device", "policy.use_amp", "output_dir")
"""What LeRobot fills in from the machine or the clock; shown as the file says."""


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """The whole config, the origin of each dotted key, and the notes of reading it."""

    body: dict[str, Any]
    origins: dict[str, Origin]
    notes: tuple[str, ...]


def resolve(name: str, overrides: Sequence[str] = ()) -> Resolved:
    """Return a file or recipe:NAME with every default filled in.

    Raises:
        MissingFileError: If the file is not there.
        ConfigError: If it is not valid.
    """
    given = read_arguments([f"--config_path={name}", *overrides])
    with caught_warnings():  # the device of this machine is not what is asked for
        loaded = complete(given, check_output=False)
    body = _as_given(encode(loaded.config), given.translation.config)
    raw, translated = flatten(read_config_file(name)), flatten(given.translation.config)
    options = set(parse_options(overrides))
    origins = {key: _origin(key, value, raw, translated, options) for key, value in flatten(body).items()}
    return Resolved(body=body, origins=origins, notes=loaded.notes)


def differences(left: str, right: str) -> tuple[Difference, ...]:
    """Return the keys in which two files (or recipe:NAME) differ once every default is filled in.

    Raises:
        MissingFileError: If one is not there.
        ConfigError: If one is not valid.
    """
    return diff(resolve(left).body, resolve(right).body)


def _as_given(body: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    rewriting = Rewriting(body)
    for key in ABOUT_THIS_MACHINE:
        value = read(given, key, MISSING)
        if value is not MISSING:
            rewriting.set(key, value)
        elif key in {"policy.device", "output_dir"} and rewriting.has(key):
            rewriting.set(key, None)
    return rewriting.body


def _origin(key: str, value: Any, raw: dict[str, Any], translated: dict[str, Any], options: set[str]) -> Origin:
    if key in options:
        return "override"
    if key in raw and raw[key] == value:
        return "file"
    if key in translated and translated[key] == value:
        return "translated"
    return "default"
