import pytest
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.act.modeling_act import ACTPolicy
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig
from lerobot.policies.diffusion.modeling_diffusion import DiffusionPolicy
from lerobot.utils.constants import OBS_STATE

from otpilot.config.feature_keys import ALL_IMAGES, FUSED
from otpilot.errors import ConfigError
from otpilot.policies.features import make_tap

LEFT, RIGHT = "observation.images.left", "observation.images.right"
ROWS = 3


def features(**extra):
    image = PolicyFeature(type=FeatureType.VISUAL, shape=(3, 64, 64))
    inputs = {LEFT: image, RIGHT: image, OBS_STATE: PolicyFeature(type=FeatureType.STATE, shape=(3,)), **extra}
    return {"input_features": inputs, "output_features": {"action": PolicyFeature(type=FeatureType.ACTION, shape=(2,))}}


def act_policy():
    config = ACTConfig(
        **features(), device="cpu", chunk_size=4, n_action_steps=4, dim_model=16, n_heads=2, dim_feedforward=16,
        n_encoder_layers=1, use_vae=False, pretrained_backbone_weights=None, dropout=0.0, push_to_hub=False,
    )  # fmt: skip
    return ACTPolicy(config)


def diffusion_policy(*, separate):
    config = DiffusionConfig(
        **features(), device="cpu", horizon=8, n_action_steps=4, down_dims=(16, 32), n_groups=4, push_to_hub=False,
        use_separate_rgb_encoder_per_camera=separate, pretrained_backbone_weights=None, use_group_norm=True,
        crop_shape=None, spatial_softmax_num_keypoints=4,
    )  # fmt: skip
    return DiffusionPolicy(config)


def batch(steps=None, horizon=4):
    time = () if steps is None else (steps,)
    torch.manual_seed(0)
    return {
        LEFT: torch.rand(ROWS, *time, 3, 64, 64),
        RIGHT: torch.rand(ROWS, *time, 3, 64, 64),
        OBS_STATE: torch.randn(ROWS, *time, 3),
        "action": torch.randn(ROWS, horizon, 2),
        "action_is_pad": torch.zeros(ROWS, horizon, dtype=torch.bool),
    }


def test_act_embeddings_are_its_own_encodings():
    policy = act_policy()
    tap, inputs = make_tap(policy), batch()
    with tap:
        policy.forward(inputs)
    model = policy.model
    for camera in (LEFT, RIGHT):
        expected = model.encoder_img_feat_input_proj(model.backbone(inputs[camera])["feature_map"]).mean(dim=(-2, -1))
        torch.testing.assert_close(tap.embedding(camera), expected)
    torch.testing.assert_close(tap.embedding(OBS_STATE), model.encoder_robot_state_input_proj(inputs[OBS_STATE]))
    torch.testing.assert_close(tap.embedding(ALL_IMAGES), torch.cat([tap.embedding(LEFT), tap.embedding(RIGHT)], 1))
    assert tap.embedding(FUSED).shape == (ROWS, 16)
    assert not torch.equal(tap.embedding(LEFT), tap.embedding(RIGHT))


def test_gradients_flow_into_the_encoder_and_nowhere_else():
    policy = act_policy()
    tap = make_tap(policy)
    with tap:
        policy.forward(batch())
    tap.embedding(LEFT).sum().backward()
    reached = {name for name, p in policy.named_parameters() if p.grad is not None}
    behind = {id(p) for p in tap.encoder_parameters()}
    assert reached
    assert all(id(p) in behind for name, p in policy.named_parameters() if name in reached)
    assert not any(name.startswith(("model.decoder", "model.encoder.")) for name in reached)


def test_hooks_are_gone_behind_the_pass():
    policy = act_policy()
    tap = make_tap(policy)
    with tap:
        policy.forward(batch())
    before = tap.embedding(LEFT)
    policy.forward({key: value * 0 if value.is_floating_point() else value for key, value in batch().items()})
    assert tap.embedding(LEFT) is not None
    torch.testing.assert_close(tap.embedding(LEFT), before)


@pytest.mark.parametrize("separate", [True, False])
def test_diffusion_embeddings_per_camera(separate):
    policy = diffusion_policy(separate=separate)
    policy.eval()
    tap, inputs = make_tap(policy), batch(steps=2, horizon=8)
    with tap:
        policy.forward(inputs)
    encoder = policy.diffusion.rgb_encoder
    for number, camera in enumerate((LEFT, RIGHT)):
        one = encoder[number] if separate else encoder
        expected = one(inputs[camera].flatten(0, 1)).reshape(ROWS, -1)
        torch.testing.assert_close(tap.embedding(camera), expected)
    assert tap.embedding(FUSED).shape[1] == 2 * tap.embedding(LEFT).shape[1]


def test_unknown_keys_offer_the_closest():
    tap = make_tap(act_policy())
    with pytest.raises(ConfigError, match=r"no learned embedding for 'observation\.images\.lefft'.*Did you mean"):
        tap.check("observation.images.lefft")
    for key in (LEFT, RIGHT, ALL_IMAGES, OBS_STATE, FUSED):
        tap.check(key)


def test_an_unsupported_policy_says_what_to_add():
    policy = act_policy()
    object.__setattr__(policy, "config", type("Other", (), {"type": "vqbet"}))
    with pytest.raises(ConfigError, match=r"'vqbet'; allowed: act, diffusion.*TAPS"):
        make_tap(policy)
