"""Which keys are one knob, and the short code of each in a variant's name."""

from collections.abc import Iterable
from dataclasses import dataclass

TERM_PREFIX = "ot.loss_config.features"


@dataclass(frozen=True, kw_only=True)
class Knob:
    """A name for keys that are turned together, and their code in names of variants."""

    name: str
    code: str


KNOBS: dict[str, Knob] = {
    "ot.lambda_ot": Knob(name="weight", code="lambda"),
    "ot.target_grad_share": Knob(name="weight", code="share"),
    "ot.lambda_ot_schedule": Knob(name="weight schedule", code="lambdasched"),
    "ot.weight_warmup_ratio": Knob(name="weight schedule", code="lambdawarm"),
    "ot.compute_every_n_steps": Knob(name="compute every", code="every"),
    "ot.window_size": Knob(name="window", code="w"),
    "ot.no_window": Knob(name="window", code="nowindow"),
    "ot.sharpness": Knob(name="sharpness", code="sharp"),
    "ot.topk_src_episodes": Knob(name="source episodes", code="topk"),
    "ot.view_share": Knob(name="view", code="view"),
    "ot.view_jitter": Knob(name="view", code="viewjitter"),
    "ot.view_background": Knob(name="view", code="viewback"),
    "ot.batch_ratio": Knob(name="pair rows", code="ratio"),
    "ot.bc_src_weight": Knob(name="source rows", code="bcsrc"),
    "ot.loss_config.reg": Knob(name="reg", code="reg"),
    "ot.loss_config.reg_schedule": Knob(name="reg schedule", code="regsched"),
    "ot.loss_config.tau_src": Knob(name="tau", code="tau"),
    "ot.loss_config.tau_tgt": Knob(name="tau", code="tau"),
    "ot.loss_config.target_mass": Knob(name="target mass", code="mass"),
    "ot.loss_config.cost_normalization": Knob(name="cost normalization", code="costnorm"),
    "ot.loss_config.embed_normalization": Knob(name="embed normalization", code="embnorm"),
    "ot.loss_config.objective": Knob(name="objective", code="obj"),
    "ot.loss_config.prior": Knob(name="prior", code="prior"),
    "ot.loss_config.prior_kappa": Knob(name="prior", code="kappa"),
    "ot.loss_config.max_iterations": Knob(name="iterations", code="iters"),
    f"{TERM_PREFIX}[*].weight_label": Knob(name="label weight", code="lbl"),
    f"{TERM_PREFIX}[*].weight_embed": Knob(name="embed weight", code="emb"),
    f"{TERM_PREFIX}[*].detach_cost_grad": Knob(name="cost gradient", code="detach"),
    f"{TERM_PREFIX}[*].term_weight": Knob(name="term weight", code="term"),
    "batch_size": Knob(name="batch", code="bs"),
    "grad_accum_steps": Knob(name="batch", code="accum"),
    "policy.optimizer_lr": Knob(name="learning rate", code="lr"),
    "policy.optimizer_lr_backbone": Knob(name="learning rate", code="lrbb"),
    "optimizer.lr": Knob(name="learning rate", code="lr"),
    "policy.optimizer_weight_decay": Knob(name="weight decay", code="wd"),
    "optimizer.weight_decay": Knob(name="weight decay", code="wd"),
    "optimizer.grad_clip_norm": Knob(name="gradient clipping", code="clip"),
    "policy.scheduler_warmup_steps": Knob(name="warm-up", code="warm"),
    "scheduler.num_warmup_steps": Knob(name="warm-up", code="warm"),
    "warmup_ratio": Knob(name="warm-up", code="warmratio"),
    "use_policy_training_preset": Knob(name="optimiser", code="preset"),
    "optimizer": Knob(name="optimiser", code="opt"),
    "scheduler": Knob(name="optimiser", code="sched"),
    "policy.dropout": Knob(name="dropout", code="drop"),
    "ema_decay": Knob(name="ema", code="ema"),
    "state_noise_std": Knob(name="state noise", code="snoise"),
    "action_noise_std": Knob(name="action noise", code="anoise"),
    "early_stopping": Knob(name="early stopping", code="earlystop"),
    "eval_steps": Knob(name="evaluation", code="eval"),
    "env_eval_freq": Knob(name="evaluation", code="eval"),
    "num_workers": Knob(name="loading", code="workers"),
}


def knob_of(path: str) -> Knob:
    """Return the knob of a key, with or without the names of terms; a key without an entry is a knob of its own."""
    head, bracket, rest = path.partition("[")
    pattern = f"{head}[*]{rest.partition(']')[2]}" if bracket else path.replace(".features.*.", ".features[*].")
    return KNOBS.get(pattern) or Knob(name=path, code=pattern.rpartition(".")[2])


def knobs_of(paths: Iterable[str]) -> frozenset[str]:
    """Return the names of the knobs that the keys belong to."""
    return frozenset(knob_of(path).name for path in paths)
