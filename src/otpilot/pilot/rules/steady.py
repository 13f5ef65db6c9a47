"""What to try when nothing is wrong: a stronger transport, or one knob swept (reports 002, 003, 004)."""

from collections.abc import Sequence

from otpilot.analysis.findings import Finding
from otpilot.config.edits import learning_rate_path, policy_type, value_at
from otpilot.pilot.proposal import Proposal
from otpilot.pilot.rules.base import (
    LABELS,
    MASS,
    REG,
    WEIGHT,
    Config,
    RuleContext,
    at_least,
    concerns,
    evaluation_worse,
    found,
    level,
    number_at,
    propose,
    times,
)  # fmt: skip
from otpilot.pilot.rules.optimiser import scale_learning_rate
from otpilot.pilot.rules.plateau import HIGHEST_RATE, HIGHEST_RATE_ELSEWHERE

GOOD_MASS = (0.05, 0.6)
"""Seeds contradict each other: 0.05 to 0.3 (004), 0.1 to 0.2 (001), bad above 0.6 (004). The widest is used."""
FACTORS = (0.8, 1.2, 0.5, 2.0)
"""Report 002 sweeps by a fifth; reports 001 (weight, rollback) and 004 (reg) go by halves and doubles."""


def steady(findings: Sequence[Finding], set_aside: frozenset[str] = frozenset()) -> Finding | None:
    """Return the finding that the run converges, unless it is short or anything is wrong but warnings `set_aside`."""
    wrong = [f for f in concerns(findings) if f.severity == "problem" or f.tag not in set_aside]
    return None if wrong or found(findings, "too_short") is not None else found(findings, "converging")


def raise_weight_when_stable(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Raise lambda_ot to 0.2, or the share of an automatic weight, once mass and cloning are fine (report 003).

    With a warning it is no more asked for than with a problem, whether there is a remedy left or not: "once stable".
    """
    finding, mass = steady(findings), level(findings, context, MASS)
    if finding is None or mass is None or not GOOD_MASS[0] <= mass <= GOOD_MASS[1]:
        return None
    edit = at_least("ot.target_grad_share" if value_at(config, WEIGHT) == "auto" else WEIGHT, 0.2)
    return propose(
        finding,
        config,
        context,
        (edit,),
        reason=f"Cloning converges and the plan carries a mass of {mass:.3g}; now the transport may weigh more.",
        expected="The embedding's cost falls faster at the same evaluation.",
        failure=evaluation_worse(context),
        group="ot",
        risk="medium",
    )


def sweep_reg(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Try reg a fifth lower, then higher (report 002, sweep A: .08 to .12), then half and twice (reports 001, 004)."""
    return _sweep(findings, config, context, REG, "stability against sharpness")


def sweep_weight(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Try the weight a fifth lower, then higher (report 002, sweep B: 0.08, 0.12), then half and twice (report 001)."""
    return _sweep(findings, config, context, WEIGHT, "the balance of cloning and transport")


def sweep_label(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Double weight_label (report 002, sweep C: 0.02, 0.04), then take a quarter of it (report 001, iter5a)."""
    finding = steady(findings, context.set_aside)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (times(LABELS, 2.0),),
        (times(LABELS, 0.25),),
        reason=_swept(context, "how much the label says in the plan"),
        expected="A small change of evaluation, up or down.",
        failure=evaluation_worse(context),
        group="ot",
    )


def sweep_rate(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Try twice the learning rate, within the policy's limit, then half of it, all else held (report 004, step 3)."""
    finding, rate = steady(findings, context.set_aside), number_at(config, learning_rate_path(config))
    if finding is None or rate is None:
        return None
    highest = HIGHEST_RATE.get(policy_type(config) or "", HIGHEST_RATE_ELSEWHERE)
    factors = (2.0, 0.5) if 2 * rate <= highest else (0.5,)
    return propose(
        finding,
        config,
        context,
        *(scale_learning_rate(config, factor) for factor in factors),
        reason=_swept(context, "the size of the steps"),
        expected="A small change of evaluation, up or down.",
        failure=evaluation_worse(context),
        group="bc",
    )


def sweep_batch(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Try twice the batch, then half of it, all else held (report 004, step 3)."""
    finding = steady(findings, context.set_aside)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (times("batch_size", 2.0),),
        (times("batch_size", 0.5),),
        reason=_swept(context, "the rows of a step"),
        expected="A small change of evaluation, up or down.",
        failure=evaluation_worse(context),
        group="bc",
    )


def _sweep(findings: Sequence[Finding], config: Config, context: RuleContext, path: str, about: str) -> Proposal | None:
    finding = steady(findings, context.set_aside)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        *((times(path, factor),) for factor in FACTORS),
        reason=_swept(context, about),
        expected="A small change of evaluation, up or down.",
        failure=evaluation_worse(context),
        group="ot",
    )


def _swept(context: RuleContext, about: str) -> str:
    """Return why a knob is swept: nothing is wrong, or nothing is left to try for what is."""
    why = (
        f"No remedy is left to try for {', '.join(sorted(context.set_aside))}"
        if context.set_aside
        else "Nothing is wrong"
    )
    return f"{why}; one knob is swept: {about}."
