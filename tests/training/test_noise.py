import torch

from otpilot.training.noise import RowNoise


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
