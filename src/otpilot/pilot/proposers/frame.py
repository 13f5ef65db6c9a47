"""What all proposers do alike: parent by parent, each in the form in which it is tried, as many as were asked for."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import replace

from otpilot.config.compat import translate
from otpilot.pilot.parents import Parent
from otpilot.pilot.proposers.request import Request
from otpilot.pilot.rules import Judgement
from otpilot.pilot.variants import Batch, TrialKey, for_trial, join, make_variants, own_seed

Stream = Callable[[Request, Parent, AbstractSet[TrialKey]], Judgement]
"""Gives proposals for one parent, best first, knowing what was tried."""


def each_parent(request: Request, stream: Stream) -> Batch:
    """Return the variants that come of a stream of proposals for each parent."""
    batches: list[Batch] = []
    known = set(request.known)
    made = 0
    for place, given in enumerate(request.parents):
        quota = request.quota(place, made)
        if quota < 1:
            break
        # In the form of a trial, so that hashes can be compared with those of what was tried.
        config = for_trial(translate(given.config).config, seed=own_seed(given.config), budget=request.budget)
        parent = replace(given, config=config)
        found = stream(request, parent, known)
        batch = make_variants(
            parent,
            found.proposals,
            seeds=request.seeds,
            budget=request.budget,
            known=known,
            limit=quota,
            only=request.only,
            carry=request.carry,
        )
        known |= {variant.key for variant in batch.variants}
        made += len({variant.name for variant in batch.variants})
        silent = () if batch.variants else (f"Nothing new is proposed for {parent.id}.",)
        batches.append(replace(batch, notes=(*found.notes, *silent)))
    return join(batches)
