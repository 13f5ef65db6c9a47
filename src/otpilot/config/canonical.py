"""The canonical form of a config, its hash, and differences: what tells one experiment from another.

Two configs have one hash if they train the same thing: names, paths of outputs, trackers, logging, machine and comments
are left out, numbers normalised, and a key that is missing equals its default (in our own sections and at the top
level; inside `policy` only those that config/bounds.py knows, inside `dataset`, `env` and `eval` none). Seed and steps
are left out, too: the ledger's key is (hash, seed, budget).
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from otpilot.config.bounds import policy_defaults
from otpilot.config.compat import translate
from otpilot.config.plain import SECTIONS, build_section, plain

NAMES_AND_MACHINE = frozenset({
    "output_dir", "job_name", "job", "resume", "wandb", "seed", "steps", "checkpoint_path", "save_checkpoint",
    "save_freq", "save_checkpoint_to_hub", "keep_best", "plan_images_every", "log_freq", "num_workers",
    "prefetch_factor", "persistent_workers", "dataloader_multiprocessing_context", "threads", "frame_cache_gb",
})  # fmt: skip
"""Top-level keys that do not change what is learned."""
HOW_OFTEN_EVALUATED = frozenset({"eval_steps", "env_eval_freq"})
"""Left out as well, unless early stopping acts on evaluations."""
POLICY_NAMES = frozenset({"device", "push_to_hub", "repo_id", "private", "tags", "license"})
COMMENTS = frozenset({"comment", "comments"})
TOP_DEFAULTS: Mapping[str, Any] = {
    "batch_size": 8, "grad_accum_steps": 1, "use_policy_training_preset": True, "cudnn_deterministic": False,
    "max_eval_samples": 0, "tolerance_s": 1e-4, "rename_map": {}, "warmup_ratio": None, "ema_decay": None,
    "eval_use_ema": True, "state_noise_std": 0.0, "action_noise_std": 0.0, "schedule_horizon": None, "env": None,
    "reward_model": None, "peft": None, "sample_weighting": None, "early_stopping": None, "discrete_actions": None,
    "optimizer": None, "scheduler": None, "guard": {},
}  # fmt: skip
"""Defaults of TrainConfig's top-level keys (a test compares them with it)."""
WRITTEN_TWO_WAYS = "replace_final_stride_with_dilation"
"""LeRobot's ACT calls it an int, its default is False: read back and written again it is 0."""
ADDED: Mapping[str, Any] = {"view_background": False}
"""Keys of the `ot` section that came later, with what the code did before: at that they leave hashes as they were."""
DIGITS = 12
HASH_LENGTH = 16
ABSENT: Final = "(absent)"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One dotted key in which two configs differ; ABSENT where one does not have it."""

    path: str
    left: Any
    right: Any


def canonical(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a config that decides what is learned, in one spelling; plain JSON data.

    Raises:
        ConfigError: If one of our own sections does not hold together.
    """
    body = _without_comments(translate(config).config)
    body = {**TOP_DEFAULTS, **{key: value for key, value in body.items() if key not in NAMES_AND_MACHINE}}
    if body["early_stopping"] is None:
        body = {key: value for key, value in body.items() if key not in HOW_OFTEN_EVALUATED}
    for name, schema in SECTIONS.items():
        section = {"enable": False} if name == "ot" and body.get(name) is None else body.get(name)
        body[name] = None if section is None else plain(build_section(schema, section, name))
    policy = body.get("policy")
    if isinstance(policy, Mapping):
        body["policy"] = {**policy_defaults(policy.get("type")), **policy}
        if WRITTEN_TWO_WAYS in policy:
            body["policy"][WRITTEN_TWO_WAYS] = bool(policy[WRITTEN_TWO_WAYS])
    _drop_idle(body)
    normal: dict[str, Any] = _normalise(body)
    return normal


def config_hash(config: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits, equal for configs whose canonical forms are equal.

    Raises:
        ConfigError: As `canonical`.
    """
    return _hash(canonical(config))


def same_effect(left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Whether two configs train the same, though their hashes may differ: some numbers have no effect next to others.

    The weight inside a term that compares one thing only, where each term is divided by its own mean; reg or lambda_ot
    where a schedule names all values that it takes.

    Raises:
        ConfigError: As `canonical`.
    """
    return _hash(_without_effect(canonical(left))) == _hash(_without_effect(canonical(right)))


def _hash(body: Mapping[str, Any]) -> str:
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_LENGTH]


def _without_effect(body: dict[str, Any]) -> dict[str, Any]:
    ot = body["ot"]
    if not ot["enable"] or ot.get("method") != "ot":
        return body
    loss = dict(ot["loss_config"])
    if loss["cost_normalization"] != "none":
        loss["features"] = [_unit(term) for term in loss["features"]]
    if _says_all(loss["reg_schedule"]):
        loss["reg"] = None
    weight = None if _says_all(ot["lambda_ot_schedule"]) else ot["lambda_ot"]
    return {**body, "ot": {**ot, "loss_config": loss, "lambda_ot": weight}}


def _unit(term: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a term of the cost with weight 1, if it compares one thing only."""
    used = [key for key in ("weight_embed", "weight_label") if term[key]]
    return {**term, used[0]: 1} if len(used) == 1 else term


def _says_all(schedule: Mapping[str, Any] | None) -> bool:
    """Whether a schedule never falls back on the value that it belongs to."""
    if schedule is None or schedule["start_value"] is None:
        return False
    constant = schedule["type"] == "constant"
    return schedule["start_step"] == 0 if constant else schedule["end_value"] is not None


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted keys and their values; list items that carry a name go by it: `features[action].weight_label`."""
    return dict(_leaves(config, ""))


def diff(left: Mapping[str, Any], right: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return the keys in which two configs differ, as they are given (compare canonical forms to leave out names)."""
    one, other = flatten(left), flatten(right)
    pairs = ((key, one.get(key, ABSENT), other.get(key, ABSENT)) for key in [*one, *(k for k in other if k not in one)])
    return tuple(Difference(path=key, left=a, right=b) for key, a, b in pairs if _normalise(a) != _normalise(b))


def _without_comments(value: Any) -> Any:
    if isinstance(value, Mapping):
        kept = {k: v for k, v in value.items() if not (str(k).startswith(("_", "//", "#")) or k in COMMENTS)}
        return {key: _without_comments(item) for key, item in kept.items()}
    if isinstance(value, list | tuple):
        return [_without_comments(item) for item in value]
    return value


def _drop_idle(body: dict[str, Any]) -> None:
    """Leave out settings that have no effect next to others: the optimiser's other half, a transport switched off."""
    preset = bool(body["use_policy_training_preset"])
    if preset:
        body["optimizer"] = body["scheduler"] = None
    policy = body.get("policy")
    if isinstance(policy, Mapping):
        body["policy"] = {
            key: value
            for key, value in policy.items()
            if key not in POLICY_NAMES and (preset or not re.match(r"(optimizer|scheduler)_(?!lr_backbone)", key))
        }
    ot = body["ot"]
    if not ot["enable"]:
        body["ot"] = {"enable": False}
        return
    if ot["lambda_ot"] != "auto":
        del ot["target_grad_share"]
    for key, value in ADDED.items():
        if ot[key] == value:
            del ot[key]


def _normalise(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _normalise(value[key]) for key in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [_normalise(item) for item in value]
    if isinstance(value, float):
        if not math.isfinite(value):
            return str(value)
        rounded = float(f"{value:.{DIGITS}g}")
        return int(rounded) if rounded == int(rounded) else rounded
    return value


def _leaves(value: Any, path: str) -> Any:
    if isinstance(value, Mapping) and (value or not path):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and value and all(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{path}[{item.get('term_name') or item.get('src_key') or index}]")
    else:
        yield path, list(value) if isinstance(value, tuple) else value
