"""Meta-World's button press as a suite: the source over the whole region, the target shown on its left part only.

Needs the dependency group `metaworld` and a system library that draws without a screen (libegl1, or libosmesa6).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.transfer.metaworld_place import ENV_TYPE, TOKEN, Place
from benchmarks.transfer.suite import Data, Suite
from benchmarks.transfer.tabletop import Folders
from otpilot.demo.settings import EMA_DECAY, POLICIES, RATE, SHARPNESS, TOPK, WINDOW_SIZE
from otpilot.errors import ConfigError, closest

SOURCE_EPISODES, TARGET_EPISODES = 60, 10
SOURCE_SEED, TARGET_SEED = 0, 1
STEPS = {"act": 600, "diffusion": 2000}
SOURCE_SHARE = 0.625  # 10 of 16 rows
EVAL_BATCH = 20  # episodes side by side


@dataclass(frozen=True, kw_only=True)
class MetaworldSuite(Suite):
    """Pressing a button from above; the target has another camera, other textures and light."""

    def prepare(self, folder: Path, data: Data) -> None:
        """Record both domains and pair them by the hand's way; what is there stays."""
        from benchmarks.transfer.metaworld_record import record

        self._check(data)
        at = Folders(root=folder, data=data)
        for root, domain, region, episodes, seed in (
            (at.source, "source", "full", SOURCE_EPISODES, SOURCE_SEED),
            (at.target, "target", "left", data.targets, TARGET_SEED),
        ):
            if not root.exists():
                place = Place(name=root.name, domain=domain, region=region, token=data.token)
                record(root, place, episodes=episodes, seed=seed, repo_id=f"otpilot/{self.name}_{root.name}")
        if not at.pairs.exists():
            from otpilot.data.pairs import make_table
            from otpilot.pairing.storage import save_table

            at.pairs.parent.mkdir(parents=True, exist_ok=True)
            save_table(make_table(at.source, at.target, keys=("observation.state[0:3]",)), at.pairs)

    def base_config(self, folder: Path, data: Data, *, policy: str, steps: int) -> dict[str, Any]:
        """Return co-training with the default transport: the sizes and rates of `otpilot demo`."""
        self._check(data)
        if policy not in self.steps:
            raise ConfigError(
                f"{self.name} has no sizes for policy {policy!r}; allowed: {', '.join(self.steps)}."
                f"{closest(policy, self.steps)}"
            )
        at = Folders(root=folder, data=data)
        suffix = TOKEN if data.token else ""
        cells = [
            f"source=source{suffix}:full",
            f"target_id=target{suffix}:left",
            f"target_ood=target{suffix}:right",
        ]
        settings = POLICIES[policy]
        return {
            "dataset": {"repo_id": f"otpilot/{self.name}_target", "root": str(at.target), "use_imagenet_stats": False},
            "policy": {"type": policy, "device": "cpu", "push_to_hub": False, **settings},
            "use_policy_training_preset": False,
            "optimizer": {"type": "adamw", "lr": RATE[policy], "weight_decay": 1e-4, "grad_clip_norm": 10.0},
            "scheduler": {
                "type": "cosine_decay_with_warmup",
                "num_warmup_steps": 50,
                "num_decay_steps": steps,
                "peak_lr": RATE[policy],
                "decay_lr": RATE[policy] / 50,
            },
            "env": {"type": ENV_TYPE, "cells": cells, "picture_every": settings["n_action_steps"]},
            "eval": {"batch_size": EVAL_BATCH, "use_async_envs": False},
            "batch_size": 16,
            "ema_decay": EMA_DECAY[policy],
            "ot": {
                "enable": True,
                "src_repo_id": f"otpilot/{self.name}_{at.source.name}",
                "src_root": str(at.source),
                "pair_info_path": str(at.pairs),
                "bc_src_weight": SOURCE_SHARE,
                "window_size": WINDOW_SIZE,
                "sharpness": SHARPNESS,
                "topk_src_episodes": TOPK,
                "loss_config": {"features": _features()},
            },
        }

    def command(self, config: Path) -> Sequence[str]:
        """Return the command line that trains: the env type has to be known first."""
        return [sys.executable, "-m", "benchmarks.transfer.metaworld_train", f"--config_path={config}"]

    def _check(self, data: Data) -> None:
        if data.pairs != "dtw":
            raise ConfigError(f"{self.name} has no {data.pairs} pairs; allowed: dtw.")


def _features() -> list[dict[str, Any]]:
    image = {"src_key": "observation.images.top", "use_learned_embed": True, "weight_embed": 1.0, "term_name": "image"}
    return [image, {"src_key": "action", "weight_label": 1.0, "term_name": "action_lbl"}]


METAWORLD = MetaworldSuite(
    name="metaworld",
    about="Meta-World's button press from above; moved camera, other textures, colours and light",
    steps=STEPS,
    targets=TARGET_EPISODES,
    tokens=True,
)
