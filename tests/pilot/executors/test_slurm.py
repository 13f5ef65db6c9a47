"""Slurm through submitit, whose local executor stands for the cluster: real jobs, signals and files, but no queue."""

import sys
import time

import pytest

from otpilot.errors import ExecutorError
from otpilot.pilot.executors.node import Order, leave_token
from otpilot.pilot.executors.slurm import NodeJob, SlurmExecutor
from otpilot.pilot.paths import TrialPaths
from tests.pilot.conftest import wait_for
from tests.pilot.executors.conftest import MARK, TRAINER

pytest.importorskip("submitit", reason="submitit is not installed (otpilot[slurm])")


@pytest.fixture
def jobs(bench):
    bench.kind = "slurm"
    return bench


def test_without_slurm_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ExecutorError, match="Slurm cannot be used from here: "):
        SlurmExecutor(logs=tmp_path / "logs", parameters={"partition": "gpu"})


def test_without_submitit_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ExecutorError, match=r"pip install 'otpilot\[slurm\]'"):
        SlurmExecutor(logs=tmp_path / "logs")


def test_wrong_words_are_told(tmp_path):
    (tmp_path / "file").write_text("")
    for options, words in (
        ({"slots": 0}, "slots is 0"),
        ({"cluster": "slurn"}, "cluster is 'slurn'; allowed: slurm, local. Did you mean 'slurm'?"),
        ({"cluster": "local", "logs": tmp_path / "file" / "logs"}, "submitit's files cannot be written"),
        ({"cluster": "local", "parameters": {"timeout_min": "long"}}, "Slurm cannot be used from here: .*timeout_min"),
    ):
        with pytest.raises(ExecutorError, match=words.replace("?", r"\?")):
            SlurmExecutor(**{"logs": tmp_path / "logs", **options})


def test_a_job_runs_and_looks_for_the_pilots_wish(bench):
    """What submitit calls on the node, called here: no process of submitit, the trial's is real."""
    from otpilot.pilot import supervisor

    spec = bench.spec(behaviour="hang")
    leave_token(spec, "t")
    supervisor.write_json(TrialPaths(spec.run).wish, {"token": "another", "state": "killed", "reason": "not this"})
    order = Order(spec=spec, token="t", command=TRAINER, environment={MARK: bench.mark}, cwd="/", grace_s=0.3)
    job = NodeJob(order.plain())
    begun = []
    job._begin, real = (lambda: (begun.append(1), real())), job._begin
    import threading

    def wish():
        wait_for((spec.run / "metrics.jsonl").exists)
        supervisor.write_json(TrialPaths(spec.run).wish, {"token": "t", "state": "invalid", "reason": "enough"})

    asker = threading.Thread(target=wish)
    asker.start()
    ended = job()
    asker.join()
    assert (ended["state"], ended["reason"], begun) == ("invalid", "enough", [1])
    assert job.checkpoint().function.order == job.order, "a job that is queued again is the same"


@pytest.mark.slow
def test_a_killed_job_goes_on_from_its_checkpoint(jobs):
    with jobs.executor(slots=1) as executor:
        spec = jobs.spec(steps=8, pause=0.5, save_every=2)
        handle = executor.submit(spec)
        assert executor.is_waiting(handle)
        wait_for((spec.run / "checkpoints" / "000002").exists, 60)
        assert not executor.is_waiting(handle)
        executor._running[handle.token].job.cancel(check=False)
        ended = jobs.end(executor, handle, 120)
        if ended.suspended:  # Slurm says SIGTERM to all of a job first, and the trial ends well; else it is lost
            executor.forget(handle)
            ended = jobs.run(executor, spec)
        assert ended.state == "finished"
        assert "--resume=true" in (spec.run / "stdout.log").read_text()
    time.sleep(0.5)
    assert jobs.left() == []
