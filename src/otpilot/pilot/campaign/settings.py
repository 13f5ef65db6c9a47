"""What campaign.toml says: every key with its default and its limits. docs/pilot.md explains them one by one."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otpilot.config.plain import build_section, plain
from otpilot.errors import ConfigError, MissingFileError, closest
from otpilot.pilot.campaign.window import DailyWindow
from otpilot.pilot.executors.base import OnPilotDeath
from otpilot.runs.metric_names import OFFLINE_L1, OFFLINE_LOSS

FILE = "campaign.toml"
AUTO = "auto"
# Named here, because `loop status` must not wait for what rules and analysis import; a test compares them.
PROPOSERS = ("mixed", "rules", "bayes", "random", "grid", "optuna")
LANGUAGES = ("en", "zh")
EVALUATION_LOSSES = (OFFLINE_L1, OFFLINE_LOSS)
SUCCESS = "sim/success"
MAY_CHANGE = (
    "rounds", "variants", "candidates", "patience", "proposer", "rules", "only", "budget", "allowed_hours",
    "concurrency", "threads", "gpus", "on_pilot_death", "guard", "keep_checkpoints", "language", "journal",
    "trial.retries",
)  # fmt: skip
"""Keys that may change when a campaign is resumed: what they decide lies in the future. The rest is its identity."""


@dataclass(frozen=True, kw_only=True)
class TrialSettings:
    """The `[trial]` section: short runs on the base's long schedule (report 004, step 4).

    `seeds` is a number of seeds, counted up from the base's own, or a list. `env_eval_freq` of None leaves the base's.
    `retries`: how often a trial that crashed or was killed is tried again.
    """

    seeds: int | tuple[int, ...] = 3
    steps: int = 2000
    eval_steps: int = 200
    log_freq: int = 50
    save_freq: int = 1000
    env_eval_freq: int | None = None
    retries: int = 1

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, low in (("steps", 1), ("eval_steps", 1), ("log_freq", 1), ("save_freq", 0), ("retries", 0)):
            _at_least("trial." + name, getattr(self, name), low)
        if isinstance(self.seeds, int):
            _at_least("trial.seeds", self.seeds, 2)
        elif len(set(self.seeds)) != len(self.seeds) or len(self.seeds) < 2:
            raise ConfigError(f"trial.seeds is {list(self.seeds)}; allowed: two or more different whole numbers.")
        elif min(self.seeds) < 0:
            raise ConfigError(f"trial.seeds has {min(self.seeds)}; allowed: 0 or more.")


@dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """The `[budget]` section; None for no limit. `hours` are hours in which a pilot worked, pauses left out."""

    hours: float | None = None
    trials: int | None = None
    gpu_hours: float | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name in ("hours", "gpu_hours", "trials"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"budget.{name} is {value}; allowed: above 0, or leave it out.")


@dataclass(frozen=True, kw_only=True)
class GuardLimits:
    """The `[guard]` section: when a running trial is ended early and recorded as invalid (pilot/guard.py).

    `hopeless_step` (0: never) is the step from which a trial is ended whose held-out loss is more than
    `hopeless_factor` times the worst that the baseline had at its nearest earlier evaluation. Success rates are not
    judged so: early on they are 0 for many that become good.
    """

    enable: bool = True
    gradient_ceiling: float = 1e6
    gradient_factor: float = 100.0
    gradient_patience: int = 3
    start_s: float = 1800.0
    hang_s: float = 1800.0
    garbage_lines: int = 20
    hopeless_step: int = 1000
    hopeless_factor: float = 5.0

    def __post_init__(self) -> None:
        """Check the ranges, as the guard itself does later."""
        for name in ("gradient_ceiling", "start_s", "hang_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"guard.{name} is {getattr(self, name)}; allowed: above 0.")
        if not self.gradient_factor > 1:
            raise ConfigError(f"guard.gradient_factor is {self.gradient_factor}; allowed: above 1.")
        for name in ("gradient_patience", "garbage_lines"):
            _at_least(f"guard.{name}", getattr(self, name), 1)
        _at_least("guard.hopeless_step", self.hopeless_step, 0)
        if not self.hopeless_factor > 1:
            raise ConfigError(f"guard.hopeless_factor is {self.hopeless_factor}; allowed: above 1.")


@dataclass(frozen=True, kw_only=True)
class CampaignSettings:
    """Everything that campaign.toml says. `overrides` puts values into the base config, by dotted key."""

    base: str
    name: str = ""
    cwd: str = "."
    ledger: str = ""
    seed: int = 0
    rounds: int = 5
    variants: int = 3
    candidates: int = 1
    confirm_seeds: int = 5
    promotion: tuple[int, ...] = (10_000,)
    patience: int = 2
    proposer: str = PROPOSERS[0]
    rules: tuple[str, ...] = ()
    only: str = ""
    metric: str = AUTO
    allowed_hours: str = ""
    concurrency: int | None = None
    threads: int | None = None
    gpus: bool = True
    on_pilot_death: str = "kill"
    keep_checkpoints: bool = False
    language: str = LANGUAGES[0]
    journal: str = ""
    trial: TrialSettings = field(default_factory=TrialSettings)
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    guard: GuardLimits = field(default_factory=GuardLimits)
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the ranges and words."""
        for name, low in (("rounds", 1), ("candidates", 1), ("confirm_seeds", 3), ("patience", 1)):
            _at_least(name, getattr(self, name), low)
        if not 1 <= self.variants <= 3:
            raise ConfigError(f"variants is {self.variants}; allowed: 1 to 3 in a round.")
        for name in ("concurrency", "threads"):
            if getattr(self, name) is not None:
                _at_least(name, getattr(self, name), 1)
        _one_of("proposer", self.proposer, PROPOSERS)
        _one_of("language", self.language, LANGUAGES)
        _one_of("only", self.only, ("", "ot", "bc"))
        _one_of("on_pilot_death", self.on_pilot_death, ("kill", "adopt"))
        if self.metric not in (AUTO, *EVALUATION_LOSSES) and not self.metric.startswith(SUCCESS):
            words = (AUTO, *EVALUATION_LOSSES, f"{SUCCESS}_mean", f"{SUCCESS}_<cell>")
            raise ConfigError(f"metric is {self.metric!r}; allowed: {', '.join(words)}.{closest(self.metric, words)}")
        steps = (self.trial.steps, *self.promotion)
        if list(steps) != sorted(set(steps)):
            raise ConfigError(
                f"promotion is {list(self.promotion)}; allowed: rising numbers of steps, all above trial.steps "
                f"({self.trial.steps}), or an empty list."
            )
        DailyWindow.parse(self.allowed_hours)

    @property
    def window(self) -> DailyWindow:
        """The hours in which trials may run."""
        return DailyWindow.parse(self.allowed_hours)

    @property
    def death(self) -> OnPilotDeath:
        """What becomes of trials when the pilot dies."""
        return "adopt" if self.on_pilot_death == "adopt" else "kill"

    def plain(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        body: dict[str, Any] = plain(self)
        return body


def read_settings(path: Path) -> CampaignSettings:
    """Return the settings of a campaign.toml, or of the one in a folder.

    Raises:
        MissingFileError: If it is not there.
        ConfigError: If it cannot be read, a key is unknown, or a value is not allowed.
    """
    path = find_file(path)
    try:
        body = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}.") from error
    try:
        return settings_of(body)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def settings_of(body: Mapping[str, Any]) -> CampaignSettings:
    """Return the settings that plain data spell out.

    Raises:
        ConfigError: If a key is unknown or missing, or a value is not allowed.
    """
    body = dict(body)
    given = body.pop("overrides", {})
    if not isinstance(given, Mapping):
        raise ConfigError(f"overrides is {given!r}; it must be a table of dotted keys and values.")
    _check_names(body)
    made = build_section(CampaignSettings, body, "campaign")
    return dataclasses.replace(made, overrides=_dotted(given))


def find_file(path: Path) -> Path:
    """Return the campaign.toml that a file or folder means.

    Raises:
        MissingFileError: If there is none.
        ConfigError: If it is a training config.
    """
    found = path / FILE if path.is_dir() else path
    if not found.is_file():
        what = f"{path} has no {FILE}" if path.is_dir() else f"There is no file or folder {path}"
        raise MissingFileError(f"{what}. Give a campaign's folder, or its {FILE} (docs/pilot.md shows one).")
    if found.suffix in (".json", ".yaml", ".yml"):
        raise ConfigError(
            f"{path} is no {FILE}. A campaign is a folder with a {FILE}, in which `base` names the training config to "
            "start from (docs/pilot.md shows one)."
        )
    return found


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the dotted keys in which two plain settings differ and that make it another campaign."""
    keys = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key), now.get(key)
        if old == new or key in MAY_CHANGE:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            inner = [f"{key}.{name}" for name in sorted(old.keys() | new.keys()) if old.get(name) != new.get(name)]
            keys += [name for name in inner if name not in MAY_CHANGE]
        else:
            keys.append(key)
    return tuple(keys)


def _check_names(body: Mapping[str, Any]) -> None:
    """Name an unknown key with the closest one, before anything else is said about the file."""
    allowed = [f.name for f in dataclasses.fields(CampaignSettings)]
    for key in body:
        if key not in allowed:
            hint = closest(key, allowed) or f" Known keys: {', '.join(allowed)}."
            raise ConfigError(f"Unknown key {key!r}.{hint}")


def _dotted(table: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Return nested tables as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _dotted(value, f"{before}{key}.")
        else:
            flat[f"{before}{key}"] = value
    return flat


def _at_least(name: str, value: float, low: int) -> None:
    if value < low:
        raise ConfigError(f"{name} is {value}; allowed: {low} or more.")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        words = ", ".join(word for word in allowed if word)
        raise ConfigError(f"{name} is {value!r}; allowed: {words}.{closest(value, allowed)}")
