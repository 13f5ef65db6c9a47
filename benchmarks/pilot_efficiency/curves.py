"""A whole run's history from what its config is worth: curves under the canonical names, with the recorded scatter."""

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from benchmarks.pilot_efficiency.recorded import Recorded
from benchmarks.pilot_efficiency.surface import EVAL_STEPS, LOG_FREQ, Array, Transport, Truth, World
from otpilot.runs.history import Curve, RunHistory

Noise = Literal["quiet", "loud"]
REPEAT, SEEDS = 0.006, 0.12
"""Standard deviations of a run's error: between equal runs, and over seeds (docs/pilot-statistics.md)."""
EPISODES = 20
HALF_SUCCESS = 0.15
"""Error at which half of the episodes succeed; success decides nothing here."""
GRADIENT = 6.0
SPIKES = 0.08


def play_trial(
    config: Mapping[str, Any], truth: Truth, world: World, recorded: Recorded, *, key: str, seed: int, noise: Noise
) -> RunHistory:
    """Return the history of one trial; the same for the same key, which tells world, config and seed."""
    numbers = np.random.default_rng(np.frombuffer(key.encode(), np.uint8))
    shared = np.random.default_rng([seed, 12]).standard_normal()
    steps = np.arange(LOG_FREQ, int(truth.steps[-1]) + 1, LOG_FREQ)
    scatter = recorded.scatter
    curves: dict[str, Array] = _training(truth, world, steps, scatter, numbers)
    if truth.transport.present:
        curves |= _transport(truth.transport, curves["train/loss"], steps, scatter, numbers)
    made = {name: Curve(name=name, steps=steps, values=values) for name, values in curves.items()}
    made |= _evaluations(truth, scatter, numbers, shared=shared, noise=noise)
    return RunHistory(
        id="run",
        name="run",
        source="surrogate",
        state="stopped_early" if truth.stopped else "finished",
        reason="early stopping" if truth.stopped else "all steps done",
        config=config,
        curves=made,
    )


def _training(
    truth: Truth, world: World, steps: Array, scatter: Mapping[str, float], numbers: np.random.Generator
) -> dict[str, Array]:
    done = steps / steps[-1] * truth.progress * (steps[-1] / truth.steps[-1])
    fitted = np.minimum(0.5 * np.exp(truth.fitted) * (done + 0.02) ** -world.exponent, 0.7)
    loss = fitted * np.exp(scatter["train/loss"] * numbers.standard_normal(len(steps)))
    norm = GRADIENT * (0.1 + 0.9 * fitted / fitted[0]) / (0.1 + fitted[-1] / fitted[0])
    norm = norm * np.exp(scatter["train/grad_norm"] * numbers.standard_normal(len(steps)))
    # A rate above the knee makes gradients jump; how often is assumed.
    jumps = numbers.random(len(steps)) < SPIKES * max(0.0, math.log(truth.rate / truth.knee) - 0.45)
    return {
        "train/loss": loss,
        "train/grad_norm": np.where(jumps, 20 * norm, norm),
        "train/lr": np.full(len(steps), truth.rate),
    }


def _transport(
    found: Transport, loss: Array, steps: Array, scatter: Mapping[str, float], numbers: np.random.Generator
) -> dict[str, Array]:
    count = len(steps)
    draw = lambda name: np.exp(min(scatter[name], 1.0) * numbers.standard_normal(count))
    # Real costs fall some four times over the first steps, whatever the transport does; a live one lowers them more.
    fall = 1 + 3 * np.exp(-steps / 150.0)
    pull = 1 - 0.5 * min(1.0, 5 * found.share) * (1 - np.exp(-steps / 600.0))
    image = found.image * fall * pull * draw("train/ot_cost/image")
    label = found.label * draw("train/ot_cost/action_lbl")
    energy = (found.image * fall * pull + found.label) * draw("train/ot_energy")
    log_mass = np.minimum(found.log_mass(energy), 0.0)
    mass = np.exp(log_mass)
    share = np.minimum(0.99, found.share * np.exp(0.3 * numbers.standard_normal(count)))
    share = np.where(np.arange(count) % 2 == 1, share, np.nan)
    loss_ot = energy if found.objective != "plan_cost" else mass * energy
    loss += 0.05 * found.weight * loss_ot
    raw_image, raw_label = image / 0.09, label / 0.09
    return {
        "train/ot_loss": loss_ot,
        "train/ot_pi_sum": mass,
        "train/ot_pi_diag": mass.copy(),
        "train/ot_log_mass": log_mass,
        "train/ot_energy": energy,
        "train/ot_cost/image": raw_image,
        "train/ot_cost/action_lbl": raw_label,
        "train/ot_cost_share/image": image / (image + label),
        "train/ot_cost_share/action_lbl": label / (image + label),
        "train/ot_feature_var": 0.8 * draw("train/ot_energy") ** 0.3,
        "train/ot_grad_share": share,
    }


def _evaluations(
    truth: Truth, scatter: Mapping[str, float], numbers: np.random.Generator, *, shared: float, noise: Noise
) -> dict[str, Curve]:
    own = numbers.standard_normal()
    points = numbers.standard_normal(len(truth.steps))
    if noise == "quiet":
        level = SEEDS * shared + REPEAT * own
        jitter = 0.0 * points
    else:
        level = SEEDS * math.sqrt(0.5) * (shared + own)
        jitter = scatter["eval/offline_eval/avg_l1"] * points
    errors = truth.errors * np.exp(level + jitter)
    success = numbers.binomial(EPISODES, 1 / (1 + (errors / HALF_SUCCESS) ** 3)) / EPISODES
    steps = np.arange(EVAL_STEPS, int(truth.steps[-1]) + 1, EVAL_STEPS)
    values = {
        "eval/offline_eval/avg_loss": errors,
        "eval/offline_eval/avg_l1": errors.copy(),
        "sim/success_mean": success,
    }
    return {name: Curve(name=name, steps=steps, values=found) for name, found in values.items()}
