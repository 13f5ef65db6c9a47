"""What rules and proposers make is read by LeRobot's own parser, with the right kind in every place."""

import pytest

from otpilot.config.compat import translate
from otpilot.config.edits import apply
from otpilot.pilot.parents import Parent
from otpilot.pilot.proposers import Request, propose
from otpilot.pilot.rules import RULES
from tests.pilot.rules.cases import CASES, act, diffusion, edited, ours

FUNCTIONS = {rule.name: rule.function for rule in RULES}
DATASET = {"repo_id": "target"}


@pytest.mark.parametrize("name", CASES)
def test_the_proposal_of_each_rule_can_be_trained(name: str) -> None:
    from otpilot.config.schema import TrainConfig, check_keys, decode

    case = CASES[name].fires
    config = translate(edited(case.config, dataset=DATASET)).config
    proposal = FUNCTIONS[name](case.tags, config, case.context)
    assert proposal is not None
    changed, _ = apply(config, proposal.edits)
    check_keys(changed, TrainConfig)
    decode(changed)


@pytest.mark.parametrize("proposer", ["random", "grid", "optuna"])
def test_searched_variants_can_be_trained(proposer: str) -> None:
    from otpilot.config.schema import TrainConfig, check_keys, decode

    for start in (act(), diffusion(), ours()):
        parent = Parent(id="p1", config=edited(start, dataset=DATASET))
        for variant in propose(Request(parents=(parent,), limit=12, per_parent=12, budget=2000), proposer).variants:
            check_keys(variant.config, TrainConfig)
            built = decode(variant.config)
            assert (built.steps, built.horizon, built.seed) == (2000, 20_000, 1000)
