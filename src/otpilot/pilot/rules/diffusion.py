"""Rules for Diffusion alone (report 001)."""

from collections.abc import Sequence
from typing import Any

from otpilot.analysis.findings import Finding, Number
from otpilot.config.edits import uses_preset, value_at
from otpilot.pilot.proposal import Failure, Proposal
from otpilot.pilot.rules.base import (
    DIAGONAL,
    MASS,
    REG,
    WEIGHT,
    Config,
    Option,
    RuleContext,
    alarming,
    at_least,
    at_most,
    both_tau,
    evaluation_trend,
    evaluation_worse,
    found,
    level,
    mass_still_low,
    number_at,
    propose,
    set_to,
    times,
)  # fmt: skip

WEAK_DIAGONAL = 0.10
WEAK_AFTER_STEPS = 10_000
STRONG_DIAGONAL = 0.4
STRONG_WEIGHT = 0.2
SCHEDULER: dict[str, Any] = {"type": "diffuser", "name": "cosine", "num_warmup_steps": 1000}
TOO_LARGE_STEPS = ("diverged", "grad_norm_spiking", "grad_norm_high", "early_optimum_then_drift")
STILL_STRONG = Failure(metric=DIAGONAL, relation="above", threshold=STRONG_DIAGONAL)


def raise_low_learning_rate(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Raise a preset learning rate below 5e-5 to 1e-4; Diffusion wants 1e-4 to 3e-4 (report 001, iter 1).

    Report 001's run converged at 1e-5 ("strong early improvement"), and its rate was raised all the same: a run that is
    merely slow shows nothing else. Where steps are too large already, nothing is raised.
    """
    finding = found(findings, "lr_flat", "plateau", "slow_start", "underfitting_after_optimiser_change", "converging")
    rate = number_at(config, "policy.optimizer_lr")
    if finding is None or not uses_preset(config) or rate is None or rate >= 5e-5:
        return None
    if alarming(findings, *TOO_LARGE_STEPS) is not None:
        return None
    return propose(
        finding,
        config,
        context,
        (at_least("policy.optimizer_lr", 1e-4),),
        reason=f"A learning rate of {rate:g} leaves Diffusion far from its usual 1e-4 to 3e-4.",
        expected="Faster learning at the same stability; the offline loss falls below the parent's.",
        failure=evaluation_worse(context),
        group="bc",
    )


def explicit_adamw(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Set AdamW and a cosine with 1,000 warm-up steps explicitly where the logged rate is flat (iter 3, iter4a)."""
    finding = found(findings, "lr_flat")
    if finding is None or not uses_preset(config):
        return None

    def option(rate: float) -> Option:
        adamw = {"type": "adamw", "lr": rate, "weight_decay": 1e-4, "betas": [0.9, 0.999]}
        return (
            set_to("use_policy_training_preset", False),
            set_to("optimizer", adamw),
            set_to("scheduler", dict(SCHEDULER)),
        )

    return propose(
        finding,
        config,
        context,
        option(3e-4),
        option(1e-4),
        reason="The learning rate does not vary after the warm-up, so the preset's schedule has no effect.",
        expected="train/lr follows a cosine, and the offline loss falls further.",
        failure=evaluation_worse(context),
        group="bc",
        risk="medium",
        together=True,
    )


def lower_learning_rate_to_5e5(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Drop the learning rate to 5e-5 and retry after spikes or oscillation (report 001's rollback trigger)."""
    finding = found(findings, "diverged", "grad_norm_spiking", "jitter")
    if finding is None:
        return None
    path = "policy.optimizer_lr" if uses_preset(config) else "optimizer.lr"
    return propose(
        finding,
        config,
        context,
        (at_most(path, 5e-5),),
        reason="The raised learning rate is not stable.",
        expected="The gradient norm has no spikes.",
        failure=Failure(metric="train/grad_norm", relation="above", threshold=100.0),
        group="bc",
    )


def weak_coupling(findings: Sequence[Finding], config: Config, context: RuleContext) -> dict[str, Number] | None:
    """Return the figures of a coupling that is weak after 10,000 steps, or None.

    Report 001 judged pi_diag, which equals pi_sum under its diagonal prior; under any other prior the sum is meant.
    """
    diagonal = value_at(config, "ot.loss_config.prior") == "diagonal"
    coupling = level(findings, context, DIAGONAL if diagonal else MASS)
    if coupling is None or coupling >= WEAK_DIAGONAL or context.last_step < WEAK_AFTER_STEPS:
        return None
    return {"ot_pi_diag" if diagonal else "ot_pi_sum": coupling, "limit": WEAK_DIAGONAL, "step": context.last_step}


def strengthen_weak_coupling(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Raise lambda_ot to 0.15, then 0.2, where pi_diag is below 0.10 after 10,000 steps (iter 2)."""
    because = weak_coupling(findings, config, context)
    if because is None:
        return None
    return propose(
        because,
        config,
        context,
        (at_least(WEIGHT, 0.15),),
        (at_least(WEIGHT, STRONG_WEIGHT),),
        reason="The coupling is weak; a larger weight aligns the domains more.",
        expected="ot_pi_diag rises to 0.1 to 0.2 without cloning getting worse.",
        failure=evaluation_worse(context),
        group="ot",
    )


def sharpen_weak_coupling(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Lower reg to 0.01 where the coupling is weak though the weight is 0.2 already (iter 2)."""
    because, weight = weak_coupling(findings, config, context), number_at(config, WEIGHT)
    if because is None or weight is None or weight < STRONG_WEIGHT:
        return None
    return propose(
        because,
        config,
        context,
        (at_most(REG, 0.01),),
        reason="A more peaked plan puts its mass on fewer, nearer pairs.",
        expected="ot_pi_diag rises; ot_pi_sum must not fall below 0.05.",
        failure=mass_still_low(0.05),
        group="ot",
        risk="medium",
    )


def retain_mass(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Raise tau to 0.02 where a sharp plan (reg 0.01 or less) lost its mass: pi_sum below 0.05 (iter 2)."""
    mass, reg = level(findings, context, MASS), number_at(config, REG)
    if mass is None or mass >= 0.05 or reg is None or reg > 0.01:
        return None
    return propose(
        {"ot_pi_sum": mass, "limit": 0.05, "reg": reg},
        config,
        context,
        both_tau(lambda path: at_least(path, 0.02)),
        reason="The sharper plan dropped mass; a larger tau holds on to it.",
        expected="ot_pi_sum goes back above 0.05.",
        failure=mass_still_low(0.05),
        group="ot",
    )


def strong_diagonal(findings: Sequence[Finding], config: Config, context: RuleContext) -> dict[str, Number] | None:
    """Return the figures of a trace above 0.4 over the tail, unless evaluation still improves.

    Where costs are in their own unit (energy, or divided by their mean) a mass of 0.7 is what the defaults aim at;
    there only an evaluation that gets worse counts.
    """
    trace, trend = level(findings, context, DIAGONAL), evaluation_trend(findings)
    own_unit = (
        value_at(config, "ot.loss_config.objective") == "energy"
        or value_at(config, "ot.loss_config.cost_normalization") == "ema"
    )
    if trace is None or trace <= STRONG_DIAGONAL or trend == "improving" or (own_unit and trend != "worsening"):
        return None
    return {"ot_pi_diag": trace, "limit": STRONG_DIAGONAL}


def weaken_strong_diagonal(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Halve the weight where pi_diag stays above 0.4 (report 001's rollback trigger)."""
    because = strong_diagonal(findings, config, context)
    if because is None:
        return None
    return propose(
        because,
        config,
        context,
        (times(WEIGHT, 0.5),),
        reason="Alignment this strong may cover cloning.",
        expected="Evaluation improves.",
        failure=evaluation_worse(context),
        group="ot",
    )


def smooth_strong_diagonal(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Double reg where pi_diag stays above 0.4 (report 001's rollback trigger)."""
    because = strong_diagonal(findings, config, context)
    if because is None:
        return None
    return propose(
        because,
        config,
        context,
        (times(REG, 2.0),),
        reason="A smoother plan insists less on the given pairs.",
        expected="Evaluation improves.",
        failure=evaluation_worse(context),
        group="ot",
    )


def lower_tau_when_diagonal(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Lower tau to 0.005 where pi_diag stays above 0.4, so that dear pairs may go unmatched (iter5b)."""
    because = strong_diagonal(findings, config, context)
    if because is None:
        return None
    return propose(
        because,
        config,
        context,
        both_tau(lambda path: at_most(path, 0.005)),
        both_tau(lambda path: times(path, 0.5)),
        reason="Strict alignment of every pair may be learned by heart.",
        expected="ot_pi_diag falls below 0.4 at the same evaluation.",
        failure=STILL_STRONG,
        group="ot",
        risk="medium",
    )


def more_weight_decay(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Raise weight decay to 0.02, then 0.05, against overfitting (report 000's recipes)."""
    finding = alarming(findings, "early_optimum_then_drift")
    if finding is None:
        return None
    path = "policy.optimizer_weight_decay" if uses_preset(config) else "optimizer.weight_decay"
    return propose(
        finding,
        config,
        context,
        (at_least(path, 0.02),),
        (at_least(path, 0.05),),
        reason="Evaluation rises after an early minimum.",
        expected="The gap between training and evaluation loss narrows.",
        failure=evaluation_worse(context),
        group="bc",
    )
