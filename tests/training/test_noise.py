import pytest
import torch

from otpilot.config.schema import load_config
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics
from otpilot.training.noise import RowNoise
from otpilot.training.session import train


def batch():
    return {
        "observation.state": torch.zeros(3, 2, 4),
        "observation.images.top": torch.ones(3, 3, 8, 8),
        "action": torch.zeros(3, 5, 2),
        "action_is_pad": torch.tensor([[False] * 3 + [True] * 2] * 3),
        "task": ["a", "b", "c"],
    }


def test_zero_draws_nothing_and_changes_nothing():
    before = torch.get_rng_state()
    given = batch()
    noisy = RowNoise()(given)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(noisy[key] is given[key] for key in given)


def test_noise_has_its_standard_deviation_and_leaves_images_and_padding():
    torch.manual_seed(0)
    given = {**batch(), "observation.state": torch.zeros(200, 50), "action": torch.zeros(200, 5, 20)}
    given["action_is_pad"] = torch.zeros(200, 5, dtype=torch.bool)
    given["action_is_pad"][:, 3:] = True
    noisy = RowNoise(state_std=0.5, action_std=0.1)(given)
    assert abs(float(noisy["observation.state"].std()) - 0.5) < 0.02
    assert abs(float(noisy["action"][:, :3].std()) - 0.1) < 0.005
    assert not noisy["action"][:, 3:].any()
    assert noisy["observation.images.top"] is given["observation.images.top"]
    assert not given["action"].any()  # the transport still sees the rows without noise


def test_draws_are_torchs_own_so_that_resuming_repeats_them():
    noise = RowNoise(state_std=1.0, action_std=1.0)
    torch.manual_seed(5)
    noise(batch())
    state = torch.get_rng_state()
    second = noise(batch())
    torch.set_rng_state(state)
    again = noise(batch())
    assert torch.equal(second["action"], again["action"])
    assert torch.equal(second["observation.state"], again["observation.state"])


def test_only_what_is_asked_for_is_drawn():
    torch.manual_seed(1)
    one = RowNoise(action_std=1.0)(batch())
    assert not one["observation.state"].any()
    assert one["action"][:, :3].all()


@pytest.mark.usefixtures("one_thread")
def test_noise_and_discrete_losses_reach_training_and_resume_to_the_bit(load, world, tmp_path):
    settings = {
        "save_checkpoint": True,
        "state_noise_std": 0.1,
        "action_noise_std": 0.05,
        "discrete_actions": {"discrete_dims": [2], "class_balance": True, "label_smoothing": 0.1, "focal_gamma": 1.0},
    }
    plain, whole = load("plain"), load("whole", **settings)
    train(plain)
    train(whole)
    assert losses(plain)[0] != losses(whole)[0]
    half = load("half", **{**settings, "steps": 2})
    train(half)
    saved = half.output_dir / "checkpoints" / "last" / "pretrained_model" / "train_config.json"
    train(load_config(["--resume=true", f"--config_path={saved}", "--steps=4"]).config)
    assert losses(half) == losses(whole)


def losses(config):
    records = read_metrics(RunPaths(config.output_dir).metrics).records
    return [(r.values["loss"], r.values.get("discrete_correction")) for r in records if r.kind == "train"]
