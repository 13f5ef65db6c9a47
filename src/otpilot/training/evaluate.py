"""What a policy is worth: loss on held-out episodes, and success in closed loop."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lerobot.policies.pretrained import PreTrainedPolicy
from numpy.typing import NDArray
from torch import Tensor

from otpilot.data.domains import Domain
from otpilot.report.result import SuccessRate
from otpilot.sim.env_config import Cell, TabletopEnvConfig
from otpilot.sim.rollout import RolloutResult, rollout
from otpilot.training.inputs import InputPipeline
from otpilot.training.parts import Processor

EVAL_BATCHES = 20


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """Closed-loop success of one cell, and the episodes themselves."""

    cell: Cell
    success: SuccessRate
    rollout: RolloutResult


class OfflineEvaluation:
    """Mean loss on held-out episodes of one domain: always the same rows and the same noise.

    Args:
        domain: Where the held-out episodes come from.
        batch_size: Rows per batch.
        max_samples: Rows in all, evenly spaced over the held-out frames; 0 for EVAL_BATCHES batches.
    """

    def __init__(self, domain: Domain, *, batch_size: int, max_samples: int = 0) -> None:
        frames = domain.frames(domain.eval_episodes)
        wanted = min(len(frames), max_samples or EVAL_BATCHES * batch_size)
        places = np.linspace(0, len(frames) - 1, wanted).round().astype(np.int64)
        self.domain = domain
        self._batches = [frames[places[i : i + batch_size]] for i in range(0, wanted, batch_size)]

    def __call__(self, policy: PreTrainedPolicy, inputs: InputPipeline) -> dict[str, float]:
        """Return avg_loss, avg_l1 (where the policy reports it) and n_batches."""
        totals: dict[str, float] = {}
        rows = sum(len(places) for places in self._batches)
        was_training = policy.training
        policy.eval()
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            for places in self._batches:
                is_source = np.full(len(places), self.domain.name != "target")
                loss, info = policy.forward(inputs(self.domain.reader.rows(places), is_source))
                values = {"avg_loss": float(loss)}
                if info and "l1_loss" in info:
                    values["avg_l1"] = float(info["l1_loss"])
                for name, value in values.items():
                    totals[name] = totals.get(name, 0.0) + value * len(places) / rows
        policy.train(was_training)
        return totals | {"n_batches": float(len(self._batches))}


def success_rates(
    policy: PreTrainedPolicy,
    preprocessor: Processor,
    postprocessor: Processor,
    env: TabletopEnvConfig,
    *,
    episodes: int,
    film: int = 0,
    progress: Callable[[str], None] | None = None,
) -> list[CellResult]:
    """Return the closed-loop success of a policy in every cell of an environment, always on the same episodes."""
    results = []
    was_training = policy.training
    policy.eval()
    for cell in env.parsed_cells():
        if progress is not None:
            progress(cell.name)
        policy.reset()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            result = rollout(
                actor(policy, preprocessor, postprocessor),
                domain=cell.domain,
                region=cell.region,
                episodes=episodes,
                seed=env.seed,
                cameras=tuple(env.cameras),
                image_size=env.image_size,
                max_steps=env.max_steps,
                film=film,
            )
        success = SuccessRate(successes=int(result.success.sum()), episodes=len(result.success))
        results.append(CellResult(cell=cell, success=success, rollout=result))
    policy.train(was_training)
    return results


def actor(
    policy: PreTrainedPolicy, preprocessor: Processor, postprocessor: Processor
) -> Callable[[dict[str, NDArray[Any]]], NDArray[Any]]:
    """Return a function from raw observations (images uint8, channels last) to actions in the dataset's units."""

    @torch.no_grad()
    def act(observation: dict[str, NDArray[Any]]) -> NDArray[Any]:
        batch: dict[str, Any] = {
            key: torch.from_numpy(value).permute(0, 3, 1, 2).float() / 255.0
            if value.dtype == np.uint8
            else torch.from_numpy(value)
            for key, value in observation.items()
        }
        batch["task"] = [""] * len(next(iter(observation.values())))
        action: Tensor = postprocessor(policy.select_action(preprocessor(batch)))
        return action.to(device="cpu", dtype=torch.float32).numpy()

    return act
