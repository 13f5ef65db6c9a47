"""Optuna's tree-structured Parzen estimator over the search space; needs `pip install otpilot[optuna]`."""

import random
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from otpilot.config.compat import translate
from otpilot.config.edits import value_at
from otpilot.errors import ConfigError
from otpilot.pilot.parents import Parent
from otpilot.pilot.proposers.by_search import searched
from otpilot.pilot.proposers.frame import each_parent
from otpilot.pilot.proposers.request import Request
from otpilot.pilot.proposers.space import Dimension, dimensions
from otpilot.pilot.rules import Judgement
from otpilot.pilot.variants import Batch, TrialKey

ASKS = 3
"""Configs to ask for, for each variant that is wanted; some may have been tried."""


def propose_by_optuna(request: Request) -> Batch:
    """Return variants that set all knobs at once, as TPE asks, given the scores observed so far.

    Observed configs outside the search space are left out, and those whose training broke. Those that differ from the
    parent in what the space does not hold count all the same. Below ten observations TPE draws at random.

    Raises:
        ConfigError: If Optuna is not installed.
    """
    _optuna()
    return each_parent(request, _ask)


def _ask(request: Request, parent: Parent, _known: AbstractSet[TrialKey]) -> Judgement:
    knobs = dimensions(parent.config, request.only)
    if not knobs:
        return Judgement(proposals=())
    optuna = _optuna()
    direction = "maximize" if any(o.direction == "max" for o in request.observations) else "minimize"
    seed = random.Random(f"{request.sampler_seed}/{parent.id}/{len(request.observations)}").randrange(2**32)
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study(direction=direction, sampler=optuna.samplers.TPESampler(seed=seed))
        space = {knob.name: _distribution(optuna, knob) for knob in knobs}
        told = 0
        for observation in request.observations:
            values = None if observation.failed else _values(observation.config, knobs)
            if values is not None:
                trial = optuna.trial.create_trial(params=values, distributions=space, value=observation.score)
                study.add_trial(trial)
                told += 1
        asked = [study.ask(space).params for _ in range(ASKS * request.per_parent)]
    finally:
        optuna.logging.set_verbosity(before)
    how = f"TPE over {len(knobs)} knobs from {told} observations"
    wishes = ([(knob, knob.rounded(params[knob.name])) for knob in knobs] for params in asked)
    found = [searched(parent, wish, rule="optuna", how=how, together=True) for wish in wishes]
    return Judgement(proposals=tuple(found))


def _values(config: Mapping[str, Any], knobs: Sequence[Dimension]) -> dict[str, float] | None:
    """Return a config's values of the knobs, or None where one is not a number within its range."""
    config = translate(config).config
    values: dict[str, float] = {}
    for knob in knobs:
        try:
            value = value_at(config, knob.name)
        except ConfigError:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not knob.low <= value <= knob.high:
            return None
        values[knob.name] = int(value) if knob.kind == "int" else float(value)
    return values


def _distribution(optuna: Any, knob: Dimension) -> Any:
    if knob.kind == "int":
        return optuna.distributions.IntDistribution(int(knob.low), int(knob.high), log=knob.log)
    return optuna.distributions.FloatDistribution(knob.low, knob.high, log=knob.log)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError("The proposer optuna needs Optuna: pip install 'otpilot[optuna]'.") from error
    return optuna
