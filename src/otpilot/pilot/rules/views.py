"""What was measured to help most where the target was not demonstrated (docs/results.md): the target's view."""

from collections.abc import Mapping, Sequence

from otpilot.analysis.findings import Finding
from otpilot.config.edits import value_at
from otpilot.config.ot import VIEWED_SOURCE_WEIGHT
from otpilot.pilot.proposal import Proposal
from otpilot.pilot.rules.base import (
    Config,
    RuleContext,
    alarming,
    evaluation_worse,
    number_at,
    propose,
    set_to,
)
from otpilot.pilot.rules.steady import steady
from otpilot.pilot.rules.weak import LOW

VIEW, ROWS, BACKGROUND = "ot.view_share", "ot.bc_src_weight", "ot.view_background"


def show_target_view(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Show source rows in the target's view, where it is off and there are pairs, unless training breaks or jitters.

    Views are learned from source rows that are cloned: none are, nothing is proposed; few are, they become more. They
    need no transport, so that co-training gets them, too.
    """
    finding = steady(findings) or alarming(findings, "plateau", "slow_start", "transport_dead", *LOW)
    if finding is None or number_at(config, VIEW) != 0 or not _can_show(config):
        return None
    cloned = value_at(config, ROWS)
    few = cloned != "auto" and cloned < VIEWED_SOURCE_WEIGHT
    return propose(
        finding,
        config,
        context,
        (set_to(VIEW, "auto"), *((set_to(ROWS, "auto"),) if few else ())),
        reason="Source rows are shown as their own camera saw them only; in the target's view they also teach what to "
        "do where the target was not demonstrated (docs/views.md).",
        expected="Success rises where the target was not demonstrated; cloning takes more steps to converge.",
        failure=evaluation_worse(context),
        group="ot",
        risk="medium",
        together=True,
    )


def draw_target_background(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Draw what stands still in a view as the target's own pictures show it, where views are shown without."""
    finding = steady(findings, context.set_aside)
    if finding is None or not value_at(config, VIEW) or value_at(config, BACKGROUND) or not _can_show(config):
        return None
    return propose(
        finding,
        config,
        context,
        (set_to(BACKGROUND, True),),
        reason="A view has flat colours; with the target's own background it also has its texture and shadows, so that "
        "the policy has less to tell the two by (docs/views.md).",
        expected="More success where the target was not demonstrated if its surfaces have texture, else none; fitting "
        "the views takes up to twice as long.",
        failure=evaluation_worse(context),
        group="ot",
    )


def _can_show(config: Config) -> bool:
    """Whether there are pairs to fit a view on, and source rows that are cloned to show in it."""
    section = config.get("ot")
    paired = isinstance(section, Mapping) and section.get("enable", True) and section.get("method", "ot") != "none"
    return bool(paired and value_at(config, "ot.pair_info_path") and value_at(config, ROWS))
