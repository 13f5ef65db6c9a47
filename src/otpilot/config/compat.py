"""Seed-era (LeRobot 0.4 fork) JSON to the schema of today, each change told once. Plain dicts; no lerobot."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otpilot.errors import ConfigError

LOSS_ALIASES = {
    "epsilon": "reg",
    "sinkhorn_epsilon": "reg",
    "sinkhorn_iters": "max_iterations",
    "stop_thresh": "tolerance",
    "epsilon_schedule": "reg_schedule",
    "kappa": "prior_kappa",
}
OT_ALIASES = {"ot_action_lbl_schedule": "lambda_ot_schedule"}

# What the fork computed, whatever its JSON said; ours for new configs are the defaults of LossConfig.
FORK_LOSS = {"cost_normalization": "none", "embed_normalization": "none", "objective": "plan_cost"}
FORK_OT = {"rows": "separate", "stats": "target", "bc_src_weight": 0.0}

# Policy defaults that LeRobot changed without a word between 0.4 and 0.6.
FORK_POLICY: dict[str, dict[str, Any]] = {
    "diffusion": {
        "horizon": 16,
        "n_action_steps": 8,
        "crop_shape": [84, 84],
        "use_group_norm": True,
        "pretrained_backbone_weights": None,
        "use_separate_rgb_encoder_per_camera": False,
    },
}


@dataclass(frozen=True)
class Translation:
    """A config in today's form, and one sentence for each change made to get there."""

    config: dict[str, Any]
    notes: tuple[str, ...]


def translate(config: Mapping[str, Any]) -> Translation:
    """Return the config in today's form; a config that is already in it comes back equal.

    Raises:
        ConfigError: If a section has the wrong shape, or an alias and its new name disagree.
    """
    body = copy.deepcopy(dict(config))
    notes: list[str] = []
    old = is_seed_era(body)
    ot = _section(body, "ot")
    loss = _section(ot, "loss_config", "ot.") if ot else None
    if ot is not None:
        _rename(ot, OT_ALIASES, "ot", notes)
    if loss is not None:
        _rename(loss, LOSS_ALIASES, "ot.loss_config", notes)
        _translate_heuristic(loss, notes)
    if old:
        _inject(loss, FORK_LOSS, "ot.loss_config", notes)
        _inject(ot, FORK_OT, "ot", notes)
        policy = _section(body, "policy")
        _inject(policy, FORK_POLICY.get(str((policy or {}).get("type")), {}), "policy", notes)
        _translate_eval_freq(body, notes)
    return Translation(config=body, notes=tuple(notes))


def is_seed_era(config: Mapping[str, Any]) -> bool:
    """Whether the config was written for the LeRobot 0.4 fork: it says `eval_freq`, or `heuristic` in the loss."""
    ot = config.get("ot")
    loss = ot.get("loss_config") if isinstance(ot, Mapping) else None
    return "eval_freq" in config or (isinstance(loss, Mapping) and "heuristic" in loss)


def _section(body: Mapping[str, Any], name: str, prefix: str = "") -> dict[str, Any] | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        raise ConfigError(f"{prefix}{name} is {value!r}; it must be a section, such as {{...}} in JSON.")
    return value


def _rename(section: dict[str, Any], aliases: Mapping[str, str], where: str, notes: list[str]) -> None:
    for old, new in aliases.items():
        if old not in section:
            continue
        value = section.pop(old)
        if new in section and section[new] != value:
            raise ConfigError(
                f"{where}: {old} = {value} and {new} = {section[new]} name the same thing; keep {new} only."
            )
        section[new] = value
        notes.append(f"{where}.{old} is read as {new} = {value}.")


def _translate_heuristic(loss: dict[str, Any], notes: list[str]) -> None:
    if "heuristic" not in loss:
        return
    heuristic = bool(loss.pop("heuristic"))
    prior = "diagonal" if heuristic else "product"
    if loss.setdefault("prior", prior) != prior:
        raise ConfigError(
            f"ot.loss_config: heuristic = {heuristic} means prior = {prior!r}, but prior is {loss['prior']!r}; "
            "remove heuristic."
        )
    consequence = "; each pair is only matched with itself, no transport happens" if heuristic else ""
    notes.append(f"ot.loss_config.heuristic = {heuristic} is read as prior = {prior!r}{consequence}.")


def _inject(section: dict[str, Any] | None, values: Mapping[str, Any], where: str, notes: list[str]) -> None:
    if section is None:
        return
    missing = {key: value for key, value in values.items() if key not in section}
    section.update(copy.deepcopy(missing))
    if missing:
        told = ", ".join(f"{key} = {value!r}" for key, value in missing.items())
        notes.append(f"{where}: written for the LeRobot 0.4 fork, so its values are kept: {told}.")


def _translate_eval_freq(body: dict[str, Any], notes: list[str]) -> None:
    if "eval_freq" not in body:
        return
    frequency = body.pop("eval_freq")
    if body.get("env") is not None:
        body.setdefault("env_eval_freq", frequency)
        notes.append(f"eval_freq is read as env_eval_freq = {body['env_eval_freq']}.")
        return
    body.setdefault("env_eval_freq", 0)
    body.setdefault("eval_steps", frequency)
    dataset = _section(body, "dataset")
    if dataset is not None:
        dataset.setdefault("eval_split", 0.1)
    notes.append(
        f"eval_freq is read as eval_steps = {body['eval_steps']} on the last 10 % of episodes "
        "(dataset.eval_split = 0.1)."
    )
