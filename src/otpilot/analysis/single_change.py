"""The one edit that would test a suspect of a post-mortem: a setting of the worse run's config, or a whole section.

What cannot be tried by one edit, or would not load, is not proposed: a key that the policy's preset overrules, the
parts of a scheduler of another type, a key of a section that the run lacks, a value that the baseline never had.
"""

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from otpilot.analysis.scorecard import ScoreCard
from otpilot.analysis.settings import Setting, section_in_effect
from otpilot.config.bounds import default_of
from otpilot.config.canonical import TOP_DEFAULTS
from otpilot.config.compat import make_way, translate
from otpilot.config.edits import apply, policy_type
from otpilot.config.keys import read, resolve, write
from otpilot.errors import ConfigError

if TYPE_CHECKING:
    from otpilot.analysis.postmortem import ConfigDifference

Section = Literal["optimizer", "scheduler"]

ABSENT = "(not set)"
SECTIONS: tuple[Section, ...] = ("optimizer", "scheduler")
PRESET_KEYS = {
    "optimizer.lr": "policy.optimizer_lr",
    "optimizer.weight_decay": "policy.optimizer_weight_decay",
    "optimizer.grad_clip_norm": "policy.optimizer_grad_clip_norm",
    "scheduler.type": "policy.scheduler_name",
    "scheduler.num_warmup_steps": "policy.scheduler_warmup_steps",
}
EVERY_POLICY_HAS = ("policy.optimizer_lr", "policy.optimizer_weight_decay")
DIFFUSION_HAS = ("policy.scheduler_name", "policy.scheduler_warmup_steps")
WHOLE_POLICY = re.compile(r"policy\.(type$|path$|input_features|output_features)")
"""Another policy, or another data set's shapes: no one setting makes it."""


@dataclass(frozen=True, kw_only=True)
class SingleChange:
    """One edit of the worse run's config, by the key that takes effect there; a section comes whole, null for none."""

    key: str
    value: Setting | Mapping[str, Any]
    instead_of: Setting | Mapping[str, Any]


def single_changes(
    suspects: Sequence["ConfigDifference"], worse: ScoreCard, better: ScoreCard
) -> tuple[tuple[SingleChange, ...], tuple[str, ...]]:
    """Return one edit for each suspect that can be tested by one, in their order, and the keys of the others."""
    changes: list[SingleChange] = []
    left: list[str] = []
    whole = {name for name in SECTIONS if not worse.preset and _types_differ(name, worse, better)}
    for item in suspects:
        section = next((name for name in whole if item.key.startswith(f"{name}.")), None)
        if section is not None and any(one.key == section for one in changes):
            continue
        change = _one_key(item, worse, better) if section is None else _whole(section, worse, better)
        if change is None or not _loads(worse.config, change):
            left.append(item.key)
        else:
            changes.append(change)
    return tuple(changes), tuple(left)


def _types_differ(name: Section, worse: ScoreCard, better: ScoreCard) -> bool:
    """Whether one has another kind of optimiser or schedule than the other, or only one of them has a schedule."""
    mine, its = (section_in_effect(card.config, name) for card in (worse, better))
    if name == "optimizer" and not (mine and its and mine.get("type") and its.get("type")):
        return False
    return (mine or {}).get("type") != (its or {}).get("type")


def _whole(name: Section, worse: ScoreCard, better: ScoreCard) -> SingleChange:
    mine, its = (section_in_effect(card.config, name) for card in (worse, better))
    return SingleChange(key=name, value=its, instead_of=mine)


def _one_key(item: "ConfigDifference", worse: ScoreCard, better: ScoreCard) -> SingleChange | None:
    key, value = item.key, item.better
    policies = [policy_type(card.config) for card in (worse, better)]
    if worse.preset and key.partition(".")[0] in SECTIONS:
        key = PRESET_KEYS.get(key, "")
        if key not in EVERY_POLICY_HAS and not _policy_has(worse.config, key):
            return None
        if key == "policy.scheduler_name":
            value = (section_in_effect(better.config, "scheduler") or {}).get("name", ABSENT)
    elif WHOLE_POLICY.match(key) or (key.startswith("policy.") and policies[0] != policies[1]):
        return None
    if value == ABSENT:
        value = _unsaid(key, better)
    if value == ABSENT:
        return None
    return SingleChange(key=key, value=value, instead_of=None if item.worse == ABSENT else item.worse)


def _policy_has(config: Mapping[str, Any], key: str) -> bool:
    policy = config.get("policy")
    named = isinstance(policy, Mapping) and bool(key) and key.removeprefix("policy.") in policy
    return named or (key in DIFFUSION_HAS and policy_type(config) == "diffusion")


def _unsaid(key: str, better: ScoreCard) -> Setting:
    """Return the value that the baseline has though its config does not say it, ABSENT where that is not known."""
    if key in TOP_DEFAULTS and not isinstance(TOP_DEFAULTS[key], Mapping):
        default: Setting = TOP_DEFAULTS[key]
        return default
    if not isinstance(better.config.get(key.partition(".")[0]), Mapping):
        return ABSENT
    policy = policy_type(better.config)
    try:
        if key.startswith("ot."):
            today = translate(better.config).config
            places = list(resolve(today, key))
            found = read(today, places[0], policy) if len(places) == 1 else ABSENT
        else:
            found = default_of(key, policy)
            found = ABSENT if found is None else found
    except ConfigError:
        return ABSENT
    return found if found is None or isinstance(found, bool | int | float | str) else ABSENT


def _loads(config: Mapping[str, Any], change: SingleChange) -> bool:
    """Whether a config still holds together with a change; one that does not without it proves nothing."""
    body = copy.deepcopy(dict(config))
    try:
        apply(translate(body).config, ())
    except ConfigError:
        return True
    parent = change.key.rpartition(".")[0]
    try:
        make_way(body, change.key)
        places = list(resolve(body, change.key))
        if len(places) != 1 or (parent and not _is_there(body, parent)):
            return False
        write(body, places[0], _parsed(change.value))
        apply(translate(body).config, ())
    except ConfigError:
        return False
    return True


def _is_there(body: Mapping[str, Any], parent: str) -> bool:
    """Whether the section that a key belongs to is in the config; a key alone does not make one."""
    return all(isinstance(read(body, place, None), Mapping) for place in resolve(body, parent))


def _parsed(value: Setting | Mapping[str, Any]) -> Any:
    """Return the list that a setting stands for, as text, or the setting."""
    if isinstance(value, str) and value[:1] == "[":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return copy.deepcopy(dict(value)) if isinstance(value, Mapping) else value
