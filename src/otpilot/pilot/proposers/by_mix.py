"""Rules for what is found wrong, a model of the scores for the rest of the round."""

from collections.abc import Set as AbstractSet

from otpilot.pilot.parents import Parent
from otpilot.pilot.proposers.by_bayes import promising
from otpilot.pilot.proposers.by_rules import judged
from otpilot.pilot.proposers.frame import each_parent
from otpilot.pilot.proposers.request import Request
from otpilot.pilot.rules import Judgement, sweeps
from otpilot.pilot.variants import Batch, TrialKey

REMEDIES = {"problem": 2, "warning": 1}
"""Variants of a round that a rule may have, by the worst that was found."""


def propose_by_mix(request: Request) -> Batch:
    """Return up to two remedies by the rules for a problem, one for a warning, and what the scores promise besides.

    A rule knows from one run what a search over a dozen knobs must find; what is then left is a matter of several knobs
    by factors, which rules turn one at a time (docs/pilot-efficiency.md). Rules that only sweep are left to the search.
    """
    return each_parent(request, _mix)


def _mix(request: Request, parent: Parent, known: AbstractSet[TrialKey]) -> Judgement:
    judgement = judged(request, parent, known)
    remedies = [p for p in judgement.proposals if p.group != "run" and p.rule not in sweeps(request.rules)]
    watch = [p for p in judgement.proposals if p.group == "run"]
    worst = [finding.severity for finding in parent.problems]
    room = max((REMEDIES[severity] for severity in worst), default=0)
    # Transport and cloning in turn, as report 004 derives its variants.
    firsts = [next((p for p in remedies if p.group == group), None) for group in ("ot", "bc")]
    front = sorted((p for p in firsts if p is not None), key=remedies.index)[:room]
    rest = [p for p in remedies if not any(p is other for other in front)]
    found = promising(request, parent, known)
    return Judgement(proposals=(*watch, *front, *(found or rest)), notes=judgement.notes)
