"""Calibration on collected term costs."""

import math
from dataclasses import replace

import pytest
import torch

from otpilot.config.ot import LossConfig, TermConfig
from otpilot.errors import TransportError
from otpilot.transport.calibrate import combine_terms, describe_terms, judge, propose, sweep

TERMS = (
    TermConfig(src_key="image", use_learned_embed=True, weight_embed=1.0),
    TermConfig(src_key="action", weight_label=1.0, term_weight=2.0),
)
NEW = LossConfig(features=TERMS)
SEED = LossConfig(
    features=TERMS, cost_normalization="none", embed_normalization="none", objective="plan_cost", prior="diagonal"
)


def collected(image=1.0, action=1.0, count=6, n=8):
    gen = torch.Generator().manual_seed(0)
    points = lambda: torch.randn(count, n, 5, generator=gen)
    near = lambda x: x + 0.5 * points()
    raw = {}
    for name, unit in (("image", image), ("action", action)):
        x = points()
        raw[name] = torch.cdist(x, near(x)) ** 2 * unit / 12.5
    return raw


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("start", [NEW, SEED])
def test_the_proposal_lands_in_the_wanted_mass_in_any_unit(unit, start):
    raw = collected(unit, unit * 100.0)
    proposal = propose(start, raw, target_mass=0.7)
    assert 0.6 <= proposal.mass <= 0.8
    config = replace(start, **proposal.settings)
    verdict = judge(config, raw)
    assert verdict.state == "alive"
    assert verdict.mass == pytest.approx(proposal.mass, rel=1e-3)


def test_seed_settings_on_raw_costs_are_dead_and_the_reason_names_the_term():
    verdict = judge(SEED, collected(1.0, 1300.0))
    assert verdict.state == "dead"
    assert verdict.log_mass < -50.0
    for part in ("'action'", "reg 0.1, tau_src 0.5, tau_tgt 0.5", "diagonal prior"):
        assert part in verdict.reason
    assert judge(NEW, collected(1.0, 1300.0)).state == "alive"


def test_statistics_of_the_terms():
    raw = collected(1.0, 50.0)
    image, action = describe_terms(SEED, raw)
    assert (image.name, action.name) == ("image", "action")
    assert action.mean == pytest.approx(raw["action"].mean().item(), rel=1e-6)
    assert action.spread == pytest.approx(raw["action"].std(correction=0).item(), rel=1e-5)
    assert image.share + action.share == pytest.approx(1.0)
    assert action.share == pytest.approx(2 * action.mean / (2 * action.mean + image.mean))
    assert describe_terms(NEW, raw)[1].share == pytest.approx(2.0 / 3.0)


def test_the_grid_says_what_strengths_do():
    cost = combine_terms(NEW, collected())
    cells = {(cell.reg, cell.tau): cell for cell in sweep(NEW, cost, regs=(0.01, 1.0), taus=(0.05, 5.0))}
    assert len(cells) == 4
    assert all(cell.converged for cell in cells.values())
    assert cells[0.01, 0.05].mass < cells[0.01, 5.0].mass
    assert cells[0.01, 5.0].entropy < cells[1.0, 5.0].entropy <= 2.0 * math.log(8.0)
    assert cells[0.01, 5.0].unmatched_src < cells[0.01, 0.05].unmatched_src
    assert cells[0.01, 5.0].diag_share > 0.5


def test_rectangular_costs_have_no_diagonal():
    cost = torch.rand(2, 3, 5) + 0.1
    config = replace(NEW, prior="product")
    (cell,) = sweep(config, cost, regs=(0.1,), taus=(0.5,))
    assert math.isnan(cell.diag_share)
    assert propose(config, {"image": cost}).settings["prior"] == "product"


def test_unknown_and_broken_terms_are_named():
    with pytest.raises(TransportError, match="no term 'depth'"):
        combine_terms(NEW, {"depth": torch.ones(1, 2, 2)})
    with pytest.raises(TransportError, match="'action' is not finite"):
        combine_terms(NEW, {"action": torch.full((1, 2, 2), math.nan)})
    with pytest.raises(TransportError, match="at least one term"):
        combine_terms(NEW, {})
