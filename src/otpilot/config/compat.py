"""Older spellings of a config (LeRobot 0.4 fork, recipe sketches) to today's, each change told once.

Plain dicts; no lerobot, because the pilot rewrites configs as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otpilot.config import sketch
from otpilot.config.fork import FORK_LOSS_KEYS, FORK_OT_KEYS, spell_out_fork, translate_eval_freq, translate_heuristic
from otpilot.config.resuming import without_resumption
from otpilot.config.rewriting import Rewriting, drop

LOSS_ALIASES = {
    "epsilon": "reg",
    "sinkhorn_epsilon": "reg",
    "sinkhorn_iters": "max_iterations",
    "stop_thresh": "tolerance",
    "epsilon_schedule": "reg_schedule",
    "kappa": "prior_kappa",
}
"""Other names of the settings in ot.loss_config; the value stays."""

ALIASES = {f"ot.loss_config.{old}": f"ot.loss_config.{new}" for old, new in LOSS_ALIASES.items()}
SAME_VALUE = {**ALIASES, **sketch.RENAMED}
"""Every other name of a key whose value stays."""
OTHER_WORDS = {
    **SAME_VALUE,
    "ot.loss_config.heuristic": "ot.loss_config.prior",
    "train.ema": "ema_decay",
}
"""Every key that says in other words what another key says; an override of the one replaces the other."""

CONSTANT_RATE = {"type": "constant_with_warmup", "num_warmup_steps": 0}


@dataclass(frozen=True)
class Translation:
    """A config in today's form, and one sentence for each change made to get there."""

    config: dict[str, Any]
    notes: tuple[str, ...]


def translate(config: Mapping[str, Any], *, seed_era: bool | None = None) -> Translation:
    """Return the config in today's form; a config that is already in it comes back equal.

    Args:
        config: A plain dict, as JSON or YAML hold it. It is not changed.
        seed_era: Whether it was written for the LeRobot 0.4 fork; None to tell by its keys.

    Raises:
        ConfigError: If a section has the wrong shape, two names of one setting disagree, or a wish cannot be fulfilled.
    """
    old = is_seed_era(config) if seed_era is None else seed_era
    rewriting = Rewriting(without_resumption(config))
    for path in ("ot", "ot.loss_config", "policy", "dataset", "optimizer", "scheduler"):
        rewriting.section(path)
    sketch.translate_sketch(rewriting)
    for alias, name in ALIASES.items():
        rewriting.move(alias, name)
    translate_heuristic(rewriting)
    translate_eval_freq(rewriting)
    if old:
        spell_out_fork(rewriting)
    _keep_rate_constant(rewriting)
    return Translation(config=rewriting.body, notes=tuple(rewriting.notes))


def is_seed_era(config: Mapping[str, Any]) -> bool:
    """Whether the config was written for the LeRobot 0.4 fork.

    It says `eval_freq`, or `heuristic` in the loss; or `ot.obs_keys`, which decide nothing today, beside keys that the
    fork had as well.
    """
    ot = config.get("ot")
    section = ot if isinstance(ot, Mapping) else {}
    loss = section.get("loss_config")
    inner = loss if isinstance(loss, Mapping) else {}
    old = section.keys() <= FORK_OT_KEYS and inner.keys() <= FORK_LOSS_KEYS
    return "eval_freq" in config or "heuristic" in inner or (bool(section.get("obs_keys")) and old)


def make_way(body: dict[str, Any], key: str) -> None:
    """Remove from a config the keys that say in other words what an override of `key` is going to say."""
    if key == "eval_freq" and key not in body:
        drop(body, "env_eval_freq" if body.get("env") is not None else "eval_steps")
    meant = OTHER_WORDS.get(key, key)
    for other in (meant, *(word for word, name in OTHER_WORDS.items() if name == meant)):
        if other != key:
            drop(body, other)


def _keep_rate_constant(rewriting: Rewriting) -> None:
    """Without the policy's preset LeRobot demands a scheduler; none means that the learning rate stays."""
    body = rewriting.body
    if body.get("use_policy_training_preset") is not False or body.get("scheduler") is not None:
        return
    if not body.get("optimizer"):
        return  # LeRobot says that one is needed
    told = "scheduler = null without the policy's preset is read as a constant learning rate."
    rewriting.set("scheduler", CONSTANT_RATE, told=told)
