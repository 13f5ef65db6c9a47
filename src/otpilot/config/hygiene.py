"""What a valid config says in vain, or says against itself: one row or one function for each."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otpilot.config.rewriting import MISSING, read

if TYPE_CHECKING:
    from otpilot.config.schema import TrainConfig


@dataclass(frozen=True)
class Idle:
    """A key that has no effect where `when` holds, and why."""

    key: str
    when: "Callable[[TrainConfig], bool]"
    why: str


def _always(_: "TrainConfig") -> bool:
    return True


IDLE = (
    Idle("ot.obs_keys", _always, "the terms in ot.loss_config.features name what is compared"),
    Idle("ot.batch_ratio", lambda c: c.ot.rows == "shared", "rows = shared takes the pairs from the cloning batch"),
    Idle("ot.target_grad_share", lambda c: c.ot.lambda_ot != "auto", "lambda_ot is a number"),
    Idle("ot.cutoff_quantile", lambda c: c.ot.weighting != "logistic", "it belongs to weighting = logistic"),
    Idle("ot.window_size", lambda c: c.ot.no_window and c.ot.window_size > 0, "no_window is true"),
    Idle("ot.src_weight", lambda c: not c.ot.more_sources, "there is one source only"),
    Idle("ot.loss_config.prior_kappa", lambda c: c.ot.loss_config.prior != "mixed", "it belongs to prior = mixed"),
    Idle(
        "ot.loss_config.cost_ema_decay",
        lambda c: c.ot.loss_config.cost_normalization != "ema",
        "it belongs to cost_normalization = ema",
    ),
    Idle("eval_use_ema", lambda c: c.ema_decay is None, "ema_decay is null, so there are no averaged weights"),
    Idle("max_eval_samples", lambda c: c.eval_steps == 0, "eval_steps is 0"),
    Idle("save_freq", lambda c: not c.save_checkpoint and c.save_freq > 0, "save_checkpoint is false"),
    Idle("keep_best", lambda c: c.keep_best and not c.save_checkpoint, "save_checkpoint is false"),
    Idle("plan_images_every", lambda c: not c.ot.enable or c.eval_steps == 0, "it counts evaluations of a transport"),
    Idle(
        "discrete_actions",
        lambda c: c.discrete_actions is not None and not c.discrete_actions.discrete_dims,
        "discrete_dims is empty",
    ),
    Idle("dataset.streaming", lambda c: bool(c.dataset.streaming), "frames are read by number here"),
    Idle("peft", _always, "otpilot trains all weights"),
    Idle("sample_weighting", _always, "rows are drawn by ot.bc_src_weight and the pairs here"),
    Idle("reward_model", _always, "otpilot trains policies"),
    Idle("job", lambda c: c.job.target is not None, "otpilot trains on this machine"),
    Idle("save_checkpoint_to_hub", lambda c: bool(c.save_checkpoint_to_hub), "checkpoints stay in the run folder"),
)
"""Keys that may be idle; told only where the file gives them a value."""

ALWAYS_USED = frozenset({"optimizer_lr_backbone"})
"""What a policy uses of its preset even where an optimizer section replaces that."""
LOWEST = {
    "steps": 1, "batch_size": 1, "num_workers": 0, "prefetch_factor": 1, "log_freq": 0, "eval_steps": 0,
    "env_eval_freq": 0, "max_eval_samples": 0, "save_freq": 0, "seed": 0, "threads": 1, "eval.n_episodes": 1,
    "eval.batch_size": 0,
}  # fmt: skip
"""Whole numbers of LeRobot's own, and from where on training can use them."""
HIGHEST_SEED = 2**32 - 1
PRESET = ("optimizer_", "scheduler_")
"""How a policy's own settings of the optimiser and the schedule begin."""


def idle_keys(body: Mapping[str, Any], config: "TrainConfig") -> Iterator[str]:
    """Yield a sentence for each key of a plain config that decides nothing."""
    for idle in IDLE:
        if read(body, idle.key, MISSING) not in (MISSING, None) and idle.when(config):
            yield f"{idle.key} has no effect: {idle.why}."
    if body.get("use_policy_training_preset") is False:
        for key in body.get("policy") or {}:
            if key.startswith(PRESET) and key not in ALWAYS_USED:
                yield f"policy.{key} has no effect: use_policy_training_preset is false."
    if config.ot.enable and config.ot.method != "none" and not config.ot.transports:
        where = "ot.lambda_ot" if config.ot.lambda_ot_schedule is None else "ot.lambda_ot, by its schedule,"
        yield f"{where} is 0: the source rows are cloned, and nothing is transported."
    for number, term in enumerate(config.ot.loss_config.features):
        if term.embed_name is not None:
            yield f"ot.loss_config.features.{number}.embed_name is a label: the policy's own encoding is taken."
        if term.term_weight * (term.weight_embed + term.weight_label) == 0:
            yield f"ot.loss_config.features.{number} ({term.name}) has no effect: its weights are 0."


def contradictions(config: "TrainConfig") -> Iterator[str]:
    """Yield a sentence for each thing that training would stumble over, though every value alone is allowed."""
    yield from _out_of_range(config)
    closed_loop = config.env is not None and config.env_eval_freq > 0
    if config.early_stopping is not None:
        monitor = config.early_stopping.monitor
        if monitor.startswith("eval/") and config.eval_steps == 0:
            yield f"early_stopping watches {monitor}, but eval_steps is 0; set eval_steps and dataset.eval_split."
        if monitor.startswith("sim/") and not closed_loop:
            yield f"early_stopping watches {monitor}, but nothing is evaluated in closed loop; set env, env_eval_freq."
    if config.keep_best and config.eval_steps == 0 and not closed_loop:
        yield "keep_best is true, but nothing is evaluated; set eval_steps and dataset.eval_split, or env."
    if config.warmup_ratio is not None and config.scheduler is None:
        yield "warmup_ratio is given, but the policy's preset has no schedule; set optimizer, scheduler and the preset."
    if config.ot.enable:
        yield from _transport(config)


def _out_of_range(config: "TrainConfig") -> Iterator[str]:
    for key, low in LOWEST.items():
        value = attrgetter(key)(config)
        if value is not None and value < low:
            yield f"{key} is {value}; allowed: a whole number >= {low}."
    if config.seed is not None and config.seed > HIGHEST_SEED:
        yield f"seed is {config.seed}; allowed: a whole number from 0 to {HIGHEST_SEED}."
    rates = {f"policy.{key}": value for key, value in _values(config.policy).items() if key.startswith(PRESET)}
    if not config.use_policy_training_preset:  # else they hold what the policy's preset says
        for section in ("optimizer", "scheduler"):
            rates |= {f"{section}.{key}": value for key, value in _values(getattr(config, section)).items()}
    for key, value in rates.items():
        if isinstance(value, int | float) and not 0 <= value < math.inf:
            yield f"{key} is {value}; allowed: a finite number >= 0."


def _values(section: object | None) -> dict[str, Any]:
    return {} if section is None else vars(section)


def _transport(config: "TrainConfig") -> Iterator[str]:
    ot = config.ot
    if not ot.src_repo_id and not ot.src_root:
        yield "ot.enable is true, but there is no source dataset; set ot.src_repo_id and ot.src_root."
    paired = ot.method != "none" and not (ot.rows == "separate" and not ot.transports)
    if paired and not ot.pair_info_path and not any(source.pair_info_path for source in ot.more_sources):
        yield "ot.pair_info_path is not set; make a pair table with `otpilot pair` and give its path."
    if ot.stats == "per_domain" and config.rename_map:
        yield (
            "ot.stats is per_domain, which does not go with rename_map: the sources' rows would keep their old names; "
            "set ot.stats to shared, or rename the features of the datasets."
        )
    without = {"action"} | ({"observation.state"} if config.policy and config.policy.type == "diffusion" else set())
    for number, term in enumerate(ot.loss_config.features):
        if term.weight_embed > 0 and term.src_key in without:
            yield (
                f"ot.loss_config.features.{number}: {config.policy.type} has no learned embedding for "
                f"{term.src_key!r}; use weight_label, or the key of a camera."
            )


def absences(config: "TrainConfig") -> Iterator[str]:
    """Yield a sentence for each file that training will need and that is not on this machine."""
    ot = config.ot
    wanted = [("dataset.root", config.dataset.root)]
    if ot.enable:
        wanted += [("ot.src_root", ot.src_root), ("ot.pair_info_path", ot.pair_info_path)]
        for number, source in enumerate(ot.more_sources):
            place = f"ot.more_sources.{number}"
            wanted += [(f"{place}.root", source.root), (f"{place}.pair_info_path", source.pair_info_path)]
    for key, path in wanted:
        if path is not None and not Path(path).exists():
            yield f"{key} is not on this machine: {path}."
    own = getattr(config.policy, "pretrained_path", None)
    if own is not None and not Path(own).is_dir():
        yield f"policy.pretrained_path is not on this machine: {own}."
    weights = getattr(config.policy, "pretrained_backbone_weights", None)
    if weights and not list(_torch_cache().glob(f"{str(weights).split('_', maxsplit=1)[0].lower()}-*.pth")):
        yield (
            f"policy.pretrained_backbone_weights = {weights} is not on this machine; it is downloaded when training "
            "starts. Without a network set it to null, or put the file into "
            f"{_torch_cache()}."
        )


def _torch_cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return (Path(os.environ.get("TORCH_HOME", home)) / "hub" / "checkpoints").expanduser()


FEW_ROWS = 4
"""Rows of each domain under which a transport has little to choose from; the benchmarks train with four."""


def few_rows(config: "TrainConfig") -> Iterator[str]:
    """Yield a note if the transport of a step compares fewer than FEW_ROWS rows of each domain, as far as is known."""
    rows = _rows_compared(config)
    if rows is not None:
        yield from few_rows_told(config, rows)


def few_rows_told(config: "TrainConfig", rows: float) -> Iterator[str]:
    """Yield a note if `rows` of each domain, which the transport compares at once, are fewer than FEW_ROWS."""
    if rows >= FEW_ROWS:
        return
    share = "ot.batch_ratio" if config.ot.rows == "separate" else "ot.bc_src_weight"
    yield (
        f"batch_size is {config.batch_size}, which with {share} = {getattr(config.ot, share[3:])} leaves the transport "
        f"about {rows:.3g} target rows at a time, among which there is little to choose: raise batch_size."
    )


def _rows_compared(config: "TrainConfig") -> float | None:
    """Return how many rows of each domain one problem holds; None without a transport, or where sizes decide."""
    ot = config.ot
    if not ot.transports:
        return None
    batches = config.grad_accum_steps if ot.scope == "global" else 1
    if ot.rows == "separate":
        return float(max(1, round(ot.batch_ratio * config.batch_size)) * batches)
    if not ot.normalize_bc_weights_by_ds_size:
        return None
    paired = ot.pair_info_path or any(source.pair_info_path for source in ot.more_sources)
    viewed = bool(paired) if ot.view_share == "auto" else ot.view_share > 0
    share = ot.source_weight(viewed=viewed)
    return float(config.batch_size * batches) * min(share, 1.0 - share)
