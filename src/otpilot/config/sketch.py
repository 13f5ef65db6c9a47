"""The spellings of the recipe sketches (YAML in experiment reports) to today's keys. Plain dicts; no lerobot.

A sketch says `optimizer.lr`, `train.ema`, `loss.weights.ot`, `loss.ot.sinkhorn_epsilon`; docs/knobs.md explains each
decision.
"""

from otpilot.config.rewriting import MISSING, Rewriting
from otpilot.errors import ConfigError

RENAMED = {
    "name": "job_name",
    "experiment": "job_name",
    "train.batch_size": "batch_size",
    "train.steps": "steps",
    "train.seed": "seed",
    "train.grad_accum_steps": "grad_accum_steps",
    "train.grad_accum": "grad_accum_steps",
    "train.gradient_clip_norm": "optimizer.grad_clip_norm",
    "train.grad_clip_norm": "optimizer.grad_clip_norm",
    "train.ema_decay": "ema_decay",
    "train.eval_use_ema": "eval_use_ema",
    "train.optimizer": "optimizer.type",
    "train.lr": "optimizer.lr",
    "train.weight_decay": "optimizer.weight_decay",
    "train.scheduler": "scheduler.type",
    "train.warmup_ratio": "warmup_ratio",
    "train.warmup_steps": "scheduler.num_warmup_steps",
    "scheduler.warmup_ratio": "warmup_ratio",
    "scheduler.warmup_steps": "scheduler.num_warmup_steps",
    "loss.weights.ot": "ot.lambda_ot",
    "loss.weights.ot_action_lbl": "ot.lambda_ot",
    "loss.weights.ot_action_lbl_schedule": "ot.lambda_ot_schedule",
    "loss.ot.cost": "ot.loss_config.cost",
    "loss.ot.epsilon": "ot.loss_config.reg",
    "loss.ot.sinkhorn_epsilon": "ot.loss_config.reg",
    "loss.ot.sinkhorn_iters": "ot.loss_config.max_iterations",
    "loss.ot.stop_thresh": "ot.loss_config.tolerance",
    "loss.ot.epsilon_schedule": "ot.loss_config.reg_schedule",
    "loss.ot.weight_warmup_ratio": "ot.weight_warmup_ratio",
    "loss.ot.compute_every_n_steps": "ot.compute_every_n_steps",
    "loss.action_lbl.label_smoothing": "discrete_actions.label_smoothing",
    "loss.action_lbl.focal_gamma": "discrete_actions.focal_gamma",
    "loss.action_lbl.class_balance": "discrete_actions.class_balance",
    "model.label_smoothing": "discrete_actions.label_smoothing",
    "data.augment.state_noise_std": "state_noise_std",
    "data.augment.action_noise_std": "action_noise_std",
    "epsilon": "ot.loss_config.reg",
    "sinkhorn_epsilon": "ot.loss_config.reg",
    "sinkhorn_iters": "ot.loss_config.max_iterations",
    "stop_thresh": "ot.loss_config.tolerance",
    "epsilon_schedule": "ot.loss_config.reg_schedule",
    "ot.epsilon": "ot.loss_config.reg",
    "ot.sinkhorn_epsilon": "ot.loss_config.reg",
    "ot.sinkhorn_iters": "ot.loss_config.max_iterations",
    "ot.stop_thresh": "ot.loss_config.tolerance",
    "ot.epsilon_schedule": "ot.loss_config.reg_schedule",
    "ot.ot_action_lbl_schedule": "ot.lambda_ot_schedule",
}
"""A sketch's key -> today's; the value stays."""

SPECIAL = (
    "train.ema",
    "loss.weights.bc",
    "loss.weights.action_lbl",
    "loss.ot.detach_cost_grad",
    "model.head_dropout",
    "data.seq_len",
    "data.window_stride",
    "logging.smooth_window",
)
"""A sketch's keys that take more than a new name."""

SECTIONS = ("train", "loss", "model", "data", "logging")
SCHEDULE_NAMES = ("cosine", "linear", "constant", "cosine_with_restarts", "polynomial")
EMA_DECAY = 0.999
LENGTH_KEYS = {"act": "chunk_size", "diffusion": "horizon"}
"""What a policy calls the number of steps that one training sample spans."""

DEFAULT_FEATURES = [
    {"src_key": "observation.images", "use_learned_embed": True, "weight_embed": 1.0, "term_name": "images"},
    {"src_key": "action", "weight_label": 1.0, "term_name": "action_lbl"},
]
"""The terms that stand for none given (training/step.py), spelled out where one of them is to be weighed."""


def translate_sketch(rewriting: Rewriting) -> None:
    """Rewrite every key of a sketch in today's form.

    Raises:
        ConfigError: If a section holds a key that no sketch has, two keys disagree, or a wish cannot be fulfilled.
    """
    sketched = _sketches_optimizer(rewriting)
    for old, new in RENAMED.items():
        rewriting.move(old, new)
    _ema(rewriting)
    _loss_weights(rewriting)
    _plan_gradient(rewriting)
    _dropout(rewriting)
    _sequence(rewriting)
    _smoothing(rewriting)
    _levels(rewriting)
    _schedule(rewriting)
    if sketched:
        _optimizer(rewriting)
    for section in SECTIONS:
        rewriting.close(section, [key for key in (*RENAMED, *SPECIAL) if key.startswith(f"{section}.")])


def _sketches_optimizer(rewriting: Rewriting) -> bool:
    """Whether an optimiser is asked for in a sketch's words; LeRobot's own section names its type."""
    section = rewriting.section("optimizer")
    named = any(new.startswith("optimizer.") and rewriting.has(old) for old, new in RENAMED.items())
    return named or (bool(section) and "type" not in (section or {}))


def _ema(rewriting: Rewriting) -> None:
    wanted = rewriting.take("train.ema")
    if wanted is MISSING:
        return
    decay = rewriting.get("ema_decay")
    if wanted and decay is None:
        rewriting.set("ema_decay", EMA_DECAY, told=f"train.ema = {wanted} is read as ema_decay = {EMA_DECAY}.")
    elif not wanted and decay is not None:
        raise ConfigError(f"train.ema = {wanted} contradicts ema_decay = {decay}; remove one of them.")


def _loss_weights(rewriting: Rewriting) -> None:
    cloning = rewriting.take("loss.weights.bc")
    if cloning is not MISSING and cloning != 1:
        weight = rewriting.get("ot.lambda_ot")
        if not isinstance(cloning, int | float) or cloning <= 0 or not isinstance(weight, int | float):
            raise ConfigError(
                f"loss.weights.bc is {cloning!r} and the weight of the transport {weight!r}; the cloning loss always "
                "has weight 1 here, so give two numbers above 0, of which only the ratio counts."
            )
        told = f"loss.weights.bc = {cloning}: the cloning loss has weight 1 here, so ot.lambda_ot = {weight / cloning}."
        rewriting.set("ot.lambda_ot", weight / cloning, told=told)
    label = rewriting.take("loss.weights.action_lbl")
    if label is not MISSING:
        _weigh_action_term(rewriting, label)


def _weigh_action_term(rewriting: Rewriting, weight: object) -> None:
    """Let a weight of the label term multiply the term of the transport cost that compares actions."""
    if not rewriting.get("ot.loss_config.features"):
        rewriting.set("ot.loss_config.features", DEFAULT_FEATURES)
    features = rewriting.get("ot.loss_config.features")
    terms = [term for term in features if isinstance(term, dict) and term.get("src_key") == "action"]
    if not terms:
        raise ConfigError(
            f"loss.weights.action_lbl is {weight}, but no term of ot.loss_config.features has src_key = 'action'; "
            "add one, or remove the weight."
        )
    for term in terms:
        term["term_weight"] = weight
    rewriting.note(f"loss.weights.action_lbl is read as term_weight = {weight} of the cost term that compares actions.")


def _plan_gradient(rewriting: Rewriting) -> None:
    wanted = rewriting.take("loss.ot.detach_cost_grad")
    if wanted is MISSING:
        return
    if not wanted:
        raise ConfigError(
            "loss.ot.detach_cost_grad = false asks for gradients through the plan, which are never taken here (the "
            "plan's own gradient is zero at the optimum); set it to true, or remove it."
        )
    rewriting.note(
        "loss.ot.detach_cost_grad = true is always so: the plan is solved on a detached cost. (To keep one term out of "
        "the gradient as well, set detach_cost_grad of that term.)"
    )


def _dropout(rewriting: Rewriting) -> None:
    dropout = rewriting.take("model.head_dropout")
    if dropout is MISSING:
        return
    kind = rewriting.get("policy.type")
    if kind == "diffusion":
        rewriting.note(
            f"model.head_dropout = {dropout} is not honoured: LeRobot's diffusion policy has no dropout. What it has: "
            "optimizer.weight_decay, ema_decay, state_noise_std, action_noise_std, image transforms."
        )
        return
    rewriting.set_from("model.head_dropout", dropout, "policy.dropout")


def _sequence(rewriting: Rewriting) -> None:
    length = rewriting.take("data.seq_len")
    if length is not MISSING:
        kind = rewriting.get("policy.type")
        if kind not in LENGTH_KEYS:
            raise ConfigError(
                f"data.seq_len is {length}, but it is not known what a policy of type {kind!r} calls the steps that a "
                f"sample spans; set policy.type ({', '.join(LENGTH_KEYS)}) first, or the policy's own key."
            )
        rewriting.set_from("data.seq_len", length, f"policy.{LENGTH_KEYS[kind]}")
    stride = rewriting.take("data.window_stride")
    if stride is not MISSING and stride != 1:
        rewriting.note(
            f"data.window_stride = {stride} is not honoured: every frame begins a sample here, and a stride would only "
            "leave some of them out."
        )


def _smoothing(rewriting: Rewriting) -> None:
    window = rewriting.take("logging.smooth_window")
    if window is not MISSING:
        rewriting.note(
            f"logging.smooth_window = {window} is not a setting of training: what is logged stays raw, reports smooth."
        )


def _levels(rewriting: Rewriting) -> None:
    section = rewriting.section("discrete_actions")
    if section and not section.get("discrete_dims"):
        rewriting.note(
            "discrete_actions has no effect until discrete_actions.discrete_dims says which columns of the action are "
            "discrete, e.g. [7] for a gripper in column 7."
        )


def _schedule(rewriting: Rewriting) -> None:
    section = rewriting.section("scheduler")
    if section is None or section.get("type", "cosine") not in (*SCHEDULE_NAMES, None):
        return
    if section.get("type", "cosine") is None:
        rewriting.set("scheduler", None)
        return
    if "num_warmup_steps" in section and rewriting.get("warmup_ratio") is not None:
        raise ConfigError(
            f"The warm-up is given twice: {section['num_warmup_steps']} steps and warmup_ratio = "
            f"{rewriting.get('warmup_ratio')}; keep one."
        )
    name = section.get("type", "cosine")
    section.update({"type": "diffuser", "name": name, "num_warmup_steps": section.get("num_warmup_steps", 0)})
    rewriting.note(f"scheduler.type = {name} is LeRobot's scheduler of type diffuser with name = {name}.")


def _optimizer(rewriting: Rewriting) -> None:
    section = rewriting.section("optimizer")
    assert section is not None
    section["type"] = str(section.get("type", "adamw")).lower()
    if "lr" not in section:
        rate = rewriting.get("policy.optimizer_lr")
        if rate is None:
            raise ConfigError(
                f"optimizer says {', '.join(sorted(set(section) - {'type'}))} but no lr; give optimizer.lr, for with a "
                "section of its own the policy's preset is not used."
            )
        section["lr"] = rate
    if not rewriting.has("use_policy_training_preset"):
        rewriting.set("use_policy_training_preset", False)
        rewriting.note(
            f"optimizer is read as LeRobot's {section['type']} with lr = {section['lr']}, in place of the policy's "
            "preset (use_policy_training_preset = false)."
        )
