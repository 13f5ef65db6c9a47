"""The response surface: a world drawn about the evidence, and what a config is worth in it (sources: evidence.py)."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.pilot_efficiency.recorded import Recorded
from otpilot.config.compat import translate
from otpilot.config.edits import learning_rate_path, value_at
from otpilot.config.ot import LossConfig, TermConfig
from otpilot.config.training import EarlyStoppingConfig

STEPS, LOG_FREQ, EVAL_STEPS = 2000, 50, 200
EVALUATIONS = 5
FIRST_ERROR = 0.7
"""Error before anything is learned: 0.65 to 0.8 in the real trials, 0.66 in report 001."""
KNEE = 1.57
"""With the fall and the rise below, the best rate lies this far above the knee where the rise begins."""
START = 0.02
"""Progress at step 0, so that curves begin at a finite error."""

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class World:
    """One repetition's truth. Lower-case optima are where a knob is best; nobody is told."""

    exponent: float
    level: float
    rate_best: float
    batch_best: float
    worth: float
    share_best: float
    image_cost: float
    label_cost: float
    label_best: float
    window_best: float
    sharpness_best: float
    episodes_best: float
    capacity: float
    overfit_slope: float

    @classmethod
    def draw(cls, seed: int, *, overfits: bool) -> "World":
        """Return the world of a repetition; only the capacity depends on whether the start overfits."""
        numbers = np.random.default_rng([seed, 8])
        log_normal = lambda centre, spread: float(centre * math.exp(spread * numbers.standard_normal()))
        world = {
            "exponent": float(np.clip(numbers.normal(0.45, 0.05), 0.3, 0.6)),
            "level": log_normal(0.08, 0.15),
            "rate_best": log_normal(1.7e-4, 0.4),
            "batch_best": log_normal(32, 0.5),
            "worth": float(numbers.uniform(0.06, 0.30)),
            "share_best": log_normal(0.1, 0.4),
            "image_cost": log_normal(1.0, 0.5),
            "label_cost": log_normal(0.93, 0.2),
            "label_best": log_normal(0.01, 0.8),
            "window_best": float(np.clip(numbers.normal(10, 4), 0, 30)),
            "sharpness_best": float(np.clip(numbers.normal(0.75, 0.3), 0, 2)),
            "episodes_best": log_normal(15, 0.4),
            "overfit_slope": float(numbers.uniform(0.9, 1.55)),
        }
        early = float(numbers.uniform(0.25, 0.5))
        return cls(**world, capacity=early if overfits else 3.0)

    def plain(self) -> dict[str, float]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Transport:
    """What a config's transport does, at the end of a run (the curves lead there)."""

    present: bool = False
    energy: float = 0.0
    scale: float = 1.0
    image: float = 0.0
    label: float = 0.0
    share: float = 0.0
    benefit: float = 0.0
    pinned_mass: float | None = None
    weight: float = 0.0
    objective: str = "energy"
    reg: float = 0.0

    def log_mass(self, energy: Array | float) -> Any:
        """Return the logarithm of the mass at a matched cost."""
        if self.pinned_mass is not None:
            return np.full_like(np.asarray(energy, float), math.log(self.pinned_mass))
        return -np.asarray(energy, float) / self.scale


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a config is worth in a world: its transport, its curve of errors without noise, and its score."""

    transport: Transport
    steps: Array
    errors: Array
    progress: float
    rate: float
    knee: float
    fitted: float
    stopped: bool = False

    @property
    def score(self) -> float:
        """Mean of the last five evaluations, without noise: what counts."""
        return float(self.errors[-EVALUATIONS:].mean())


def truth_of(config: Mapping[str, Any], world: World, recorded: Recorded) -> Truth:
    """Return what a config is worth."""
    config = translate(config).config
    rate = float(value_at(config, learning_rate_path(config)))
    knee = world.rate_best / KNEE
    above = max(0.0, math.log(rate / knee))
    transport = transport_of(config, world, recorded)
    steps = np.arange(EVAL_STEPS, STEPS + 1, EVAL_STEPS, dtype=float)
    progress = steps / STEPS * rate / world.rate_best
    batch = math.log(float(value_at(config, "batch_size")) / world.batch_best)
    fixed = (
        math.log(world.level)
        + 0.5 * above**2 + (4.0 * max(0.0, above - math.log(3 * KNEE)))
        + 0.04 * batch**2
        - world.worth * transport.benefit
        + max(0.0, (transport.share - 0.5) / 0.5)
    )  # fmt: skip
    capacity = world.capacity * _regularised(config)
    over = np.maximum(0.0, np.log((progress + START) / capacity))
    logs = fixed - world.exponent * np.log(progress + START) + world.overfit_slope * over
    errors = np.minimum(np.exp(logs), 3 * FIRST_ERROR)
    # What is fitted on the training data goes on falling where the held-out error rises.
    errors = np.where(over > 0, errors, np.minimum(errors, FIRST_ERROR))
    kept = _kept(config, errors)
    return Truth(
        transport=transport,
        steps=steps[:kept],
        errors=errors[:kept],
        progress=float(progress[-1]),
        rate=rate,
        knee=knee,
        fitted=fixed,
        stopped=kept < len(steps),
    )


def transport_of(config: Mapping[str, Any], world: World, recorded: Recorded) -> Transport:
    """Return what the transport of a config does, or that there is none."""
    ot = config.get("ot") or {}
    if not ot.get("enable", True) or not ot.get("loss_config"):
        return Transport()
    setting = {**asdict(LossConfig(features=())), **ot["loss_config"]}
    terms = [{**asdict(TermConfig(src_key="")), **term} for term in setting["features"]]
    embed = sum(t["term_weight"] * t["weight_embed"] for t in terms)
    label = sum(t["term_weight"] * t["weight_label"] for t in terms)
    if embed + label <= 0:
        return Transport()
    normalised = setting["cost_normalization"] != "none"
    # A normalised term has a mean of its weight; the matched cost is the recorded part of that.
    per_image, per_label = (recorded.matched,) * 2 if normalised else (world.image_cost, world.label_cost)
    image, labels = embed * per_image, label * per_label
    energy = image + labels
    taus = [setting["tau_src"], setting["tau_tgt"]]
    scale = setting["reg"] + sum(1e3 if tau is None else tau for tau in taus)
    pinned = setting["target_mass"]
    mass = float(pinned if pinned is not None else math.exp(-energy / scale))
    given = value_at(config, "ot.lambda_ot")
    energetic = setting["objective"] != "plan_cost"
    factor = recorded.share_per_mass["normalised" if normalised else "raw"] * embed
    weight = float(value_at(config, "ot.target_grad_share")) if given == "auto" else float(given)
    if given == "auto":
        share = weight if energetic or mass > 1e-3 else 0.0
    else:
        odds = weight * factor * (1.0 if energetic else mass)
        share = odds / (1 + odds)
    share /= float(value_at(config, "ot.compute_every_n_steps"))
    ratio = labels / image if image > 0 else math.inf
    return Transport(
        present=True,
        energy=energy,
        scale=scale,
        image=image,
        label=labels,
        share=share,
        benefit=_by_share(share, world) * _by_label(ratio, world) * _by_pairs(ot, world),
        pinned_mass=pinned,
        weight=weight,
        objective=setting["objective"],
        reg=setting["reg"],
    )


def _by_share(share: float, world: World) -> float:
    return math.exp(-0.5 * (math.log(share / world.share_best) / 1.2) ** 2) if share > 0 else 0.0


def _by_label(ratio: float, world: World) -> float:
    if ratio <= 0:
        return 0.6
    if math.isinf(ratio):
        return 0.0
    away = math.log(ratio / world.label_best)
    bump = math.exp(-0.5 * (away / 2.5) ** 2)
    return bump if away > 0 else 0.6 + 0.4 * bump


def _by_pairs(ot: Mapping[str, Any], world: World) -> float:
    body = {"ot": dict(ot)}
    lost = 0.0
    if not value_at(body, "ot.no_window"):
        window, sharpness = value_at(body, "ot.window_size"), value_at(body, "ot.sharpness")
        lost += 0.3 * (1 - _bump((window - world.window_best) / 8))
        lost += 0.2 * (1 - _bump((sharpness - world.sharpness_best) / 0.6))
    else:
        lost += 0.3
    episodes = value_at(body, "ot.topk_src_episodes")
    lost += 0.15 * (1 - _bump(math.log((episodes or 100) / world.episodes_best) / 1.0))
    return 1 - lost


def _bump(away: float) -> float:
    return math.exp(-0.5 * away**2)


def _regularised(config: Mapping[str, Any]) -> float:
    """Return by how much the settings raise the capacity."""
    policy = config.get("policy") or {}
    preset = bool(config.get("use_policy_training_preset", True))
    decay = policy.get("optimizer_weight_decay") if preset else (config.get("optimizer") or {}).get("weight_decay")
    grown = 1 + 0.25 * max(0.0, math.log10(max(float(decay or 1e-6), 1e-6) / 1e-6))
    grown *= 1.5 if (config.get("ema_decay") or 0.0) >= 0.99 else 1.0
    noise = max(float(config.get("state_noise_std") or 0), float(config.get("action_noise_std") or 0))
    return grown * (1 + 0.5 * min(1.0, noise / 0.01))


def _kept(config: Mapping[str, Any], errors: Array) -> int:
    """Return how many evaluations there are before early stopping, if the config has it, ends the run."""
    stopping = config.get("early_stopping")
    if stopping is None:
        return len(errors)
    patience = stopping.get("patience_eval_intervals", EarlyStoppingConfig.patience_eval_intervals)
    best = 0
    for at, error in enumerate(errors):
        if error < errors[best]:
            best = at
        elif at - best >= patience:
            return at + 1
    return len(errors)
