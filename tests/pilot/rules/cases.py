"""Configs in the seeds' manner and, for each rule, what makes it speak and what must keep it silent."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from otpilot.analysis.findings import Finding
from otpilot.config.compat import translate
from otpilot.config.edits import Edit, apply
from otpilot.pilot.rules import RuleContext

Config = dict[str, Any]


def act(**loss: Any) -> Config:
    """Return report 002's baseline, in the fork's words."""
    return {
        "policy": {"type": "act", "optimizer_lr": 1e-5, "optimizer_lr_backbone": 1e-5, "optimizer_weight_decay": 1e-4},
        "batch_size": 8,
        "steps": 20_000,
        "eval_freq": 1000,
        "use_policy_training_preset": True,
        "ot": {
            "enable": True,
            "src_repo_id": "source",
            "pair_info_path": "pairs.json",
            "lambda_ot": 0.1,
            "window_size": 10,
            "loss_config": {
                "features": [
                    {
                        "src_key": "observation.images.ee",
                        "use_learned_embed": True,
                        "weight_embed": 0.3333,
                        "weight_label": 0.0,
                    },
                    {"src_key": "action", "weight_embed": 0.0, "weight_label": 0.02, "term_name": "action_lbl"},
                ],
                "reg": 0.1,
                "tau_src": 0.5,
                "tau_tgt": 0.5,
                "heuristic": True,
                **loss,
            },
        },
    }


def diffusion(**loss: Any) -> Config:
    """Return report 001's run."""
    config = act(**{"reg": 0.02, "tau_src": 0.01, "tau_tgt": 0.01, **loss})
    config["policy"] = {"type": "diffusion", "optimizer_lr": 1e-5, "optimizer_weight_decay": 1e-4}
    return config


def ours(**ot: Any) -> Config:
    """Return a config of ours: every default of the `ot` section."""
    config = act()
    del config["eval_freq"]
    loss = {"features": config["ot"]["loss_config"]["features"]}
    config["ot"] = {
        "src_repo_id": "source",
        "pair_info_path": "pairs.json",
        "window_size": 2,
        "loss_config": loss,
        **ot,
    }
    return config


def explicit(config: Config, lr: float = 3e-4) -> Config:
    """Return the config with the optimiser set explicitly."""
    config = copy.deepcopy(config)
    config["use_policy_training_preset"] = False
    config["optimizer"] = {"type": "adamw", "lr": lr, "weight_decay": 0.05, "grad_clip_norm": 10.0}
    config["scheduler"] = {"type": "diffuser", "name": "cosine", "num_warmup_steps": 100}
    return config


def edited(config: Config, **values: Any) -> Config:
    """Return the config with top-level keys replaced."""
    return {**copy.deepcopy(config), **values}


def with_ot(config: Config, **values: Any) -> Config:
    """Return the config with keys of `ot` replaced."""
    return edited(config, ot={**copy.deepcopy(config["ot"]), **values})


def with_labels(config: Config, weight: float) -> Config:
    """Return the config with another weight_label of the action term."""
    edit = Edit(path="ot.loss_config.features[action_lbl].weight_label", op="set", value=weight)
    return apply(translate(config).config, [edit])[0]


def detached() -> Config:
    """Return the baseline without a gradient through its cost."""
    config = act()
    config["ot"]["loss_config"]["features"][0]["detach_cost_grad"] = True
    return config


def hard() -> Config:
    """Return the baseline with hard marginals (in today's form: the fork reads a null tau as its default)."""
    taus = [Edit(path=f"ot.loss_config.{name}", op="set", value=None) for name in ("tau_src", "tau_tgt")]
    return apply(translate(act()).config, taus)[0]


def tag(name: str, severity: Any = "problem", metric: str | None = None, **evidence: Any) -> Finding:
    """Return a finding."""
    return Finding(tag=name, severity=severity, metric=metric, window=(0, 2000), evidence=evidence)


IMPROVING = tag("grad_norm_spiking", "warning", evaluation="improving")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One situation that a rule may meet."""

    config: Config
    tags: tuple[Finding, ...] = ()
    recent: Mapping[str, float] = field(default_factory=dict)
    last_step: int = 2000
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def context(self) -> RuleContext:
        return RuleContext(run="r1", last_step=self.last_step, recent=dict(self.recent), **self.more)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A situation in which a rule speaks, what it then changes, and situations in which it must not speak."""

    fires: Case
    changes: Mapping[str, Any]
    silent: tuple[Case, ...]


LOW = tag("mass_too_low", level=3e-4)
DEAD = tag("transport_dead", share=0.001)
HIGH = tag("mass_too_high", "warning", level=0.8)
STUCK = tag("cost_not_falling", "warning", "train/ot_cost/observation.state", fall=0.03)
DRIFT = tag("early_optimum_then_drift", best=0.03, last=0.69)
JITTER = tag("jitter", "warning", jitter=1.4)
SPIKES = tag("grad_norm_spiking", "warning", spikes=4)
PLATEAU = tag("plateau", "warning", "train/l1_loss", fall=0.004)
CONVERGING = tag("converging", "info", "train/l1_loss", fall=0.6)
LABEL = tag("label_dominates", "warning", share=0.99)
OFF = tag("off_diagonal", "warning", share=0.1)
FLAT = tag("lr_flat", "warning", lr=1e-5)
SHORT = tag("too_short", "info")
MASS, DIAG, SHARE = "train/ot_pi_sum", "train/ot_pi_diag", "train/ot_grad_share"
L1, LOSS, SUCCESS = "eval/offline_eval/avg_l1", "eval/offline_eval/avg_loss", "sim/success_mean"
REG, SRC, TGT = "ot.loss_config.reg", "ot.loss_config.tau_src", "ot.loss_config.tau_tgt"
LBL = "ot.loss_config.features[action_lbl].weight_label"
EMB = "ot.loss_config.features[observation.images.ee].weight_embed"
LR, BACKBONE = "policy.optimizer_lr", "policy.optimizer_lr_backbone"
WELL = Case(config=act(), tags=(CONVERGING,))
IDLE = Case(config=act(), tags=(tag("mass_too_low", "info", level=3e-4),))


def one(name: Callable[..., Any] | str, fires: Case, changes: Mapping[str, Any], *silent: Case) -> tuple[str, Pair]:
    """Return an entry of CASES; a run that does well is always among the silent situations."""
    return str(name), Pair(fires=fires, changes=changes, silent=(*silent, WELL))


def entry(name: str, fires: Case, changes: Mapping[str, Any], *silent: Case) -> tuple[str, Pair]:
    """Return an entry of CASES whose silent situations are all given."""
    return name, Pair(fires=fires, changes=changes, silent=silent)


STRONGER = with_ot(act(), lambda_ot=0.2)
COUPLED = {MASS: 0.05, DIAG: 0.05}
CASES: dict[str, Pair] = dict(
    [
        one(
            "lower_learning_rate_to_5e5",
            Case(config=edited(diffusion(), policy={"type": "diffusion", "optimizer_lr": 3e-4}), tags=(SPIKES,)),
            {LR: 5e-5},
            Case(config=diffusion(), tags=(SPIKES,)),
        ),
        one(
            "lower_learning_rate",
            Case(config=act(), tags=(tag("diverged"),)),
            {LR: 5e-6, BACKBONE: 5e-6},
            Case(config=act(), tags=(JITTER,)),
        ),
        one(
            "revert_optimiser",
            Case(config=explicit(act()), tags=(tag("underfitting_after_optimiser_change"),)),
            {"use_policy_training_preset": True},
            Case(config=act(), tags=(tag("underfitting_after_optimiser_change"),)),
        ),
        one(
            "longer_warmup",
            Case(config=diffusion(), tags=(SPIKES,)),
            {"policy.scheduler_warmup_steps": 1000},
            Case(config=act(), tags=(SPIKES,)),
        ),  # ACT's preset has no schedule
        one(
            "clip_gradient",
            Case(config=explicit(diffusion()), tags=(SPIKES,)),
            {"optimizer.grad_clip_norm": 1.0},
            Case(config=diffusion(), tags=(SPIKES,)),
        ),
        one(
            "lower_weight_at_high_gradient",
            Case(config=act(), tags=(tag("grad_norm_high"),)),
            {"ot.lambda_ot": 0.05},
            Case(config=act(), tags=(SPIKES,)),
        ),
        one(
            "lower_share_when_eating",
            Case(config=ours(), tags=(tag("transport_eating"),)),
            {"ot.target_grad_share": 0.05},
            Case(config=ours(), recent={SHARE: 0.49}),
            Case(config=ours(), recent={SHARE: 0.9}, tags=(SHORT,)),
        ),
        one(
            "normalize_embedding",
            Case(config=act(), recent={SHARE: 0.8}),
            {"ot.loss_config.embed_normalization": "batch"},
            Case(config=ours(), recent={SHARE: 0.8}),
        ),
        one(
            "normalize_cost",
            Case(config=act(), tags=(LOW,)),
            {"ot.loss_config.cost_normalization": "ema"},
            IDLE,
            Case(config=ours(), tags=(DEAD,)),
        ),
        one(
            "attach_gradient",
            Case(config=detached(), tags=(DEAD,)),
            {"ot.loss_config.features[observation.images.ee].detach_cost_grad": False},
            Case(config=act(), tags=(DEAD,)),
            Case(config=detached(), tags=(LOW,)),
        ),
        one(
            "energy_objective",
            Case(config=act(), tags=(DEAD,)),
            {"ot.loss_config.objective": "energy"},
            IDLE,
            Case(config=ours(), tags=(DEAD,)),
        ),
        one(
            "raise_reg",
            Case(config=act(), tags=(LOW,)),
            {REG: 0.2},
            IDLE,
            Case(config=act(), tags=(DEAD,), recent={MASS: 0.5}),
        ),
        one(
            "raise_tau",
            Case(config=act(), tags=(LOW,)),
            {SRC: 1.0, TGT: 1.0},
            IDLE,
            Case(config=hard(), tags=(LOW,)),
        ),
        one(
            "target_mass",
            Case(config=act(), tags=(LOW,)),
            {"ot.loss_config.target_mass": 0.7},
            IDLE,
            Case(config=hard(), tags=(LOW,)),
            Case(config=act(target_mass=0.5), tags=(LOW,)),
        ),
        one(
            "auto_weight",
            Case(config=act(), tags=(DEAD,)),
            {"ot.lambda_ot": "auto"},
            Case(config=ours(), tags=(DEAD,)),
            Case(config=act(), tags=(LOW,)),
        ),
        one(
            "raise_grad_share",
            Case(config=ours(), tags=(DEAD,), recent={MASS: 0.6}),
            {"ot.target_grad_share": 0.2},
            Case(config=ours(), tags=(DEAD,), recent={MASS: 1e-9}),
        ),
        one(
            "raise_reg_to_3",
            Case(config=act(reg=2.0), recent={MASS: 0.03}),
            {REG: 3.0},
            Case(config=act(reg=2.0), recent={MASS: 0.2}),
            Case(config=act(), recent={MASS: 0.03}),
            Case(config=act(reg=2.0), recent={MASS: 0.03}, tags=(SHORT,)),
        ),
        one(
            "raise_tau_to_20",
            Case(config=act(tau_src=10.0, tau_tgt=10.0), recent={MASS: 0.03}),
            {SRC: 20.0, TGT: 20.0},
            Case(config=act(), recent={MASS: 0.03}),
            Case(config=act(tau_src=10.0, tau_tgt=10.0), recent={MASS: 0.1}),
        ),
        one(
            "retain_mass",
            Case(config=diffusion(reg=0.01), recent={MASS: 0.02}),
            {SRC: 0.02, TGT: 0.02},
            Case(config=diffusion(), recent={MASS: 0.02}),
            Case(config=diffusion(reg=0.01), recent={MASS: 0.06}),
        ),
        one(
            "widen_window",
            Case(config=act(), tags=(LOW,)),
            {"ot.window_size": 15},
            IDLE,
            Case(config=with_ot(act(), no_window=True), tags=(LOW,)),
            Case(config=with_ot(act(), window_size=0), tags=(LOW,)),
        ),
        one(
            "relieve_label_dominance",
            Case(config=with_labels(act(), 0.05), tags=(LABEL,)),
            {LBL: 0.02},
            Case(config=act(), tags=(STUCK,)),
        ),
        one(
            "strengthen_embedding", Case(config=act(), tags=(LABEL,)), {EMB: 0.6666}, Case(config=act(), tags=(STUCK,))
        ),
        one(
            "lower_label_when_stalled",
            Case(config=act(), tags=(HIGH, STUCK)),
            {LBL: 0.001},
            Case(config=act(), tags=(HIGH, IMPROVING)),
            Case(config=act(), tags=(STUCK,), recent={MASS: 0.2}),
        ),
        one(
            "lower_weight_when_stalled",
            Case(config=with_labels(act(), 0.001), tags=(STUCK,), recent={MASS: 0.4}),
            {"ot.lambda_ot": 0.08},
            Case(config=act(), tags=(HIGH, STUCK)),
        ),
        one(
            "lower_reg_when_stalled",
            Case(config=with_labels(act(), 0.0), tags=(HIGH, STUCK)),
            {REG: 0.08},
            Case(config=act(), tags=(HIGH, STUCK)),
        ),
        one(
            "weaken_strong_diagonal",
            Case(config=diffusion(), recent={DIAG: 0.65}),
            {"ot.lambda_ot": 0.05},
            Case(config=diffusion(), recent={DIAG: 0.39}),
            Case(config=diffusion(), recent={DIAG: 0.65}, tags=(IMPROVING,)),
            Case(config=diffusion(objective="energy"), recent={DIAG: 0.65}),
        ),
        one(
            "smooth_strong_diagonal",
            Case(config=diffusion(), recent={DIAG: 0.65}),
            {REG: 0.04},
            Case(config=diffusion(), recent={DIAG: 0.39}),
        ),
        one(
            "lower_tau_when_diagonal",
            Case(config=diffusion(), recent={DIAG: 0.65}),
            {SRC: 0.005, TGT: 0.005},
            Case(config=diffusion(), recent={DIAG: 0.39}),
        ),
        one(
            "free_prior",
            Case(config=act(), recent={MASS: 0.2, DIAG: 0.2}),
            {"ot.loss_config.prior": "mixed"},
            Case(config=ours(), recent={MASS: 0.2, DIAG: 0.2}),
            Case(config=act(), recent={MASS: 0.2, DIAG: 0.2}, tags=(IMPROVING,)),
        ),
        one(
            "sharpen_pairs",
            Case(config=ours(), tags=(OFF,)),
            {"ot.sharpness": 0.75},
            Case(config=ours(sharpness=3.0), tags=(OFF,)),
            Case(config=ours(no_window=True), tags=(OFF,)),
        ),
        one(
            "filter_source_episodes",
            Case(config=ours(), tags=(OFF,)),
            {"ot.topk_src_episodes": 20},
            Case(config=ours(topk_src_episodes=5), tags=(OFF,)),
        ),
        one(
            "drop_window",
            Case(config=ours(), tags=(OFF,)),
            {"ot.no_window": True},
            Case(config=ours(no_window=True), tags=(OFF,)),
        ),
        one(
            "stop_early",
            Case(config=act(), tags=(DRIFT,), recent={LOSS: 0.6}),
            {"early_stopping.monitor": LOSS},
            Case(config=act(), tags=(DRIFT,)),
            Case(config=edited(act(), early_stopping={}), tags=(DRIFT,), recent={LOSS: 0.6}),
        ),
        one(
            "down_weight_on_drift",
            Case(config=act(), tags=(DRIFT,)),
            {"ot.lambda_ot": 0.05},
            Case(config=act(), tags=(PLATEAU,)),
        ),
        one("smooth_on_drift", Case(config=act(), tags=(DRIFT,)), {REG: 0.2}, Case(config=act(), tags=(PLATEAU,))),
        one(
            "lower_learning_rate_on_drift",
            Case(config=act(), tags=(DRIFT,)),
            {LR: 5e-6, BACKBONE: 5e-6},
            Case(config=act(), tags=(LOW,)),
        ),
        one(
            "more_dropout",
            Case(config=act(), tags=(DRIFT,)),
            {"policy.dropout": 0.2},
            Case(config=edited(act(), policy={"type": "act", "dropout": 0.3}), tags=(DRIFT,)),
        ),
        one(
            "more_weight_decay",
            Case(config=diffusion(), tags=(DRIFT,)),
            {"policy.optimizer_weight_decay": 0.02},
            Case(config=explicit(diffusion()), tags=(DRIFT,)),
        ),
        one(
            "add_noise",
            Case(config=act(), tags=(DRIFT,)),
            {"state_noise_std": 0.01},
            Case(config=edited(act(), state_noise_std=0.01, action_noise_std=0.02), tags=(DRIFT,)),
        ),
        one(
            "smooth_labels",
            Case(config=edited(act(), discrete_actions={"discrete_dims": [7]}), tags=(DRIFT,)),
            {"discrete_actions.label_smoothing": 0.05},
            Case(config=act(), tags=(DRIFT,)),
        ),
        one(
            "stage_weight",
            Case(config=act(), tags=(DRIFT,)),
            {"ot.weight_warmup_ratio": 0.1},
            Case(config=with_ot(act(), weight_warmup_ratio=0.3), tags=(DRIFT,)),
        ),
        one(
            "stage_reg",
            Case(config=act(), tags=(DRIFT,)),
            {"ot.loss_config.reg_schedule.start_value": 0.5},
            Case(config=act(reg_schedule={"type": "linear", "end_value": 0.1, "end_step": 10}), tags=(DRIFT,)),
        ),
        one(
            "add_small_label",
            Case(config=with_labels(act(), 0.0), tags=(DRIFT,)),
            {LBL: 0.02},
            Case(config=act(), tags=(DRIFT,)),
        ),
        entry(
            "raise_low_learning_rate",
            Case(config=diffusion(), tags=(FLAT,)),
            {LR: 1e-4},
            Case(config=diffusion()),
            Case(config=explicit(diffusion()), tags=(FLAT,)),
            Case(config=edited(diffusion(), policy={"type": "diffusion"}), tags=(FLAT,)),
            Case(config=diffusion(), tags=(CONVERGING, DRIFT)),
        ),  # LeRobot's own 1e-4
        one(
            "explicit_adamw",
            Case(config=diffusion(), tags=(FLAT,)),
            {"optimizer.lr": 3e-4, "scheduler.num_warmup_steps": 1000},
            Case(config=diffusion(), tags=(PLATEAU,)),
            Case(config=explicit(diffusion()), tags=(FLAT,)),
        ),
        one(
            "larger_batch",
            Case(config=act(), tags=(PLATEAU,)),
            {"batch_size": 16},
            Case(config=edited(act(), batch_size=1024), tags=(PLATEAU,)),
        ),
        one(
            "raise_learning_rate",
            Case(config=act(), tags=(PLATEAU,)),
            {LR: 2e-5, BACKBONE: 2e-5},
            Case(config=edited(act(), policy={"type": "act", "optimizer_lr": 2e-5}), tags=(PLATEAU,)),
        ),  # not beyond 3e-5
        one("halve_learning_rate", Case(config=act(), tags=(PLATEAU,)), {LR: 5e-6}, Case(config=act(), tags=(JITTER,))),
        one(
            "reg_into_band",
            Case(config=act(reg=0.05), tags=(JITTER,)),
            {REG: 0.1},
            Case(config=act(), tags=(JITTER,)),
        ),
        one(
            "raise_reg_on_jitter",
            Case(config=act(), tags=(JITTER,)),
            {REG: 0.15},
            Case(config=act(reg=0.05), tags=(JITTER,)),
        ),
        one(
            "compute_less_often",
            Case(config=act(), tags=(JITTER,)),
            {"ot.compute_every_n_steps": 2},
            Case(config=with_ot(act(), compute_every_n_steps=4), tags=(JITTER,)),
        ),
        one(
            "widen_window_on_jitter",
            Case(config=act(), tags=(JITTER,)),
            {"ot.window_size": 15},
            Case(config=with_ot(act(), no_window=True), tags=(JITTER,)),
        ),
        one(
            "more_iterations",
            Case(config=act(max_iterations=60), tags=(JITTER,)),
            {"ot.loss_config.max_iterations": 200},
            Case(config=act(), tags=(JITTER,)),
        ),
        one(
            "lower_weight_on_jitter",
            Case(config=act(), tags=(JITTER,)),
            {"ot.lambda_ot": 0.07},
            Case(config=act(), tags=(SPIKES,)),
        ),
        one(
            "larger_batch_on_jitter",
            Case(config=act(), tags=(JITTER,)),
            {"grad_accum_steps": 2},
            Case(config=act(), tags=(SPIKES,)),
        ),
        one(
            "average_weights",
            Case(config=act(), tags=(DRIFT,)),
            {"ema_decay": 0.999},
            Case(config=act(), tags=(PLATEAU,)),
        ),
        one(
            "lower_learning_rate_on_jitter",
            Case(config=act(), tags=(JITTER,)),
            {LR: 5e-6},
            Case(config=act(), tags=(PLATEAU,)),
        ),
        one(
            "strengthen_weak_coupling",
            Case(config=diffusion(), recent=COUPLED, last_step=12_000),
            {"ot.lambda_ot": 0.15},
            Case(config=diffusion(), recent=COUPLED, last_step=9_999),
            Case(config=diffusion(), recent={DIAG: 0.1}, last_step=12_000),
        ),
        one(
            "sharpen_weak_coupling",
            Case(config=with_ot(diffusion(), lambda_ot=0.2), recent=COUPLED, last_step=12_000),
            {REG: 0.01},
            Case(config=diffusion(), recent=COUPLED, last_step=12_000),
        ),
        entry(
            "show_target_view",
            Case(config=with_ot(act(), bc_src_weight=0.5), tags=(CONVERGING,)),
            {"ot.view_share": "auto", "ot.bc_src_weight": "auto"},
            Case(config=act(), tags=(CONVERGING,)),  # no source row is cloned
            Case(config=with_ot(act(), bc_src_weight=0.5, view_share=0.5), tags=(CONVERGING,)),
            Case(config=with_ot(act(), bc_src_weight=0.5, pair_info_path=None), tags=(CONVERGING,)),
            Case(config=with_ot(act(), bc_src_weight=0.5, method="none"), tags=(CONVERGING,)),
            Case(config=with_ot(act(), bc_src_weight=0.5, enable=False), tags=(CONVERGING,)),
            Case(config=ours(), tags=(CONVERGING,)),
            Case(config=with_ot(act(), bc_src_weight=0.5), tags=(CONVERGING, JITTER)),
        ),
        entry(
            "draw_target_background",
            Case(config=ours(), tags=(CONVERGING,)),
            {"ot.view_background": True},
            Case(config=ours(view_background=True), tags=(CONVERGING,)),
            Case(config=ours(view_share=0), tags=(CONVERGING,)),
            Case(config=ours(bc_src_weight=0), tags=(CONVERGING,)),
            Case(config=ours(pair_info_path=None), tags=(CONVERGING,)),
            Case(config=ours(), tags=(CONVERGING, JITTER)),
        ),
        entry(
            "raise_weight_when_stable",
            Case(config=act(), tags=(CONVERGING,), recent={MASS: 0.2}),
            {"ot.lambda_ot": 0.2},
            Case(config=act(), tags=(CONVERGING,), recent={MASS: 0.01}),
            Case(config=STRONGER, tags=(CONVERGING,), recent={MASS: 0.2}),
            Case(config=act(), tags=(CONVERGING, JITTER), recent={MASS: 0.2}),
        ),
        entry(
            "sweep_reg",
            Case(config=act(), tags=(CONVERGING,)),
            {REG: 0.08},
            Case(config=act()),
            Case(config=act(), tags=(CONVERGING, LOW)),
        ),
        entry(
            "sweep_weight",
            Case(config=act(), tags=(CONVERGING,)),
            {"ot.lambda_ot": 0.08},
            Case(config=act(), tags=(CONVERGING, SHORT)),
        ),
        entry(
            "sweep_label",
            Case(config=act(), tags=(CONVERGING,)),
            {LBL: 0.04},
            Case(config=with_labels(act(), 0.0), tags=(CONVERGING,)),
        ),
        entry(
            "sweep_rate",
            Case(config=act(), tags=(CONVERGING,)),
            {"policy.optimizer_lr": 2e-5},
            Case(config=act()),
            Case(config=act(), tags=(CONVERGING, JITTER)),
        ),
        entry(
            "sweep_batch",
            Case(config=act(), tags=(CONVERGING,)),
            {"batch_size": 16},
            Case(config=act(), tags=(CONVERGING, DRIFT)),
        ),
        one(
            "evaluate_less_often",
            Case(config=edited(act(), eval_freq=50)),
            {"eval_steps": 1000},
            Case(config=edited(act(), eval_freq=50, steps=1000)),
            Case(config=edited(act(), eval_freq=0)),
        ),
        one(
            "more_workers",
            Case(config=act(), tags=(tag("data_loading_bottleneck"),)),
            {"num_workers": 8},
            Case(config=edited(act(), num_workers=64), tags=(tag("data_loading_bottleneck"),)),
        ),
    ]
)
