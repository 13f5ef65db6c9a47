"""Settings of a run, whoever wrote them down: our nested JSON, the seeds' keys, W&B's flattened or wrapped values."""

from dataclasses import dataclass

Setting = float | int | str | bool | None


@dataclass(frozen=True, kw_only=True)
class KeySettings:
    """The settings that reports print and rules read; None where the config does not say.

    `reg`, `tau_src`, `tau_tgt` as given (None for tau may also mean the hard marginal: see `hard_src`, `hard_tgt`).
    `heuristic` is true for the seeds' flag and for `prior: diagonal`. `weight_embed` and `weight_label` are those of
    the first term that has one above 0, else 0. `lambda_ot` is a number or "auto". The optimiser is the one in effect
    (the policy's own under use_policy_training_preset).
    """

    policy: str | None = None
    method: str | None = None
    window_size: int | None = None
    reg: float | None = None
    tau_src: float | None = None
    tau_tgt: float | None = None
    hard_src: bool = False
    hard_tgt: bool = False
    heuristic: bool | None = None
    prior: str | None = None
    objective: str | None = None
    weight_embed: float | None = None
    weight_label: float | None = None
    lambda_ot: float | str | None = None
    lr: float | None = None
    weight_decay: float | None = None
    grad_clip_norm: float | None = None
    scheduler: str | None = None
    batch_size: int | None = None
    steps: int | None = None
    horizon: int | None = None
    seed: int | None = None
