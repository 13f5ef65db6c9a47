"""Mirrors the log into Weights & Biases through LeRobot's logger; a failure there never stops training."""

import logging
from collections.abc import Mapping
from typing import Any

from otpilot.config.schema import TrainConfig

logger = logging.getLogger(__name__)


class Tracker:
    """W&B if the config enables it and it can be reached; otherwise silent, because metrics.jsonl has everything."""

    def __init__(self, config: TrainConfig | None) -> None:
        self._logger: Any | None = None
        if config is None or not (config.wandb.enable and config.wandb.project):
            return
        try:
            from lerobot.common.wandb_utils import WandBLogger

            self._logger = WandBLogger(config)
        except Exception as error:  # whatever the tracker's client raises, training goes on
            logger.warning("W&B is not available (%s); training goes on, metrics.jsonl has every value.", error)

    def log(self, values: Mapping[str, Any], *, step: int, kind: str) -> None:
        """Send numbers and strings under train/ or eval/."""
        if self._logger is None:
            return
        try:
            self._logger.log_dict(dict(values), step=step, mode="train" if kind == "train" else "eval")
        except Exception as error:  # as above
            logger.warning("W&B stopped taking values (%s); training goes on without it.", error)
            self._logger = None

    def finish(self) -> None:
        """Hand over what is left; the tracker takes no more."""
        self._logger = None
