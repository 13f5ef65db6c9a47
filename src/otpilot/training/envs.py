"""Success in closed loop: on our tabletop, or in any gymnasium environment that LeRobot knows."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from lerobot.envs import close_envs, make_env, make_env_pre_post_processors
from lerobot.envs.configs import EnvConfig
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.scripts import lerobot_eval
from numpy.typing import NDArray
from torch import Tensor

from otpilot.config.schema import TrainConfig
from otpilot.errors import ConfigError
from otpilot.report.result import SuccessRate
from otpilot.sim.env_config import Cell, TabletopEnvConfig
from otpilot.sim.rollout import RolloutResult, rollout
from otpilot.training.draws import fixed_draws
from otpilot.training.parts import Processor

EPISODE_SEED = 10_000
"""First episode of a LeRobot environment, whatever the training seed is: every evaluation plays the same."""
POLICY_SEED = 0
"""Of what the policy draws while it acts."""


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """Closed-loop success of one cell of the tabletop, and the episodes themselves."""

    cell: Cell
    success: SuccessRate
    rollout: RolloutResult


@dataclass(frozen=True, kw_only=True)
class ClosedLoop:
    """Success by name (a cell, or a task), and the tabletop's episodes where it was played."""

    success: Mapping[str, SuccessRate]
    cells: tuple[CellResult, ...] = ()

    def figures(self) -> dict[str, float]:
        """Return success_<name> with its interval (_low, _high), success_mean, and n_episodes of each name."""
        values: dict[str, float] = {"n_episodes": float(min(rate.episodes for rate in self.success.values()))}
        for name, rate in self.success.items():
            low, high = rate.interval
            values |= {f"success_{name}": rate.rate, f"success_{name}_low": low, f"success_{name}_high": high}
        return values | {"success_mean": sum(rate.rate for rate in self.success.values()) / len(self.success)}


def closed_loop(
    policy: PreTrainedPolicy, preprocessor: Processor, postprocessor: Processor, config: TrainConfig, *, film: int = 0
) -> ClosedLoop:
    """Return how a policy fares in the environment of a config, always on the same episodes.

    Random state and mode of the policy are left as they were. `film` episodes of each cell of the tabletop are filmed.

    Raises:
        ConfigError: If there is no environment, or it cannot be made.
    """
    episodes = config.eval.n_episodes
    if isinstance(config.env, TabletopEnvConfig):
        cells = success_rates(policy, preprocessor, postprocessor, config.env, episodes=episodes, film=film)
        return ClosedLoop(success={found.cell.name: found.success for found in cells}, cells=tuple(cells))
    envs = open_environments(config)
    processors = make_env_pre_post_processors(env_cfg=config.env, policy_cfg=policy.config)
    try:
        with _same_draws(policy), torch.no_grad(), _without_bars():
            info = lerobot_eval.eval_policy_all(
                envs,
                policy,
                *processors,
                preprocessor,
                postprocessor,
                episodes,
                start_seed=EPISODE_SEED,
                max_parallel_tasks=config.env.max_parallel_tasks,
            )
    finally:
        close_envs(envs)
    single = all(len(tasks) == 1 for tasks in envs.values())
    success = {}
    for task in info["per_task"]:
        name = task["task_group"] if single else f"{task['task_group']}_{task['task_id']}"
        found = [bool(done) for done in task["metrics"]["successes"]]
        success[name] = SuccessRate(successes=sum(found), episodes=len(found))
    return ClosedLoop(success=success)


def check_environment(config: TrainConfig) -> None:
    """Raise ConfigError if the environment of a config cannot be made; it is made once, and closed again."""
    if config.env is not None and not isinstance(config.env, TabletopEnvConfig):
        close_envs(open_environments(config))


def open_environments(config: TrainConfig) -> dict[str, dict[int, gymnasium.vector.VectorEnv]]:
    """Return LeRobot's environments by group and task, `eval.batch_size` episodes at once in each.

    Raises:
        ConfigError: If there is none, or it cannot be made.
    """
    env: EnvConfig | None = config.env
    if env is None:
        raise ConfigError("The config has no env section, so success cannot be measured; set env.type.")
    try:
        made: dict[str, dict[int, gymnasium.vector.VectorEnv]] = make_env(
            env, n_envs=config.eval.batch_size, use_async_envs=config.eval.use_async_envs
        )
    except (ImportError, gymnasium.error.Error, RuntimeError, ValueError) as error:
        raise ConfigError(f"env.type = {env.type!r} cannot be made ({type(error).__name__}: {error}).") from error
    return made


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
    """Return the closed-loop success of a policy in every cell of the tabletop, always on the same episodes."""
    results = []
    for cell in env.parsed_cells():
        if progress is not None:
            progress(cell.name)
        with _same_draws(policy):
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


@contextmanager
def _same_draws(policy: PreTrainedPolicy) -> Iterator[None]:
    """Evaluate with empty queues and fixed draws; leave mode and random state as they were, and the queues empty."""
    was_training = policy.training
    policy.eval()
    policy.reset()
    try:
        with fixed_draws(POLICY_SEED, next(policy.parameters()).device):
            yield
    finally:
        policy.reset()
        policy.train(was_training)


@contextmanager
def _without_bars() -> Iterator[None]:
    """Keep LeRobot's progress bars out of ours: it has no setting for that."""
    before = lerobot_eval.trange

    def silent(*args: Any, **options: Any) -> Any:
        return before(*args, **{**options, "disable": True})

    lerobot_eval.trange = silent
    try:
        yield
    finally:
        lerobot_eval.trange = before
