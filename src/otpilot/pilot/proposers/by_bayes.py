"""Bayesian optimisation over the search space: a Gaussian process learns from the scores, trial by trial."""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otpilot.config.canonical import config_hash
from otpilot.config.compat import translate
from otpilot.config.edits import apply, value_at
from otpilot.errors import ConfigError
from otpilot.pilot.parents import Parent
from otpilot.pilot.proposal import Proposal
from otpilot.pilot.proposers.by_search import searched
from otpilot.pilot.proposers.frame import each_parent
from otpilot.pilot.proposers.process import Process, first_points, fit_process, next_points
from otpilot.pilot.proposers.request import Observation, Request
from otpilot.pilot.proposers.space import Dimension, dimensions
from otpilot.pilot.rules import Judgement
from otpilot.pilot.variants import Batch, TrialKey

Array = NDArray[np.float64]

OUTSIDE = 1.0
"""How far beyond its range a setting that was observed may count, in ranges."""
FIRST = 6
"""Scores of configs that differ in knobs of the space only, below which variants are spread over it."""
SAME = 0.01
"""A setting within this part of its range of the parent's stays as the parent has it."""
MATTERS = 3
"""Settings that a reason names as those that the scores depend on most."""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """What was observed: points [n, d], scores [n] that are better when low, and which differ off the space [n]."""

    points: Array
    scores: Array
    elsewhere: Array


def propose_by_bayes(request: Request) -> Batch:
    """Return variants that set what promises most, given all scores observed so far."""
    return each_parent(request, _ask)


def promising(request: Request, parent: Parent, known: AbstractSet[TrialKey]) -> tuple[Proposal, ...]:
    """Return proposals for a parent, that which promises most first; some to spare, should they have been tried.

    Configs that differ from the parent in what the space does not hold (another objective, another prior) are told
    apart by one more coordinate, whose length the scores decide: they tell something, but maybe of another matter.
    """
    knobs = tuple(knob for knob in dimensions(parent.config, request.only) if _share(parent.config, knob) is not None)
    own = _point(parent.config, knobs)
    if own is None or not knobs:
        return ()
    seen = _seen(request.observations, parent.config, knobs)
    count = 2 * request.per_parent
    seed = random.Random(f"{request.sampler_seed}/{parent.id}/{len(known)}").randrange(2**32)
    first = min(max(FIRST - int(np.sum(seen.elsewhere == 0)), 0), count)
    how = f"One of the first points over {len(knobs)} knobs, spread evenly (seed {request.sampler_seed})"
    wishes = (_wish(parent.config, knobs, point) for point in first_points(count, own, seed=seed)[:first])
    found = [searched(parent, wish, rule="bayes", how=how, together=True) for wish in wishes if wish]
    return (*found, *_modelled(parent, knobs, own, seen, count=count - first, seed=seed))


def _modelled(
    parent: Parent, knobs: Sequence[Dimension], own: Array, seen: _Seen, *, count: int, seed: int
) -> Iterator[Proposal]:
    if count < 1:
        return
    apart = bool(seen.elsewhere.any())
    logarithmic = bool(np.all(seen.scores > 0))
    points = np.hstack([seen.points, seen.elsewhere[:, None]]) if apart else seen.points
    process = fit_process(points, np.log(seen.scores) if logarithmic else seen.scores, seed=seed)
    how = f"Expected improvement over {len(knobs)} knobs, by {len(points)} scores{_relevant(process, knobs)}"
    for point in next_points(process, count, own, seed=seed):
        wish = _wish(parent.config, knobs, point)
        if wish:
            mean, spread = process.predict(np.pad(point, (0, int(apart)))[None])
            bounds = float(mean[0]) + float(spread[0]) * np.array([0.0, -1.0, 1.0])
            values = np.exp(bounds) if logarithmic else bounds
            yield replace(
                searched(parent, wish, rule="bayes", how=how, together=True), expected=_expected(values, parent)
            )


def _ask(request: Request, parent: Parent, known: AbstractSet[TrialKey]) -> Judgement:
    return Judgement(proposals=promising(request, parent, known))


def _seen(observations: Sequence[Observation], config: Mapping[str, Any], knobs: Sequence[Dimension]) -> _Seen:
    own = _rest(config, knobs)
    rows: list[tuple[Array, float, float]] = []
    for observation in observations:
        at = translate(observation.config).config
        point = _point(at, knobs)
        if point is not None:
            score = -observation.score if observation.direction == "max" else observation.score
            rows.append((point, score, float(_rest(at, knobs) != own)))
    return _Seen(
        points=np.array([row[0] for row in rows]).reshape(len(rows), len(knobs)),
        scores=np.array([row[1] for row in rows]),
        elsewhere=np.array([row[2] for row in rows]),
    )


def _point(config: Mapping[str, Any], knobs: Sequence[Dimension]) -> Array | None:
    """Return where a config lies in the space, [d], or None where it has no number for one of the knobs."""
    shares = [_share(config, knob) for knob in knobs]
    return None if any(share is None for share in shares) else np.array(shares, dtype=np.float64)


def _share(config: Mapping[str, Any], knob: Dimension) -> float | None:
    """Return where in its range a config has a knob; somewhat below 0 or above 1 where it lies outside."""
    try:
        value = value_at(config, knob.name)
    except ConfigError:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return min(max(knob.share(float(value)), -OUTSIDE), 1 + OUTSIDE)


def _rest(config: Mapping[str, Any], knobs: Sequence[Dimension]) -> str:
    """Return what tells configs apart but for their knobs, seed and name."""
    edits = [edit for knob in knobs for edit in knob.edits(knob.at(0.5))]
    try:
        config = apply(config, edits)[0]
    except ConfigError:
        return ""
    return config_hash({**config, "seed": 0})


def _wish(config: Mapping[str, Any], knobs: Sequence[Dimension], point: Array) -> list[tuple[Dimension, float]]:
    wish = []
    for knob, share in zip(knobs, point, strict=True):
        now, value = _share(config, knob), knob.at(float(share))
        if now is None or abs(knob.share(value) - now) > SAME:
            wish.append((knob, value))
    return wish


def _relevant(process: Process, knobs: Sequence[Dimension]) -> str:
    order = np.argsort(process.lengths[: len(knobs)])[:MATTERS]
    names = ", ".join(knobs[int(place)].name.rsplit(".", 1)[-1] for place in order)
    return f", which depend most on {names}" if len(process.scores) > len(knobs) else ""


def _expected(values: Array, parent: Parent) -> str:
    middle, low, high = (-values[0], -values[2], -values[1]) if parent.direction == "max" else values
    return f"A score of {middle:.3g}, {low:.3g} to {high:.3g} (one standard deviation)."
