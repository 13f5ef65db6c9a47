"""The two alarms in real training on the simulator."""

import pytest

from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics
from otpilot.training.progress import Silence
from otpilot.training.session import train


class Notes(Silence):
    """Keeps what a user would be told."""

    def __init__(self):
        self.told = []

    def note(self, text):
        self.told.append(text)


def alarms(config):
    notes = Notes()
    train(config, progress=notes)
    records = read_metrics(RunPaths(config.output_dir).metrics).records
    return [record for record in records if record.kind == "health"], notes.told


IMAGES = {"src_key": "observation.images.top", "use_learned_embed": True, "weight_embed": 1.0, "term_name": "image"}
LABEL = {"src_key": "action", "weight_label": 1.0, "term_name": "action_lbl"}


@pytest.mark.slow
def test_a_transport_that_eats_the_policy_is_told_within_200_steps(load):
    loss = {"features": [IMAGES], "embed_normalization": "none", "cost_normalization": "ema"}
    events, told = alarms(load(steps=200, log_freq=50, **{"ot.lambda_ot": 0.1, "ot.loss_config": loss}))
    eating = [event for event in events if event.values["alarm"] == "eating"]
    assert len(eating) == 1  # once, not at every check
    assert eating[0].step <= 200
    message = eating[0].values["message"]
    assert message in told
    assert "embed_normalization" in message or "lambda_ot" in message  # the fix is a setting


@pytest.mark.slow
def test_a_dead_transport_is_told_with_cause_and_fix(load):
    loss = {
        "features": [IMAGES, LABEL], "reg": 0.1, "tau_src": 0.1, "tau_tgt": 0.1, "prior": "product",
        "embed_normalization": "none", "cost_normalization": "none", "objective": "plan_cost",
    }  # fmt: skip
    health = {"check_every_n_steps": 5, "warmup_steps": 5}
    events, told = alarms(load(steps=60, **{"ot.lambda_ot": 0.1, "ot.loss_config": loss, "ot.health": health}))
    dead = [event for event in events if event.values["alarm"] == "dead"]
    assert len(dead) == 1
    assert "action_lbl" in dead[0].values["message"]
    assert "reg" in dead[0].values["message"]
    assert dead[0].values["message"] in told


@pytest.mark.slow
def test_the_defaults_raise_no_alarm(load):
    events, _ = alarms(load(steps=200, log_freq=50, **{"ot.lambda_ot": "auto"}))
    assert events == []
