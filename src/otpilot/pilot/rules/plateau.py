"""Remedies for a plateau or a slow start, with the transport left as it is, so that the comparison says something."""

from collections.abc import Sequence

from otpilot.analysis.findings import Finding
from otpilot.config.edits import learning_rate_path, policy_type
from otpilot.pilot.proposal import Proposal
from otpilot.pilot.rules.base import Config, RuleContext, alarming, evaluation_worse, found, number_at, propose, times
from otpilot.pilot.rules.optimiser import scale_learning_rate

HIGHEST_RATE = {"act": 3e-5, "diffusion": 3e-4}
"""No rule raises a rate further: report 002 (ACT, "not beyond 3e-5 without evidence"), report 001 (Diffusion)."""
HIGHEST_RATE_ELSEWHERE = 1e-4

TOO_LARGE_STEPS = ("diverged", "loss_rising", "grad_norm_spiking", "grad_norm_high", "early_optimum_then_drift")
"""Signs that the steps are too large already: then a slow start is no reason for larger ones."""
REMEDY_STEPS = 2000.0
"""Report 004 calls a fall of less than 2 % over 500 steps a plateau, but acts only on one over 2,000 steps."""


def flat(findings: Sequence[Finding]) -> Finding | None:
    """Return the plateau, if at its pace the loss would fall by less than 2 % over 2,000 steps."""
    finding = found(findings, "plateau")
    if finding is None:
        return None
    fall, limits = finding.evidence.get("fall"), {limit.name: limit.value for limit in finding.thresholds}
    if not isinstance(fall, float) or not {"plateau_fall", "plateau_steps"} <= set(limits):
        return finding
    further = 1 - (1 - fall) ** (REMEDY_STEPS / limits["plateau_steps"])
    return finding if further < limits["plateau_fall"] else None


def slow(findings: Sequence[Finding]) -> Finding | None:
    """Return the finding that the run started slowly and has not caught up, unless its steps are too large already."""
    return None if alarming(findings, *TOO_LARGE_STEPS) else alarming(findings, "slow_start")


def larger_batch(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Double the batch (report 004), or take a quarter more where that was tried (report 001)."""
    finding = flat(findings) or slow(findings)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (times("batch_size", 2),),
        (times("batch_size", 1.25),),
        reason=f"The loss {_how(finding)}; a larger batch steadies both gradient and plan.",
        expected="The loss falls by more than 2 % over the next 2,000 steps.",
        failure=evaluation_worse(context),
        group="bc",
    )


def raise_learning_rate(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Double the learning rate, as far as the policy's limit allows (report 004; the limit: reports 001 and 002)."""
    finding, rate = flat(findings) or slow(findings), number_at(config, learning_rate_path(config))
    highest = HIGHEST_RATE.get(policy_type(config) or "", HIGHEST_RATE_ELSEWHERE)
    if finding is None or rate is None or 2 * rate > highest:
        return None
    return propose(
        finding,
        config,
        context,
        scale_learning_rate(config, 2.0),
        reason=f"The loss {_how(finding)} at a learning rate of {rate:g}, which leaves room up to {highest:g}.",
        expected="The loss falls by more than 2 % over the next 2,000 steps.",
        failure=evaluation_worse(context),
        group="bc",
        risk="medium",
    )


def halve_learning_rate(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Halve the learning rate, the other side of the comparison (report 004)."""
    finding = flat(findings)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        scale_learning_rate(config, 0.5),
        reason="The loss may circle its minimum with steps that are too large.",
        expected="The loss falls below the plateau.",
        failure=evaluation_worse(context),
        group="bc",
    )


def _how(finding: Finding) -> str:
    return "falls slowly" if finding.tag == "slow_start" else "has flattened"
