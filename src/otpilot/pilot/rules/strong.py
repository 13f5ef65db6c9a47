"""Remedies for a transport that is too strong, stuck, dominated by labels, or eating the policy."""

from collections.abc import Mapping, Sequence

from otpilot.analysis.findings import Finding, Number
from otpilot.config.edits import Edit, value_at
from otpilot.pilot.proposal import Failure, Proposal
from otpilot.pilot.rules.base import (
    DIAGONAL,
    EMBEDS,
    GRAD_SHARE,
    LABELS,
    MASS,
    REG,
    WEIGHT,
    Config,
    RuleContext,
    at_most,
    evaluation_improves,
    evaluation_worse,
    found,
    largest,
    level,
    propose,
    set_to,
    times,
)  # fmt: skip

STALLED_MASS = 0.3
"""Report 004: above it the state's cost should fall."""
EATING_SHARE = 0.5
STILL_EATING = Failure(metric=GRAD_SHARE, relation="above", threshold=EATING_SHARE)


def stalled(findings: Sequence[Finding], context: RuleContext) -> Finding | None:
    """Return the finding of a cost that does not fall at a mass above 0.3, whatever evaluation does (report 004)."""
    mass = context.recent.get(MASS, 0.0)
    if mass <= STALLED_MASS and found(findings, "mass_too_high") is None:
        return None
    return found(findings, "cost_not_falling")


def eating(findings: Sequence[Finding], context: RuleContext) -> Finding | Mapping[str, Number] | None:
    """Return the evidence that the transport takes more than half of the encoder's gradient."""
    finding = found(findings, "transport_eating")
    if finding is not None:
        return finding
    share = level(findings, context, GRAD_SHARE)
    return {"ot_grad_share": share, "limit": EATING_SHARE} if share is not None and share > EATING_SHARE else None


def lower_label_when_stalled(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Lower weight_label to the next of 0.001, 0.0005, 0.0001, 0: mass, but no falling cost (reports 003, 004)."""
    finding = stalled(findings, context)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        *((at_most(LABELS, value),) for value in (0.001, 0.0005, 0.0001, 0.0)),
        reason=f"weight_label {largest(config, LABELS):g} spends the mass on a cost that the model cannot lower.",
        expected="The embedding's cost falls by a tenth within 1,000 to 3,000 steps.",
        failure=evaluation_worse(context),
        group="ot",
    )


def lower_weight_when_stalled(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Lower the weight a little where the cost is stuck and no label term is left to lower (report 004)."""
    finding = stalled(findings, context)
    if finding is None:
        return None
    if largest(config, LABELS) > 0.001 and lower_label_when_stalled(findings, config, context) is not None:
        return None
    return propose(
        finding,
        config,
        context,
        (times(WEIGHT, 0.8),),
        reason="High mass that does not lower the cost pulls cloning aside; the label weight is low already, or was "
        "lowered in vain.",
        expected="Evaluation improves, with the mass unchanged.",
        failure=evaluation_worse(context),
        group="ot",
    )


def lower_reg_when_stalled(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Sharpen a little where the cost is stuck on embeddings alone (report 003)."""
    finding = stalled(findings, context)
    if finding is None or largest(config, LABELS) > 0.0:
        return None
    return propose(
        finding,
        config,
        context,
        (times(REG, 0.8),),
        reason="A plan this smooth moves each row towards the mean of many; a sharper one gives them a partner.",
        expected="The embedding's cost falls.",
        failure=evaluation_worse(context),
        group="ot",
    )


def relieve_label_dominance(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Lower weight_label to the next of 0.02, 0.005, then by half: the label term rules the plan (report 001)."""
    finding = found(findings, "label_dominates")
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (at_most(LABELS, 0.02),),
        (at_most(LABELS, 0.005),),
        (times(LABELS, 0.5),),
        reason="The label cost does not depend on the model; where it rules the plan, the embedding decides nothing.",
        expected="The label's share of the cost falls below half.",
        failure=evaluation_worse(context),
        group="ot",
    )


def strengthen_embedding(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Double weight_embed, such as 1 to 2 for images, where the label term rules the plan (report 001, iter5c)."""
    finding = found(findings, "label_dominates")
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (times(EMBEDS, 2.0),),
        reason="The embedding's cost is orders below the label's; a larger weight lets it take part.",
        expected="The label's share of the cost falls below half.",
        failure=evaluation_worse(context),
        group="ot",
    )


def lower_share_when_eating(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Halve the share that the automatic weight aims at, or make the weight automatic (transport.md)."""
    because = eating(findings, context)
    if because is None:
        return None
    edit = times(WEIGHT, 0.5) if value_at(config, WEIGHT) == "auto" else set_to(WEIGHT, "auto")
    return propose(
        because,
        config,
        context,
        (edit,),
        reason="The transport takes more of the encoder's gradient than cloning does.",
        expected="ot_grad_share falls to the target share and evaluation improves.",
        failure=STILL_EATING,
        group="ot",
    )


def normalize_embedding(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Standardise both domains' encodings together, so that shrinking them gains nothing (transport.md)."""
    because = eating(findings, context)
    if because is None or value_at(config, "ot.loss_config.embed_normalization") != "none":
        return None
    return propose(
        because,
        config,
        context,
        (set_to("ot.loss_config.embed_normalization", "batch"),),
        reason="Without normalisation the cost falls by shrinking the encodings, which starves the policy.",
        expected="The variance of the encodings stays above a tenth of its early value.",
        failure=STILL_EATING,
        group="ot",
    )


def free_prior(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Replace the diagonal prior (the fork's heuristic), which forbids transport, by the mixed one (iter5b)."""
    mass, trace = level(findings, context, MASS), level(findings, context, DIAGONAL)
    if value_at(config, "ot.loss_config.prior") != "diagonal" or mass is None or trace is None:
        return None
    if mass <= 0.0 or abs(trace - mass) > 0.01 * mass or evaluation_improves(findings):
        return None

    def prior(name: str) -> tuple[Edit, ...]:
        return (set_to("ot.loss_config.prior", name),)

    return propose(
        {"ot_pi_diag": trace, "ot_pi_sum": mass},
        config,
        context,
        prior("mixed"),
        prior("product"),
        reason="All mass lies on the diagonal because the prior is zero elsewhere: this is a per-pair distance.",
        expected="ot_pi_diag falls below ot_pi_sum: mass reaches other rows than the paired ones.",
        failure=evaluation_worse(context),
        group="ot",
        risk="medium",
    )
