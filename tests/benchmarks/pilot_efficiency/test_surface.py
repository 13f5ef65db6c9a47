"""The surface says what evidence.py claims, and its histories look like runs."""

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.pilot_efficiency.curves import play_trial
from benchmarks.pilot_efficiency.recorded import load, scatter
from benchmarks.pilot_efficiency.starts import BY_NAME, LABEL, STARTS, config_of, healthy
from benchmarks.pilot_efficiency.surface import EVAL_STEPS, LOG_FREQ, STEPS, World, transport_of, truth_of
from otpilot.config.edits import Edit, apply
from otpilot.runs.history import Curve
from otpilot.runs.metric_names import canonical

RECORDED = load()
WORLDS = [World.draw(seed, overfits=False) for seed in range(8)]


def edited(**values):
    edits = [Edit(path=path.replace("__", "."), op="set", value=value) for path, value in values.items()]
    return apply(healthy(), edits)[0]


def test_a_world_is_that_of_its_seed_and_worlds_differ():
    assert World.draw(3, overfits=False) == WORLDS[3]
    assert len({world.rate_best for world in WORLDS}) == len(WORLDS)
    assert World.draw(3, overfits=True) == replace(WORLDS[3], capacity=World.draw(3, overfits=True).capacity)


def test_the_mass_is_that_of_seed_003():
    """Cost 0.0186 at reg 0.02 and tau 0.01 was logged with a mass of 0.652."""
    world = replace(WORLDS[0], image_cost=1e-5, label_cost=0.0186 / 0.02)
    config = edited(ot__loss_config__reg=0.02, ot__loss_config__tau_src=0.01, ot__loss_config__tau_tgt=0.01)
    found = transport_of(config, world, RECORDED)
    assert math.exp(float(found.log_mass(found.energy))) == pytest.approx(0.652, abs=0.03)


@pytest.mark.parametrize("world", WORLDS)
def test_the_best_rate_is_best(world):
    at = {f: truth_of(edited(policy__optimizer_lr=world.rate_best * f), world, RECORDED).score for f in (0.5, 1, 2)}
    assert at[1] < min(at[0.5], at[2])


@pytest.mark.parametrize("start", [s for s in STARTS if not s.overfits], ids=lambda s: s.name)
def test_a_fault_costs(start):
    worse = [truth_of(config_of(start), w, RECORDED).score / truth_of(healthy(), w, RECORDED).score for w in WORLDS]
    assert min(worse) > 1.02


def test_overfitting_turns_the_error_up_and_a_lower_rate_mends_it():
    for seed in range(8):
        world = World.draw(seed, overfits=True)
        errors = truth_of(healthy(), world, RECORDED).errors
        slower = edited(policy__optimizer_lr=1.7e-4 * world.capacity)
        assert truth_of(slower, world, RECORDED).score < errors[-5:].mean()


def test_early_stopping_ends_the_run_behind_its_minimum():
    world = World.draw(0, overfits=True)
    stopped = truth_of(edited(early_stopping={"patience_eval_intervals": 3}), world, RECORDED)
    assert stopped.stopped
    assert len(stopped.errors) == int(np.argmin(stopped.errors)) + 4


def test_a_dead_transport_is_worth_nothing_and_none_is_too():
    dead = transport_of(config_of(BY_NAME["dead_transport"]), WORLDS[0], RECORDED)
    assert dead.benefit < 1e-6
    assert not transport_of(edited(ot__enable=False), WORLDS[0], RECORDED).present
    ruled = transport_of(edited(**{LABEL: 2.0}), WORLDS[0], RECORDED)
    assert ruled.benefit < transport_of(healthy(), WORLDS[0], RECORDED).benefit


@pytest.mark.parametrize("noise", ["quiet", "loud"])
def test_a_history_is_the_same_for_the_same_key_and_named_canonically(noise):
    config, world = config_of(STARTS[0]), WORLDS[0]
    truth = truth_of(config, world, RECORDED)
    one, same, other = (
        play_trial(config, truth, world, RECORDED, key=key, seed=1, noise=noise) for key in ("a", "a", "b")
    )
    assert list(one.curves) == [canonical(name) for name in one.curves]
    loss = {run: run_.curves["train/loss"].values for run, run_ in (("one", one), ("same", same), ("other", other))}
    assert np.array_equal(loss["one"], loss["same"])
    assert not np.array_equal(loss["one"], loss["other"])
    assert one.curves["train/loss"].steps[-1] == STEPS
    assert len(one.curves["train/loss"].steps) == STEPS // LOG_FREQ
    assert len(one.curves["sim/success_mean"].steps) == STEPS // EVAL_STEPS


def test_quiet_runs_differ_by_what_equal_runs_do():
    config, world = healthy(), WORLDS[0]
    truth = truth_of(config, world, RECORDED)
    ends = [
        play_trial(config, truth, world, RECORDED, key=str(n), seed=1, noise="quiet").curves["sim/success_mean"]
        for n in range(3)
    ]
    assert all(0 <= float(curve.values.min()) <= float(curve.values.max()) <= 1 for curve in ends)
    errors = [
        float(
            play_trial(config, truth, world, RECORDED, key=str(n), seed=1, noise="quiet")
            .curves["eval/offline_eval/avg_l1"]
            .values[-5:]
            .mean()
        )
        for n in range(60)
    ]
    assert np.log(errors).std(ddof=1) == pytest.approx(0.006, rel=0.35)


def test_scatter_is_found_again():
    steps = np.arange(1, 801)
    noise = np.random.default_rng(0).normal(0, 0.1, 800)
    assert scatter(Curve(name="x", steps=steps, values=np.exp(noise) * steps**-0.3)) == pytest.approx(0.1, rel=0.15)
