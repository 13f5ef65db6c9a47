"""Losses on discrete action dimensions, against the formula written out on the policy's own loss."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from otpilot.config.training import DiscreteActionsConfig
from otpilot.data.domains import open_domains
from otpilot.errors import ConfigError
from otpilot.training.discrete import DiscreteActions, Levels, find_levels, make_discrete
from otpilot.training.inputs import InputPipeline
from otpilot.training.parts import build_parts
from tests.training.test_evaluate import TINY_DIFFUSION

LEVELS = (Levels(dim=1, values=np.array([-1.0, 3.0]), weights=np.array([0.5, 5.0])),)


@pytest.fixture(scope="module")
def policies(world, tmp_path_factory):
    """Return policies by name, in training mode, with one preprocessed batch each whose second action is discrete."""
    from otpilot.config.schema import load_config

    made = {}
    for name, policy in (
        ("act", None),
        ("vae", {"use_vae": True}),
        ("epsilon", {**TINY_DIFFUSION, "do_mask_loss_for_padding": True}),
        ("sample", {**TINY_DIFFUSION, "prediction_type": "sample"}),
    ):
        root = tmp_path_factory.mktemp(name)
        changes = (
            {"policy": policy} if policy and "type" in policy else {f"policy.{k}": v for k, v in (policy or {}).items()}
        )
        config = load_config(
            [f"--config_path={world.write(root / 'c.json', **changes)}", f"--output_dir={root / 'run'}"]
        )
        domains = open_domains(config.config)
        torch.manual_seed(0)
        parts = build_parts(config.config, domains.target.reader.meta, domains.stats)
        frames = np.array([0, 3, domains.target.reader.episode_stops[0] - 2])  # the last chunk is padded
        inputs = InputPipeline(torch.device("cpu"), parts.preprocessor)
        batch = inputs(domains.target.reader.rows(frames))
        batch["action"][..., 1] = torch.where(torch.rand(batch["action"].shape[:2]) < 0.3, 3.0, -1.0)
        parts.policy.train()
        made[name] = (parts.policy, batch, domains, inputs)
    return made


def losses(policy, batch, config, levels=LEVELS):
    """Return the policy's loss on the shifted batch, and the correction, of the same draws."""
    discrete = DiscreteActions(policy, config, levels)
    torch.manual_seed(3)
    with discrete:
        loss, _ = policy.forward(dict(discrete.shifted(batch)))
    return loss, discrete.correction(batch)


@pytest.mark.parametrize("name", ["act", "vae", "epsilon", "sample"])
def test_neutral_settings_change_no_bit(policies, name):
    policy, batch, *_ = policies[name]
    torch.manual_seed(3)
    plain, _ = policy.forward(dict(batch))
    loss, correction = losses(policy, batch, DiscreteActionsConfig(discrete_dims=(1,)))
    assert torch.equal(loss + correction, plain)


@pytest.mark.parametrize("name", ["act", "vae", "epsilon", "sample"])
def test_weight_zero_removes_the_dimension(policies, name):
    """What stays does not depend on the discrete dimension's target any more; no gradient reaches its output."""
    policy, batch, *_ = policies[name]
    config = DiscreteActionsConfig(discrete_dims=(1,), weight=0.0)
    discrete = DiscreteActions(policy, config, LEVELS)
    torch.manual_seed(3)
    with discrete:
        loss, _ = policy.forward(dict(batch))
    predicted = discrete._trace.predicted
    (gradient,) = torch.autograd.grad(loss + discrete.correction(batch), predicted)
    torch.testing.assert_close(gradient[..., 1], torch.zeros_like(gradient[..., 1]), atol=1e-6, rtol=0)
    assert gradient[..., 0].abs().sum() > 0


def test_act_follows_the_formula(policies):
    policy, batch, *_ = policies["act"]
    config = DiscreteActionsConfig(
        discrete_dims=(1,), label_smoothing=0.2, focal_gamma=1.5, class_balance=True, weight=2.0
    )
    loss, correction = losses(policy, batch, config)
    torch.manual_seed(3)
    predicted = policy.model({**batch, "observation.images": [batch["observation.images.top"]]})[0]
    target = batch["action"].clone()
    target[..., 1] += 0.2 * (1.0 - target[..., 1])  # the middle of -1 and 3
    error = (predicted - target).abs()
    weights = torch.where(batch["action"][..., 1] > 1.0, 5.0, 0.5)
    error[..., 1] = 2.0 * weights * (error[..., 1] / 4.0) ** 1.5 * error[..., 1]
    valid = ~batch["action_is_pad"]
    expected = (error * valid[..., None]).sum() / (valid.sum() * error.shape[-1])
    assert not valid.all()
    torch.testing.assert_close(loss + correction, expected)


@pytest.mark.parametrize(("name", "gamma"), [("epsilon", 0.0), ("sample", 0.0), ("sample", 2.0)])
def test_diffusion_follows_the_formula(policies, name, gamma, monkeypatch):
    policy, batch, *_ = policies[name]
    config = DiscreteActionsConfig(
        discrete_dims=(1,), label_smoothing=0.1, focal_gamma=gamma, class_balance=True, weight=3.0
    )
    seen = {}
    mse = torch.nn.functional.mse_loss

    def spy(pred, target, reduction):
        seen.update(pred=pred, target=target)
        return mse(pred, target, reduction=reduction)

    monkeypatch.setattr("lerobot.policies.diffusion.modeling_diffusion.F.mse_loss", spy)
    loss, correction = losses(policy, batch, config)
    square = (seen["pred"] - seen["target"]) ** 2
    weights = torch.where(batch["action"][..., 1] > 1.0, 5.0, 0.5)
    focal = (square[..., 1].sqrt() / 4.0) ** gamma
    square[..., 1] = 3.0 * weights * focal * square[..., 1]
    valid = ~batch["action_is_pad"] if name == "epsilon" else torch.ones_like(batch["action_is_pad"])
    expected = (square * valid[..., None]).sum() / (valid.sum() * square.shape[-1])
    torch.testing.assert_close(loss + correction, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gradients_are_finite_where_the_error_is_zero(policies, gamma):
    policy, batch, *_ = policies["act"]
    discrete = DiscreteActions(policy, DiscreteActionsConfig(discrete_dims=(1,), focal_gamma=gamma), LEVELS)
    predicted = batch["action"].clone().requires_grad_(True)
    discrete._trace._caught = ((), (predicted, None))
    (gradient,) = torch.autograd.grad(discrete.correction(batch), predicted)
    assert torch.isfinite(gradient).all()


def test_padded_elements_do_not_count(policies):
    policy, batch, *_ = policies["act"]
    config = DiscreteActionsConfig(discrete_dims=(1,), class_balance=True, weight=4.0)
    _, before = losses(policy, batch, config)
    changed = {**batch, "action": batch["action"].clone()}
    changed["action"][batch["action_is_pad"]] = 77.0
    _, after = losses(policy, changed, config)
    torch.testing.assert_close(before, after)


def test_source_rows_have_their_own_levels(policies):
    policy, batch, *_ = policies["act"]
    config = DiscreteActionsConfig(discrete_dims=(1,), label_smoothing=1.0)
    other = (Levels(dim=1, values=np.array([0.0, 20.0]), weights=np.array([1.0, 1.0])),)
    discrete = DiscreteActions(policy, config, LEVELS, source_levels=other)
    moved = discrete.shifted(batch, np.array([False, True, False]))["action"][..., 1]
    assert (moved[[0, 2]] == 1.0).all()
    assert (moved[1] == 10.0).all()


def test_epsilon_prediction_refuses_focal(policies):
    policy, *_ = policies["epsilon"]
    with pytest.raises(ConfigError, match=r"focal_gamma is 2\.0, but this Diffusion policy predicts noise"):
        DiscreteActions(policy, DiscreteActionsConfig(discrete_dims=(1,), focal_gamma=2.0), LEVELS)


def test_levels_of_the_dataset_reach_the_loss_in_normalised_units(policies):
    policy, _, domains, inputs = policies["act"]
    assert make_discrete(policy, None, domains, inputs) is None
    assert make_discrete(policy, DiscreteActionsConfig(), domains, inputs) is None
    with pytest.raises(ConfigError, match=r"names dimension 7, but the actions have 3 \(0 to 2\)"):
        make_discrete(policy, DiscreteActionsConfig(discrete_dims=(7,)), domains, inputs)
    discrete = make_discrete(policy, DiscreteActionsConfig(discrete_dims=(2,)), domains, inputs)
    column = domains.target.reader.column("action")[:, 2].numpy()
    stats = domains.stats["action"]
    expected = (np.array([column.min(), column.max()]) - stats["mean"][2]) / stats["std"][2]
    np.testing.assert_allclose(discrete._levels[0].values[[0, -1]], expected, rtol=1e-4)


def test_a_dimension_of_one_value_is_not_discrete():
    with pytest.raises(ConfigError, match=r"dimension 0, whose only value in the target dataset is \[2\.0\]"):
        find_levels(np.full((5, 1), 2.0), (0,))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=60).filter(lambda x: len(set(x)) > 1))
def test_class_weights_are_one_in_the_mean_and_balance_the_levels(column):
    (level,) = find_levels(np.array(column)[:, None], (0,))
    counts = np.array([column.count(value) for value in level.values])
    assert (counts * level.weights).sum() / len(column) == pytest.approx(1.0)
    assert np.ptp(counts * level.weights) == pytest.approx(0.0, abs=1e-9)


def test_a_continuous_dimension_has_the_levels_at_its_ends():
    (level,) = find_levels(np.linspace(0.0, 2.0, 101)[:, None] ** 2, (0,))
    assert level.values.tolist() == [0.0, 4.0]
