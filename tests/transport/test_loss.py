"""TransportLoss: features in, a loss with gradient and named figures out, for every method and setting."""

import itertools
import math

import pytest
import torch

from otpilot.config.ot import LossConfig, TermConfig
from otpilot.errors import TransportError
from otpilot.transport.cost import Features
from otpilot.transport.loss import TransportLoss

TERMS = (
    TermConfig(src_key="image", use_learned_embed=True, weight_embed=1.0),
    TermConfig(src_key="action", weight_label=0.5, dim_slice=(0, 2)),
)


def batch(seed: int, n: int = 6, m: int = 6, unit: float = 1.0, dtype=torch.float32):
    gen = torch.Generator().manual_seed(seed)

    def side(rows):
        embed = (torch.randn(rows, 3, 4, generator=gen, dtype=dtype) * unit).requires_grad_()
        label = torch.randn(rows, 5, 3, generator=gen, dtype=dtype) * unit
        return {"image": Features(embed=embed), "action": Features(label=label)}

    return side(n), side(m)


@pytest.mark.parametrize("method", ["ot", "paired", "energy_distance", "mmd", "coral"])
def test_every_method_gives_a_finite_loss_and_gradients_to_both_domains(method):
    src, tgt = batch(0)
    result = TransportLoss(LossConfig(features=TERMS), method)(src, tgt, step=0)
    result.loss.backward()
    assert result.loss.shape == ()
    for side in (src, tgt):
        assert torch.isfinite(side["image"].embed.grad).all()
        assert side["image"].embed.grad.abs().sum() > 0


def test_none_is_zero_and_sends_no_gradient():
    src, tgt = batch(0)
    result = TransportLoss(LossConfig(features=TERMS), "none")(src, tgt, step=0)
    assert result.loss.item() == 0.0
    assert not result.loss.requires_grad


def test_figures_are_named_and_consistent():
    src, tgt = batch(1)
    config = LossConfig(features=TERMS)
    result = TransportLoss(config)(src, tgt, step=0)
    figures = result.figures
    named = ["loss", "pi_sum", "pi_diag", "energy", "plan_cost", "diag_share", "entropy", "unmatched_src"]
    named += ["iterations", "gap", "feature_var"]
    assert {f"ot_{name}" for name in named} <= set(figures)
    assert {"ot_cost/image", "ot_cost/action"} <= set(figures)
    assert float(figures["ot_pi_diag"]) == pytest.approx(
        float(figures["ot_diag_share"]) * float(figures["ot_pi_sum"]), rel=1e-5
    )
    shares = float(figures["ot_cost_share/image"]) + float(figures["ot_cost_share/action"])
    assert shares == pytest.approx(1.0, rel=1e-5)
    strength = config.reg + config.tau_src + config.tau_tgt
    assert float(figures["ot_energy"]) == pytest.approx(-strength * math.log(float(figures["ot_pi_sum"])), rel=1e-4)


@pytest.mark.parametrize("unit", [1e-6, 1e-3, 1e3, 1e6])
@pytest.mark.parametrize("method", ["ot", "paired"])
def test_the_running_mean_makes_loss_and_plan_free_of_the_unit(unit, method):
    config = LossConfig(features=TERMS, embed_normalization="none")
    losses, reference = TransportLoss(config, method), TransportLoss(config, method)
    for step in range(3):
        scaled = losses(*batch(step, unit=unit, dtype=torch.float64), step=step)
        plain = reference(*batch(step, dtype=torch.float64), step=step)
        torch.testing.assert_close(scaled.loss, plain.loss, rtol=1e-9, atol=0)
        if plain.plan is not None:
            torch.testing.assert_close(scaled.plan.unit_plan, plain.plan.unit_plan, rtol=1e-7, atol=1e-12)


def test_resuming_from_the_state_is_bit_identical():
    whole = TransportLoss(LossConfig(features=TERMS))
    for step in range(3):
        whole(*batch(step), step=step)
    resumed = TransportLoss(LossConfig(features=TERMS))
    resumed.load_state_dict(whole.state_dict())
    for step in range(3, 6):
        assert torch.equal(whole(*batch(step), step=step).loss, resumed(*batch(step), step=step).loss)


def test_update_false_leaves_the_running_means_alone():
    loss = TransportLoss(LossConfig(features=TERMS))
    loss(*batch(0), step=0)
    before = loss.state_dict()
    loss(*batch(1, unit=10.0), step=1, update=False)
    assert loss.state_dict() == before


def test_swapping_the_domains_swaps_the_plan():
    config = LossConfig(features=TERMS, prior="product", tau_src=0.3, tau_tgt=2.0, tolerance=1e-6)
    swapped = LossConfig(features=TERMS, prior="product", tau_src=2.0, tau_tgt=0.3, tolerance=1e-6)
    src, tgt = batch(3, n=5, m=8, dtype=torch.float64)
    one, two = TransportLoss(config)(src, tgt, step=0), TransportLoss(swapped)(tgt, src, step=0)
    torch.testing.assert_close(one.plan.unit_plan, two.plan.unit_plan.mT, rtol=0, atol=1e-6)
    torch.testing.assert_close(one.loss, two.loss, rtol=1e-9, atol=0)


@pytest.mark.parametrize("objective", ["plan_cost", "uot", "energy"])
def test_target_mass_is_reached(objective):
    config = LossConfig(features=TERMS, target_mass=0.7, objective=objective, cost_normalization="none")
    for unit in (1e-3, 1.0, 1e3):
        result = TransportLoss(config)(*batch(0, unit=unit), step=0)
        assert float(result.figures["ot_pi_sum"]) == pytest.approx(0.7, rel=2e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("method", ["ot", "mmd"])
def test_features_that_are_not_finite_name_term_and_step(value, method):
    src, tgt = batch(0)
    broken = src["image"].embed.detach().clone()
    broken[2, 1, 1] = value
    src["image"] = Features(embed=broken)
    with pytest.raises(TransportError, match=r"(image|embeddings).* step 17"):
        TransportLoss(LossConfig(features=TERMS), method)(src, tgt, step=17)


def test_missing_and_misfit_features_are_named():
    loss = TransportLoss(LossConfig(features=TERMS))
    src, tgt = batch(0)
    with pytest.raises(TransportError, match="'actions'"):
        loss({"image": src["image"], "actions": src["action"]}, tgt, step=0)
    with pytest.raises(TransportError, match="embed"):
        loss({**src, "image": Features(label=src["action"].label)}, tgt, step=0)
    with pytest.raises(TransportError, match="no rows"):
        loss({**src, "image": Features(embed=torch.zeros(0, 3, 4))}, tgt, step=0)
    with pytest.raises(TransportError, match="width"):
        loss({**src, "image": Features(embed=torch.zeros(6, 3, 5))}, tgt, step=0)
    with pytest.raises(TransportError, match="dim_slice"):
        loss({**src, "action": Features(label=torch.zeros(6, 5, 1))}, tgt, step=0)
    with pytest.raises(TransportError, match=r"mixed.*6 and 4"):
        loss(src, batch(0, m=4)[1], step=0)
    with pytest.raises(TransportError, match="no term"):
        TransportLoss(LossConfig())


def test_detach_cost_grad_shapes_the_plan_but_sends_no_gradient():
    terms = (TermConfig(src_key="image", use_learned_embed=True, weight_embed=1.0, detach_cost_grad=True),)
    src, tgt = batch(0)
    result = TransportLoss(LossConfig(features=terms))(src, tgt, step=0)
    assert not result.loss.requires_grad
    assert result.plan.diag_share < 1.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_and_autocast(dtype):
    src, tgt = batch(0)
    exact = TransportLoss(LossConfig(features=TERMS))(src, tgt, step=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = TransportLoss(LossConfig(features=TERMS))(src, tgt, step=0)
    assert torch.equal(exact.loss, cast.loss)
    half = [
        {k: Features(**{f: v.detach().to(dtype) for f, v in vars(x).items() if v is not None}) for k, x in side.items()}
        for side in (src, tgt)
    ]
    rounded = TransportLoss(LossConfig(features=TERMS))(*half, step=0)
    assert rounded.loss.dtype == torch.float32
    torch.testing.assert_close(rounded.loss, exact.loss.detach(), rtol=0.03, atol=0)


@pytest.mark.parametrize(("kind", "cost"), list(itertools.product(["batch", "layer", "cosine"], ["l2", "l2_squared"])))
def test_shrinking_normalised_embeddings_changes_nothing(kind, cost):
    terms = TERMS[:1]
    config = LossConfig(features=terms, embed_normalization=kind, cost_normalization="none", cost=cost)
    results = []
    for unit in (1.0, 1e-3):
        src, tgt = batch(0, unit=unit, dtype=torch.float64)
        result = TransportLoss(config)(src, tgt, step=0)
        result.loss.backward()
        inward = sum((side["image"].embed * side["image"].embed.grad).sum() for side in (src, tgt))
        results.append(result.loss.item())
        assert abs(inward.item()) < 1e-8
    assert results[0] == pytest.approx(results[1], rel=1e-6)


@pytest.mark.parametrize("method", ["mmd", "energy_distance", "coral"])
def test_baselines_do_not_move_what_a_term_detaches(method):
    terms = tuple(
        TermConfig(src_key=key, use_learned_embed=True, weight_embed=1.0, detach_cost_grad=key == "wrist")
        for key in ("image", "wrist")
    )
    sides = batch(0)
    for side in sides:
        side["wrist"] = Features(embed=side["image"].embed.detach().clone().requires_grad_(True))
    TransportLoss(LossConfig(features=terms), method)(*sides, step=0).loss.backward()
    assert sides[0]["image"].embed.grad.abs().sum() > 0
    assert sides[0]["wrist"].embed.grad is None


def test_a_scaled_cost_that_is_not_finite_is_told_as_what_it_is():
    """Only identical rows: however much the cost of the others is scaled, the mass stays."""
    terms = (TermConfig(src_key="action", weight_label=1.0),)
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    same = {"action": Features(label=rows)}
    with pytest.raises(TransportError, match=r"Step 3.*target_mass 0\.05 cannot be reached: the mass stays at"):
        TransportLoss(LossConfig(features=terms, target_mass=0.05))(same, same, step=3)
