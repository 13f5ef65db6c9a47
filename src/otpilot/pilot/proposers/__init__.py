"""Proposers behind one interface: a request in, variants out. The table names them; `rules` is the default."""

from collections.abc import Callable, Mapping

from otpilot.errors import ConfigError, closest
from otpilot.pilot.proposers.by_bayes import propose_by_bayes
from otpilot.pilot.proposers.by_mix import propose_by_mix
from otpilot.pilot.proposers.by_optuna import propose_by_optuna
from otpilot.pilot.proposers.by_rules import propose_by_rules
from otpilot.pilot.proposers.by_search import propose_by_grid, propose_by_random
from otpilot.pilot.proposers.request import Observation, Request, observe
from otpilot.pilot.variants import Batch

__all__ = ["DEFAULT", "LEARNING", "PROPOSERS", "Observation", "Proposer", "Request", "observe", "propose"]

Proposer = Callable[[Request], Batch]

PROPOSERS: Mapping[str, Proposer] = {
    "rules": propose_by_rules,
    "mixed": propose_by_mix,
    "bayes": propose_by_bayes,
    "random": propose_by_random,
    "grid": propose_by_grid,
    "optuna": propose_by_optuna,
}
DEFAULT = "rules"
LEARNING = frozenset({"mixed", "bayes"})
"""Those that learn from the scores of all runs, whatever a variant is derived from."""


def propose(request: Request, proposer: str = DEFAULT) -> Batch:
    """Return the variants that a proposer makes of a request.

    Raises:
        ConfigError: If there is no proposer of that name, or a parent's config does not hold together.
    """
    if proposer not in PROPOSERS:
        hint = closest(proposer, PROPOSERS)
        raise ConfigError(f"There is no proposer {proposer!r}; allowed: {', '.join(PROPOSERS)}.{hint}")
    return PROPOSERS[proposer](request)
