"""The one table of metric names: what each is called across trackers and years, which way is better, what it means."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Direction = Literal["min", "max"]

# Names without a known prefix belong to training: `ot_pi_sum` is `train/ot_pi_sum`.
PREFIXES = ("train/", "eval/", "sim/", "health/")
# The fork logged `ot_` twice for a while: `train/ot_ot_pi_sum` is `train/ot_pi_sum`.
DOUBLED = "train/ot_ot_"
OFFLINE_LOSS = "eval/offline_eval/avg_loss"
OFFLINE_L1 = "eval/offline_eval/avg_l1"
# Whole names, before any prefix rule.
EXACT = {
    # LeRobot's short names on standard output
    "grdn": "train/grad_norm",
    "updt_s": "train/update_s",
    "data_s": "train/dataloading_s",
    "smp/s": "train/samples_per_s",
    "mem_gb": "train/gpu_mem_gb",
    "step": "train/steps",
    "smpl": "train/samples",
    "ep": "train/episodes",
    "epch": "train/epochs",
    # LeRobot 0.6's held-out loss: `eval_loss` in the log, `eval/eval_loss` in W&B
    "eval_loss": OFFLINE_LOSS,
    "eval/eval_loss": OFFLINE_LOSS,
    # LeRobot's closed-loop evaluation, as its meters print it
    "eval/∑rwrd": "eval/avg_sum_reward",
    "eval/success": "eval/pc_success",
    # the older reports and their summary files
    "eval/avg_loss": OFFLINE_LOSS,
    "eval/avg_l1": OFFLINE_L1,
    "eval/l1": OFFLINE_L1,
    "eval_l1": OFFLINE_L1,
    "train_loss": "train/loss",
    "l1": "train/l1_loss",
    "train/l1": "train/l1_loss",
    "train/grdn": "train/grad_norm",
    "train/updt_s": "train/update_s",
    "train/data_s": "train/dataloading_s",
    # our own closed loop, as the tracker mirrors it
    "eval/n_episodes": "sim/n_episodes",
}
# Beginnings of names; the first that fits is exchanged, once.
ALIASES = {
    "offline_eval/": "eval/offline_eval/",
    "eval/success_": "sim/success_",
}
# Reports wrote the cost of a term with brackets, and short for the observation: `ot_cost(state)`.
BRACKETED = re.compile(r"^(train/)?(?:ot_)?ot_cost\((?P<term>[^()]+)\)$")
TERMS = {"state": "observation.state"}
BOOKKEEPING = ("_step", "_timestamp", "_runtime", "_wandb")


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """Which way a metric is better (None: neither), and whether the model can move it at all."""

    direction: Direction | None = "min"
    depends_on_model: bool = True


MAXIMISED = ("sim/success", "eval/pc_success", "eval/avg_sum_reward", "eval/avg_max_reward", "train/samples_per_s")
NEITHER = (
    "train/lr", "train/ot_pi_", "train/ot_mass", "train/ot_weight", "train/ot_reg", "train/ot_grad_share",
    "train/ot_diag_share", "train/ot_entropy", "train/steps", "train/samples", "train/episodes", "train/epochs",
    "train/gpu_mem_gb", "eval/offline_eval/n_batches", "sim/n_episodes",
)  # fmt: skip
# The label cost measures the batch, never progress (the reports' action term, and the label of any term named so).
LABEL_COSTS = ("train/ot_cost/action",)
# What the machine does, whatever the model is worth.
MACHINE = ("train/dataloading_s", "train/update_s", "train/samples_per_s", "train/gpu_mem_gb", "eval/eval_s")


@lru_cache(maxsize=65536)
def canonical(name: str) -> str:
    """Return the canonical name of a metric; `train/ot_ot_pi_sum`, `ot_pi_sum` and `train/ot_pi_sum` are one."""
    if name in EXACT:
        return EXACT[name]
    if found := BRACKETED.match(name):
        return f"train/ot_cost/{TERMS.get(found['term'], found['term'])}"
    for old, new in ALIASES.items():
        if name.startswith(old):
            name = new + name[len(old) :]
            break
    if not name.startswith((*PREFIXES, *BOOKKEEPING)):
        name = f"train/{name}"
    while name.startswith(DOUBLED):
        name = "train/ot_" + name[len(DOUBLED) :]
    return name


@lru_cache(maxsize=65536)
def metric_info(name: str) -> MetricInfo:
    """Return what is known of a metric, by its canonical name."""
    name = canonical(name)
    depends = not name.startswith((*LABEL_COSTS, *MACHINE))
    if name.startswith(MAXIMISED):
        return MetricInfo(direction="max", depends_on_model=depends)
    if name.startswith(NEITHER):
        return MetricInfo(direction=None, depends_on_model=depends)
    return MetricInfo(depends_on_model=depends)
