"""The null test and a planted gain through the real loop: settings, proposer, ledger, worker, scoring, decisions."""

import json
import math
import random

import pytest
from scipy.stats import binomtest

from otpilot.pilot import decisions
from otpilot.pilot.executors.in_process import InProcessExecutor
from otpilot.pilot.ledger import Ledger
from tests.pilot.campaign.conftest import Field

SETTINGS = """
base = "base.json"
rounds = 1
variants = 2
confirm_seeds = 5
promotion = []
proposer = "random"
seed = {seed}
[trial]
seeds = 3
steps = 40
eval_steps = 20
log_freq = 20
save_freq = 0
[guard]
enable = false
"""
SURPRISE = 1e-4


def trainer(world: int, *, noise: float, gain: float):
    """Return a trial whose error depends on config and seed by chance alone, and on whether it is the baseline's."""

    def work(spec, checkpoint, ended):
        config = json.loads(spec.config.read_text())
        chance = random.Random(f"{world}/{spec.name}")  # the name tells config, seed and steps
        level = 0.1 * (1 if spec.name.startswith("baseline") else 1 - gain) * math.exp(chance.gauss(0.0, noise))
        spec.run.mkdir(parents=True)
        (spec.run / "config.json").write_text(json.dumps({**config, "steps": spec.steps, "seed": spec.seed}))
        with (spec.run / "metrics.jsonl").open("w") as log:
            for step in (20, 40):
                rows = (("train", {"loss": 1.0 / step, "lr": 1e-5}), ("eval", {"offline_eval/avg_l1": level}))
                for kind, values in rows:
                    log.write(json.dumps({"step": step, "time": 0.0, "kind": kind, "values": values}) + "\n")
        (spec.run / "outcome.json").write_text(
            json.dumps({"status": "finished", "reason": "all steps done", "last_step": spec.steps})
        )

    return work


def play(folder, world, *, noise, gain=0.0):
    """Run one campaign; returns whether its round confirmed something, accepted it, and the ledger's decisions."""
    field = Field(folder).write(SETTINGS.format(seed=world))
    executor = InProcessExecutor(trainer(world, noise=noise, gain=gain), slots=4)
    try:
        with Ledger.open(folder / "ledger.db") as ledger:
            ended = field.pilot(ledger, executor=executor).run()
            assert ended.kind == "rounds", ended
            made = ledger.decisions()
            assert {trial.state for trial in ledger.trials()} == {"finished"}
    finally:
        executor.close()
    kinds = [one.kind for one in made]
    return "accept" in kinds or "reject" in kinds, "accept" in kinds, made


def check_null(root, campaigns):
    found = [play(root / str(world), world, noise=0.12) for world in range(campaigns)]
    confirmed = sum(confirmed for confirmed, _, _ in found)
    accepted = sum(accepted for _, accepted, _ in found)
    assert confirmed > campaigns / 5
    assert binomtest(accepted, confirmed, decisions.FALSE_ACCEPTANCE, alternative="greater").pvalue > SURPRISE
    return found


def test_the_loop_accepts_equal_variants_no_more_often_than_stated(tmp_path):
    found = check_null(tmp_path, 4)
    for _, _, made in found:  # nothing of it was for a health that no trial lacks
        assert not any(one.evidence.get("cured") for one in made)


def test_the_loop_finds_five_percent_at_the_repeat_noise(tmp_path):
    _, accepted, made = play(tmp_path / "0", 0, noise=0.006, gain=0.05)
    assert accepted
    verdict = next(one for one in made if one.kind == "accept").evidence["verdict"]
    assert (verdict["word"], verdict["pairs"]) == ("better", 5)
    assert verdict["mean"] == pytest.approx(-0.05, abs=0.02)


@pytest.mark.slow
def test_the_loop_agrees_with_the_simulation(tmp_path, simulation):
    campaigns = 100
    found = check_null(tmp_path, campaigns)
    played = simulation.play_many(simulation.UNPAIRED, simulation.Protocol(variants=2, rounds=1), 2000)
    expected = simulation.of_campaigns(played, lambda one: len(one.confirmations))
    confirmed = sum(confirmed for confirmed, _, _ in found)
    assert binomtest(confirmed, campaigns, expected.value).pvalue > SURPRISE
