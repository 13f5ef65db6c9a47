"""Remedies for gradients that are too high, spikes, divergence and jitter."""

from collections.abc import Sequence

from otpilot.analysis.findings import Finding
from otpilot.config.edits import uses_preset, value_at
from otpilot.pilot.proposal import Failure, Proposal
from otpilot.pilot.rules.base import (
    REG,
    WEIGHT,
    WINDOW,
    Config,
    RuleContext,
    alarming,
    at_least,
    at_most,
    evaluation_worse,
    found,
    number_at,
    propose,
    set_to,
    times,
)  # fmt: skip
from otpilot.pilot.rules.optimiser import scale_learning_rate

UNSTABLE = ("diverged", "non_finite", "grad_norm_spiking", "grad_norm_high", "loss_rising")
GRADIENT_STILL_HIGH = Failure(metric="train/grad_norm", relation="above", threshold=100.0)
BAND = (0.1, 0.12)
"""Report 002's band for the entropic strength is 0.07 to 0.12; its middle first."""


def lower_learning_rate(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Halve the learning rate, then quarter it, after spikes or divergence (reports 000, 001)."""
    finding = found(findings, *UNSTABLE)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        *(scale_learning_rate(config, factor) for factor in (0.5, 0.25, 0.1)),
        reason="Steps this large throw the weights about.",
        expected="No spike and no NaN in the same number of steps.",
        failure=GRADIENT_STILL_HIGH,
        group="bc",
    )


def longer_warmup(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Warm up over 1,000, then 2,000 steps, where there is a schedule (reports 000, 001, 002)."""
    finding = found(findings, "diverged", "grad_norm_spiking")
    if finding is None:
        return None
    if number_at(config, "warmup_ratio"):
        options = [(times("warmup_ratio", 2.0),)]
    else:
        key = "policy.scheduler_warmup_steps" if uses_preset(config) else "scheduler.num_warmup_steps"
        if value_at(config, key) is None and uses_preset(config):
            return None  # this policy's preset has no schedule
        options = [(at_least(key, steps),) for steps in (1000, 2000)]
    return propose(
        finding,
        config,
        context,
        *options,
        reason="The first steps are the most fragile; a longer warm-up takes them smaller.",
        expected="The gradient norm has no spike in the first steps.",
        failure=GRADIENT_STILL_HIGH,
        group="bc",
    )


def lower_weight_at_high_gradient(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Lower the transport's weight where the gradient norm stays above 100 (report 004)."""
    finding = found(findings, "grad_norm_high")
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (times(WEIGHT, 0.5),),
        reason="At a small constant learning rate a high gradient norm comes from the transport's weight.",
        expected="train/grad_norm falls below 100.",
        failure=GRADIENT_STILL_HIGH,
        group="ot",
    )


def reg_into_band(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Raise reg into 0.07 to 0.12 where it is below and the curve jitters (report 002)."""
    finding, reg = found(findings, "jitter"), number_at(config, REG)
    if finding is None or reg is None or reg >= 0.07:
        return None
    return propose(
        finding,
        config,
        context,
        *((at_least(REG, value),) for value in BAND),
        reason=f"reg {reg:g} makes a spiky plan, which passes the noise of matching into the gradient.",
        expected="The jitter of the transport's curves falls.",
        failure=evaluation_worse(context),
        group="ot",
    )


def raise_reg_on_jitter(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Raise reg by half where the curve jitters, or the gradient norm stays above 100 (reports 000, 004)."""
    finding, reg = found(findings, "jitter", "grad_norm_high"), number_at(config, REG)
    if finding is None or reg is None or reg < 0.07:
        return None
    return propose(
        finding,
        config,
        context,
        (times(REG, 1.5),),
        (times(REG, 2.0),),
        reason="More entropy makes the plan vary less from batch to batch.",
        expected="The jitter of the transport's curves falls.",
        failure=evaluation_worse(context),
        group="ot",
    )


def widen_window_on_jitter(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Jitter the source rows over a wider window, which evens out bad matches (report 004)."""
    finding = found(findings, "jitter")
    if finding is None or value_at(config, "ot.no_window"):
        return None
    return propose(
        finding,
        config,
        context,
        (times(WINDOW, 1.5),),
        reason="Single wrong matches weigh less when source rows are drawn from a wider window.",
        expected="The jitter of the transport's curves falls.",
        failure=evaluation_worse(context),
        group="ot",
    )


def compute_less_often(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Add the transport loss only every 2nd, 3rd, 4th step, against the noise of matching (report 002)."""
    finding = found(findings, "jitter")
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        *((at_least("ot.compute_every_n_steps", n),) for n in (2, 3, 4)),
        reason="A plan at every step passes the randomness of matching straight into the gradient.",
        expected="The training loss jitters less, at the same evaluation.",
        failure=evaluation_worse(context),
        group="ot",
    )


def more_iterations(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Allow 200 iterations where fewer are allowed; 50 to 60 left the plan unfinished (reports 000, 002)."""
    finding = found(findings, "jitter")
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (at_least("ot.loss_config.max_iterations", 200),),
        reason="A plan that has not converged is another one at every step.",
        expected="The jitter of the transport's curves falls.",
        failure=evaluation_worse(context),
        group="ot",
    )


def lower_weight_on_jitter(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Lower the weight of the transport where the curve jitters at a small learning rate (reports 000, 004)."""
    finding = found(findings, "jitter")
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (times(WEIGHT, 0.7),),
        reason="A high weight of the transport competes with cloning and passes on the noise of matching.",
        expected="The training loss jitters less, and evaluation does not get worse.",
        failure=evaluation_worse(context),
        group="ot",
    )


def larger_batch_on_jitter(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Accumulate two batches per step, or double the batch: small batches jitter (reports 000, 001, 002)."""
    finding = found(findings, "jitter")
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (times("grad_accum_steps", 2),),
        (times("batch_size", 2),),
        reason="The variance of a step falls with the number of its rows.",
        expected="Jitter falls by about a third.",
        failure=evaluation_worse(context),
        group="bc",
    )


def average_weights(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Evaluate a running mean of the weights, decay 0.999, then 0.9995 (reports 000, 002)."""
    finding = found(findings, "jitter") or alarming(findings, "early_optimum_then_drift")
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (set_to("ema_decay", 0.999),),
        (set_to("ema_decay", 0.9995),),
        reason="The mean over recent weights evens out the noise of single steps.",
        expected="Evaluation jitters less and ends lower.",
        failure=evaluation_worse(context),
        group="bc",
    )


def lower_learning_rate_on_jitter(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Halve the learning rate where the curve jitters (reports 000, 002)."""
    finding = found(findings, "jitter")
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        scale_learning_rate(config, 0.5),
        reason="Smaller steps follow the noise of single batches less.",
        expected="Jitter falls, at the price of slower progress.",
        failure=evaluation_worse(context),
        group="bc",
        risk="medium",
    )


def clip_gradient(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Clip the gradient at norm 1 after spikes, where the optimiser is set explicitly (report 000).

    Not for ACT: report 002's post-mortem has the change from 10 to 1 among the suspects of its regression.
    """
    finding = found(findings, "grad_norm_spiking")
    if finding is None or uses_preset(config):
        return None
    return propose(
        finding,
        config,
        context,
        (at_most("optimizer.grad_clip_norm", 1.0),),
        reason="One wild batch should not move the weights further than others.",
        expected="The loss has no jump after a spike.",
        failure=evaluation_worse(context),
        group="bc",
    )
