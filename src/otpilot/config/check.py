"""Problems and remarks of a config file, found without data, output folder or GPU."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from otpilot.config.chatter import caught_warnings
from otpilot.config.compat import Translation
from otpilot.config.feature_keys import faint_target, wrong_keys
from otpilot.config.hygiene import absences, contradictions, few_rows, idle_keys
from otpilot.config.known import unknown_keys
from otpilot.config.rewriting import drop, read
from otpilot.config.schema import Given, TrainConfig, complete, read_arguments
from otpilot.errors import ConfigError, MissingFileError

SAID_OTHERWISE = ("Device '", "No accelerated backend")
"""Warnings of LeRobot for which there is a note already."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What was found in one file: problems keep it from training, notes say what is read otherwise than it looks."""

    name: str
    problems: tuple[str, ...]
    notes: tuple[str, ...]


def check_config(name: str, overrides: Sequence[str] = ()) -> Checked:
    """Return the problems and notes of a file or recipe:NAME, with `--key=value` overrides."""
    try:
        given = read_arguments([f"--config_path={name}", *overrides])
    except (ConfigError, MissingFileError) as error:
        return Checked(name=name, problems=(str(error),), notes=())
    problems, body = _without_unknown_keys(given.translation.config)
    notes = given.translation.notes
    if _hidden_policy(body):
        path = read(body, "policy.path")
        return Checked(name=name, problems=problems, notes=(*notes, f"policy.path is not on this machine: {path}."))
    trimmed = replace(given, translation=Translation(config=body, notes=notes))
    try:
        with caught_warnings() as heard:
            loaded = complete(trimmed, check_output=False)
    except ConfigError as error:
        problems = problems if str(error) in problems else (*problems, str(error))
        return Checked(name=name, problems=problems, notes=notes)
    config = loaded.config
    notes = (*loaded.notes, *idle_keys(body, config), *_elsewhere(trimmed, config, heard), *absences(config))
    notes = (*notes, *few_rows(config), *faint_target(config))
    return Checked(name=name, problems=(*problems, *contradictions(config), *wrong_keys(config)), notes=notes)


def _without_unknown_keys(body: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return a sentence for each unknown key, and the config without them, so that the rest can be checked as well."""
    trimmed = copy.deepcopy(body)
    problems = []
    pretrained = read(body, "policy.path") is not None  # then the policy's keys are those of its checkpoint
    known = {key: value for key, value in body.items() if not (pretrained and key == "policy")}
    try:
        for path, problem in unknown_keys(known, TrainConfig):
            problems.append(problem)
            _forget(trimmed, path)
    except ConfigError as error:
        problems.append(str(error))
    return tuple(problems), trimmed


def _forget(body: dict[str, Any], path: str) -> None:
    """Remove a dotted path in which numbers index lists."""
    place: Any = body
    *parents, last = path.split(".")
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    drop(place, last)


def _hidden_policy(body: dict[str, Any]) -> bool:
    """Whether the policy's settings lie in a checkpoint that is not on this machine."""
    path = read(body, "policy.path")
    return path is not None and not Path(str(path)).is_dir()


def _elsewhere(given: Given, config: TrainConfig, heard: list[str]) -> Iterator[str]:
    """Yield what this machine makes of the config that the machine it is meant for would not."""
    wanted = read(given.translation.config, "policy.device")
    if wanted is not None and config.policy is not None and wanted != config.policy.device:
        yield f"policy.device = {wanted} is not available on this machine; {config.policy.device} would be used here."
    yield from (text for text in heard if not text.startswith(SAID_OTHERWISE))
