"""The edits that a post-mortem proposes: each leads to a config that loads, by what `otpilot config check` says."""

import copy
import itertools
import json
from pathlib import Path

import pytest

from otpilot.analysis import wording
from otpilot.analysis.postmortem import PostMortem, postmortem
from otpilot.analysis.single_change import SingleChange
from otpilot.config.compat import make_way
from otpilot.config.keys import resolve, write

from .build import edited, history

CONFIGS = Path(__file__).parents[1] / "data" / "configs"
COSINE = {
    "type": "cosine_decay_with_warmup", "num_warmup_steps": 500, "num_decay_steps": 20000, "peak_lr": 2e-4,
    "decay_lr": 1e-6,
}  # fmt: skip
DIFFUSER = {"type": "diffuser", "name": "cosine", "num_warmup_steps": 500}
SGD = {"type": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "grad_clip_norm": 10.0}


def real(name="act_ot_reg_sweep_A"):
    return json.loads((CONFIGS / f"{name}.json").read_text())


PRESET = real()
OWN = edited(
    PRESET,
    use_policy_training_preset=False,
    optimizer__lr=2e-4,
    optimizer__weight_decay=0.05,
    optimizer__grad_clip_norm=1.0,
    scheduler=COSINE,
)
DIFFUSION = real("diffusion_fr3_ot")
PAIRS = {
    "report 002: an optimiser of its own against the preset": (OWN, PRESET),
    "the preset against an optimiser of its own": (PRESET, OWN),
    "another schedule": (OWN, edited(OWN, scheduler=DIFFUSER)),
    "the same schedule, later": (OWN, edited(OWN, scheduler__num_warmup_steps=5000)),
    "another optimiser": (edited(OWN, optimizer=SGD), OWN),
    "another optimiser against the preset": (edited(OWN, optimizer=SGD), PRESET),
    "keys that the baseline never had": (
        edited(PRESET, ema_decay=0.99, grad_accum_steps=4, early_stopping={"patience_eval_intervals": 3},
               policy__dropout=0.3, ot__loss_config__target_mass=0.3, ot__loss_config__max_iterations=9),
        PRESET,
    ),
    "sections that the run lacks": (
        {key: value for key, value in PRESET.items() if key != "ot"},
        edited(PRESET, early_stopping={"patience_eval_intervals": 3}),
    ),
    "a setting under an older name": (edited(PRESET, ot__loss_config__sinkhorn_iters=9),
                                      edited(PRESET, ot__loss_config__max_iterations=300)),
    "diffusion: the preset against its own": (
        DIFFUSION,
        edited(DIFFUSION, use_policy_training_preset=False, scheduler=DIFFUSER | {"name": "linear"},
               optimizer={"type": "adam", "lr": 1e-3, "weight_decay": 1e-6, "grad_clip_norm": 1.0}),
    ),
    **{f"{one} against {other}": (real(one), real(other))
       for one, other in itertools.permutations(sorted(path.stem for path in CONFIGS.glob("*.json")), 2)},
}  # fmt: skip


def explained(worse, better) -> PostMortem:
    return postmortem(history(id="worse", config=worse), history(id="better", config=better))


def proposed(found: PostMortem) -> list[SingleChange]:
    return [*([found.test] if found.test else []), *found.follow_up]


def problems_with(body, change, folder) -> tuple[str, ...]:
    from otpilot.config.check import check_config

    body = copy.deepcopy(body)
    if "[" in change.key:
        (place,) = resolve(body, change.key)
        write(body, place, json.loads(change.value) if str(change.value).startswith("[") else change.value)
        options = []
    else:  # as it is printed
        make_way(body, change.key)
        options = [f"--{change.key}={wording.setting(change.value)}"]
    path = folder / "config.json"
    path.write_text(json.dumps(body))
    return check_config(str(path), options).problems


@pytest.mark.parametrize("pair", PAIRS)
def test_every_change_that_is_proposed_loads(pair, tmp_path):
    worse, better = PAIRS[pair]
    for change in proposed(explained(worse, better)):
        assert problems_with(worse, change, tmp_path) == (), change


def keys(pair) -> list[str]:
    return [change.key for change in proposed(explained(*PAIRS[pair]))]


def test_a_section_of_another_type_is_one_change():
    found = explained(OWN, PRESET)
    assert [(one.key, one.value) for one in proposed(found)] == [
        ("optimizer.lr", 1e-5),
        ("optimizer.weight_decay", 1e-4),
        ("optimizer.grad_clip_norm", 10.0),
        ("scheduler", None),
    ]
    assert wording.change(found.follow_up[-1], "en").startswith('Set scheduler to null (now {"type": "cosine_decay')
    (change,) = proposed(explained(*PAIRS["another schedule"]))
    assert (change.key, change.value, change.instead_of) == ("scheduler", DIFFUSER, COSINE)
    assert keys("another optimiser") == ["optimizer"]


def test_of_one_type_the_setting_that_differs_is_the_change():
    assert keys("the same schedule, later") == ["scheduler.num_warmup_steps"]


def test_what_the_preset_overrules_is_told_and_not_proposed():
    found = explained(PRESET, OWN)
    assert [one.key for one in proposed(found)] == ["policy.optimizer_lr", "policy.optimizer_weight_decay"]
    (note,) = (note for note in found.notes if note.startswith("No single setting"))
    assert "optimizer.grad_clip_norm, scheduler.type" in note
    assert "scheduler.type" in wording.note(note, "zh")
    assert keys("diffusion: the preset against its own")[0] == "policy.optimizer_lr"


def test_a_value_that_the_baseline_does_not_say_is_the_one_it_had():
    found = {one.key: one.value for one in proposed(explained(*PAIRS["keys that the baseline never had"]))}
    assert found["ema_decay"] is None
    assert found["grad_accum_steps"] == 1
    assert found["policy.dropout"] == 0.1
    assert found["ot.loss_config.target_mass"] is None
    assert not [key for key in found if key.startswith("early_stopping.")]
