"""Settings of a run, whoever wrote them down: our nested JSON, the reports' keys, W&B's flattened or wrapped values."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from otpilot.config.compat import LOSS_ALIASES
from otpilot.config.resuming import without_resumption

Setting = float | int | str | bool | None

FEATURES = ("ot", "loss_config", "features")
# A key that says who the run is, where it lies or how often it logs cannot change how well it learns; the preset
# flag shows in the optimiser that is in effect.
IGNORED = re.compile(
    r"^(output_dir|job_name|use_policy_training_preset|config_path|checkpoint_path|resume|wandb|tracker|num_workers|prefetch_factor|"
    r"persistent_workers|threads|frame_cache_gb|log_freq|save_freq|save_checkpoint.*|eval_freq|eval_steps|env_eval_freq|"
    r"tolerance_s|policy\.(device|push_to_hub|repo_id|private|tags|license)|cudnn_deterministic|_wandb|name|notes|tags)(\.|$)"
    r"|(^|[._])root$|(^|\.)src_root$"
)
PATHS = re.compile(r"(_path|_dir)$")


@dataclass(frozen=True, kw_only=True)
class KeySettings:
    """The settings that reports print and rules read; None where the config does not say.

    A tau of None with `hard_src` or `hard_tgt` is the hard marginal. `heuristic` is true for the reports' flag and for
    `prior: diagonal`. `weight_embed` and `weight_label` are those of the first term that has one above 0, else 0.
    `lambda_ot` is a number or "auto". The optimiser is the one in effect (the policy's own under
    use_policy_training_preset). `embed_terms` and `label_terms` name the terms with and without a learned encoding.
    `from_weights` is true where the run was resumed, or began from the weights of a policy trained before.
    """

    policy: str | None = None
    method: str | None = None
    window_size: int | None = None
    reg: float | None = None
    tau_src: float | None = None
    tau_tgt: float | None = None
    hard_src: bool = False
    hard_tgt: bool = False
    heuristic: bool | None = None
    prior: str | None = None
    objective: str | None = None
    cost_normalization: str | None = None
    weight_embed: float | None = None
    weight_label: float | None = None
    lambda_ot: float | str | None = None
    lr: float | None = None
    weight_decay: float | None = None
    grad_clip_norm: float | None = None
    scheduler: str | None = None
    scheduler_known: bool = False
    warmup_steps: int | None = None
    batch_size: int | None = None
    steps: int | None = None
    horizon: int | None = None
    seed: int | None = None
    embed_terms: tuple[str, ...] = ()
    label_terms: tuple[str, ...] = ()
    from_weights: bool = False


def nested(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config as nested dicts: W&B's {"value": ...} wrappers taken off, dotted or slashed keys unfolded."""
    body: dict[str, Any] = {}
    for key, value in config.items():
        parts = [part for part in re.split(r"[./]", str(key)) if part]
        _put(body, parts or [str(key)], _unwrap(value))
    return body


def flatten(config: Mapping[str, Any]) -> dict[str, Setting]:
    """Return every setting by its dotted key, in the order written; terms of the cost go by name."""
    flat: dict[str, Setting] = {}
    _flatten(nested(config), "", flat)
    return flat


def comparable(config: Mapping[str, Any]) -> dict[str, Setting]:
    """Return the flattened settings that can matter: effective optimiser, no paths, names, logging or W&B settings."""
    body = without_resumption(nested(config))
    flat = {key: value for key, value in flatten(body).items() if not IGNORED.search(key)}
    flat = {key: _file_name(value) if PATHS.search(key) else value for key, value in flat.items()}
    for old, new in LOSS_ALIASES.items():
        if f"ot.loss_config.{old}" in flat:
            flat.setdefault(f"ot.loss_config.{new}", flat.pop(f"ot.loss_config.{old}"))
    return _effective_optimiser(body, flat)


def key_settings(config: Mapping[str, Any]) -> KeySettings:
    """Return the settings that reports print and rules read, from a config in any of the known shapes."""
    body = nested(config)
    loss = {LOSS_ALIASES.get(key, key): value for key, value in _section(body, *FEATURES[:2]).items()}
    ot = _section(body, "ot")
    terms = [term for term in _items(loss.get("features")) if isinstance(term, Mapping)]
    heuristic = _flag(loss.get("heuristic"))
    prior = _text(loss.get("prior")) or ("diagonal" if heuristic else None)
    optimiser = _optimiser(body)
    enabled = _flag(ot.get("enable"))
    return KeySettings(
        policy=_text(_section(body, "policy").get("type")),
        method="none" if enabled is False else _text(ot.get("method")) or ("ot" if ot else None),
        window_size=_whole(ot.get("window_size")),
        reg=_number(loss.get("reg")),
        tau_src=_number(loss.get("tau_src")),
        tau_tgt=_number(loss.get("tau_tgt")),
        hard_src="tau_src" in loss and loss["tau_src"] is None,
        hard_tgt="tau_tgt" in loss and loss["tau_tgt"] is None,
        heuristic=heuristic if heuristic is not None else (None if prior is None else prior == "diagonal"),
        prior=prior,
        objective=_text(loss.get("objective")) or ("plan_cost" if heuristic is not None else None),
        cost_normalization=_text(loss.get("cost_normalization")) or ("none" if heuristic is not None else None),
        weight_embed=_first_weight(terms, "weight_embed"),
        weight_label=_first_weight(terms, "weight_label"),
        lambda_ot="auto" if ot.get("lambda_ot") == "auto" else _number(ot.get("lambda_ot")),
        lr=_number(optimiser["lr"]),
        weight_decay=_number(optimiser["weight_decay"]),
        grad_clip_norm=_number(optimiser["grad_clip_norm"]),
        scheduler=_text(optimiser["scheduler"]),
        scheduler_known=bool(optimiser["scheduler_known"]),
        warmup_steps=_whole(optimiser["warmup_steps"]),
        batch_size=_whole(body.get("batch_size")),
        steps=_whole(body.get("steps")),
        horizon=_whole(body.get("schedule_horizon")) or _whole(body.get("steps")),
        seed=_whole(body.get("seed")),
        embed_terms=tuple(_term_name(term) for term in terms if (_number(term.get("weight_embed")) or 0) > 0),
        label_terms=tuple(_term_name(term) for term in terms if (_number(term.get("weight_embed")) or 0) <= 0),
        from_weights=_flag(body.get("resume")) is True or _trained_before(_section(body, "policy")),
    )


def preset_in_effect(config: Mapping[str, Any]) -> bool:
    """Return whether the policy's own optimiser is used, not the `optimizer` section (LeRobot's default)."""
    return _flag(nested(config).get("use_policy_training_preset")) is not False


def section_in_effect(config: Mapping[str, Any], name: Literal["optimizer", "scheduler"]) -> dict[str, Any] | None:
    """Return the section that spells out the optimiser or the schedule that is really used; None for no schedule.

    Under the preset it is the recorded one with the policy's values, since LeRobot writes down there what it made.
    """
    body = nested(config)
    policy, section = _section(body, "policy"), dict(_section(body, name))
    if not preset_in_effect(config):
        return section or None
    kind = _text(policy.get("type"))
    if name == "scheduler":
        if "scheduler_name" in policy or kind == "diffusion":
            warmup = policy.get("scheduler_warmup_steps", 500)
            return {"type": "diffuser", "name": policy.get("scheduler_name", "cosine"), "num_warmup_steps": warmup}
        return None if kind == "act" else section or None
    own = {key: policy.get(f"optimizer_{key}") for key in ("lr", "betas", "eps", "weight_decay", "grad_clip_norm")}
    section.setdefault("type", {"act": "adamw", "diffusion": "adam"}.get(kind or ""))
    found = {**section, **{key: value for key, value in own.items() if value is not None}}
    return {key: value for key, value in found.items() if value is not None} or None


def _optimiser(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the optimiser really is: the policy's own under the preset, else the sections of the config."""
    policy, section, scheduler = (_section(body, name) for name in ("policy", "optimizer", "scheduler"))
    own = {
        "lr": policy.get("optimizer_lr"),
        "weight_decay": policy.get("optimizer_weight_decay"),
        "grad_clip_norm": policy.get("optimizer_grad_clip_norm"),
        "scheduler": policy.get("scheduler_name"),
        "warmup_steps": policy.get("scheduler_warmup_steps"),
    }
    given = {
        "lr": section.get("lr"),
        "weight_decay": section.get("weight_decay"),
        "grad_clip_norm": section.get("grad_clip_norm"),
        "scheduler": scheduler.get("type") or scheduler.get("name"),
        "warmup_steps": scheduler.get("num_warmup_steps", scheduler.get("warmup_steps")),
    }
    first, second = (own, given) if _flag(body.get("use_policy_training_preset")) is not False else (given, own)
    found = {key: second[key] if value is None else value for key, value in first.items()}
    if first is given and "scheduler" in body:
        found["scheduler"] = given["scheduler"]  # null means none, whatever the policy would have liked
    return {**found, "scheduler_known": "scheduler" in body or found["scheduler"] is not None}


def _trained_before(policy: Mapping[str, Any]) -> bool:
    """Whether a policy began from a checkpoint; the backbone's weights of ACT and Diffusion are none."""
    return any(policy.get(key) not in (None, "", "null", "None") for key in ("pretrained_path", "path"))


def _effective_optimiser(body: Mapping[str, Any], flat: dict[str, Setting]) -> dict[str, Setting]:
    optimiser = _optimiser(body)
    shadowed = re.compile(
        r"^(policy\.(optimizer_(lr|weight_decay|grad_clip_norm)|scheduler_(name|warmup_steps))|"
        r"optimizer\.(lr|weight_decay|grad_clip_norm)|scheduler(\.(type|name|num_warmup_steps|warmup_steps))?)$"
    )
    kept = {key: value for key, value in flat.items() if not shadowed.search(key)}
    names = {
        "lr": "optimizer.lr",
        "weight_decay": "optimizer.weight_decay",
        "grad_clip_norm": "optimizer.grad_clip_norm",
        "scheduler": "scheduler.type",
        "warmup_steps": "scheduler.num_warmup_steps",
    }
    known = {names[key]: value for key, value in optimiser.items() if key in names and value is not None}
    if optimiser["scheduler_known"]:
        known.setdefault("scheduler.type", None)
    return kept | {key: value if isinstance(value, str) else _number(value) for key, value in known.items()}


def _flatten(value: Any, place: str, flat: dict[str, Setting]) -> None:
    if place == ".".join(FEATURES) and isinstance(value, Mapping | list | tuple):
        names = [_term_name(term) if isinstance(term, Mapping) else str(i) for i, term in enumerate(_items(value))]
        for index, (name, term) in enumerate(zip(names, _items(value), strict=True)):
            own = name if names.count(name) == 1 else f"{name}#{index}"
            _flatten(term, f"{place}[{own}]", flat)
    elif isinstance(value, Mapping):
        if not value and place:
            flat[place] = None
        for key, item in value.items():
            _flatten(item, f"{place}.{key}" if place else str(key), flat)
    elif isinstance(value, list | tuple):
        flat[place] = json.dumps(value, default=str)
    elif isinstance(value, bool | int | float | str) or value is None:
        flat[place] = value
    else:
        flat[place] = str(value)


def _put(body: dict[str, Any], parts: list[str], value: Any) -> None:
    """Set a value at a path; where the path runs into a value, its rest stays dotted, so that nothing is lost."""
    for index, part in enumerate(parts[:-1]):
        below = body.setdefault(part, {})
        if not isinstance(below, dict):
            body[".".join(parts[index:])] = value
            return
        body = below
    old = body.get(parts[-1])
    body[parts[-1]] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value


def _unwrap(value: Any) -> Any:
    """Take W&B's {"value": x, "desc": ...} off, at any depth, and parse a section that was stored as text."""
    if isinstance(value, Mapping):
        if "value" in value and set(value) <= {"value", "desc"}:
            return _unwrap(value["value"])
        return nested(value)
    if isinstance(value, list | tuple):
        return [_unwrap(item) for item in value]
    if isinstance(value, str) and value[:1] in "{[" and value[-1:] in "}]":
        try:
            return _unwrap(json.loads(value))
        except ValueError:
            return value
    return value


def _items(value: Any) -> list[Any]:
    """Return the items of a list, or of a dict that was a list before it was flattened."""
    if isinstance(value, Mapping):
        keys = sorted(value, key=lambda key: (not str(key).isdigit(), int(key) if str(key).isdigit() else 0))
        return [value[key] for key in keys]
    return list(value) if isinstance(value, list | tuple) else []


def _section(body: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        found = body.get(name)
        if not isinstance(found, Mapping):
            return {}
        body = found
    return body


def _term_name(term: Mapping[str, Any]) -> str:
    return str(term.get("term_name") or term.get("src_key") or "term")


def _first_weight(terms: Iterable[Mapping[str, Any]], name: str) -> float | None:
    weights = [_number(term.get(name)) or 0.0 for term in terms]
    return next((weight for weight in weights if weight > 0), 0.0) if weights else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _flag(value: Any) -> bool | None:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    return value if isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return None if value is None or isinstance(value, Mapping) else str(value)


def _file_name(value: Setting) -> Setting:
    return PurePath(value).name if isinstance(value, str) else value
