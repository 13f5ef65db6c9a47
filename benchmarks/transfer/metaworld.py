"""Meta-World's button press as a suite: the source over the whole region, the target shown on its left part only.

Needs the dependency group `metaworld` and a system library that draws without a screen (libegl1, or libosmesa6).
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.transfer.metaworld_place import ENV_TYPE, TOKEN, Place
from benchmarks.transfer.sections import Folders, common_sections
from benchmarks.transfer.suite import Data, Suite
from otpilot.demo.settings import POLICIES
from otpilot.errors import ConfigError, closest

SOURCE_EPISODES, TARGET_EPISODES = 60, 10
SOURCE_SEED, TARGET_SEED = 0, 1
STEPS = {"act": 1500, "diffusion": 2000}
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
        return {
            **common_sections(self.name, at, policy=policy, steps=steps),
            "env": {"type": ENV_TYPE, "cells": cells, "picture_every": POLICIES[policy]["n_action_steps"]},
            "eval": {"batch_size": EVAL_BATCH, "use_async_envs": False},
        }

    def command(self, config: Path) -> Sequence[str]:
        """Return the command line that trains: the env type has to be known first."""
        return [sys.executable, "-m", "benchmarks.transfer.metaworld_train", f"--config_path={config}"]

    def _check(self, data: Data) -> None:
        if data.pairs != "dtw":
            raise ConfigError(f"{self.name} has no {data.pairs} pairs; allowed: dtw.")


METAWORLD = MetaworldSuite(
    name="metaworld",
    about="Meta-World's button press from above; moved camera, other textures, colours and light",
    steps=STEPS,
    targets=TARGET_EPISODES,
    tokens=True,
)
