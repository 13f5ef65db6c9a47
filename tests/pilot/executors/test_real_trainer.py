"""The local executor with the trainer that it is for."""

import pytest

from otpilot.pilot.executors.base import TrialSpec
from otpilot.pilot.executors.local import LocalExecutor
from otpilot.pilot.guard import Guard
from otpilot.pilot.slots import Slots
from otpilot.runs.reader import read_config, read_metrics
from tests.pilot.conftest import wait_for


@pytest.mark.slow
def test_otpilot_train_runs_resumes_and_continues(world, tmp_path):
    config = world.write(tmp_path / "config.json", save_checkpoint=True, save_freq=2, schedule_horizon=100)
    spec = TrialSpec(name="short", run=tmp_path / "trials" / "short", config=config, steps=6, seed=7)
    metrics = spec.run / "metrics.jsonl"
    with LocalExecutor(slots=Slots(limit=1, threads=1)) as executor:
        guard = Guard(path=metrics)
        handle = executor.submit(spec)
        wait_for(lambda: (spec.run / "checkpoints" / "000002").exists() or executor.poll(handle), 300)
        executor.suspend(handle)
        wait_for(lambda: executor.poll(handle), 60)
        executor.forget(handle)
        assert guard.check() is None
        handle = executor.submit(spec)
        ended = wait_for(lambda: executor.poll(handle), 300)
        assert (ended.state, ended.last_step, ended.exit_code) == ("finished", 6, 0), ended
        longer = TrialSpec(
            name="long", run=tmp_path / "trials" / "long", config=config, steps=8, seed=7, continues=spec.run
        )
        handle = executor.submit(longer)
        ended = wait_for(lambda: executor.poll(handle), 300)
        assert (ended.state, ended.last_step) == ("finished", 8), ended
    assert read_metrics(metrics).curve("loss")[0] == [1, 2, 3, 4, 5, 6]
    assert read_metrics(longer.run / "metrics.jsonl").curve("loss")[0] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert read_config(longer.run)["steps"] == 8
    assert (spec.run / "stdout.log").exists()
