"""What real trials of a campaign measured: how curves fall, how costs become mass, and how much all of it scatters."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from otpilot.config.edits import value_at
from otpilot.config.ot import LossConfig
from otpilot.runs.history import Curve, RunHistory
from otpilot.runs.sources.run_folder import read_run_folder

FILE = Path(__file__).with_name("recorded.json")
LATER = Path(__file__).with_name("recorded_later.json")
"""The same campaign after its end: shown beside what the surface rests on, and not used by it."""
EVALUATION, SUCCESS = "eval/offline_eval/avg_l1", "sim/success_mean"
SCATTER_OF = (
    "train/loss", "train/grad_norm", "train/ot_energy", "train/ot_cost/image", "train/ot_cost/action_lbl",
    "train/ot_grad_share", EVALUATION,
)  # fmt: skip
ALIVE_MASS = 1e-30
LAST = 5
LOSS_DEFAULTS = asdict(LossConfig(features=()))


@dataclass(frozen=True, kw_only=True)
class RecordedTrial:
    """One real trial: the settings of its transport, its scores, and what its curves say.

    `matched` is the energy over the mean cost in the second half; `share_per_mass` the odds of the transport's share of
    the gradient over weight x mass (weight alone for the objective `energy`); None where nothing of it was measured.
    """

    name: str
    seed: int
    objective: str
    cost_normalization: str
    reg: float
    tau: float
    weight_label: float
    steps: int
    finished: bool
    error: float | None
    success: float | None
    log_mass: float | None
    matched: float | None
    share: float | None
    share_per_mass: float | None
    exponent: float | None
    scatter: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the surrogate takes over from the real trials, and the trials themselves."""

    origin: str
    trials: tuple[Mapping[str, Any], ...]
    exponent: float
    matched: float
    share_per_mass: Mapping[str, float]
    scatter: Mapping[str, float]
    seed_spread: float | None


def read_campaign(folder: Path, *, origin: str) -> Recorded:
    """Return what the ended and the running trials of a campaign folder measured; nothing in it is written."""
    found = [item for run in sorted((folder / "trials").glob("[!.]*")) if (item := _read_trial(run)) is not None]
    return summarise(found, origin=origin)


def summarise(trials: Sequence[RecordedTrial], *, origin: str) -> Recorded:
    """Return the medians over trials that the surrogate uses."""
    baseline = [t.error for t in trials if t.name.startswith("baseline") and t.finished and t.error]
    return Recorded(
        origin=origin,
        trials=tuple(asdict(trial) for trial in trials),
        exponent=_median(t.exponent for t in trials),
        matched=_median(t.matched for t in trials),
        share_per_mass={
            kind: _median(t.share_per_mass for t in trials if (t.cost_normalization == "none") is raw)
            for kind, raw in (("raw", True), ("normalised", False))
        },
        scatter={name: _median(t.scatter.get(name) for t in trials) for name in SCATTER_OF},
        seed_spread=float(np.std(np.log(baseline), ddof=1)) if len(baseline) > 1 else None,
    )


def load(path: Path = FILE) -> Recorded:
    """Return what recorded.json, or another such file, holds."""
    body = json.loads(path.read_text(encoding="utf-8"))
    return Recorded(**{**body, "trials": tuple(body["trials"])})


def save(recorded: Recorded, path: Path = FILE) -> None:
    """Write recorded.json, or another such file."""
    path.write_text(json.dumps(asdict(recorded), indent=1) + "\n", encoding="utf-8")


def _median(values: Iterable[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(statistics.median(known)) if known else float("nan")


def _read_trial(run: Path) -> RecordedTrial | None:
    if not (run / "config.json").is_file():
        return None
    history = read_run_folder(run)
    energy = history.curves.get("train/ot_energy")
    if energy is None or len(energy.steps) < 10:
        return None
    config = history.config
    setting = {**LOSS_DEFAULTS, **value_at(config, "ot.loss_config")}
    weight = value_at(config, "ot.lambda_ot")
    return RecordedTrial(
        name=history.name,
        seed=int(config["seed"]),
        objective=setting["objective"],
        cost_normalization=setting["cost_normalization"],
        reg=setting["reg"],
        tau=setting["tau_tgt"],
        weight_label=max(term.get("weight_label", 0.0) for term in setting["features"]),
        steps=int(energy.steps[-1]),
        finished=history.state in ("finished", "stopped_early"),
        error=_last(history, EVALUATION),
        success=_last(history, SUCCESS),
        log_mass=_level(history, "train/ot_log_mass"),
        matched=_ratio(history, "train/ot_energy", "train/ot_cost_mean"),
        share=_level(history, "train/ot_grad_share"),
        share_per_mass=None if weight == "auto" else _share_per_mass(history, setting["objective"], float(weight)),
        exponent=_exponent(history.curves.get(EVALUATION)),
        scatter={name: value for name in SCATTER_OF if (value := scatter(history.curves.get(name))) is not None},
    )


def _last(history: RunHistory, name: str) -> float | None:
    curve = history.curves.get(name)
    return None if curve is None or len(curve.values) < LAST else float(curve.values[-LAST:].mean())


def _level(history: RunHistory, name: str) -> float | None:
    curve = history.curves.get(name)
    return None if curve is None else float(np.median(curve.values[len(curve.values) // 2 :]))


def _ratio(history: RunHistory, top: str, bottom: str) -> float | None:
    above, below = _level(history, top), _level(history, bottom)
    return None if above is None or not below else above / below


def _share_per_mass(history: RunHistory, objective: str, weight: float) -> float | None:
    share, mass = history.curves.get("train/ot_grad_share"), history.curves.get("train/ot_log_mass")
    if share is None or mass is None:
        return None
    at = np.interp(share.steps, mass.steps, mass.values)
    with np.errstate(all="ignore"):
        odds = share.values / (1 - share.values)
        found = odds / (weight * (np.exp(at) if objective == "plan_cost" else 1.0))
    alive = (np.exp(at) > ALIVE_MASS) | (objective != "plan_cost")
    found = found[np.isfinite(found) & (share.values > 0) & alive]
    return float(np.median(found)) if len(found) >= 3 else None


def _exponent(curve: Curve | None) -> float | None:
    """Return alpha of error ~ step ** -alpha over the evaluations."""
    if curve is None or len(curve.steps) < LAST:
        return None
    return float(-np.polyfit(np.log(curve.steps), np.log(curve.values), 1)[0])


def scatter(curve: Curve | None) -> float | None:
    """Return the standard deviation of log values about the mean of their two neighbours; None where it is not known.

    Of independent scatter the middle minus the mean of its neighbours has a variance of 1.5.
    """
    if curve is None:
        return None
    values = curve.values[np.isfinite(curve.values) & (curve.values > 0)]
    if len(values) < 8:
        return None
    logs = np.log(values)
    rest = logs[1:-1] - (logs[:-2] + logs[2:]) / 2
    return float(1.4826 * np.median(np.abs(rest)) / np.sqrt(1.5))
