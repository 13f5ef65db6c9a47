"""The config that a campaign starts from: the file that campaign.toml names, in today's form, made ready for trials."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otpilot.analysis.view import EVALUATION_LOSSES, SUCCESS, SUCCESS_MEAN
from otpilot.config.canonical import config_hash
from otpilot.config.compat import make_way, translate
from otpilot.config.files import read_config_file
from otpilot.config.plain import check_sections
from otpilot.config.recipes import RECIPE_PREFIX
from otpilot.errors import ConfigError, MissingFileError
from otpilot.pilot.campaign.settings import AUTO, CampaignSettings
from otpilot.pilot.variants import DEFAULT_SEED, DEFAULT_STEPS, for_trial, own_seed


def read_base(settings: CampaignSettings, folder: Path) -> dict[str, Any]:
    """Return the base config in today's form with the overrides and the trials' logging in; paths as they are.

    Raises:
        MissingFileError: If the file is not there.
        ConfigError: If it does not hold together, or the metric cannot be measured with it.
    """
    named = settings.base
    source = named if named.startswith(RECIPE_PREFIX) else folder / named
    if not isinstance(source, str) and not source.exists() and Path(named).exists():
        there = Path(named).resolve().relative_to(folder.resolve(), walk_up=True)
        raise MissingFileError(
            f'No config file at {source}: base is looked for beside campaign.toml. Write base = "{there}".'
        )
    config = translate(read_config_file(source)).config
    for key, value in settings.overrides.items():
        make_way(config, key)
        _put(config, key, value)
    config = translate(config).config
    check_sections(config)
    _check_promotion(config, settings)
    config = with_trial_logging(config, settings)
    config_hash(config)
    acceptable_metrics(config, settings)
    return config


def with_trial_logging(config: Mapping[str, Any], settings: CampaignSettings) -> dict[str, Any]:
    """Return the config with what trials log, evaluate and save; none of it changes what is learned."""
    body = copy.deepcopy(dict(config))
    trial = settings.trial
    held_out = bool((body.get("dataset") or {}).get("eval_split"))
    body |= {
        "eval_steps": trial.eval_steps if held_out else 0,
        "log_freq": trial.log_freq,
        "save_freq": trial.save_freq,
        "save_checkpoint": True,
    }
    if trial.env_eval_freq is not None:
        body["env_eval_freq"] = trial.env_eval_freq
    wandb = body.get("wandb")
    if isinstance(wandb, Mapping) and wandb.get("enable"):
        # report 004: runs of a loop are grouped by policy, seed and data
        policy, data = (body.get("policy") or {}).get("type"), (body.get("dataset") or {}).get("repo_id")
        body["wandb"] = {**wandb, "group": wandb.get("group") or f"policy:{policy}-dataset:{data}"}
    return body


def acceptable_metrics(config: Mapping[str, Any], settings: CampaignSettings) -> tuple[str, ...]:
    """Return the metrics by which trials may be ranked, the first one first; all trials take the same.

    `auto` means closed-loop success where the config has an environment and says how often to evaluate in it, else
    the error on held-out episodes, which can rank methods backwards.

    Raises:
        ConfigError: If the config measures none of them.
    """
    has_env, held_out = config.get("env") is not None, bool((config.get("dataset") or {}).get("eval_split"))
    often = has_env and int(config.get("env_eval_freq") or 0) > 0
    if settings.metric != AUTO:
        wanted: tuple[str, ...] = (settings.metric,)
        measured = has_env if settings.metric.startswith(SUCCESS) else held_out
    else:
        wanted = (SUCCESS_MEAN,) if often else EVALUATION_LOSSES
        measured = often or held_out
    if not measured:
        raise ConfigError(
            f"Nothing would measure {wanted[0]}: the base config has "
            f"{'no env section' if not has_env else 'an env section without env_eval_freq'} and no dataset.eval_split. "
            "Set one of them, in the base config or under [overrides]."
        )
    return wanted


def trial_seeds(config: Mapping[str, Any], settings: CampaignSettings) -> tuple[int, ...]:
    """Return the seeds that all variants share: those of campaign.toml, or counted up from the config's own."""
    seeds = settings.trial.seeds
    if isinstance(seeds, int):
        first = own_seed(config) if "seed" in config else DEFAULT_SEED
        return tuple(range(first, first + seeds))
    return seeds


def trial_hash(config: Mapping[str, Any], *, seed: int, budget: int) -> str:
    """Return the hash under which the ledger knows a config."""
    return config_hash(for_trial(config, seed=seed, budget=budget))


def _check_promotion(config: Mapping[str, Any], settings: CampaignSettings) -> None:
    horizon = int(config.get("schedule_horizon") or config.get("steps") or DEFAULT_STEPS)
    last = max((settings.trial.steps, *settings.promotion))
    if settings.promotion and last > horizon:
        raise ConfigError(
            f"promotion goes to {last} steps, but the schedules of the base config end at {horizon}; allowed: up to "
            "the base's steps (or schedule_horizon), or promotion = []."
        )


def _put(config: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    place = config
    for part in parents:
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict):
            raise ConfigError(f"overrides: {key} cannot be set, because {part} is a value, not a section.")
    place[last] = value
