"""The running mean of the weights: its formula, and that evaluation and checkpoints use it."""

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics
from otpilot.training.ema import WeightAverage
from otpilot.training.session import train


class Layer(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([value]))
        self.register_buffer("count", torch.tensor(0))


def test_the_mean_follows_its_formula():
    layer = Layer(0.0)
    average = WeightAverage(layer, decay=0.5)
    expected = 0.0
    for update in range(1, 20):
        with torch.no_grad():
            layer.weight.fill_(float(update))
            layer.count.fill_(update)
        average.update(layer)
        decay = min(0.5, (1 + update) / (10 + update))
        expected = decay * expected + (1 - decay) * update
        assert float(average.policy.weight) == pytest.approx(expected, rel=1e-5)
        assert int(average.policy.count) == update


def test_the_mean_is_a_copy_without_gradient():
    layer = Layer(1.0)
    average = WeightAverage(layer, decay=0.9)
    assert not average.policy.weight.requires_grad
    assert layer.weight.requires_grad
    assert not average.policy.training


def saved(root, name="pretrained_model/model.safetensors"):
    return load_file(RunPaths(root).last_checkpoint / name)


def held_out(root):
    records = read_metrics(RunPaths(root).metrics).records
    return [r.values["offline_eval/avg_loss"] for r in records if r.kind == "eval"]


def test_evaluation_and_the_saved_policy_use_the_mean_if_asked(load):
    common = {"steps": 3, "save_checkpoint": True, "eval_steps": 3, "dataset.eval_split": 0.3}
    plain = load(name="plain", **common)
    mean = load(name="mean", ema_decay=0.9, **common)
    unused = load(name="unused", ema_decay=0.9, eval_use_ema=False, **common)
    for config in (plain, mean, unused):
        train(config)
    trained = saved(plain.output_dir)
    other = "training_state/otpilot_weights.safetensors"
    assert all(torch.equal(value, trained[key]) for key, value in saved(unused.output_dir).items())
    assert all(torch.equal(value, trained[key]) for key, value in saved(mean.output_dir, other).items())
    averaged = saved(mean.output_dir)
    assert all(torch.equal(value, averaged[key]) for key, value in saved(unused.output_dir, other).items())
    assert any(not torch.equal(value, trained[key]) for key, value in averaged.items())
    assert held_out(unused.output_dir) == held_out(plain.output_dir) != held_out(mean.output_dir)
