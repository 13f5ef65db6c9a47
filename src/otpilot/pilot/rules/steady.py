"""What to try when nothing is wrong: strengthen the transport, or sweep one knob (seeds 002, 003)."""

from collections.abc import Sequence

from otpilot.analysis.findings import Finding
from otpilot.config.edits import value_at
from otpilot.pilot.proposal import Proposal
from otpilot.pilot.rules.base import (
    LABELS,
    MASS,
    REG,
    WEIGHT,
    Config,
    RuleContext,
    at_least,
    evaluation_worse,
    found,
    level,
    propose,
    times,
    troubled,
)  # fmt: skip

GOOD_MASS = (0.05, 0.6)
"""Seeds contradict each other: 0.05 to 0.3 (004), 0.1 to 0.2 (001), bad above 0.6 (004). The widest is used."""


def steady(findings: Sequence[Finding]) -> Finding | None:
    """Return the finding that the run converges, unless anything else was found wrong."""
    return None if troubled(findings) else found(findings, "converging")


def raise_weight_when_stable(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Raise lambda_ot to 0.2, or the share of an automatic weight, once mass and cloning are fine (seed 003)."""
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
    """Try reg a fifth lower, then a fifth higher, all else held (seed 002, sweep A: 0.08, 0.1, 0.12)."""
    return _sweep(findings, config, context, REG, "stability against sharpness")


def sweep_weight(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Try the weight a fifth lower, then a fifth higher, all else held (seed 002, sweep B: 0.08, 0.1, 0.12)."""
    return _sweep(findings, config, context, WEIGHT, "the balance of cloning and transport")


def sweep_label(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Double weight_label, all else held (seed 002, sweep C: 0.02, 0.04)."""
    finding = steady(findings)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (times(LABELS, 2.0),),
        reason="Nothing is wrong; one knob is swept: a moderate increase of the label weight.",
        expected="A small change of evaluation, up or down.",
        failure=evaluation_worse(context),
        group="ot",
    )


def _sweep(findings: Sequence[Finding], config: Config, context: RuleContext, path: str, about: str) -> Proposal | None:
    finding = steady(findings)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (times(path, 0.8),),
        (times(path, 1.2),),
        reason=f"Nothing is wrong; one knob is swept: {about}.",
        expected="A small change of evaluation, up or down.",
        failure=evaluation_worse(context),
        group="ot",
    )
