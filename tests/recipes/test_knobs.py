"""Knobs that the reports turn and that no other test turns, and docs/knobs.md itself."""

import ast
import dataclasses
import re
import typing
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from lerobot.optim.optimizers import AdamWConfig
from lerobot.optim.schedulers import DiffuserSchedulerConfig
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.policies.diffusion.configuration_diffusion import DiffusionConfig

from otpilot.config.ot import TermConfig
from otpilot.config.schema import TrainConfig
from otpilot.data.domains import open_domains
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics
from otpilot.training.parts import build_parts
from otpilot.training.session import train

ROOT = Path(__file__).parents[2]
RAMP = {"type": "linear", "start_value": 0.0, "end_value": 0.4, "end_step": 4}


@pytest.fixture
def curve(load):
    """Return a function that trains with changes and returns (step, value) of any logged value."""

    def run(**changes):
        config = load(**changes)
        train(config)
        records = read_metrics(RunPaths(config.output_dir).metrics).records
        return lambda name, kind="train": [
            (record.step, record.values[name]) for record in records if record.kind == kind and name in record.values
        ]

    return run


def test_schedules_and_intervals_reach_the_steps(curve):
    values = curve(
        **{
            "policy.optimizer_lr": 3e-5,
            "ot.lambda_ot": 0.4,
            "ot.lambda_ot_schedule": RAMP,
            "ot.loss_config.reg_schedule": {**RAMP, "start_value": 0.5, "end_value": 0.1},
            "log_freq": 2,
            "eval_steps": 2,
            "dataset.eval_split": 0.3,
        }
    )
    assert [step for step, _ in values("loss")] == [2, 4]
    assert [step for step, _ in values("offline_eval/avg_loss", "eval")] == [2, 4]
    rising, falling = values("ot_weight"), values("ot_reg")
    assert 0.0 < rising[0][1] < rising[1][1] <= 0.4
    assert 0.5 > falling[0][1] > falling[1][1] >= 0.1
    assert [value for _, value in values("lr")] == [3e-5, 3e-5]  # ACT's preset: the policy's own rate, no schedule


def test_the_transport_is_computed_every_n_steps_and_fades_in(curve):
    values = curve(**{"ot.compute_every_n_steps": 2, "ot.lambda_ot": 0.4, "ot.weight_warmup_ratio": 1.0})
    computed = [step for step, _ in values("ot_loss")]
    assert len(computed) == 2
    assert computed[1] - computed[0] == 2
    assert [step for step, _ in values("loss")] == [1, 2, 3, 4]
    weights = [value for _, value in values("ot_weight")]
    assert 0.0 <= weights[0] < weights[1] <= 0.4


def test_the_gradient_is_clipped_at_the_norm_of_the_optimizer_section(load, monkeypatch):
    limits = []
    clip = Accelerator.clip_grad_norm_

    def spy(self, parameters, max_norm, *rest):
        limits.append(max_norm)
        return clip(self, parameters, max_norm, *rest)

    monkeypatch.setattr(Accelerator, "clip_grad_norm_", spy)
    optimizer = {"type": "adamw", "lr": 1e-5, "grad_clip_norm": 0.25}
    train(load(steps=1, use_policy_training_preset=False, optimizer=optimizer, scheduler=None))
    assert limits == [0.25]


def test_the_optimizer_section_reaches_torch_and_dropout_the_policy(load):
    optimizer = {"type": "adamw", "lr": 3e-4, "weight_decay": 0.05, "betas": [0.8, 0.9], "eps": 1e-7}
    config = load(use_policy_training_preset=False, optimizer=optimizer, scheduler=None, **{"policy.dropout": 0.2})
    domains = open_domains(config)
    parts = build_parts(config, domains.target.reader.meta, domains.stats)
    group = parts.optimizer.param_groups[0]
    assert {key: group[key] for key in ("lr", "weight_decay", "betas", "eps")} == {
        "lr": 3e-4, "weight_decay": 0.05, "betas": (0.8, 0.9), "eps": 1e-7
    }  # fmt: skip
    rates = {module.p for module in parts.policy.modules() if isinstance(module, torch.nn.Dropout)}
    assert rates == {0.2}


def test_the_policys_own_rate_and_schedule_are_its_preset(load):
    policy = {"type": "diffusion", "optimizer_lr": 2e-4, "optimizer_weight_decay": 0.01, "scheduler_name": "linear"}
    config = load(policy={**policy, "scheduler_warmup_steps": 7, "push_to_hub": False, "device": "cpu"})
    assert (config.optimizer.lr, config.optimizer.weight_decay) == (2e-4, 0.01)
    assert (config.scheduler.name, config.scheduler.num_warmup_steps) == ("linear", 7)


@pytest.mark.parametrize("use", [True, False])
def test_cameras_are_normalised_as_imagenet_if_asked(load, use):
    stats = open_domains(load(**{"dataset.use_imagenet_stats": use})).stats["observation.images.top"]
    assert (float(stats["mean"].ravel()[0]) == pytest.approx(0.485)) is use


def knobs():
    """Return (names in the reports, keys, remarks, tests) of every row of docs/knobs.md."""
    rows = [line.split("|")[1:-1] for line in (ROOT / "docs" / "knobs.md").read_text().splitlines() if "::" in line]
    return [
        (names.strip(), re.findall(r"`([^`]+)`", keys), remarks, re.findall(r"`([^`]+)`", tests))
        for names, keys, remarks, tests in rows
    ]


def fields_of(schema):
    return typing.get_type_hints(schema) if dataclasses.is_dataclass(schema) else {}


LEROBOTS = {
    "policy": (ACTConfig, DiffusionConfig),
    "optimizer": (AdamWConfig,),
    "scheduler": (DiffuserSchedulerConfig,),
}


def in_schema(key):
    """Whether a dotted key names a setting; `features.*` is any term, `policy` is ACT or Diffusion."""
    schemas = (TrainConfig,)
    for part in key.split("."):
        hints = [fields_of(schema)[part] for schema in schemas if part in fields_of(schema)]
        if part == "*":
            schemas = (TermConfig,)
            continue
        if not hints:
            return False
        schemas = LEROBOTS.get(part) or tuple(
            option for hint in hints for option in (typing.get_args(hint) or (hint,)) if isinstance(option, type)
        )
    return True


def test_the_walk_through_the_schema_can_fail():
    assert in_schema("ot.loss_config.features.*.term_weight")
    assert in_schema("policy.dropout")
    assert in_schema("policy.horizon")
    assert not in_schema("ot.loss_config.features.*.weight")
    assert not in_schema("policy.head_dropout")
    assert not in_schema("warmup")


def test_every_key_of_the_table_is_a_setting():
    table = knobs()
    assert len(table) > 40
    for names, keys, remarks, _ in table:
        assert names
        assert keys or "a note says so" in remarks, names
        assert all(in_schema(key) for key in keys), keys


def test_every_test_of_the_table_exists():
    for names, _, _, tests in knobs():
        assert tests, names
        for test in tests:
            path, _, name = test.partition("::")
            tree = ast.parse((ROOT / path).read_text())
            found = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
            assert name in found, test


def test_every_knob_of_every_recipe_is_in_the_table():
    from otpilot.config.canonical import flatten
    from otpilot.config.recipes import list_recipes, read_recipe

    told = {key for _, keys, _, _ in knobs() for key in keys}
    plain = re.compile(r"features\[[^\]]+\]")
    turned = {plain.sub("features.*", key) for one in list_recipes() for key in flatten(read_recipe(one.name))}
    missing = {key for key in turned if not any(key == known or key.startswith(f"{known}.") for known in told)}
    assert missing <= {"policy.push_to_hub", "policy.type", "wandb.disable_artifact"}
