"""The four bad starts, and the healthy config that each of them is but for its fault.

The config is that of report 001's project (Diffusion on a real arm, diffusion_fr3_ot.json), with costs, plan and
objective as the fork had them.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.pilot_efficiency.surface import STEPS
from otpilot.config.compat import translate
from otpilot.config.edits import Edit, apply

HEALTHY: Mapping[str, Any] = {
    "dataset": {"repo_id": "target", "eval_split": 0.1, "use_imagenet_stats": True},
    "policy": {
        "type": "diffusion", "device": "cuda", "push_to_hub": False, "use_amp": True,
        "optimizer_lr": 1.7e-4, "optimizer_weight_decay": 1e-6,
    },
    "scheduler": None,
    "use_policy_training_preset": True,
    "batch_size": 16,
    "steps": 10 * STEPS,
    "log_freq": 50,
    "eval_steps": 200,
    "seed": 42,
    "ot": {
        "enable": True,
        "src_repo_id": "source",
        "pair_info_path": "pairs.json",
        "batch_ratio": 0.5,
        "lambda_ot": 0.1,
        "window_size": 20,
        "sharpness": 0.5,
        "topk_src_episodes": 20,
        "loss_config": {
            "features": [
                {
                    "src_key": "observation.images", "tgt_key": "observation.images", "use_learned_embed": True,
                    "weight_embed": 1.0, "weight_label": 0.0, "term_name": "image",
                },
                {
                    "src_key": "action", "tgt_key": "action", "dim_slice": [0, 8], "use_learned_embed": False,
                    "weight_embed": 0.0, "weight_label": 0.02, "term_name": "action_lbl",
                },
            ],
            "reg": 0.5, "tau_src": 0.25, "tau_tgt": 0.25,
            "objective": "plan_cost", "cost_normalization": "none", "embed_normalization": "none", "prior": "diagonal",
        },
    },
}  # fmt: skip
LABEL = "ot.loss_config.features[action_lbl].weight_label"


@dataclass(frozen=True, kw_only=True)
class Start:
    """A bad start: what is set otherwise than in the healthy config, where the fault was seen, and its world."""

    name: str
    title: str
    settings: Mapping[str, float] = field(default_factory=dict)
    overfits: bool = False
    source: str = ""


STARTS = (
    Start(
        name="dead_transport",
        title="dead transport",
        settings={"ot.loss_config.reg": 0.02, "ot.loss_config.tau_src": 0.01, "ot.loss_config.tau_tgt": 0.01},
        source="reg 0.02 and tau 0.01 of reports 001 and 003, on raw costs",
    ),
    Start(
        name="wrong_rate",
        title="wrong learning rate",
        settings={"policy.optimizer_lr": 1e-5},
        source="Diffusion at 1e-5, report 001",
    ),
    Start(
        name="label_weight",
        title="too much label weight",
        settings={LABEL: 2.0},
        source="a label weight of 2, report 002",
    ),
    Start(
        name="late_overfitting",
        title="late overfitting",
        overfits=True,
        source="the held-out error turns upwards within the trial, report 000",
    ),
)
BY_NAME = {start.name: start for start in STARTS}


def healthy() -> dict[str, Any]:
    """Return the healthy config in today's form."""
    return translate(copy.deepcopy(dict(HEALTHY)), seed_era=False).config


def config_of(start: Start) -> dict[str, Any]:
    """Return the config that a campaign begins with."""
    edits = [Edit(path=path, op="set", value=value) for path, value in start.settings.items()]
    return apply(healthy(), edits)[0] if edits else healthy()
