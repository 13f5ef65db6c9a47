"""The tabletop simulator as suites: a source over the whole table, a target shown on its left half only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.transfer.sections import Folders, common_sections
from benchmarks.transfer.suite import Data, Suite
from otpilot.demo.settings import (
    DEFAULT_STEPS,
    POLICIES,
    SOURCE_EPISODES,
    TARGET_EPISODES,
)
from otpilot.errors import ConfigError, closest

SOURCE_SEED, TARGET_SEED = 0, 1
STEPS = {"act": 1000, "diffusion": DEFAULT_STEPS["diffusion"]}


@dataclass(frozen=True, kw_only=True)
class TabletopSuite(Suite):
    """Source demonstrations over the whole table, a few target demonstrations on the left; the right half is OOD."""

    target: str
    source_episodes: int = SOURCE_EPISODES

    def prepare(self, folder: Path, data: Data) -> None:
        """Record both domains and pair them; what is there stays."""
        from otpilot.sim.record import record

        self._check(data)
        at = Folders(root=folder, data=data)
        suffix = "+token" if data.token else ""
        for root, domain, region, episodes, seed in (
            (at.source, "source", "full", self.source_episodes, SOURCE_SEED),
            (at.target, self.target, "left", data.targets, TARGET_SEED),
        ):
            if not root.exists():
                repo = f"otpilot/{self.name}_{root.name}"
                record(root, domain=domain + suffix, region=region, episodes=episodes, seed=seed, repo_id=repo)
        if not at.pairs.exists():
            self._pair(at)

    def base_config(self, folder: Path, data: Data, *, policy: str, steps: int) -> dict[str, Any]:
        """Return co-training with the default transport: the sizes, rates and pairs of `otpilot demo`."""
        self._check(data)
        if policy not in POLICIES:
            raise ConfigError(
                f"{self.name} has no sizes for policy {policy!r}; allowed: {', '.join(POLICIES)}."
                f"{closest(policy, POLICIES)}"
            )
        at = Folders(root=folder, data=data)
        suffix = "+token" if data.token else ""
        cells = [
            f"source=source{suffix}:full",
            f"target_id={self.target}{suffix}:left",
            f"target_ood={self.target}{suffix}:right",
        ]
        return {
            **common_sections(self.name, at, policy=policy, steps=steps),
            "env": {"type": "otpilot_tabletop", "cells": cells},
        }

    def _check(self, data: Data) -> None:
        if data.token and not self.tokens:
            raise ConfigError(f"{self.name} has no domain token; leave out the method that needs it.")

    def _pair(self, at: Folders) -> None:
        """Make the pair table: by the state that a robot would log, or by the simulator's whole true state."""
        from otpilot.data.pairs import make_table
        from otpilot.pairing.storage import save_table

        table = make_table(at.source, at.target, keys=("observation.state[0:3]",))
        if at.data.pairs == "oracle":
            table = self._oracle(table, at.data)
        at.pairs.parent.mkdir(parents=True, exist_ok=True)
        save_table(table, at.pairs)

    def _oracle(self, table: Any, data: Data) -> Any:
        """Return the table of the same episodes aligned by the true state: hand, gripper, block, goal, held."""
        from otpilot.pairing.dtw import DTWOptions, align_all
        from otpilot.pairing.features import joint_zscore
        from otpilot.pairing.table import PairTable

        source = true_states("source", "full", episodes=self.source_episodes, seed=SOURCE_SEED)
        target = true_states(self.target, "left", episodes=data.targets, seed=TARGET_SEED)
        return PairTable.from_alignments(
            align_all(*joint_zscore(source, target), DTWOptions()),
            source=table.source,
            target=table.target,
            source_lengths=[len(episode) for episode in source],
            target_lengths=[len(episode) for episode in target],
        )


def true_states(domain: str, region: str, *, episodes: int, seed: int) -> list[NDArray[np.float64]]:
    """Return the true state (frames, 8) of every recorded episode, by playing the recordings' expert again."""
    from otpilot.sim.domain import get_domain
    from otpilot.sim.expert import disturbed, expert_action
    from otpilot.sim.record import DEFAULT_FUMBLES, DEFAULT_NOISE, SETTLE_STEPS
    from otpilot.sim.region import get_region
    from otpilot.sim.world import reset_world, step_world

    world = reset_world(get_domain(domain), get_region(region), seed=seed, episodes=range(episodes))
    seen, solved = [], []
    while not (world.success.all() and len(solved) >= (np.argmax(solved, axis=0) + 1 + SETTLE_STEPS).max()):
        columns = (world.hand, world.gripper[:, None], world.block, world.goal, world.held[:, None])
        seen.append(np.concatenate(columns, axis=1))
        executed = disturbed(expert_action(world), world, noise_std=DEFAULT_NOISE, fumble_share=DEFAULT_FUMBLES)
        world = step_world(world, executed)
        solved.append(world.success)
    lengths = np.argmax(solved, axis=0) + 1 + SETTLE_STEPS
    return [np.stack([frame[row] for frame in seen[:length]]) for row, length in enumerate(lengths.tolist())]


TABLETOP = TabletopSuite(
    name="tabletop",
    about="put the block on the goal; other colours, camera pose, light, stripes, noise, pace",
    steps=STEPS,
    targets=TARGET_EPISODES,
    oracle=True,
    tokens=True,
    target="target",
)
TABLETOP_FAR = TabletopSuite(
    name="tabletop_far",
    about="the same task, further away: tilted and shifted camera, grain, more noise, a delayed hand",
    steps=STEPS,
    targets=TARGET_EPISODES,
    oracle=True,
    tokens=True,
    target="target_far",
)
