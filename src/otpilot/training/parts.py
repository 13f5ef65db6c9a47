"""LeRobot's parts of a training run, each called from one place only."""

import copy
import logging
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs
from lerobot.configs.policies import PreTrainedConfig
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.optim.factory import make_optimizer_and_scheduler
from lerobot.policies.factory import get_policy_class, make_policy, make_pre_post_processors
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.processor import PolicyProcessorPipeline
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from otpilot.config.schema import TrainConfig
from otpilot.errors import ConfigError

logger = logging.getLogger(__name__)

type Processor = PolicyProcessorPipeline[Any, Any]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What LeRobot builds from a config: policy, processors, optimiser, schedule (or None)."""

    policy: PreTrainedPolicy
    preprocessor: Processor
    postprocessor: Processor
    optimizer: Optimizer
    scheduler: LRScheduler | None


def build_parts(config: TrainConfig, meta: LeRobotDatasetMetadata, stats: dict[str, Any]) -> Parts:
    """Return fresh parts, or those of the checkpoint that `policy.pretrained_path` names.

    Args:
        config: The validated config.
        meta: Metadata of the target dataset, from which the policy takes its features.
        stats: Statistics that normalise both domains; those of a resumed checkpoint come first.
    """
    policy = _make_policy(config, meta)
    preprocessor, postprocessor = _processors(config, policy, stats)
    optimizer, scheduler = make_optimizer_and_scheduler(_over_horizon(config), policy)
    return Parts(
        policy=policy,
        preprocessor=preprocessor,
        postprocessor=postprocessor,
        optimizer=optimizer,
        scheduler=scheduler,
    )


def _over_horizon(config: TrainConfig) -> TrainConfig:
    """Return the config with the horizon as its steps, and `warmup_ratio` of it as the schedule's warm-up."""
    longer = copy.copy(config)
    longer.steps = config.horizon
    if config.warmup_ratio is None:
        return longer
    if config.scheduler is None:
        raise ConfigError(
            f"warmup_ratio is {config.warmup_ratio}, but there is no schedule: the policy's preset has none. Set "
            "use_policy_training_preset = false and give an optimizer and a scheduler."
        )
    if config.scheduler.num_warmup_steps not in (None, 0) and not config.use_policy_training_preset:
        logger.info("warmup_ratio overrules scheduler.num_warmup_steps = %s.", config.scheduler.num_warmup_steps)
    longer.scheduler = copy.copy(config.scheduler)
    longer.scheduler.num_warmup_steps = round(config.warmup_ratio * config.horizon)
    return longer


def _make_policy(config: TrainConfig, meta: LeRobotDatasetMetadata) -> PreTrainedPolicy:
    """Return LeRobot's policy; a backbone whose weights cannot be downloaded says what to set."""
    weights = getattr(config.policy, "pretrained_backbone_weights", None)
    try:
        made: PreTrainedPolicy = make_policy(cfg=config.policy, ds_meta=meta, rename_map=config.rename_map)
    except OSError as error:  # torchvision's downloads raise URLError, which is one
        if weights is None or config.policy.pretrained_path is not None:
            raise
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise ConfigError(
            f"The weights of policy.pretrained_backbone_weights = {weights} cannot be loaded ({error}). Without a "
            f"network put their file into {folder}, or set the key to null to train the backbone from scratch."
        ) from error
    return made


def _processors(config: TrainConfig, policy: PreTrainedPolicy, stats: dict[str, Any]) -> tuple[Processor, Processor]:
    if config.policy.pretrained_path is None:
        made: tuple[Processor, Processor] = make_pre_post_processors(policy_cfg=config.policy, dataset_stats=stats)
        return made
    normalizer = {
        "features": {**policy.config.input_features, **policy.config.output_features},
        "norm_map": policy.config.normalization_mapping,
    }
    unnormalizer = {
        "features": policy.config.output_features,
        "norm_map": policy.config.normalization_mapping,
    }
    if not config.resume:
        normalizer["stats"] = stats
        unnormalizer["stats"] = stats
    made = make_pre_post_processors(
        policy_cfg=config.policy,
        pretrained_path=config.policy.pretrained_path,
        preprocessor_overrides={
            "device_processor": {"device": torch.device(config.policy.device).type},
            "normalizer_processor": normalizer,
            "rename_observations_processor": {"rename_map": config.rename_map},
        },
        postprocessor_overrides={"unnormalizer_processor": unnormalizer},
    )
    return made


def make_source_preprocessor(config: TrainConfig, stats: dict[str, Any] | None) -> Processor | None:
    """Return a preprocessor like the policy's own, but with the sources' statistics; None where they have none."""
    if stats is None:
        return None
    made: Processor = make_pre_post_processors(policy_cfg=config.policy, dataset_stats=stats)[0]
    return made


def load_policy(checkpoint: Path, device: str | None = None) -> tuple[PreTrainedPolicy, Processor, Processor]:
    """Return policy, preprocessor and postprocessor of a pretrained_model folder, through LeRobot's own loading."""
    config = PreTrainedConfig.from_pretrained(checkpoint)
    if device is not None:
        config.device = device
    policy = get_policy_class(config.type).from_pretrained(checkpoint, config=config)
    policy.to(config.device)
    policy.eval()
    preprocessor, postprocessor = make_pre_post_processors(
        policy_cfg=config,
        pretrained_path=str(checkpoint),
        preprocessor_overrides={"device_processor": {"device": torch.device(config.device).type}},
    )
    return policy, preprocessor, postprocessor


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Return the accelerator of this process: device, mixed precision (policy.use_amp), no scheduler scaling."""
    device = torch.device(config.policy.device)
    precision = None
    if getattr(config.policy, "use_amp", False):
        precision = {torch.bfloat16: "bf16", torch.float16: "fp16"}[torch.get_autocast_dtype(device.type)]
    handlers = [
        DistributedDataParallelKwargs(find_unused_parameters=True),
        # the others wait while one process evaluates or saves
        InitProcessGroupKwargs(timeout=timedelta(hours=4)),
    ]
    return Accelerator(
        step_scheduler_with_optimizer=False,
        mixed_precision=precision,
        cpu=device.type == "cpu",
        kwargs_handlers=handlers,
    )
