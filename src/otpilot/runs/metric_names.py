"""The one table of metric names: what each is called across trackers and years, which way is better, what it means."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Direction = Literal["min", "max"]

# Names without a known prefix belong to training: `ot_pi_sum` is `train/ot_pi_sum`.
PREFIXES = ("train/", "eval/", "sim/", "health/")
# The fork logged `ot_` twice for a while: `train/ot_ot_pi_sum` is `train/ot_pi_sum`.
DOUBLED = "train/ot_ot_"
ALIASES = {
    "offline_eval/": "eval/offline_eval/",
    "eval/avg_": "eval/offline_eval/avg_",
    "eval/success_": "sim/success_",
}
BOOKKEEPING = ("_step", "_timestamp", "_runtime", "_wandb")


@dataclass(frozen=True, kw_only=True)
class MetricInfo:
    """Which way a metric is better (None: neither), and whether the model can move it at all."""

    direction: Direction | None = "min"
    depends_on_model: bool = True


MAXIMISED = ("sim/success", "eval/pc_success", "eval/avg_sum_reward")
NEITHER = (
    "train/lr", "train/ot_pi_", "train/ot_mass", "train/ot_weight", "train/ot_reg", "train/ot_grad_share",
    "train/ot_diag_share", "train/ot_entropy", "train/steps", "train/samples", "train/episodes", "train/epochs",
)  # fmt: skip
# The label cost measures the batch, never progress (the seeds' action term, and the label of any term named so).
LABEL_COSTS = ("train/ot_cost/action",)


@lru_cache(maxsize=65536)
def canonical(name: str) -> str:
    """Return the canonical name of a metric; `train/ot_ot_pi_sum`, `ot_pi_sum` and `train/ot_pi_sum` are one."""
    for old, new in ALIASES.items():
        if name.startswith(old):
            name = new + name[len(old) :]
            break
    if not name.startswith((*PREFIXES, *BOOKKEEPING)):
        name = f"train/{name}"
    if name.startswith(DOUBLED):
        name = "train/ot_" + name[len(DOUBLED) :]
    return name


@lru_cache(maxsize=65536)
def metric_info(name: str) -> MetricInfo:
    """Return what is known of a metric, by its canonical name."""
    name = canonical(name)
    if name.startswith(MAXIMISED):
        return MetricInfo(direction="max")
    if name.startswith(NEITHER):
        return MetricInfo(direction=None)
    return MetricInfo(depends_on_model=not name.startswith(LABEL_COSTS))
