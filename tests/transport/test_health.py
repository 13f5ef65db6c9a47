"""Alarms: once, with cause and fix, and none for a living transport."""

import json
from dataclasses import asdict, replace

import pytest
import torch

from otpilot.config.ot import HealthConfig, LossConfig, TermConfig
from otpilot.transport.cost import Features
from otpilot.transport.health import HealthFigures, HealthMonitor
from otpilot.transport.loss import TransportLoss

TERMS = (
    TermConfig(src_key="image", use_learned_embed=True, weight_embed=1.0),
    TermConfig(src_key="action", weight_label=1.0),
)
SEED = LossConfig(
    features=TERMS, cost_normalization="none", embed_normalization="none", objective="plan_cost", prior="diagonal"
)
HEALTHY = HealthFigures(
    step=0,
    grad_share=0.1,
    mass=0.7,
    feature_variance=1.0,
    term_costs={"image": 0.4, "action": 0.6},
    reg=0.1,
    weight=0.05,
)


def feed(monitor, figures, checks, start=40, every=20):
    return [event for index in range(checks) for event in monitor.check(replace(figures, step=start + index * every))]


def test_a_living_transport_sets_off_nothing():
    assert feed(HealthMonitor(HealthConfig(), LossConfig(features=TERMS)), HEALTHY, 50) == []


def test_a_collapsed_mass_is_dead_and_names_the_term_that_did_it():
    dead = replace(HEALTHY, mass=1e-9, term_costs={"image": 3.0, "action": 1300.0})
    events = feed(HealthMonitor(HealthConfig(), SEED), dead, 30)
    assert [event.kind for event in events] == ["dead"]
    assert events[0].step == 40 + 4 * 20
    for part in ("'action' costs 1.3e+03", "0.1 + 0.5 + 0.5", "cost_normalization = ema", "objective = energy"):
        assert part in events[0].message
    assert events[0].evidence["mass"] == 1e-9
    json.dumps(asdict(events[0]))


def test_a_small_mass_does_not_kill_the_energy_objective():
    config = LossConfig(features=TERMS)
    assert feed(HealthMonitor(HealthConfig(), config), replace(HEALTHY, mass=1e-9), 30) == []


def test_a_small_share_is_dead_and_proposes_a_weight():
    events = feed(HealthMonitor(HealthConfig(), LossConfig(features=TERMS)), replace(HEALTHY, grad_share=0.001), 9)
    assert len(events) == 1
    assert "lambda_ot 0.05 is too small" in events[0].message
    assert "ot.lambda_ot = 5.6 (or auto)" in events[0].message


def test_without_a_learned_term_the_fix_is_to_have_one():
    config = LossConfig(features=TERMS[1:])
    events = feed(HealthMonitor(HealthConfig(), config), replace(HEALTHY, grad_share=0.0), 9)
    assert "use_learned_embed = true" in events[0].message


def test_weight_zero_is_not_dead():
    off = replace(HEALTHY, weight=0.0, grad_share=0.0, mass=0.0)
    assert feed(HealthMonitor(HealthConfig(), SEED), off, 30) == []


@pytest.mark.parametrize("change", [{"grad_share": 0.8}, {"feature_variance": 0.05}])
def test_eating_the_policy(change):
    config = LossConfig(features=TERMS, embed_normalization="none")
    monitor = HealthMonitor(HealthConfig(), config)
    assert feed(monitor, HEALTHY, 1) == []
    events = feed(monitor, replace(HEALTHY, **change), 7, start=60)
    assert [event.kind for event in events] == ["eating"]
    assert events[0].step <= 200
    assert "embed_normalization = batch" in events[0].message
    assert "lambda_ot 0.05" in events[0].message


def test_short_spells_and_the_warm_up_do_not_count():
    monitor = HealthMonitor(HealthConfig(), SEED)
    dead = replace(HEALTHY, mass=1e-9)
    assert feed(monitor, dead, 2, start=0) == []
    for start in (40, 200, 360):
        assert feed(monitor, dead, 4, start=start) == []
        assert feed(monitor, HEALTHY, 1, start=start + 80) == []


def test_an_alarm_sounds_again_only_after_recovery():
    monitor = HealthMonitor(HealthConfig(), SEED)
    dead = replace(HEALTHY, mass=1e-9)
    assert len(feed(monitor, dead, 20)) == 1
    assert feed(monitor, HEALTHY, 4, start=500) == []
    assert feed(monitor, dead, 20, start=600) == []
    assert feed(monitor, HEALTHY, 5, start=1100) == []
    assert len(feed(monitor, dead, 20, start=1300)) == 1


def test_the_state_survives_json():
    one = HealthMonitor(HealthConfig(), SEED)
    feed(one, replace(HEALTHY, mass=1e-9), 4)
    two = HealthMonitor(HealthConfig(), SEED)
    two.load_state_dict(json.loads(json.dumps(one.state_dict())))
    assert len(two.check(replace(HEALTHY, mass=1e-9, step=120))) == 1


def test_figures_come_out_of_a_transport_result():
    gen = torch.Generator().manual_seed(0)
    side = lambda: {
        "image": Features(embed=torch.randn(4, 8, generator=gen)),
        "action": Features(label=30.0 * torch.randn(4, 8, generator=gen)),
    }
    result = TransportLoss(SEED)(side(), side(), step=3)
    figures = HealthFigures.from_result(result.figures, step=3, grad_share=0.2, reg=0.1, weight=0.01)
    assert figures.mass == pytest.approx(result.plan.mass.item())
    assert figures.term_costs["action"] == pytest.approx(float(result.figures["ot_cost/action"]), rel=1e-5)
    assert figures.term_costs["action"] > 100.0 * figures.term_costs["image"]
    assert figures.feature_variance == pytest.approx(1.0, rel=0.5)
