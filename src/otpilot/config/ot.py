"""The `ot` section: what is paired, what it costs, how the transport is solved. Plain data; no torch, no lerobot."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

from otpilot.errors import ConfigError, closest

CostKind = Literal["l2", "l2_squared"]
CostNormalization = Literal["none", "ema"]
EmbedNormalization = Literal["none", "batch", "layer", "cosine"]
Objective = Literal["plan_cost", "uot", "energy"]
Prior = Literal["product", "diagonal", "mixed"]
Method = Literal["ot", "none", "paired", "energy_distance", "mmd", "coral"]
Rows = Literal["shared", "separate"]
Scope = Literal["global", "local"]
Stats = Literal["shared", "rows", "target", "source", "per_domain"]
Weighting = Literal["exp", "logistic"]
ScheduleType = Literal["constant", "linear", "cosine"]

CHOICES: dict[str, tuple[str, ...]] = {
    "cost": get_args(CostKind),
    "cost_normalization": get_args(CostNormalization),
    "embed_normalization": get_args(EmbedNormalization),
    "objective": get_args(Objective),
    "prior": get_args(Prior),
    "method": get_args(Method),
    "rows": get_args(Rows),
    "scope": get_args(Scope),
    "stats": get_args(Stats),
    "weighting": get_args(Weighting),
    "type": get_args(ScheduleType),
}


def check_choice(where: str, name: str, value: str) -> None:
    """Raise ConfigError unless `value` is one of the words that `name` allows."""
    allowed = CHOICES[name]
    if value not in allowed:
        raise ConfigError(f"{where}.{name} is {value!r}; allowed: {', '.join(allowed)}.{closest(str(value), allowed)}")


def check_number(
    where: str, name: str, value: float | None, *, low: float = 0.0, high: float = math.inf, open_low: bool = False
) -> None:
    """Raise ConfigError unless `value` is None or a finite number in [low, high] ((low, high] if `open_low`)."""
    if value is None:
        return
    below = value <= low if open_low else value < low
    if not math.isfinite(value) or below or value > high:
        bracket = "(" if open_low else "["
        raise ConfigError(
            f"{f'{where}.' if where else ''}{name} is {value}; allowed: a finite number in {bracket}{low}, {high}]."
        )


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """A value over training steps: constant, or a ramp from `start_value` to `end_value`.

    The ramp begins at `start_step` and ends at `end_step`, or at `end_ratio_of_steps` times the schedule's horizon.
    A missing start or end value is the setting that the schedule scales (`lambda_ot` or `reg`).
    """

    type: ScheduleType = "constant"
    start_value: float | None = None
    end_value: float | None = None
    start_step: int = 0
    end_step: int | None = None
    end_ratio_of_steps: float | None = None

    def __post_init__(self) -> None:
        """Check words and ranges."""
        where = "ot schedule"
        check_choice(where, "type", self.type)
        check_number(where, "start_value", self.start_value)
        check_number(where, "end_value", self.end_value)
        check_number(where, "start_step", self.start_step)
        check_number(where, "end_step", self.end_step)
        check_number(where, "end_ratio_of_steps", self.end_ratio_of_steps, high=1.0, open_low=True)
        if self.end_step is not None and self.end_ratio_of_steps is not None:
            raise ConfigError(f"{where}: give end_step or end_ratio_of_steps, not both.")
        if self.end_step is not None and self.end_step <= self.start_step:
            raise ConfigError(f"{where}.end_step is {self.end_step}; it must lie behind start_step {self.start_step}.")
        if self.type != "constant" and self.end_step is None and self.end_ratio_of_steps is None:
            raise ConfigError(f"{where}: a {self.type} schedule needs end_step or end_ratio_of_steps.")

    def values(self, base: float) -> tuple[float, ...]:
        """Return the values between which it moves (or jumps) where the setting that it scales is `base`."""
        start = base if self.start_value is None else self.start_value
        if self.type == "constant":
            return (start,) if self.start_step == 0 else (base, start)
        return start, base if self.end_value is None else self.end_value


@dataclass(frozen=True, kw_only=True)
class TermConfig:
    """One term of the ground cost: term_weight * (weight_embed * d(z_s, z_t) + weight_label * d(x_s, x_t)).

    z is the policy's own encoding of the key (gradients flow), x the raw feature behind the policy's normaliser
    (detached); everything behind the batch axis is flattened. `dim_slice` cuts x, never z.
    """

    src_key: str
    tgt_key: str | None = None
    dim_slice: tuple[int, int] | None = None
    use_learned_embed: bool = False
    embed_name: str | None = None
    weight_embed: float = 0.0
    weight_label: float = 0.0
    term_weight: float = 1.0
    term_name: str | None = None
    detach_cost_grad: bool = False

    def __post_init__(self) -> None:
        """Check weights and the slice."""
        where = f"ot.loss_config.features[{self.name}]"
        for name in ("weight_embed", "weight_label", "term_weight"):
            check_number(where, name, getattr(self, name))
        if self.dim_slice is not None:
            start, stop = self.dim_slice
            if start < 0 or stop <= start:
                raise ConfigError(
                    f"{where}.dim_slice is {list(self.dim_slice)}; allowed: [start, stop], 0 <= start < stop."
                )
        if self.weight_embed > 0 and not self.use_learned_embed:
            raise ConfigError(
                f"{where}.weight_embed is {self.weight_embed} but use_learned_embed is false; set it to true, "
                "or use weight_label for the raw feature."
            )

    @property
    def name(self) -> str:
        """Name under which the term is logged: term_name, else the source key."""
        return self.term_name or self.src_key

    @property
    def target_key(self) -> str:
        """Key on the target side: tgt_key, else the source key."""
        return self.tgt_key or self.src_key


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """The transport problem: terms, strengths (same unit as the cost), reference measure, objective.

    `tau_src` or `tau_tgt` null means the hard marginal on that side. `target_mass` null leaves the cost as it is.
    """

    features: tuple[TermConfig, ...] = ()
    cost: CostKind = "l2_squared"
    cost_normalization: CostNormalization = "ema"
    cost_ema_decay: float = 0.99
    embed_normalization: EmbedNormalization = "batch"
    objective: Objective = "energy"
    prior: Prior = "mixed"
    prior_kappa: float = 0.5
    reg: float = 0.1
    reg_schedule: ScheduleConfig | None = None
    tau_src: float | None = 0.5
    tau_tgt: float | None = 0.5
    target_mass: float | None = None
    tolerance: float = 1e-3
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        """Check words and ranges."""
        where = "ot.loss_config"
        for name in ("cost", "cost_normalization", "embed_normalization", "objective", "prior"):
            check_choice(where, name, getattr(self, name))
        check_number(where, "reg", self.reg, open_low=True)
        check_number(where, "tau_src", self.tau_src, open_low=True)
        check_number(where, "tau_tgt", self.tau_tgt, open_low=True)
        check_number(where, "prior_kappa", self.prior_kappa, high=1.0)
        check_number(where, "cost_ema_decay", self.cost_ema_decay, high=1.0)
        check_number(where, "tolerance", self.tolerance, open_low=True, high=1.0)
        check_number(where, "max_iterations", self.max_iterations, low=1)
        if self.reg_schedule is not None:
            for name in ("start_value", "end_value"):
                check_number(f"{where}.reg_schedule", name, getattr(self.reg_schedule, name), open_low=True)
        if self.target_mass is not None and not 0.0 < self.target_mass < 1.0:
            raise ConfigError(f"{where}.target_mass is {self.target_mass}; allowed: a number between 0 and 1, or null.")
        names = [term.name for term in self.features]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ConfigError(
                f"{where}.features: term name {doubled[0]!r} is used twice; set term_name to tell them apart."
            )
        if self.features and not any(
            term.term_weight * (term.weight_embed + term.weight_label) > 0 for term in self.features
        ):
            raise ConfigError(f"{where}.features: every weight is 0, so the cost is 0; give one term a weight.")


@dataclass(frozen=True, kw_only=True)
class HealthConfig:
    """When a transport counts as dead, or as eating the policy; shares are of the encoder gradient, 0 to 1."""

    check_every_n_steps: int = 20
    window: int = 5
    dead_grad_share: float = 0.01
    dead_mass: float = 1e-3
    eating_grad_share: float = 0.5
    eating_variance_ratio: float = 0.1
    warmup_steps: int = 40

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("dead_grad_share", "dead_mass", "eating_grad_share", "eating_variance_ratio"):
            check_number("ot.health", name, getattr(self, name), high=1.0)
        for name in ("check_every_n_steps", "window"):
            check_number("ot.health", name, getattr(self, name), low=1)
        check_number("ot.health", "warmup_steps", self.warmup_steps)


PLAIN_SOURCE_WEIGHT, VIEWED_SOURCE_WEIGHT = 0.5, 0.75
"""What bc_src_weight = auto is without views and with them."""


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """A further source dataset; without `pair_info_path` its rows serve behaviour cloning only."""

    repo_id: str
    root: str | None = None
    episodes: list[int] | None = None
    pair_info_path: str | None = None
    weight: float = 1.0

    def __post_init__(self) -> None:
        """Check the weight."""
        check_number(f"ot.more_sources[{self.repo_id}]", "weight", self.weight, open_low=True)


@dataclass(frozen=True, kw_only=True)
class OTConfig:
    """Optimal-transport co-training: the source dataset, the pairs, the weight and the loss.

    `lambda_ot` is a number or "auto"; auto keeps the transport's share of the encoder gradient at `target_grad_share`
    of behaviour cloning's. `batch_ratio` is pair rows over batch_size, 2 at most (rows = separate). `bc_src_weight` is
    the source's share of the behaviour-cloning rows; unless `normalize_bc_weights_by_ds_size`, both weights are first
    multiplied by the size of their dataset; "auto" is .75 where source rows are shown in the target's view, so that
    both looks are learned, and .5 elsewhere (docs/log.md, 2026-11-22). `stats` says whose statistics normalise the
    rows: one set for all (shared: of all datasets' frames together; rows: each dataset counts as much as it has rows in
    a batch, so that few target frames are not lost), or per_domain, each domain by its own (the saved policy then
    carries the target's). `scope` global solves one problem over all rows of a step, however many processes and
    accumulated batches hold them; local solves one in each. Further sources share the source rows with the first in
    proportion to their weights. `view_share` is the part of source rows that are shown as the target's camera would
    have seen them (docs/views.md): a number, or "auto", which is half of them where there are pairs to fit that on and
    pictures come nearer by it; `view_jitter` is how far that camera moves at random, in radians and the like;
    `view_background` draws what stands still as the target's own pictures show it.
    """

    enable: bool = True
    method: Method = "ot"
    src_repo_id: str = ""
    src_root: str | None = None
    src_episodes: list[int] | None = None
    pair_info_path: str | None = None
    src_weight: float = 1.0
    more_sources: tuple[SourceConfig, ...] = ()
    rows: Rows = "shared"
    batch_ratio: float = 0.5
    bc_src_weight: float | Literal["auto"] = "auto"
    normalize_bc_weights_by_ds_size: bool = True
    stats: Stats = "shared"
    obs_keys: tuple[str, ...] = ()
    lambda_ot: float | Literal["auto"] = "auto"
    lambda_ot_schedule: ScheduleConfig | None = None
    weight_warmup_ratio: float | None = None
    target_grad_share: float = 0.1
    compute_every_n_steps: int = 1
    scope: Scope = "global"
    window_size: int = 0
    no_window: bool = False
    sharpness: float = 0.0
    weighting: Weighting = "exp"
    cutoff_quantile: float = 0.5
    topk_src_episodes: int | None = None
    view_share: float | Literal["auto"] = "auto"
    view_jitter: float = 0.05
    view_background: bool = False
    base_index_src: int = 0
    base_index_tgt: int = 0
    loss_config: LossConfig = field(default_factory=LossConfig)
    health: HealthConfig = field(default_factory=HealthConfig)

    def __post_init__(self) -> None:
        """Check words and ranges."""
        check_choice("ot", "method", self.method)
        check_choice("ot", "rows", self.rows)
        check_choice("ot", "scope", self.scope)
        check_choice("ot", "stats", self.stats)
        check_choice("ot", "weighting", self.weighting)
        _check_auto("view_share", self.view_share, high=1.0)
        check_number("ot", "view_jitter", self.view_jitter, high=0.5)
        check_number("ot", "cutoff_quantile", self.cutoff_quantile, high=1.0)
        check_number("ot", "src_weight", self.src_weight, open_low=True)
        _check_auto("lambda_ot", self.lambda_ot)
        check_number("ot", "batch_ratio", self.batch_ratio, high=2.0, open_low=True)
        _check_auto("bc_src_weight", self.bc_src_weight, high=1.0)
        check_number("ot", "target_grad_share", self.target_grad_share, open_low=True, high=1.0)
        check_number("ot", "weight_warmup_ratio", self.weight_warmup_ratio, high=1.0)
        check_number("ot", "compute_every_n_steps", self.compute_every_n_steps, low=1)
        check_number("ot", "window_size", self.window_size)
        check_number("ot", "sharpness", self.sharpness)
        check_number("ot", "topk_src_episodes", self.topk_src_episodes, low=1)
        for name in ("base_index_src", "base_index_tgt"):
            check_number("ot", name, getattr(self, name), high=1)

    @property
    def transports(self) -> bool:
        """Whether the transport (or its baseline) has a weight at any step, by `lambda_ot` and its schedule."""
        if not self.enable or self.method == "none":
            return False
        base = 1.0 if isinstance(self.lambda_ot, str) else self.lambda_ot
        schedule = self.lambda_ot_schedule
        return any(value > 0.0 for value in ((base,) if schedule is None else schedule.values(base)))

    def source_weight(self, *, viewed: bool) -> float:
        """Return the source's share of the cloning rows; auto knows it once it is known whether views are shown."""
        if not isinstance(self.bc_src_weight, str):
            return self.bc_src_weight
        return VIEWED_SOURCE_WEIGHT if viewed else PLAIN_SOURCE_WEIGHT


def _check_auto(name: str, value: float | str, high: float = math.inf) -> None:
    if not isinstance(value, str):
        check_number("ot", name, value, high=high)
    elif value != "auto":
        allowed = "a number >= 0" if math.isinf(high) else f"a number from 0 to {high:g}"
        raise ConfigError(f"ot.{name} is {value!r}; allowed: {allowed}, or 'auto'.")
