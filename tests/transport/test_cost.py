"""The ground cost: distances against loops, terms, normalisation and its state."""

import pytest
import torch

from otpilot.config.ot import LossConfig, TermConfig
from otpilot.errors import TransportError
from otpilot.transport import cost as cost_module
from otpilot.transport.cost import CostModel, Features, distances, normalize_embeddings, squared_distances

GEN = torch.Generator().manual_seed(0)
X, Y = (torch.randn(k, 6, generator=GEN, dtype=torch.float64) for k in (5, 4))


@pytest.mark.parametrize("direct", [True, False])
def test_distances_equal_a_loop(monkeypatch, direct):
    monkeypatch.setattr(cost_module, "DIRECT_LIMIT", 10**9 if direct else 0)
    loop = torch.stack([torch.stack([((x - y) ** 2).sum() for y in Y]) for x in X])
    torch.testing.assert_close(squared_distances(X, Y), loop, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(distances(X, Y, "l2"), loop.sqrt(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("kind", ["l2", "l2_squared"])
def test_distances_are_differentiable_also_where_rows_coincide(monkeypatch, direct, kind):
    monkeypatch.setattr(cost_module, "DIRECT_LIMIT", 10**9 if direct else 0)
    assert torch.autograd.gradcheck(lambda x: distances(x, Y, kind), (X.clone().requires_grad_(),))
    x = X.clone().requires_grad_()
    same = distances(x, X[:2], kind)
    assert same.min() >= 0.0
    same.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_far_from_the_origin_nothing_cancels(monkeypatch):
    monkeypatch.setattr(cost_module, "DIRECT_LIMIT", 0)
    near = squared_distances(X.float(), Y.float())
    far = squared_distances((X + 1000.0).float(), (Y + 1000.0).float())
    torch.testing.assert_close(near, far, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["batch", "layer", "cosine"])
def test_normalised_embeddings_cost_about_one_whatever_the_dimension(kind):
    for width in (8, 4096):
        src, tgt = (torch.randn(32, width, generator=GEN) * 50.0 for _ in range(2))
        mean = squared_distances(*normalize_embeddings(src, tgt, kind)).mean()
        assert 1.5 < mean.item() < 2.5


def test_batch_normalisation_standardises_both_domains_together():
    src, tgt = normalize_embeddings(X, Y + 3.0, "batch")
    both = torch.cat([src, tgt]) * 6**0.5
    torch.testing.assert_close(both.mean(0), torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(both.var(0, correction=0), torch.ones(6, dtype=torch.float64), rtol=1e-3, atol=0)
    assert (src.mean(0) - tgt.mean(0)).abs().min() > 0.1


@pytest.mark.parametrize("kind", ["batch", "layer", "cosine"])
def test_embedding_normalisation_is_differentiable_also_when_constant(kind):
    def function(x):
        return normalize_embeddings(x, Y, kind)[0]

    assert torch.autograd.gradcheck(function, (X.clone().requires_grad_(),))
    constant = torch.full((4, 3), 2.0, requires_grad=True)
    squared_distances(*normalize_embeddings(constant, torch.full((4, 3), 2.0), kind)).sum().backward()
    assert torch.isfinite(constant.grad).all()


def features(embed, label):
    return {"image": Features(embed=embed), "action": Features(label=label)}


def test_terms_add_up_with_their_weights():
    terms = (
        TermConfig(src_key="image", use_learned_embed=True, weight_embed=0.5, term_weight=2.0),
        TermConfig(src_key="action", weight_label=3.0, dim_slice=(1, 3), term_name="reach"),
        TermConfig(src_key="image", weight_label=1.0, term_weight=0.0, term_name="off"),
    )
    config = LossConfig(features=terms, cost_normalization="none", embed_normalization="none")
    actions = [torch.randn(k, 7, 4, generator=GEN, dtype=torch.float64) for k in (5, 4)]
    cost = CostModel(config)(features(X, actions[0]), features(Y, actions[1]), step=0)
    image = 0.5 * torch.cdist(X, Y) ** 2
    reach = 3.0 * torch.cdist(actions[0][..., 1:3].flatten(1), actions[1][..., 1:3].flatten(1)) ** 2
    torch.testing.assert_close(cost.matrix, 2.0 * image + reach)
    assert set(cost.raw_mean) == {"image", "reach"}
    assert cost.raw_mean["image"].item() == pytest.approx(image.mean().item())
    assert cost.share["reach"].item() == pytest.approx((reach.mean() / cost.matrix.mean()).item())
    assert cost.feature_variance["image"].item() == pytest.approx(torch.cat([X, Y]).var(0, correction=0).mean().item())


def test_the_running_mean_is_corrected_and_its_own():
    terms = (TermConfig(src_key="action", weight_label=1.0),)
    model = CostModel(LossConfig(features=terms, cost_ema_decay=0.5))
    zero = torch.zeros(1, 1)
    costs = []
    for value in (2.0, 4.0, 1.0):
        side = {"action": Features(label=torch.full((1, 1), value))}
        costs.append(model(side, {"action": Features(label=zero)}, step=0).matrix.item())
    weighted = [4.0, (0.25 * 4 + 0.5 * 16) / 0.75, (0.125 * 4 + 0.25 * 16 + 0.5 * 1) / 0.875]
    assert costs == pytest.approx([4 / weighted[0], 16 / weighted[1], 1 / weighted[2]], rel=1e-6)


def test_labels_send_no_gradient():
    label = torch.randn(4, 3, requires_grad=True)
    terms = (TermConfig(src_key="action", weight_label=1.0),)
    cost = CostModel(LossConfig(features=terms))(features(None, label), features(None, label), step=0)
    assert not cost.matrix.requires_grad


def test_a_cost_of_zero_stays_zero():
    terms = (TermConfig(src_key="action", weight_label=1.0),)
    same = {"action": Features(label=torch.ones(3, 2))}
    cost = CostModel(LossConfig(features=terms))(same, same, step=0)
    assert torch.equal(cost.matrix, torch.zeros(3, 3))
    assert cost.share["action"].item() == 0.0


def test_foreign_states_are_refused():
    model = CostModel(LossConfig(features=(TermConfig(src_key="action", weight_label=1.0),)))
    with pytest.raises(TransportError, match="Did you mean 'action'"):
        model.load_state_dict({"actions": {"mean": 1.0, "steps": 3}})
