"""What every proposer is asked, whatever its method."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otpilot.errors import ConfigError
from otpilot.pilot.parents import Parent
from otpilot.pilot.proposal import Group
from otpilot.pilot.rules import RULES, Rule
from otpilot.pilot.variants import TrialKey
from otpilot.runs.metric_names import Direction

PER_PARENT = 3
"""Report 004: one to three variants from each parent."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A config that was tried, and its score; lower is better unless `direction` says "max".

    One that `failed` (its training broke) has the worst score of the others.
    """

    config: Mapping[str, Any]
    score: float
    direction: Direction = "min"
    failed: bool = False


def observe(parents: Sequence[Parent]) -> tuple[Observation, ...]:
    """Return what the runs say to proposers that learn from scores; nothing where none has one."""
    scored = [(p, p.score) for p in parents if p.score is not None and not p.failed]
    if not scored:
        return ()
    direction = scored[0][0].direction
    worst = (min if direction == "max" else max)(score for _, score in scored)
    return (
        *(Observation(config=p.config, score=score, direction=p.direction) for p, score in scored),
        *(Observation(config=p.config, score=worst, direction=direction, failed=True) for p in parents if p.failed),
    )


@dataclass(frozen=True, kw_only=True)
class Request:
    """From which parents, how many, on which seeds and steps, and what is known already.

    `limit` holds for all parents together, `per_parent` for each; `only` keeps variants of the transport (ot) or of
    cloning (bc). `observations` are for proposers that learn from scores, `sampler_seed` for those that draw. `carry`
    lets variants carry what is advised on how runs are watched and fed.
    """

    parents: tuple[Parent, ...]
    limit: int = PER_PARENT
    per_parent: int = PER_PARENT
    seeds: tuple[int, ...] = ()
    budget: int | None = None
    known: frozenset[TrialKey] = frozenset()
    only: Group | None = None
    rules: Sequence[Rule] = RULES
    observations: tuple[Observation, ...] = ()
    sampler_seed: int = 0
    carry: bool = True

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name in ("limit", "per_parent"):
            if getattr(self, name) < 1:
                raise ConfigError(f"A proposer was asked for {name} = {getattr(self, name)}; allowed: 1 or more.")
        if len({observation.direction for observation in self.observations}) > 1:
            raise ConfigError("Observations whose scores are better when low and when high cannot be mixed.")

    def quota(self, place: int, made: int) -> int:
        """Return how many variants the parent at `place` may have, given how many were made from those before it."""
        left = self.limit - made
        waiting = len(self.parents) - place
        return min(self.per_parent, -(-left // waiting), left)
