"""Typed, bounded edits of a plain config dict: set, mul, add, min, max, by dotted keys with wildcards.

`ot.loss_config.features.*.weight_label` means every term, `ot.loss_config.features[action].weight_label` the term of
that name. Rules of the road:

- `mul`, `add`, `min` (at most), `max` (at least) need a number with limits in config/bounds.py and stop at the limit;
  `set` beyond a limit is refused. Whole numbers stay whole.
- `direction` says what an edit means to do. An edit that would move a value the other way, or none at all, is refused.
- `mul` on `ot.lambda_ot` while it is "auto" acts on `ot.target_grad_share`, which is the weight's knob then; the other
  arithmetic edits on "auto" are refused, because a share has another unit. `set` replaces the word.
- With `use_policy_training_preset` LeRobot takes `policy.optimizer_*` and ignores the `optimizer` and `scheduler`
  sections; without it the other way round. Edits of the half that does not count, or of absent sections, are refused.
"""

import copy
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from otpilot.config.bounds import BOUNDS, Bound, bound_of, default_of
from otpilot.config.canonical import canonical, config_hash, diff, flatten
from otpilot.config.keys import pattern, pretty, read, resolve, write
from otpilot.config.plain import SECTIONS, check_sections, plain
from otpilot.errors import ConfigError, closest

__all__ = [
    "Change", "Edit", "apply", "canonical", "config_hash", "diff", "flatten", "learning_rate_path", "policy_type",
    "uses_preset", "value_at",
]  # fmt: skip

Op = Literal["set", "mul", "add", "min", "max"]
Direction = Literal["raise", "lower"]
OPS: tuple[Op, ...] = get_args(Op)
AUTOMATIC = ("ot.lambda_ot", "ot.view_share", "ot.bc_src_weight")
"""Keys that may be the word auto instead of a number."""
WHOLE = ("optimizer", "scheduler", *SECTIONS, "ot.lambda_ot_schedule", "ot.loss_config.reg_schedule")
"""Sections that `set` may put in whole, or remove with null."""
PRESET_KEYS = re.compile(r"policy\.(optimizer|scheduler)_(?!lr_backbone)")
# ACT gives its backbone policy.optimizer_lr_backbone whatever the preset says.
SECTION_KEYS = re.compile(r"(optimizer|scheduler)(\.|$)")
DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One change to ask for; `value` is the new value of `set`, else the number to combine with."""

    path: str
    op: Op
    value: Any
    direction: Direction | None = None

    def __post_init__(self) -> None:
        """Check the words and the number."""
        if self.op not in OPS:
            raise ConfigError(f"Edit of {self.path}: op is {self.op!r}; allowed: {', '.join(OPS)}.")
        if self.direction not in (None, "raise", "lower"):
            raise ConfigError(f"Edit of {self.path}: direction is {self.direction!r}; allowed: raise, lower, or none.")
        if self.op != "set" and not _is_number(self.value):
            raise ConfigError(f"Edit of {self.path}: {self.op} needs a finite number, not {self.value!r}.")

    def __str__(self) -> str:
        """Return a short reading, such as `ot.loss_config.reg *= 2`."""
        sign = {"set": "=", "mul": "*=", "add": "+=", "min": "at most", "max": "at least"}[self.op]
        return f"{self.path} {sign} {self.value}"


@dataclass(frozen=True, kw_only=True)
class Change:
    """What one edit did to one key; terms go by name. `old` is the default where the config did not say."""

    path: str
    old: Any
    new: Any


def apply(config: Mapping[str, Any], edits: Sequence[Edit]) -> tuple[dict[str, Any], tuple[Change, ...]]:
    """Return the edited copy of a config in today's form, and what changed, in order; all edits or none.

    Raises:
        ConfigError: If an edit is refused, or the result could not be trained.
    """
    body = copy.deepcopy(dict(config))
    changes = [change for edit in edits for change in _apply_one(body, edit)]
    check_sections(body)
    loss = (body.get("ot") or {}).get("loss_config") or {}
    if loss.get("target_mass") is not None and None in (loss.get("tau_src", 0.5), loss.get("tau_tgt", 0.5)):
        raise ConfigError("target_mass needs finite tau_src and tau_tgt; a hard marginal fixes the mass at 1.")
    if not uses_preset(body) and not (body.get("optimizer") and body.get("scheduler")):
        raise ConfigError(
            "use_policy_training_preset is false, so the config needs an optimizer and a scheduler section."
        )
    return body, tuple(changes)


def uses_preset(config: Mapping[str, Any]) -> bool:
    """Whether the policy's own optimiser settings count (LeRobot's default), not the sections."""
    return bool(config.get("use_policy_training_preset", True))


def policy_type(config: Mapping[str, Any]) -> str | None:
    """Return the type of the policy, or None where the config does not say."""
    policy = config.get("policy")
    return policy.get("type") if isinstance(policy, Mapping) else None


def learning_rate_path(config: Mapping[str, Any]) -> str:
    """Return the key of the learning rate that counts."""
    return "policy.optimizer_lr" if uses_preset(config) else "optimizer.lr"


def value_at(config: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted key without wildcard, its default where the config does not say, else None.

    Raises:
        ConfigError: If the key names a term that is not there.
    """
    places = list(resolve(config, path))
    if len(places) != 1:
        raise ConfigError(f"{path} names {len(places)} values; one is needed here.")
    return read(config, places[0], policy_type(config))


def values_at(config: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Return every value that a key with wildcards names, by key with the term's name; empty where nothing fits."""
    policy = policy_type(config)
    return {pretty(config, keys): read(config, keys, policy) for keys in resolve(config, path)}


def _apply_one(body: dict[str, Any], edit: Edit) -> list[Change]:
    policy = policy_type(body)
    if (
        edit.path == "ot.lambda_ot"
        and edit.op != "set"
        and (body.get("ot") or {}).get("lambda_ot", default_of("ot.lambda_ot", policy)) == "auto"
    ):
        if edit.op != "mul":
            raise ConfigError(f'{edit}: ot.lambda_ot is "auto"; edit ot.target_grad_share, or set a number.')
        edit = Edit(path="ot.target_grad_share", op="mul", value=edit.value, direction=edit.direction)
    _check_place(body, edit)
    places = list(resolve(body, edit.path))
    if not places:
        raise ConfigError(f"{edit}: nothing in this config is called so.")
    changes = []
    for keys in places:
        key = pattern(keys)
        bound = bound_of(key, policy)
        old = read(body, keys, policy)
        new = _new_value(edit, key, old, bound, policy)
        if not _same(old, new):
            write(body, keys, new)
            changes.append((Change(path=pretty(body, keys), old=old, new=new), _sign(old, new, bound)))
    if edit.direction is not None:
        wanted = 1 if edit.direction == "raise" else -1
        if not changes or any(sign != wanted for _, sign in changes):
            moved = "; ".join(f"{change.path} {change.old} -> {change.new}" for change, _ in changes) or "nothing moves"
            raise ConfigError(f"{edit} is meant to {edit.direction}, but: {moved}.")
    return [change for change, _ in changes]


def _check_place(body: Mapping[str, Any], edit: Edit) -> None:
    """Refuse edits of a half of the optimiser settings that does not count, and of sections that are not there."""
    preset = uses_preset(body)
    if PRESET_KEYS.match(edit.path) and not preset:
        raise ConfigError(f"{edit}: use_policy_training_preset is false, so only optimizer and scheduler count.")
    if SECTION_KEYS.match(edit.path) and preset:
        raise ConfigError(f"{edit}: use_policy_training_preset is true, so only policy.optimizer_* counts.")
    section, dot, _ = edit.path.partition(".")
    if dot and not isinstance(body.get(section), Mapping):
        raise ConfigError(f"{edit}: the config has no {section} section.")


def _new_value(edit: Edit, key: str, old: Any, bound: Bound | None, policy: str | None) -> Any:
    if edit.op == "set":
        _check_set(edit, key, old, bound, policy)
        return copy.deepcopy(plain(edit.value)) if bound is None else _as_kind(edit.value, bound, old)
    if bound is None:
        raise ConfigError(f"{edit}: {key} has no limits, so it can only be set.{closest(key, BOUNDS)}")
    if not _is_number(old):
        if edit.op == "mul" or bound.null is None:
            raise ConfigError(f"{edit}: {key} is {old!r}, not a number; set it first.")
        old = bound.null
    number = {"mul": lambda: old * edit.value, "add": lambda: old + edit.value}.get(
        edit.op, lambda: min(old, edit.value) if edit.op == "min" else max(old, edit.value)
    )()
    if math.isinf(number) and math.isinf(old):
        return None
    # A value that is already outside may stay there, or come back; it never goes further out.
    low, high = (min(bound.low, old), max(bound.high, old)) if math.isfinite(old) else (bound.low, bound.high)
    return _as_kind(max(low, min(high, number)), bound, old)


def _check_set(edit: Edit, key: str, old: Any, bound: Bound | None, policy: str | None) -> None:
    value = edit.value
    if bound is not None:
        if value is None and (bound.nullable or bound.null is not None):
            return
        if key in AUTOMATIC and value == "auto":
            return
        if not _is_number(value) or not bound.low <= value <= bound.high:
            raise ConfigError(f"{edit}: allowed: a number from {bound.low} to {bound.high} ({bound.origin}).")
        if bound.kind == "int" and value != int(value):
            raise ConfigError(f"{edit}: allowed: a whole number.")
        return
    if isinstance(value, Mapping) or key in WHOLE:
        if key not in WHOLE:
            raise ConfigError(f"{edit}: only these sections can be put in whole: {', '.join(WHOLE)}.")
        for leaf, item in flatten(value if isinstance(value, Mapping) else {}).items():
            inner = bound_of(f"{key}.{re.sub(r'\[[^\]]*\]', '[*]', leaf)}", policy)
            if inner is not None and _is_number(item) and not inner.low <= item <= inner.high:
                raise ConfigError(f"{edit}: {key}.{leaf} is {item}; allowed: {inner.low} to {inner.high}.")
        return
    known = key in ("use_policy_training_preset", "eval_use_ema") or key.startswith("ot.")
    if not known and (old is None or type(value) is not type(old)):
        raise ConfigError(f"{edit}: {key} is {old!r}; a value of the same type can be set, not {value!r}.")
    if key == "use_policy_training_preset" and not isinstance(value, bool):
        raise ConfigError(f"{edit}: allowed: true or false.")


def _as_kind(value: Any, bound: Bound, old: Any) -> Any:
    """Return the number as its key wants it: whole numbers rounded away from the old value, others to 12 digits."""
    if not _is_number(value):
        return value
    if bound.kind == "float":
        return float(f"{float(value):.{DIGITS}g}")
    up = not _is_number(old) or value >= old
    return math.ceil(value - 1e-9) if up else math.floor(value + 1e-9)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _same(old: Any, new: Any) -> bool:
    return old == new and isinstance(old, bool) == isinstance(new, bool)


def _sign(old: Any, new: Any, bound: Bound | None) -> int:
    """Return 1 if the value rose, -1 if it fell, 0 if the two cannot be compared."""
    null = None if bound is None else bound.null
    before, after = (null if value is None else value for value in (old, new))
    if any(isinstance(x, bool) or not isinstance(x, int | float) for x in (before, after)):
        return 0
    assert before is not None
    assert after is not None
    return (after > before) - (after < before)
