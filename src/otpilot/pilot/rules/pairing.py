"""Remedies for a plan that leaves the diagonal: the pairs may be wrong, or drawn too loosely (report 004's list)."""

from collections.abc import Sequence

from otpilot.analysis.findings import Finding
from otpilot.config.edits import value_at
from otpilot.pilot.proposal import Failure, Proposal
from otpilot.pilot.rules.base import Config, RuleContext, at_least, at_most, evaluation_worse, found, propose, set_to

OFF = "off_diagonal"
STILL_OFF = Failure(metric="train/ot_diag_share", relation="below", threshold=0.2)


def sharpen_pairs(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Prefer near matches within the window: sharpness 0.75, then 1, then 2 (report 004: balanced, next_w6_sharp1)."""
    finding = found(findings, OFF)
    if finding is None or value_at(config, "ot.no_window"):
        return None
    return propose(
        finding,
        config,
        context,
        *((at_least("ot.sharpness", value),) for value in (0.75, 1.0, 2.0)),
        reason="Mass leaves the stored pairs; drawing them nearer to their match makes them better pairs.",
        expected="ot_diag_share rises.",
        failure=STILL_OFF,
        group="ot",
    )


def filter_source_episodes(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Pair each target episode only with its 20, then 15, then 10 nearest source episodes (report 004: topk20)."""
    finding = found(findings, OFF)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        *((at_most("ot.topk_src_episodes", k),) for k in (20, 15, 10)),
        reason="Pairs of uneven quality; the nearest episodes give the best ones.",
        expected="ot_diag_share rises.",
        failure=STILL_OFF,
        group="ot",
    )


def drop_window(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Give up the window where matches in time cannot be trusted (report 004: nowindow)."""
    finding = found(findings, OFF)
    if finding is None:
        return None
    return propose(
        finding,
        config,
        context,
        (set_to("ot.no_window", True),),
        reason="If the alignment in time is off, the plan should look for partners over whole episodes.",
        expected="Evaluation improves though ot_diag_share does not.",
        failure=evaluation_worse(context),
        group="ot",
        risk="medium",
    )
