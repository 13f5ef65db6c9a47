import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpilot.runs.metric_names import BOOKKEEPING, PREFIXES, canonical, metric_info

KEYS = json.loads((Path(__file__).parents[1] / "data" / "summaries" / "wandb_keys.json").read_text())

SAME = {
    "train/loss": ["loss", "train_loss", "train/loss"],
    "train/l1_loss": ["l1", "train/l1", "l1_loss"],
    "train/grad_norm": ["grdn", "train/grdn", "grad_norm"],
    "train/update_s": ["updt_s", "train/update_s"],
    "train/dataloading_s": ["data_s", "dataloading_s"],
    "train/samples_per_s": ["smp/s"],
    "train/gpu_mem_gb": ["mem_gb"],
    "train/samples": ["smpl"],
    "train/episodes": ["ep"],
    "train/epochs": ["epch"],
    "train/ot_pi_sum": ["ot_pi_sum", "train/ot_pi_sum", "train/ot_ot_pi_sum", "ot_ot_pi_sum"],
    "train/ot_cost/action_lbl": ["ot_cost/action_lbl", "train/ot_ot_cost/action_lbl", "ot_ot_cost/action_lbl"],
    "train/ot_cost/observation.state": [
        "ot_cost(state)", "train/ot_cost(state)", "ot_ot_cost(state)", "train/ot_ot_cost/observation.state",
    ],
    "eval/offline_eval/avg_loss": ["eval/avg_loss", "offline_eval/avg_loss", "eval_loss", "eval/eval_loss"],
    "eval/offline_eval/avg_l1": ["eval/avg_l1", "eval_l1", "offline_eval/avg_l1"],
    "sim/success_in_domain": ["eval/success_in_domain", "sim/success_in_domain"],
    "sim/n_episodes": ["eval/n_episodes"],
    "eval/pc_success": ["eval/success", "eval/pc_success"],
    "eval/avg_sum_reward": ["eval/∑rwrd", "eval/avg_sum_reward"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "others"), SAME.items())
def test_the_names_of_one_metric(name, others):
    assert {canonical(other) for other in others} == {name}


def test_every_key_of_the_seeds_runs_has_one_canonical_name():
    names = [canonical(key) for key in KEYS]
    assert all(name.startswith((*PREFIXES, *BOOKKEEPING)) and "ot_ot_" not in name for name in names)
    # train/ot_loss and train/ot_ot_loss are one; all others stay apart
    assert len(set(names)) == len(KEYS) - 1


PIECES = st.sampled_from(
    ["ot_", "train/", "eval/", "offline_eval/", "avg_", "success_", "ot_cost", "(state)", "l1", "loss", "x", "_"]
)


@given(st.lists(PIECES, max_size=6).map("".join))
def test_a_canonical_name_stays(name):
    assert canonical(canonical(name)) == canonical(name)


def test_which_way_is_better():
    assert metric_info("eval/avg_sum_reward").direction == "max"
    assert metric_info("eval/avg_max_reward").direction == "max"
    assert metric_info("eval/success").direction == "max"
    assert metric_info("eval/success_in_domain").direction == "max"
    assert metric_info("loss").direction == "min"
    assert metric_info("ot_ot_pi_sum").direction is None
    assert metric_info("offline_eval/n_batches").direction is None


def test_what_the_model_cannot_move():
    assert not metric_info("ot_cost/action_lbl").depends_on_model
    assert not metric_info("data_s").depends_on_model
    assert metric_info("ot_cost(state)").depends_on_model
