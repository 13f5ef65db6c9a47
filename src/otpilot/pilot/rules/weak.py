"""Remedies for a transport that is dead or too weak: its mass is gone, or its gradient."""

from collections.abc import Sequence

from otpilot.analysis.findings import Finding
from otpilot.config.edits import value_at, values_at
from otpilot.pilot.proposal import Failure, Proposal
from otpilot.pilot.rules.base import (
    EMBEDS,
    GRAD_SHARE,
    MASS,
    REG,
    TAU_SRC,
    TAU_TGT,
    WEIGHT,
    WINDOW,
    Config,
    RuleContext,
    alarming,
    at_least,
    both_tau,
    evaluation_worse,
    found,
    level,
    mass_still_low,
    number_at,
    propose,
    set_to,
    times,
)  # fmt: skip

LOW = ("mass_too_low", "mass_collapsing")
DEAD_MASS = 0.05
DETACHED = "ot.loss_config.features.*.detach_cost_grad"
LEARNED = "ot.loss_config.features.*.use_learned_embed"
SHARE_STILL_DEAD = Failure(metric=GRAD_SHARE, relation="below", threshold=0.01)


def weak_mass(findings: Sequence[Finding], context: RuleContext) -> Finding | None:
    """Return the finding that says that the plan has lost its mass; a dead transport counts if its mass is low too."""
    low = alarming(findings, *LOW)
    if low is None and context.recent.get(MASS, 0.0) < DEAD_MASS:
        low = found(findings, "transport_dead")
    return low


def normalize_cost(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Divide each term by its running mean: raw costs of 1300 against reg + tau of 1 leave no mass (transport.md)."""
    finding = alarming(findings, "transport_dead", *LOW)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (set_to("ot.loss_config.cost_normalization", "ema"),),
        reason="The mass is exp(-E/S) with S = reg + tau_src + tau_tgt; a raw cost far above S leaves none. "
        "Dividing each term by its running mean brings the cost to the order of S.",
        expected="ot_pi_sum rises to 0.1 to 1 within a few hundred steps, and the transport has a gradient.",
        failure=mass_still_low(),
        group="ot",
    )


def energy_objective(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Train on the energy, whose gradient is the plan at unit mass and cannot vanish with it (transport.md)."""
    finding = alarming(findings, "transport_dead", *LOW)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (set_to("ot.loss_config.objective", "energy"),),
        reason="The gradient of <pi, C> is pi and dies with its mass; that of the energy is pi / mass, of unit mass.",
        expected="ot_grad_share comes back above 0.01 whatever the mass.",
        failure=SHARE_STILL_DEAD,
        group="ot",
    )


def target_mass(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Ask for a mass of 0.7 and let the solver scale the cost to it (transport.md); needs both marginals soft."""
    finding = weak_mass(findings, context)
    if finding is None or value_at(config, "ot.loss_config.target_mass") is not None:
        return None
    if number_at(config, TAU_SRC) is None or number_at(config, TAU_TGT) is None:
        return None
    return propose(
        finding,
        config,
        context,
        (set_to("ot.loss_config.target_mass", 0.7),),
        reason="The cost is scaled by one number per step until the plan carries the mass that was asked for.",
        expected="ot_pi_sum stays at 0.7.",
        failure=mass_still_low(0.5),
        group="ot",
        risk="medium",
    )


def attach_gradient(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Let a learned encoding have a part in the cost, where none has one with gradient (transport/health.py)."""
    finding = found(findings, "transport_dead")
    embeds, detached = values_at(config, EMBEDS), values_at(config, DETACHED)
    if finding is None or any(
        weight and not cut for weight, cut in zip(embeds.values(), detached.values(), strict=True)
    ):
        return None
    learned = values_at(config, LEARNED).values()
    idle = [key for key, use in zip(embeds, learned, strict=True) if use and not embeds[key]]
    return propose(
        finding,
        config,
        context,
        (set_to(DETACHED, False),),
        *((set_to(key, 1.0, "raise"),) for key in idle),
        reason="No term of the cost sends a gradient to the encoder: weights are 0, or the gradient is detached.",
        expected="ot_grad_share rises above 0.01.",
        failure=SHARE_STILL_DEAD,
        group="ot",
    )


def auto_weight(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Let the weight follow the gradients: a fixed lambda_ot cannot be right for every scale of cost (transport.md)."""
    finding = found(findings, "transport_dead")
    if finding is None or value_at(config, WEIGHT) == "auto":
        return None
    return propose(
        finding,
        config,
        context,
        (set_to(WEIGHT, "auto"),),
        reason="lambda_ot is fixed and the transport's part of the encoder gradient is lost; auto keeps it at "
        "target_grad_share of the cloning part.",
        expected="ot_grad_share settles near target_grad_share.",
        failure=SHARE_STILL_DEAD,
        group="ot",
        risk="medium",
    )


def raise_grad_share(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Ask for twice the share of the gradient where the weight is automatic and the transport still dead."""
    finding = found(findings, "transport_dead")
    if finding is None or value_at(config, WEIGHT) != "auto" or weak_mass(findings, context) is not None:
        return None
    return propose(
        finding,
        config,
        context,
        (times(WEIGHT, 2.0),),
        reason="The mass is there and the weight automatic, so the share that was asked for is too small.",
        expected="ot_grad_share doubles.",
        failure=SHARE_STILL_DEAD,
        group="ot",
    )


def raise_reg(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Smooth more: reg times 1.5 to 2 where the mass is below 1e-3 and does not rise (report 004)."""
    finding = weak_mass(findings, context)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (times(REG, 2.0),),
        (times(REG, 1.5),),
        reason=f"reg {value_at(config, REG)} is small against the cost; a larger one keeps mass.",
        expected="ot_pi_sum rises towards 0.05 to 0.3.",
        failure=mass_still_low(),
        group="ot",
    )


def raise_tau(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Hold on to the marginals: the next of 0.5, 1, 2 for tau, beyond them twice the value (report 004)."""
    finding = weak_mass(findings, context)
    if finding is None:
        return None
    steps = [both_tau(lambda path, value=value: at_least(path, value)) for value in (0.5, 1.0, 2.0)]  # type: ignore[misc]
    return propose(
        finding,
        config,
        context,
        *steps,
        both_tau(lambda path: times(path, 2.0)),
        reason="A small tau lets the plan throw away mass; a larger one makes that dear.",
        expected="ot_pi_sum rises towards 0.05 to 0.3.",
        failure=mass_still_low(),
        group="ot",
    )


def raise_reg_to_3(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Go on to reg 3 where it is between 1 and 3 already and the mass still below 0.1 (report 003)."""
    mass, reg = level(findings, context, MASS), number_at(config, REG)
    if mass is None or mass >= 0.1 or reg is None or not 1.0 <= reg < 3.0:
        return None
    return propose(
        {"ot_pi_sum": mass, "reg": reg, "limit": 0.1},
        config,
        context,
        (at_least(REG, 3.0),),
        reason="With embedding costs of this size the plan is pushed back to zero; reg is raised further.",
        expected="ot_pi_sum goes above 0.1.",
        failure=mass_still_low(0.1),
        group="ot",
    )


def raise_tau_to_20(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Go on to tau 20 where it is between 5 and 20 already and the mass still below 0.1 (report 003)."""
    mass = level(findings, context, MASS)
    taus = [number_at(config, TAU_SRC), number_at(config, TAU_TGT)]
    if mass is None or mass >= 0.1 or any(tau is None or not 5.0 <= tau < 20.0 for tau in taus):
        return None
    return propose(
        {"ot_pi_sum": mass, "tau_src": taus[0], "tau_tgt": taus[1], "limit": 0.1},
        config,
        context,
        both_tau(lambda path: at_least(path, 20.0)),
        reason="With embedding costs of this size the plan is pushed back to zero; tau is raised further.",
        expected="ot_pi_sum goes above 0.1.",
        failure=mass_still_low(0.1),
        group="ot",
    )


def widen_window(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Draw source rows from a wider window around their match, so that cheaper pairs are in the batch (report 004)."""
    finding = weak_mass(findings, context)
    if finding is None or value_at(config, "ot.no_window"):
        return None
    return propose(
        finding,
        config,
        context,
        (times(WINDOW, 1.5),),
        reason="A wider window offers more source frames for a target frame, among them nearer ones.",
        expected="ot_pi_sum rises without evaluation getting worse.",
        failure=evaluation_worse(context),
        group="ot",
    )
