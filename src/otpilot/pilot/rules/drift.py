"""Remedies for an early optimum that is lost again: stop there, regularise, down-weight the transport, stage it."""

from collections.abc import Sequence
from typing import Any

from otpilot.analysis.findings import Finding
from otpilot.config.edits import value_at
from otpilot.pilot.proposal import Proposal
from otpilot.pilot.rules.base import (
    EVALUATIONS,
    LABELS,
    REG,
    WEIGHT,
    Config,
    RuleContext,
    alarming,
    evaluation_worse,
    largest,
    number_at,
    propose,
    set_to,
    times,
)  # fmt: skip
from otpilot.pilot.rules.optimiser import scale_learning_rate

DRIFT = "early_optimum_then_drift"


def stop_early(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Stop after five evaluations without improvement (report 000), where there are evaluations."""
    finding = alarming(findings, DRIFT)
    if finding is None or value_at(config, "early_stopping") is not None:
        return None
    monitor = next((name for name in EVALUATIONS if name in context.recent), None)
    if monitor is None:
        return None
    mode = "max" if monitor.startswith("sim/") else "min"
    return propose(
        finding,
        config,
        context,
        (set_to("early_stopping", {"monitor": monitor, "mode": mode, "patience_eval_intervals": 5}),),
        reason="The best evaluation lies well before the end; the rest of the run made the policy worse.",
        expected="The run ends near its optimum.",
        failure=evaluation_worse(context),
        group="bc",
    )


def down_weight_on_drift(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Halve the transport's weight, then take 0.3 of it: it may pull the policy off cloning (report 000)."""
    finding = alarming(findings, DRIFT)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (times(WEIGHT, 0.5),),
        (times(WEIGHT, 0.3),),
        reason="A weight that is too high for the late phase pulls the policy away from what cloning found.",
        expected="Evaluation does not rise after its minimum.",
        failure=evaluation_worse(context),
        group="ot",
    )


def smooth_on_drift(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Double reg: a spiky plan gives noisy gradients that hurt generalisation (report 000)."""
    finding = alarming(findings, DRIFT)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (times(REG, 2.0),),
        reason="Low entropy makes spiky plans; their noise hurts once cloning has converged.",
        expected="Evaluation does not rise after its minimum.",
        failure=evaluation_worse(context),
        group="ot",
    )


def lower_learning_rate_on_drift(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Halve the learning rate (report 000); a gentler late phase (report 002)."""
    finding = alarming(findings, DRIFT)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        scale_learning_rate(config, 0.5),
        reason="The policy leaves its optimum with steps that are too large for it.",
        expected="The minimum of evaluation comes later and is kept.",
        failure=evaluation_worse(context),
        group="bc",
        risk="medium",
    )


def add_noise(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Add noise of 0.01 to the state, then to the action (report 000)."""
    finding = alarming(findings, DRIFT)
    if finding is None:
        return None
    options = [
        (set_to(name, 0.01, "raise"),)
        for name in ("state_noise_std", "action_noise_std")
        if (number_at(config, name) or 0.0) == 0.0
    ]
    return propose(
        finding,
        config,
        context,
        *options,
        reason="The training loss goes on falling while evaluation rises: the demonstrations are learned by heart.",
        expected="The gap between training and evaluation loss narrows.",
        failure=evaluation_worse(context),
        group="bc",
    )


def smooth_labels(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Smooth the labels of discrete action dimensions by 0.05, where such are configured (reports 000, 002)."""
    finding = alarming(findings, DRIFT)
    if finding is None or value_at(config, "discrete_actions") is None:
        return None
    return propose(
        finding,
        config,
        context,
        (set_to("discrete_actions.label_smoothing", 0.05, "raise"),),
        reason="Hard targets of a gripper invite overfitting at its switching points.",
        expected="Evaluation does not rise after its minimum.",
        failure=evaluation_worse(context),
        group="bc",
    )


def stage_weight(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Ramp the weight up over the first tenth of the run (report 000's third recipe)."""
    finding = alarming(findings, DRIFT)
    if finding is None or value_at(config, "ot.weight_warmup_ratio") or value_at(config, "ot.lambda_ot_schedule"):
        return None
    return propose(
        finding,
        config,
        context,
        (set_to("ot.weight_warmup_ratio", 0.1),),
        reason="While encodings still change fast, the transport aligns what will be thrown away.",
        expected="The first minimum of evaluation is kept; short runs did not settle whether it helps (docs/log.md).",
        failure=evaluation_worse(context),
        group="ot",
        risk="medium",
    )


def stage_reg(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Lower reg from five times its value to its value over 0.3 of the run (report 000's third recipe: 0.5 to 0.1)."""
    finding, reg = alarming(findings, DRIFT), number_at(config, REG)
    if finding is None or reg is None or value_at(config, "ot.loss_config.reg_schedule"):
        return None
    ramp: dict[str, Any] = {
        "type": "linear", "start_value": round(5 * reg, 12), "end_value": reg, "end_ratio_of_steps": 0.3
    }  # fmt: skip
    return propose(
        finding,
        config,
        context,
        (set_to("ot.loss_config.reg_schedule", ramp),),
        reason="Smooth plans first, sharp ones when the encodings have settled.",
        expected="The label cost varies less early on, and evaluation does not rise after its minimum.",
        failure=evaluation_worse(context),
        group="ot",
        risk="medium",
    )


def add_small_label(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Give a raw action term, whose label weight is 0, the baseline's 0.02 (report 002's update on mild drift)."""
    finding = alarming(findings, DRIFT)
    if finding is None or largest(config, LABELS) > 0.0:
        return None
    terms = (config.get("ot") or {}).get("loss_config", {}).get("features") or []
    names = [t.get("term_name") or t["src_key"] for t in terms if not t.get("use_learned_embed") and t.get("src_key")]
    return propose(
        finding,
        config,
        context,
        *((set_to(f"ot.loss_config.features[{name}].weight_label", 0.02, "raise"),) for name in names),
        reason="Embeddings alone let the match drift late in the run; a small label weight holds it.",
        expected="The late rise of evaluation goes away.",
        failure=evaluation_worse(context),
        group="ot",
    )
