"""The default proposer: what the rules say about each parent."""

from collections.abc import Set as AbstractSet
from dataclasses import replace

from otpilot.pilot.parents import Parent
from otpilot.pilot.proposers.frame import each_parent
from otpilot.pilot.proposers.request import Request
from otpilot.pilot.rules import Judgement, judge
from otpilot.pilot.variants import Batch, TrialKey


def propose_by_rules(request: Request) -> Batch:
    """Return variants by the rules' proposals, most urgent first; values that were tried are passed over."""
    return each_parent(request, judged)


def judged(request: Request, parent: Parent, known: AbstractSet[TrialKey]) -> Judgement:
    """Return what the rules say of a parent, knowing what was tried."""
    tried = parent.context.tried | {key.config_hash for key in known}
    return judge(parent.findings, parent.config, replace(parent.context, tried=tried), rules=request.rules)
