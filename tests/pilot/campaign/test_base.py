"""The base config made ready, what trials are ranked by, what the ledger keeps of a run, and when one is hopeless."""

import json
import math
from pathlib import Path

import pytest

from otpilot.config.canonical import config_hash
from otpilot.config.compat import translate
from otpilot.config.known import unknown_keys
from otpilot.config.schema import TrainConfig
from otpilot.errors import ConfigError, MissingFileError, RunError
from otpilot.pilot.campaign.arms import Identity, Known, arm_of, failure_occurred, parent_of
from otpilot.pilot.campaign.base import acceptable_metrics, read_base, trial_hash, trial_seeds, with_trial_logging
from otpilot.pilot.campaign.hopeless import hopeless_of
from otpilot.pilot.campaign.scoring import assess, read_assessment, score
from otpilot.pilot.campaign.settings import CampaignSettings, settings_of
from otpilot.pilot.ledger import Ledger, NewTrial, Result
from otpilot.pilot.proposal import Failure
from tests.pilot.campaign.conftest import run_trial

DATA = Path(__file__).parents[2] / "data"
LOSS = "eval/offline_eval/avg_l1"


def asked(**more):
    return settings_of({"base": "base.json", **more})


def test_the_base_is_translated_overridden_and_logs_as_trials_do(campaign):
    campaign.write()
    base = read_base(asked(overrides={"ot.src_root": "/data/s", "dataset": {"root": "/data/t"}}), campaign.root)
    assert base["ot"]["src_root"] == "/data/s"
    assert base["dataset"]["root"] == "/data/t"
    assert "eval_freq" not in base, "the seeds' key is translated"
    assert (base["eval_steps"], base["log_freq"], base["save_freq"]) == (200, 50, 1000)
    plain = read_base(asked(), campaign.root)
    assert config_hash(plain) == config_hash(json.loads((campaign.root / "base.json").read_text()))


def test_an_override_that_breaks_the_config_is_refused(campaign):
    campaign.write()
    with pytest.raises(ConfigError, match=r"loss_config\.rge"):
        read_base(asked(overrides={"ot.loss_config.rge": 0.1}), campaign.root)
    with pytest.raises(ConfigError, match="is a value, not a section"):
        read_base(asked(overrides={"ot.lambda_ot.x": 0.1}), campaign.root)
    with pytest.raises(MissingFileError):
        read_base(settings_of({"base": "nowhere.json"}), campaign.root)
    with pytest.raises(ConfigError, match="schedules of the base config end at 20000"):
        read_base(asked(promotion=[30_000]), campaign.root)


@pytest.mark.parametrize(
    ("config", "more", "first"),
    [
        ({"env": {"type": "x"}, "env_eval_freq": 100}, {}, "sim/success_mean"),
        ({"env": {"type": "x"}, "env_eval_freq": 0, "dataset": {"eval_split": 0.1}}, {}, LOSS),
        ({"dataset": {"eval_split": 0.1}}, {}, LOSS),
        ({"env": {"type": "x"}}, {"metric": "sim/success_ood"}, "sim/success_ood"),
        ({"dataset": {"eval_split": 0.1}}, {"metric": "eval/offline_eval/avg_loss"}, "eval/offline_eval/avg_loss"),
    ],
)
def test_the_metric_is_success_where_it_is_measured(config, more, first):
    assert acceptable_metrics(config, asked(**more))[0] == first


@pytest.mark.parametrize(
    ("config", "more"), [({}, {}), ({"env": {"type": "x"}}, {"metric": LOSS}), ({}, {"metric": "sim/success_mean"})]
)
def test_what_nothing_measures_is_refused(config, more):
    with pytest.raises(ConfigError, match="Nothing would measure"):
        acceptable_metrics(config, asked(**more))


def test_seeds_are_counted_up_from_the_bases_own_and_change_no_hash():
    config = {"policy": {"type": "act"}, "seed": 7, "steps": 5000}
    assert trial_seeds(config, asked()) == (7, 8, 9)
    assert trial_seeds({}, asked(trial={"seeds": [3, 1]})) == (3, 1)
    assert trial_seeds({}, asked()) == (1000, 1001, 1002)
    assert trial_hash(config, seed=7, budget=100) == trial_hash(config, seed=8, budget=2000)


@pytest.fixture
def run(campaign, memory_path):
    campaign.write(noise=0.01)
    base = read_base(asked(trial={"eval_steps": 100, "log_freq": 20}), campaign.root)
    folder = memory_path / "run"
    run_trial(str(folder), {**base, "steps": 1000, "seed": 3})
    return folder


def test_a_score_is_the_mean_of_the_last_five_evaluations_up_to_the_budget(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    errors = [line["values"]["offline_eval/avg_l1"] for line in lines if line["kind"] == "eval"]
    assert score(run, budget=1000, metrics=[LOSS]).value == pytest.approx(sum(errors[-5:]) / 5)
    assert score(run, budget=700, metrics=[LOSS]).value == pytest.approx(sum(errors[2:7]) / 5)
    with pytest.raises(RunError, match=r"none of sim/success_mean was measured; the log has eval/offline_eval/avg_l1"):
        score(run, budget=1000, metrics=["sim/success_mean"])


def test_the_ledger_gives_back_what_was_found_in_a_run(run, tmp_path):
    found = assess(run, budget=1000)
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        trial = ledger.add_trial(NewTrial(name="a", config_hash="h", seed=3, budget=1000, config={}))
        lease = ledger.claim("me")
        ledger.start(lease)
        ledger.finish(lease, Result(state="finished", reason="done", score=found["scores"][LOSS], metrics=found))
        other = ledger.add_trial(NewTrial(name="a", config_hash="h", seed=4, budget=1000, config={}))
        lease = ledger.claim("me")
        ledger.start(lease)
        ledger.finish(lease, Result(state="diverged", reason="NaN"))
        trials = Known.of(ledger.trials()).on("h", 1000, (3, 4))
    assert [t.id for t in trials] == [trial.id, other.id]
    back = read_assessment(trials[0].metrics)
    assert back is not None
    assert back.problems == {"transport_dead"} or "transport_dead" in back.problems
    assert back.findings[0].thresholds[0].origin
    assert not any(name.startswith("train/update_s") for name in back.context.recent), "the machine's, not the config's"
    arm = arm_of("a", trials, LOSS)
    assert (set(arm.scores), arm.failed, arm.breaks()) == ({3}, {4: "diverged"}, {4})
    assert (arm.tagged["diverged"], arm.looked) == (1, 2), "a divergence is a problem, which a cure may cure"
    parent = parent_of(Identity(name="a", hash="h"), trials, {}, metric=LOSS, direction="min")
    assert parent.failed
    assert parent.context.run == "a"
    low = Failure(metric="train/ot_pi_sum", relation="below", threshold=0.01)
    assert failure_occurred(low, trials, trials) is True
    assert failure_occurred(Failure(metric="train/x", relation="below", threshold=1), trials, trials) is None


def test_a_trial_is_hopeless_only_against_the_baselines_worst():
    curves = [{"curves": {LOSS: [[100, 1.0], [200, 0.5]]}}, {"curves": {LOSS: [[100, 2.0], [200, 0.4]]}}]
    says = hopeless_of(curves, [LOSS], factor=3)
    assert says is not None
    name = ("eval", "offline_eval/avg_l1")
    assert says(150, {name: 5.9}) is None
    assert "6.1" in str(says(150, {name: 6.1}))
    assert says(250, {name: 1.4}) is None
    assert "1.6" in str(says(250, {name: 1.6}))
    assert says(50, {name: 99.0}) is None, "the baseline was not yet evaluated there"
    assert says(250, {name: math.nan}) is None, "the guard's other limits see to that"
    assert hopeless_of([], [LOSS], factor=3) is None
    assert hopeless_of([{"curves": {"sim/success_mean": [[1, 0.5]]}}], ["sim/success_mean"], factor=3) is None


@pytest.mark.parametrize("name", sorted(path.name for path in (DATA / "configs").glob("*.json")))
def test_what_campaigns_write_into_trials_is_known_to_the_trainer(name):
    """The seeds' own configs send to W&B, whose runs campaigns group."""
    body = translate(json.loads((DATA / "configs" / name).read_text())).config
    trial = with_trial_logging(body, CampaignSettings(base=name))
    assert trial["wandb"]["group"].startswith("policy:")
    assert [problem for key, problem in unknown_keys(trial, TrainConfig)] == []
