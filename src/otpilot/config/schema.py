"""The training config: LeRobot's own plus the `ot` section, read from JSON and dotted `--key=value` overrides."""

import copy
import io
import itertools
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import draccus
import lerobot.policies  # noqa: F401 - its import registers the policy types
from draccus.utils import DecodingError, ParsingError
from lerobot.configs.default import WandBConfig
from lerobot.configs.policies import PreTrainedConfig
from lerobot.configs.train import TrainPipelineConfig

from otpilot.config.compat import Translation, is_seed_era, make_way, translate
from otpilot.config.files import check_folder, read_config_file
from otpilot.config.hygiene import contradictions, idle_keys
from otpilot.config.known import check_keys
from otpilot.config.ot import OTConfig, check_number
from otpilot.config.overrides import CONFIG_PATH, expand_home, home_of, is_yes, override, parse_options
from otpilot.config.resuming import (
    POLICY_FOLDER,
    check_kept,
    find_checkpoint_config,
    policy_inside,
    run_folder,
    without_resumption,
)
from otpilot.config.training import DiscreteActionsConfig, EarlyStoppingConfig, GuardConfig
from otpilot.errors import ConfigError, OtpilotError

NO_CHECKPOINT = (
    "there is no folder {}; give a checkpoint's pretrained_model folder, or a repository of the Hub as owner/name."
)
NO_DATASET = (
    "The config names no dataset; give dataset.repo_id (and dataset.root where it lies on this machine), or a config "
    "file with --config_path=FILE."
)
NO_REPOSITORY = (
    "policy.push_to_hub is true, which is LeRobot's default, but policy.repo_id does not say where to; set "
    "policy.push_to_hub=false (the model stays in the run folder), or give policy.repo_id."
)


@dataclass
class TrackerConfig(WandBConfig):
    """LeRobot's W&B settings plus `group`, the runs that the page shows together (default: policy, seed and data)."""

    group: str | None = None


@dataclass
class TrainConfig(TrainPipelineConfig):
    """LeRobot's TrainPipelineConfig plus what otpilot adds.

    `schedule_horizon` is the number of steps over which schedules run (default: `steps`), so that a short trial can
    be the beginning of a long run. `threads` is the number of CPU threads of this process (default: torch's choice).
    The images of a dataset are kept in memory, as uint8, if all of them fit in `frame_cache_gb` GiB; 0 for never.

    `grad_accum_steps` batches of `batch_size` make one step, equal to one step on a batch that much larger.
    `warmup_ratio` times the horizon replaces the schedule's `num_warmup_steps`. `ema_decay` keeps a running mean of
    the weights; with `eval_use_ema` evaluation and the saved policy use it. `state_noise_std` and `action_noise_std`
    add Gaussian noise to training rows, in normalised units. `keep_best` keeps the checkpoint that was best by
    `early_stopping.monitor` (default: closed-loop success where there is an environment, else the held-out loss).
    Every `plan_images_every`-th evaluation a picture of the plan and of sample pairs is kept and sent to the tracker.
    """

    wandb: TrackerConfig = field(default_factory=TrackerConfig)
    ot: OTConfig = field(default_factory=lambda: OTConfig(enable=False))
    schedule_horizon: int | None = None
    threads: int | None = None
    frame_cache_gb: float = 4.0
    grad_accum_steps: int = 1
    warmup_ratio: float | None = None
    ema_decay: float | None = None
    eval_use_ema: bool = True
    state_noise_std: float = 0.0
    action_noise_std: float = 0.0
    early_stopping: EarlyStoppingConfig | None = None
    keep_best: bool = False
    guard: GuardConfig = field(default_factory=GuardConfig)
    discrete_actions: DiscreteActionsConfig | None = None
    plan_images_every: int = 0

    @property
    def horizon(self) -> int:
        """Steps over which learning rate, weight and reg schedules run."""
        return self.schedule_horizon or self.steps


@dataclass(frozen=True)
class LoadedConfig:
    """A checked config, and one sentence for each thing that was translated or overruled."""

    config: TrainConfig
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Given:
    """What the arguments say, before it is checked: a plain config in today's keys, and the file it came from."""

    translation: Translation
    config_path: str | None
    overridden: frozenset[str] = frozenset()


def read_arguments(args: Sequence[str]) -> Given:
    """Read `--config_path=FILE` and `--dotted.key=value` overrides into a plain dict in today's keys.

    Raises:
        MissingFileError: If the config file is not there.
        ConfigError: If an argument or the file cannot be read.
    """
    options = parse_options(args)
    given_path = options.pop(CONFIG_PATH, None)
    config_path = None if given_path is None else home_of(given_path)
    resumed = "resume" in options and is_yes(options["resume"])
    if config_path and resumed:
        config_path = str(find_checkpoint_config(config_path))
    body = read_config_file(config_path) if config_path else {}
    body.pop("checkpoint_path", None)  # LeRobot writes it into checkpoints, but does not read it back
    body = {**without_resumption(body), "resume": False} if "resume" in body else body  # that is said by an argument
    before = copy.deepcopy(body)
    seed_era = is_seed_era(body) if config_path else None  # an override does not change what a file was written for
    for key, text in options.items():
        make_way(body, key)
        override(body, key, text, TrainConfig)
    expand_home(body)
    if resumed:
        check_kept(before, body, options)
    return Given(translation=translate(body, seed_era=seed_era), config_path=config_path, overridden=frozenset(options))


def load_config(args: Sequence[str], *, check_output: bool = True) -> LoadedConfig:
    """Read `--config_path=FILE` and `--dotted.key=value` overrides into a validated config.

    Lists are indexed by number: `--ot.loss_config.features.0.weight_label=0.1`.

    Raises:
        MissingFileError: If the config file is not there.
        ConfigError: If a key is unknown, a value is out of range, two contradict, or LeRobot refuses the combination.
    """
    given = read_arguments(args)
    loaded = complete(given, check_output=check_output)
    if problems := tuple(contradictions(loaded.config)):
        raise ConfigError(" ".join(problems))
    if check_output and not loaded.config.resume:
        check_folder(Path(loaded.config.output_dir), "--output_dir")
    _check_weights(loaded.config)
    body = given.translation.config
    in_vain = () if _is_filled_in(body) else idle_keys(body, loaded.config)
    return LoadedConfig(loaded.config, (*loaded.notes, *in_vain))


def _check_weights(config: TrainConfig) -> None:
    path = getattr(config.policy, "pretrained_path", None)
    if path is not None:
        _check_checkpoint("policy.pretrained_path", str(path))


def _is_filled_in(body: Mapping[str, Any]) -> bool:
    """Whether every key is there, as in a checkpoint's train_config.json; nobody meant all of them."""
    return all(f.name in body for f in fields(TrainConfig) if f.init)


def complete(given: Given, *, check_output: bool = True) -> LoadedConfig:
    """Check a plain config in today's keys against LeRobot's classes, and fill in what it leaves open.

    Raises:
        ConfigError: If a key is unknown, a value is out of range, or LeRobot refuses the combination.
    """
    body, config_path = copy.deepcopy(given.translation.config), given.config_path
    notes = list(given.translation.notes)
    policy_args = _take_pretrained_policy(body)
    if body.get("resume") and isinstance(body.get("ot"), dict) and "view_share" not in body["ot"]:
        body["ot"]["view_share"] = 0.0
        notes.append("This checkpoint was written before there were views, and goes on without (ot.view_share = 0).")
    check_keys(body, TrainConfig)
    if "dataset" not in body:
        raise ConfigError(NO_DATASET)
    config = decode(body)
    notes += _overruled(body, config)
    if config.resume and config_path:
        folder, note = run_folder(Path(config_path), config.output_dir, told="output_dir" in given.overridden)
        config.output_dir = folder
        notes += [note] if note else []
    argv = policy_args + ([f"--config_path={config_path}"] if config_path and config.resume else [])
    _validate(config, argv, check_output=check_output)
    return LoadedConfig(config, tuple(notes))


def decode(body: Mapping[str, Any]) -> TrainConfig:
    """Turn a plain dict, whose keys were checked, into a TrainConfig.

    Raises:
        ConfigError: If a value does not fit its type or range.
    """
    try:
        with draccus.config_type("json"):
            config: TrainConfig = draccus.decode(TrainConfig, dict(body))
    except (DecodingError, ParsingError, TypeError, ValueError, OtpilotError) as error:
        raise ConfigError(_innermost(error)) from error
    return config


def encode(config: TrainConfig) -> dict[str, Any]:
    """Return the config as a plain dict that `decode` reads back."""
    body: dict[str, Any] = json.loads(json.dumps(draccus.encode(as_begun(config)), default=str))
    body.pop("checkpoint_path", None)
    return body


def as_begun(config: TrainConfig) -> TrainConfig:
    """Return the config as it is recorded: a resumed run trains what it trained before, from the same weights on.

    LeRobot's validate() puts the checkpoint into `policy.pretrained_path`, from which it is loaded.
    """
    if not config.resume or config.checkpoint_path is None:
        return config
    saved = without_resumption(read_config_file(config.checkpoint_path / POLICY_FOLDER))
    began = (saved.get("policy") or {}).get("pretrained_path")
    made = copy.copy(config)
    made.resume, made.policy = False, copy.copy(config.policy)
    made.policy.pretrained_path = None if began is None else Path(began)
    return made


def _take_pretrained_policy(body: dict[str, Any]) -> list[str]:
    """Move `policy.path` out of the body and into the arguments from which LeRobot's validate() reads it."""
    policy = body.get("policy")
    if not isinstance(policy, dict) or "path" not in policy:
        return []
    if (path := policy.pop("path")) is None:
        return []
    _check_checkpoint("policy.path", path := str(path))
    _check_beside(path, policy)
    del body["policy"]
    return [f"--policy.path={path}"] + [
        f"--policy.{key}={json.dumps(value)}" for key, value in policy.items() if key != "type"
    ]


def _check_checkpoint(key: str, path: str) -> None:
    """Raise ConfigError unless a path is a policy's folder here, or may be a repository of the Hub: [OWNER/]NAME."""
    if not Path(path).is_dir() and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)?", path) is None:
        raise ConfigError(f"{key}: {NO_CHECKPOINT.format(path)}")
    if (inside := policy_inside(Path(path))) is not None:
        raise ConfigError(f"{key} is {path}, which is no policy but holds one; give {inside}.")


def _check_beside(path: str, settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for the first setting beside policy.path that the policy in that folder does not have."""
    try:
        kind = json.loads((Path(path) / "config.json").read_text(encoding="utf-8"))["type"]
        schema = PreTrainedConfig.get_known_choices()[kind]
    except (OSError, ValueError, LookupError, TypeError):
        return  # on the Hub, or LeRobot says what is wrong with it
    check_keys(settings, schema, "policy.")


def _overruled(body: Mapping[str, Any], config: TrainConfig) -> list[str]:
    if not config.use_policy_training_preset or config.resume:
        return []
    given = [name for name in ("optimizer", "scheduler") if body.get(name) is not None]
    return [
        f"use_policy_training_preset is true, so the policy's own {name} is used, not the `{name}` section "
        f"(set the preset to false to use the section)."
        for name in given
    ]


def _validate(config: TrainConfig, argv: Sequence[str], *, check_output: bool) -> None:
    """Run LeRobot's validate(), which reads part of what it needs from sys.argv."""
    if not 0 <= config.frame_cache_gb < math.inf:
        raise ConfigError(f"frame_cache_gb is {config.frame_cache_gb}; allowed: a finite number of GiB >= 0.")
    check_number("", "schedule_horizon", config.schedule_horizon, low=1)
    check_number("", "grad_accum_steps", config.grad_accum_steps, low=1)
    check_number("", "warmup_ratio", config.warmup_ratio, high=1.0)
    check_number("", "plan_images_every", config.plan_images_every)
    for name in ("state_noise_std", "action_noise_std"):
        check_number("", name, getattr(config, name))
    if config.ema_decay is not None and not 0.0 < config.ema_decay < 1.0:
        raise ConfigError(f"ema_decay is {config.ema_decay}; allowed: a number between 0 and 1, or null for none.")
    output_dir = config.output_dir
    if not check_output:
        config.output_dir = None
    heard = io.StringIO()
    try:
        with _command_line(argv), redirect_stderr(heard):
            config.validate()
    except SystemExit as error:  # of argparse, which reads the settings beside policy.path
        reason = heard.getvalue().rpartition("error: ")[2]
        raise ConfigError(f"The settings beside policy.path cannot be read: {' '.join(reason.split())}.") from error
    except FileExistsError as error:
        raise ConfigError(
            f"Output folder {config.output_dir} exists already. Give another --output_dir, remove the folder, or "
            f"resume it with --resume=true --config_path={config.output_dir}."
        ) from error
    except (DecodingError, ParsingError, ValueError, NotImplementedError, FileNotFoundError) as error:
        told = NO_REPOSITORY if str(error).startswith("'repo_id' argument missing") else _innermost(error)
        raise ConfigError(told) from error
    finally:
        if not check_output:
            config.output_dir = output_dir


@contextmanager
def _command_line(argv: Sequence[str]) -> Iterator[None]:
    before = sys.argv
    sys.argv = [before[0] if before else "otpilot", *argv]
    try:
        yield
    finally:
        sys.argv = before


def _innermost(error: BaseException) -> str:
    """Return the message of the cause that says most, in one line.

    That is our own error if there is one, else why LeRobot's class refused its values, else draccus's for the key that
    lies deepest.
    """
    chain = list(_causes(error))
    for one in chain:
        if isinstance(one, OtpilotError):
            return str(one)
    place = max((one for one in chain if isinstance(one, DecodingError)), key=lambda e: len(e.key_path), default=error)
    for outer, inner in itertools.pairwise(chain):
        if type(outer) is ParsingError and type(inner) in (ValueError, NotImplementedError):
            where = ".".join(place.key_path) if isinstance(place, DecodingError) else ""
            return " ".join(f"{where}{': ' if where else ''}{inner}".split())
    return " ".join(str(place).split())


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
