"""Evaluation: the same figures at every call, whatever training draws, and training's own draws left alone."""

from dataclasses import dataclass, field

import gymnasium
import numpy as np
import pytest
import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

from otpilot.data.domains import open_domains
from otpilot.errors import ConfigError
from otpilot.training.draws import fixed_draws
from otpilot.training.envs import check_environment, closed_loop
from otpilot.training.evaluate import ActionErrors, HeldOut, OfflineEvaluation
from otpilot.training.inputs import InputPipeline
from otpilot.training.parts import build_parts

TINY_DIFFUSION = {
    "type": "diffusion",
    "device": "cpu",
    "push_to_hub": False,
    "n_obs_steps": 2,
    "horizon": 8,
    "n_action_steps": 4,
    "crop_shape": None,
    "pretrained_backbone_weights": None,
    "use_group_norm": True,
    "down_dims": [16, 32],
    "diffusion_step_embed_dim": 16,
    "spatial_softmax_num_keypoints": 4,
    "num_train_timesteps": 10,
    "num_inference_steps": 3,
}
CPU = torch.device("cpu")


@pytest.fixture
def made(load):
    """Return a function from changes to (config, domains, parts, inputs)."""

    def make(**changes):
        changes = {"dataset.eval_split": 0.3, "eval_steps": 1, **changes}
        config = load(**changes)
        torch.manual_seed(0)
        domains = open_domains(config)
        parts = build_parts(config, domains.target.reader.meta, domains.stats)
        return config, domains, parts, InputPipeline(CPU, parts.preprocessor)

    return make


@pytest.mark.parametrize("policy", ["act", "diffusion"])
def test_two_evaluations_are_equal_to_the_bit_and_leave_training_alone(made, policy):
    changes = {"policy": dict(TINY_DIFFUSION)} if policy == "diffusion" else {}
    _, domains, parts, inputs = made(**changes)
    held_out = HeldOut(domains, batch_size=4, max_samples=10)
    parts.policy.train()
    first = held_out(parts.policy, inputs)
    torch.manual_seed(99)
    torch.rand(17)
    before = torch.get_rng_state()
    second = held_out(parts.policy, inputs)
    assert first == second
    assert torch.equal(torch.get_rng_state(), before)
    assert parts.policy.training
    for name in (
        "avg_loss",
        "avg_l1",
        "n_batches",
        "avg_l1_dim/2",
        "target/avg_l1",
        "source/avg_loss",
        "source/avg_l1",
    ):
        assert f"offline_eval/{name}" in first
    assert "offline_eval/source/avg_l1_dim/0" not in first
    assert first["offline_eval/n_batches"] == 3
    assert all(np.isfinite(value) for value in first.values())
    dims = [first[f"offline_eval/avg_l1_dim/{i}"] for i in range(3)]
    assert np.mean(dims) == pytest.approx(first["offline_eval/avg_l1"])


def test_the_noise_of_a_batch_does_not_depend_on_the_batches_before_it(made):
    _, domains, parts, inputs = made(policy=dict(TINY_DIFFUSION))
    evaluation = OfflineEvaluation(domains.target, batch_size=4, max_samples=10)
    forward = evaluation(parts.policy, inputs)
    evaluation._batches.reverse()
    backward = evaluation(parts.policy, inputs)
    assert forward == {name: pytest.approx(value, rel=1e-6) for name, value in backward.items()}


def test_batches_of_one_evaluation_have_different_noise(made):
    _, domains, *_ = made()
    evaluation = OfflineEvaluation(domains.target, batch_size=4, max_samples=10)
    assert len({batch.seed for batch in evaluation._batches}) == len(evaluation._batches)


def test_acts_error_is_lerobots_own(made):
    _, domains, parts, inputs = made()
    evaluation = OfflineEvaluation(domains.target, batch_size=1000, max_samples=1000)
    found = evaluation(parts.policy, inputs)
    parts.policy.eval()
    frames = domains.target.frames(domains.target.eval_episodes)
    with torch.no_grad():
        _, info = parts.policy.forward(inputs(domains.target.reader.rows(frames)))
    assert found["avg_l1"] == pytest.approx(info["l1_loss"], rel=1e-5)
    smaller = OfflineEvaluation(domains.target, batch_size=3, max_samples=1000)(parts.policy, inputs)
    assert smaller["avg_loss"] == pytest.approx(found["avg_loss"], rel=1e-5)  # however the rows are batched


def test_diffusions_error_is_that_of_the_actions_it_would_give(made, monkeypatch):
    """A policy that gives the recorded actions from the present step on has no error."""
    config, domains, parts, inputs = made(policy=dict(TINY_DIFFUSION))
    asked = []

    def oracle(batch, noise=None):
        asked.append(len(batch["action"]))
        present = config.policy.n_obs_steps - 1
        return batch["action"][:, present : present + config.policy.n_action_steps]

    monkeypatch.setattr(parts.policy, "predict_action_chunk", oracle)
    found = OfflineEvaluation(domains.target, batch_size=4, max_samples=10, sampled_rows=5)(parts.policy, inputs)
    assert found["avg_l1"] == 0.0
    assert sum(asked) == 5


def test_padded_actions_do_not_count():
    errors = ActionErrors()
    batch = {"action": torch.zeros(1, 4, 2), "action_is_pad": torch.tensor([[False, False, True, True]])}
    errors.add(torch.tensor([[[1.0, 3.0], [9.0, 9.0]]]), batch, start=1)
    assert errors.figures() == {"avg_l1": 2.0, "avg_l1_dim/0": 1.0, "avg_l1_dim/1": 3.0}
    assert ActionErrors().figures() == {}


def test_image_transforms_do_not_touch_held_out_rows(made):
    transforms = {"enable": True, "max_num_transforms": 1}
    _, domains, parts, inputs = made(**{"dataset.image_transforms": transforms})
    plain_domains, plain_inputs = made()[1], inputs
    one = OfflineEvaluation(domains.target, batch_size=4)(parts.policy, inputs)
    two = OfflineEvaluation(plain_domains.target, batch_size=4)(parts.policy, plain_inputs)
    assert one == two


def test_fixed_draws_come_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match="probs"), fixed_draws(3, CPU):
        torch.distributions.Bernoulli(probs=torch.rand(1) + 2, validate_args=True)
    assert torch.equal(torch.get_rng_state(), before)


class Corridor(gymnasium.Env):
    """Succeeds in half of the episodes, by their seed, whatever is done; ends after two steps."""

    metadata = {"render_fps": 10, "render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space = gymnasium.spaces.Dict(
        {
            "pixels": gymnasium.spaces.Dict({"top": gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8)}),
            "agent_pos": gymnasium.spaces.Box(-10, 10, (3,), np.float64),
        }
    )
    action_space = gymnasium.spaces.Box(-10, 10, (3,), np.float32)
    _max_episode_steps = 3
    task_description = task = "walk"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.lucky = seed is not None and seed % 2 == 0
        self.taken = 0
        return self._look(), {}

    def step(self, action):
        self.taken += 1
        over = self.taken == 2
        return self._look(), float(over), over, False, {"is_success": over and self.lucky}

    def _look(self):
        return {"pixels": {"top": np.zeros((32, 32, 3), np.uint8)}, "agent_pos": np.zeros(3)}


@EnvConfig.register_subclass("otpilot_test_corridor")
@dataclass
class CorridorConfig(EnvConfig):
    task: str | None = "Corridor-v0"
    missing: bool = False
    features: dict[str, PolicyFeature] = field(
        default_factory=lambda: {"action": PolicyFeature(type=FeatureType.ACTION, shape=(3,))}
    )

    @property
    def package_name(self):
        return "no_such_package" if self.missing else "tests"

    @property
    def gym_kwargs(self):
        return {}


@pytest.fixture
def corridor():
    gymnasium.register("tests/Corridor-v0", entry_point=Corridor)
    yield
    gymnasium.registry.pop("tests/Corridor-v0")


@pytest.mark.filterwarnings("ignore::UserWarning")  # gymnasium's remarks on the toy environment
def test_success_in_an_environment_of_lerobots(corridor, made):
    env, playing = {"type": "otpilot_test_corridor"}, {"n_episodes": 5, "batch_size": 2, "use_async_envs": False}
    config, _, parts, _ = made(env=env, eval=playing)
    check_environment(config)
    before = torch.get_rng_state()
    parts.policy.train()
    found = closed_loop(parts.policy, parts.preprocessor, parts.postprocessor, config).figures()
    assert (
        found["success_otpilot_test_corridor"] == found["success_mean"] == pytest.approx(3 / 5)
    )  # seeds 10000 to 10004
    assert found["n_episodes"] == 5
    assert found["success_otpilot_test_corridor_low"] < 0.6 < found["success_otpilot_test_corridor_high"]
    assert parts.policy.training
    assert torch.equal(torch.get_rng_state(), before)


def test_an_environment_that_cannot_be_made_says_why(made):
    config, *_ = made(env={"type": "otpilot_test_corridor", "missing": True})
    with pytest.raises(ConfigError, match=r"env\.type = 'otpilot_test_corridor' cannot be made.*no_such_package"):
        check_environment(config)
    config.env = None
    check_environment(config)


def test_success_on_the_tabletop(made):
    env = {"type": "otpilot_tabletop", "cells": ["id=target:left", "far=target:right"], "max_steps": 2}
    config, _, parts, _ = made(env=env, eval={"n_episodes": 2})
    found = closed_loop(parts.policy, parts.preprocessor, parts.postprocessor, config, film=1)
    assert found.figures()["success_mean"] == 0.0
    assert [len(cell.rollout.frames) for cell in found.cells] == [1, 1]
    assert found.figures().keys() >= {"success_id", "success_far_low", "n_episodes"}
