"""What the demo records and trains: sizes that learn on two CPU cores, and one config per method."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otpilot.errors import ConfigError, closest

SOURCE_EPISODES = 300
TARGET_EPISODES = 20
DEFAULT_STEPS = {"act": 800, "diffusion": 1500}
SOURCE_SHARE = 0.625  # 10 of 16 rows
VIEWED_SOURCE_SHARE = 0.75  # 12, of which half are seen as by the target: each method's best in docs/log.md
WINDOW_SIZE, SHARPNESS, TOPK = 2, 1.0, 20  # how pairs are drawn
CELLS = ("source=source:full", "target_id=target:left", "target_ood=target:right")

METHODS: Mapping[str, str] = {
    "source-only": "trained on the source demonstrations alone",
    "target-only": "trained on the few target demonstrations alone",
    "co-training": "trained on both, lambda_ot = 0",
    "co-training + OT": "trained on both, with views of the source and transport on matched pairs",
}
# Sizes that learn the tabletop on a CPU; both from scratch, because no pretrained backbone is downloaded.
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "act": {
        "chunk_size": 16,
        "n_action_steps": 16,
        "pretrained_backbone_weights": None,
        "dim_model": 128,
        "n_heads": 4,
        "dim_feedforward": 512,
        "n_encoder_layers": 2,
        "use_vae": False,
        "dropout": 0.0,
    },
    "diffusion": {
        "n_obs_steps": 1,
        "horizon": 16,
        "n_action_steps": 8,
        "pretrained_backbone_weights": None,
        "use_group_norm": True,
        "use_separate_rgb_encoder_per_camera": False,
        "crop_shape": None,
        "spatial_softmax_num_keypoints": 128,  # 64 px leave a 2 x 2 map to place them on
        "prediction_type": "sample",  # learns in fewer steps than predicting the noise: docs/log.md
        "down_dims": [64, 128],
        "diffusion_step_embed_dim": 64,
        "noise_scheduler_type": "DDIM",
        "num_inference_steps": 10,
    },
}
RATE: Mapping[str, float] = {"act": 3e-4, "diffusion": 5e-4}
EMA_DECAY: Mapping[str, float | None] = {"act": None, "diffusion": 0.995}
DEFAULT_METHODS = ("co-training", "co-training + OT")  # one for each of two cores


@dataclass(frozen=True)
class DemoPaths:
    """All paths of one demo folder."""

    root: Path

    @property
    def source(self) -> Path:
        """The source dataset."""
        return self.root / "data" / "source"

    @property
    def target(self) -> Path:
        """The target dataset."""
        return self.root / "data" / "target"

    @property
    def pairs(self) -> Path:
        """The pair table."""
        return self.root / "data" / "pairs.npz"

    def config(self, method: str) -> Path:
        """The training config of a method."""
        return self.root / "configs" / f"{_slug(method)}.json"

    def run(self, method: str) -> Path:
        """The run folder of a method."""
        return self.root / "runs" / _slug(method)

    def log(self, method: str) -> Path:
        """What the training process of a method printed before its run folder was there."""
        return self.root / "runs" / f"{_slug(method)}.log"

    @property
    def markdown(self) -> Path:
        """The report as Markdown."""
        return self.root / "report.md"

    @property
    def html(self) -> Path:
        """The report as one page."""
        return self.root / "report.html"


def check_methods(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the methods in their fixed order.

    Raises:
        ConfigError: If one is unknown.
    """
    for name in names:
        if name not in METHODS:
            raise ConfigError(f"Unknown method {name!r}; allowed: {', '.join(METHODS)}.{closest(name, METHODS)}")
    return tuple(name for name in METHODS if name in names)


def check_policy(name: str) -> str:
    """Return the policy type.

    Raises:
        ConfigError: If the demo has no sizes for it.
    """
    if name not in POLICIES:
        raise ConfigError(
            f"The demo knows no policy {name!r}; allowed: {', '.join(POLICIES)}.{closest(name, POLICIES)}"
        )
    return name


def method_config(
    method: str, paths: DemoPaths, *, steps: int, seed: int, episodes: int, threads: int, policy: str = "act"
) -> dict[str, Any]:
    """Return the training config of a method; all differ only in the data they see and the weight of the transport."""
    rate = RATE[policy]
    config: dict[str, Any] = {
        "dataset": {"repo_id": "otpilot/demo_target", "root": str(paths.target), "use_imagenet_stats": False},
        "policy": {"type": policy, "device": "cpu", "push_to_hub": False, **POLICIES[policy]},
        "use_policy_training_preset": False,
        "optimizer": {"type": "adamw", "lr": rate, "weight_decay": 1e-4, "grad_clip_norm": 10.0},
        "scheduler": {
            "type": "cosine_decay_with_warmup",
            "num_warmup_steps": 50,
            "num_decay_steps": steps,
            "peak_lr": rate,
            "decay_lr": rate / 50,
        },
        "env": {"type": "otpilot_tabletop", "cells": list(CELLS)},
        "env_eval_freq": 0,
        "eval": {"n_episodes": episodes},
        "output_dir": str(paths.run(method)),
        "job_name": _slug(method),
        "batch_size": 16,
        "num_workers": 0,
        "steps": steps,
        "log_freq": 10,
        "save_freq": 0,
        "seed": seed,
        "threads": threads,
        "ema_decay": EMA_DECAY[policy],
    }
    if method == "source-only":
        config["dataset"] |= {"repo_id": "otpilot/demo_source", "root": str(paths.source)}
    if method.startswith("co-training"):
        config["ot"] = _ot_section(paths, transports=method == "co-training + OT")
    return config


def write_config(path: Path, config: Mapping[str, Any]) -> None:
    """Write a config as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _ot_section(paths: DemoPaths, *, transports: bool) -> dict[str, Any]:
    return {
        "enable": True,
        "src_repo_id": "otpilot/demo_source",
        "src_root": str(paths.source),
        "pair_info_path": str(paths.pairs),
        "bc_src_weight": VIEWED_SOURCE_SHARE if transports else SOURCE_SHARE,
        "view_share": "auto" if transports else 0.0,
        "lambda_ot": "auto" if transports else 0.0,
        "window_size": WINDOW_SIZE,
        "sharpness": SHARPNESS,
        "topk_src_episodes": TOPK,
        "loss_config": {
            "features": [
                {
                    "src_key": "observation.images.top",
                    "use_learned_embed": True,
                    "weight_embed": 1.0,
                    "term_name": "image",
                },
                {"src_key": "action", "weight_label": 1.0, "term_name": "action_lbl"},
            ],
        },
    }


def _slug(method: str) -> str:
    return method.replace(" + ", "_").replace("-", "_").replace(" ", "_").lower()
