"""Rules for ACT alone."""

from collections.abc import Sequence
from typing import Any

from otpilot.analysis.findings import Finding
from otpilot.config.edits import uses_preset, value_at
from otpilot.pilot.proposal import Proposal
from otpilot.pilot.rules.base import Config, RuleContext, alarming, at_least, evaluation_worse, found, propose, set_to

PRESET: dict[str, Any] = {
    "policy.optimizer_lr": 1e-5,
    "policy.optimizer_lr_backbone": 1e-5,
    "policy.optimizer_weight_decay": 1e-4,
}
"""ACT's own optimiser settings; with them come clipping at 10 and no schedule."""


def revert_optimiser(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Go back to ACT's preset after an optimiser change that underfits (report 002's post-mortem)."""
    finding = found(findings, "underfitting_after_optimiser_change")
    if finding is None:
        return None
    edits = [set_to("use_policy_training_preset", True)] if not uses_preset(config) else []
    edits += [set_to(key, value) for key, value in PRESET.items() if value_at(config, key) != value]
    return propose(
        finding,
        config,
        context,
        tuple(edits),
        reason=f"{_changes(finding)} underfit without more jitter: an optimiser mismatch, not noise of the transport.",
        expected="Evaluation comes back to the baseline's level.",
        failure=evaluation_worse(context),
        group="bc",
        together=True,
    )


def _changes(finding: Finding) -> str:
    """Return how far the optimiser is from the baseline's, as far as the finding says it."""
    named = {"lr_factor": "learning rate", "wd_factor": "weight decay"}
    parts = [
        f"{factor:.3g} times the {word}"
        for key, word in named.items()
        if isinstance(factor := finding.evidence.get(key), float) and not 0.99 < factor < 1.01
    ]
    return f"{' and '.join(parts)} of the baseline" if parts else "The changed optimiser"


def more_dropout(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Raise dropout from 0.1 to 0.2 against overfitting (report 000's second recipe)."""
    finding = alarming(findings, "early_optimum_then_drift")
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (at_least("policy.dropout", 0.2),),
        reason="Evaluation rises after an early minimum; dropout regularises (weight decay hurt ACT in report 002).",
        expected="The gap between training and evaluation loss narrows.",
        failure=evaluation_worse(context),
        group="bc",
    )
