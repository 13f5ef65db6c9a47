"""A W&B run through LeRobot's logger: online where the server answers, offline where it does not."""

import json
import netrc
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lerobot.common.wandb_utils import WandBLogger, cfg_to_group, get_wandb_run_id_from_filesystem

from otpilot.config.schema import TrainConfig, encode
from otpilot.runs.sources.secrets import redacted

Tell = Callable[[str], None]

PROBE_S, INIT_S, UPLOAD_S = 5.0, 30.0, 10.0
"""Seconds that the server has to answer at all, to open the run, and to take what is left at the end."""
LONGEST_GROUP = 128
MODES: dict[str, Literal["online", "offline", "disabled"]] = {
    "online": "online",
    "offline": "offline",
    "disabled": "disabled",
}


def group_of(config: TrainConfig) -> str:
    """Return the W&B group of a run: `wandb.group`, WANDB_RUN_GROUP, or policy:<type>-seed:<seed>-dataset:<repo>."""
    ours = f"policy:{config.policy.type}-seed:{config.seed}-dataset:{config.dataset.repo_id}"
    return (config.wandb.group or os.environ.get("WANDB_RUN_GROUP") or ours)[:LONGEST_GROUP]


def name_run(config: TrainConfig) -> bool:
    """Give the config a W&B run id if it has none, so that every checkpoint knows it; return whether it had one.

    A run that is resumed from a checkpoint without id is looked up in its own folder, as LeRobot does.
    """
    if config.wandb.run_id:
        return True
    if config.resume:
        try:
            config.wandb.run_id = get_wandb_run_id_from_filesystem(Path(config.output_dir))
        except RuntimeError:
            config.wandb.run_id = None
    known = config.wandb.run_id is not None
    config.wandb.run_id = config.wandb.run_id or secrets.token_hex(4)
    return known


def open_session(config: TrainConfig, *, continues: bool, tell: Tell) -> "Session":
    """Open the W&B run of a config, offline where the server is away or refuses, which is told once.

    Args:
        config: The config; its `wandb.run_id` is set.
        continues: Whether the run was begun before.
        tell: Called with what the user should know.
    """
    os.environ["WANDB_SILENT"] = "True"  # as LeRobot's logger does; here it must be before the import
    import wandb

    mode = config.wandb.mode or os.environ.get("WANDB_MODE") or "online"
    if mode == "online":
        settings = wandb.setup().settings
        problem = _problem(os.environ.get("WANDB_BASE_URL") or settings.base_url, settings)
        if problem is None:
            try:
                return Session(RunLogger(config, mode, continues=continues))
            except Exception as error:  # whatever the client raises
                problem = redacted(f"{type(error).__name__}: {error}".splitlines()[0])
                wandb.teardown()  # else the id counts as in use
        tell(f"W&B: {problem}. The run is kept offline; `wandb sync {config.output_dir}/wandb/offline-run-*` sends it.")
        mode = "offline"
    return Session(RunLogger(config, mode, continues=continues))


class RunLogger(WandBLogger):
    """LeRobot's logger around a run that we open: its own opening sets no group, and calls what wandb 0.31 dropped."""

    def __init__(self, config: TrainConfig, mode: str, *, continues: bool) -> None:
        import wandb

        self.cfg = config.wandb
        self.log_dir = config.output_dir
        self.job_name = config.job_name
        self.env_fps = config.env.fps if config.env else None
        self._group = group_of(config)
        self._wandb_custom_step_key = None
        self._wandb = wandb
        Path(config.output_dir).mkdir(parents=True, exist_ok=True)
        wandb.init(
            id=config.wandb.run_id,
            project=config.wandb.project,
            entity=config.wandb.entity,
            name=config.job_name,
            notes=config.wandb.notes,
            tags=cfg_to_group(config, return_list=True, truncate_tags=True) if config.wandb.add_tags else None,
            group=self._group,
            dir=config.output_dir,
            config=encode(config),
            save_code=False,
            job_type="train_eval",
            # not in LeRobot's way, "must": a run whose first part was offline is not known to the server yet
            resume="allow" if continues and mode == "online" else None,
            mode=MODES.get(mode, "online"),
            # The console stays ours: a captured print would wait for W&B's process. Limits keep the run's end short.
            settings=wandb.Settings(init_timeout=INIT_S, finish_timeout=UPLOAD_S, console="off"),
        )


class Session:
    """An open W&B run."""

    def __init__(self, logger: RunLogger) -> None:
        self._logger = logger
        self._wandb: Any = logger._wandb

    def log(self, values: Mapping[str, Any], *, step: int, kind: str) -> None:
        """Send values as <kind>/<name>; those of kind "health" also as an alert."""
        plain = {
            name: value if isinstance(value, int | float | str) else json.dumps(value, default=str)
            for name, value in values.items()
        }
        if kind in ("train", "eval"):
            self._logger.log_dict(plain, step=step, mode=kind)
        else:  # LeRobot's logger knows these two kinds only
            self._wandb.log({f"{kind}/{name}": value for name, value in plain.items()}, step=step)
        if kind == "health":
            text = f"{self._logger.job_name or self._logger.log_dir}, step {step}: {plain.get('message', plain)}"
            self._wandb.run.alert(title=str(plain.get("alarm", "health")), text=text, level="WARN")

    def images(self, pictures: Mapping[str, Path], *, step: int) -> None:
        """Send pictures as eval/<name>."""
        found = {f"eval/{name}": self._wandb.Image(str(path)) for name, path in pictures.items()}
        self._wandb.log(found, step=step)

    def finish(self) -> None:
        """Close the run; gives up sending after UPLOAD_S seconds, what is left stays on disk."""
        self._wandb.finish()


def _problem(base_url: str, settings: Any) -> str | None:
    """Return why an online run cannot be opened, or None; W&B's own client would ask for a key, or try for minutes."""
    if not _has_key(base_url, settings):
        return "no API key (`wandb login`, or WANDB_API_KEY)"
    try:
        with urllib.request.urlopen(base_url, timeout=PROBE_S):
            return None
    except urllib.error.HTTPError:
        return None  # whatever it says, it answers
    except (OSError, ValueError) as error:
        return f"{base_url} does not answer ({getattr(error, 'reason', error)})"


def _has_key(base_url: str, settings: Any) -> bool:
    if os.environ.get("WANDB_API_KEY") or settings.identity_token_file:
        return True
    try:
        known = netrc.netrc(os.environ.get("NETRC"))
    except (OSError, netrc.NetrcParseError):
        return False
    return known.authenticators(urlsplit(base_url).hostname or "") is not None
