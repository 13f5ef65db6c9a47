"""What an edit may do to each key: kind, limits and where they come from. One table; no edit leaves it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from otpilot.config.ot import TermConfig
from otpilot.config.plain import SECTIONS, plain

Kind = Literal["int", "float"]


@dataclass(frozen=True, kw_only=True)
class Bound:
    """Limits of one number.

    `origin` says who set the limits. `default` is LeRobot's value where the key is missing (`ot` knows its own).
    `null` is the number that null stands for when it is compared: a tau of null is a hard marginal, so infinite.
    `nullable` allows null without such a meaning: the thing is switched off.
    """

    kind: Kind
    low: float
    high: float
    origin: str
    default: float | None = None
    null: float | None = None
    nullable: bool = False


def _float(low: float, high: float, origin: str, **rest: Any) -> Bound:
    return Bound(kind="float", low=low, high=high, origin=origin, **rest)


def _int(low: float, high: float, origin: str, **rest: Any) -> Bound:
    return Bound(kind="int", low=low, high=high, origin=origin, **rest)


SCHEMA = "config/ot.py"
ACT_LR = "report 002 uses 1e-5 to 3e-4; docs/log.md: from scratch 5e-4 and 1e-3 do not start"
DIFFUSION_LR = "report 001 uses 1e-5 to 3e-4; three times more as room"
TERM = "ot.loss_config.features[*]"

BOUNDS: dict[str, Bound] = {
    "ot.lambda_ot": _float(0.0, 10.0, "reports use 0.05 to 0.7; a weight below 0 pushes domains apart"),
    "ot.target_grad_share": _float(0.001, 0.5, "transport.md: .05 to .2 is asked for, under .01 dead, over .5 eating"),
    "ot.batch_ratio": _float(0.05, 2.0, "reports use 0.5 and 0.75"),
    "ot.bc_src_weight": _float(0.0, 1.0, SCHEMA),
    "ot.weight_warmup_ratio": _float(0.0, 1.0, SCHEMA, null=0.0),
    "ot.compute_every_n_steps": _int(1, 16, "report 002 uses 1 to 4"),
    "ot.window_size": _int(0, 100, "reports use 0 to 30 frames"),
    "ot.sharpness": _float(0.0, 20.0, "report 004 uses 0.5 to 2"),
    "ot.cutoff_quantile": _float(0.0, 1.0, SCHEMA),
    "ot.topk_src_episodes": _int(1, 10_000, "report 004 uses 10 to 20", null=math.inf),
    "ot.view_share": _float(0.0, 1.0, SCHEMA),
    "ot.view_jitter": _float(0.0, 0.5, SCHEMA),
    "ot.loss_config.reg": _float(1e-4, 1e3, "reports use 0.01 to 3; raw costs reach 1300 (transport.md)"),
    "ot.loss_config.tau_src": _float(1e-3, 1e3, "reports use 0.005 to 20; raw costs reach 1300", null=math.inf),
    "ot.loss_config.tau_tgt": _float(1e-3, 1e3, "reports use 0.005 to 20; raw costs reach 1300", null=math.inf),
    "ot.loss_config.target_mass": _float(0.05, 0.95, "config/ot.py, with a margin to 0 and 1", nullable=True),
    "ot.loss_config.prior_kappa": _float(0.0, 0.99, "transport.md: kappa in [0, 1)"),
    "ot.loss_config.cost_ema_decay": _float(0.0, 0.9999, "config/ot.py; 1 would never move"),
    "ot.loss_config.tolerance": _float(1e-8, 0.1, SCHEMA),
    "ot.loss_config.max_iterations": _int(10, 100_000, "reports use 50 to 200, we 1000"),
    f"{TERM}.weight_embed": _float(0.0, 1e3, "reports use 0.3333 to 2"),
    f"{TERM}.weight_label": _float(0.0, 1e3, "reports use 0.0001 to 2"),
    f"{TERM}.term_weight": _float(0.0, 1e3, SCHEMA),
    "batch_size": _int(1, 1024, "reports use 8 to 256", default=8),
    "grad_accum_steps": _int(1, 64, "reports use 1 to 4", default=1),
    "warmup_ratio": _float(0.0, 0.5, "reports use 0.05 to 0.1", null=0.0),
    "ema_decay": _float(0.9, 0.99999, "reports use 0.999 and 0.9995", nullable=True),
    "state_noise_std": _float(0.0, 0.2, "report 000 uses 0.01", default=0.0),
    "action_noise_std": _float(0.0, 0.2, "report 000 uses 0.01", default=0.0),
    "policy.optimizer_lr": _float(1e-7, 1e-3, "both policies' limits below"),
    "policy.optimizer_lr_backbone": _float(1e-7, 3e-4, ACT_LR),
    "policy.optimizer_weight_decay": _float(0.0, 0.1, "reports use 1e-4 to 0.05"),
    "policy.scheduler_warmup_steps": _int(0, 100_000, "reports use 500 to 2000"),
    "policy.dropout": _float(0.0, 0.5, "report 000 uses 0.2"),
    "optimizer.lr": _float(1e-7, 1e-3, "both policies' limits below"),
    "optimizer.weight_decay": _float(0.0, 0.1, "reports use 1e-4 to 0.05", default=0.01),
    "optimizer.grad_clip_norm": _float(0.1, 100.0, "reports use 1 and 10", default=10.0),
    "scheduler.num_warmup_steps": _int(0, 100_000, "reports use 500 to 2000", null=0.0),
    "early_stopping.patience_eval_intervals": _int(1, 1000, "report 000 uses 5"),
    "discrete_actions.label_smoothing": _float(0.0, 0.5, "reports 000 and 002 use 0.05"),
    "discrete_actions.focal_gamma": _float(0.0, 5.0, "report 002 uses 1.5"),
    "eval_steps": _int(0, 1_000_000, "reports use 50 to 2000", default=0),
    "env_eval_freq": _int(0, 1_000_000, "reports use 50 to 2000", default=20_000),
    "log_freq": _int(1, 1_000_000, "reports use 50 to 100", default=200),
    "save_freq": _int(1, 10_000_000, "reports use 10,000", default=20_000),
    "num_workers": _int(0, 64, "LeRobot's default is 4", default=4),
}

POLICY_BOUNDS: dict[tuple[str, str], Bound] = {
    ("act", "policy.optimizer_lr"): _float(1e-7, 3e-4, ACT_LR, default=1e-5),
    ("act", "policy.optimizer_lr_backbone"): _float(1e-7, 3e-4, ACT_LR, default=1e-5),
    ("act", "policy.optimizer_weight_decay"): _float(0.0, 0.05, "report 002 saw 0.05 at its worst", default=1e-4),
    ("act", "policy.dropout"): _float(0.0, 0.5, "report 000 uses 0.2", default=0.1),
    ("act", "optimizer.lr"): _float(1e-7, 3e-4, ACT_LR),
    ("diffusion", "policy.optimizer_lr"): _float(1e-7, 1e-3, DIFFUSION_LR, default=1e-4),
    ("diffusion", "policy.optimizer_weight_decay"): _float(0.0, 0.1, "report 000 uses 0.02 and 0.05", default=1e-6),
    ("diffusion", "policy.scheduler_warmup_steps"): _int(0, 100_000, "report 001 uses 500 and 1000", default=500),
    ("diffusion", "optimizer.lr"): _float(1e-7, 1e-3, DIFFUSION_LR),
}
"""Where a policy has limits or defaults of its own, they stand before those of BOUNDS."""

_DEFAULTS: Mapping[str, Any] = {name: plain(schema()) for name, schema in SECTIONS.items()}
_TERM_DEFAULTS: Mapping[str, Any] = plain(TermConfig(src_key=""))


def bound_of(key: str, policy: str | None) -> Bound | None:
    """Return the limits of a key (terms as `ot.loss_config.features[*].weight_label`), or None where there are none."""
    return POLICY_BOUNDS.get((policy or "", key)) or BOUNDS.get(key)


def policy_defaults(policy: str | None) -> dict[str, Any]:
    """Return the settings inside `policy` whose defaults are known here (a test compares them with LeRobot's)."""
    keys = [key for name, key in POLICY_BOUNDS if name == policy and key.startswith("policy.")]
    values = {key.removeprefix("policy."): default_of(key, policy) for key in keys}
    return {key: value for key, value in values.items() if value is not None}


def default_of(key: str, policy: str | None) -> Any:
    """Return the value that training uses where the config does not say; None if it is null or not known."""
    if key.startswith(f"{TERM}."):
        return _TERM_DEFAULTS.get(key.removeprefix(f"{TERM}."))
    if key.partition(".")[0] in _DEFAULTS and "." in key:
        place: Any = _DEFAULTS
        for part in key.split("."):
            place = place.get(part) if isinstance(place, Mapping) else None
        return place
    bound = bound_of(key, policy)
    if bound is None or bound.default is None:
        return None
    return int(bound.default) if bound.kind == "int" else bound.default
