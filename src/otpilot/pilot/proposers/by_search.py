"""Proposers that need no findings: random draws and a grid, one knob at a time."""

import random
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from otpilot.pilot.parents import Parent
from otpilot.pilot.proposal import Proposal
from otpilot.pilot.proposers.frame import each_parent
from otpilot.pilot.proposers.request import Request
from otpilot.pilot.proposers.space import Dimension, dimensions
from otpilot.pilot.rules import Judgement
from otpilot.pilot.rules.base import evaluation_worse
from otpilot.pilot.variants import Batch, TrialKey

DRAWS = 20
"""Draws for each variant that is wanted, before a proposer gives up finding a new one."""
GRID = (0.5, 0.25, 0.75, 0.0, 1.0)
"""Places in each dimension's range, in the order in which they are tried."""


def propose_by_random(request: Request) -> Batch:
    """Return variants that set one knob, drawn at random, to a value drawn at random; the same for the same seed."""
    return each_parent(request, _draw)


def propose_by_grid(request: Request) -> Batch:
    """Return the first variants of a grid that are new: one knob at a time, the middle of each range first."""
    return each_parent(request, _grid)


def searched(
    parent: Parent, chosen: Sequence[tuple[Dimension, float]], *, rule: str, how: str, together: bool = False
) -> Proposal:
    """Return the proposal that sets some dimensions, saying that no finding speaks for it."""
    return Proposal(
        edits=tuple(edit for dimension, value in chosen for edit in dimension.edits(value)),
        reason=f"{how}; no finding speaks for it.",
        expected="Not known.",
        failure=evaluation_worse(parent.context),
        group="ot" if all(dimension.group == "ot" for dimension, _ in chosen) else "bc",
        risk="medium",
        together=together,
        rule=rule,
        source="pilot/proposers/space.py",
    )


def _draw(request: Request, parent: Parent, known: AbstractSet[TrialKey]) -> Judgement:
    numbers = random.Random(f"{request.sampler_seed}/{parent.id}/{len(known)}")
    knobs = dimensions(parent.config, request.only)
    found = []
    for count in range(DRAWS * request.per_parent if knobs else 0):
        knob = numbers.choice(knobs)
        how = f"Random draw {count + 1} from the search space (seed {request.sampler_seed})"
        found.append(searched(parent, [(knob, knob.at(numbers.random()))], rule="random", how=how))
    return Judgement(proposals=tuple(found))


def _grid(request: Request, parent: Parent, _known: AbstractSet[TrialKey]) -> Judgement:
    return Judgement(
        proposals=tuple(
            searched(
                parent, [(knob, knob.at(share))], rule="grid", how=f"Grid: {knob.name} at {share:.0%} of its range"
            )
            for share in GRID
            for knob in dimensions(parent.config, request.only)
        )
    )
