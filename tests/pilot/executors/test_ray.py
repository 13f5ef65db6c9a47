"""Ray: lost nodes, stores, fractions, and what is said when a cluster is not fit."""

import json
import sys
import time
from pathlib import Path

import pytest

from otpilot.errors import ExecutorError
from otpilot.pilot.executors.node import Order, leave_token, run_order
from otpilot.pilot.ledger import Ledger
from otpilot.pilot.worker import Worker
from otpilot.runs.reader import read_metrics
from tests.pilot.conftest import new_trial, wait_for
from tests.pilot.executors.chaos import assert_all_is_right
from tests.pilot.executors.conftest import MARK, TRAINER, add_node, ray_executor

ray = pytest.importorskip("ray", reason="Ray is not installed (otpilot[ray])")

TRIALS, BUDGET = 12, 6
EITHER = (sys.executable, str(Path(__file__).with_name("either_trainer.py")))
REAL = (4, 9)
"""These are two steps of `otpilot train`; the others are the fake trainer, which shows a lost node better."""


@pytest.mark.slow
def test_a_node_is_killed_and_every_trial_ends_once(bench, ray_node, world, tmp_path):
    other = add_node(ray_node, num_cpus=4, num_gpus=2)
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        ledger.add_trials([new_trial(n, budget=2 if n in REAL else BUDGET) for n in range(TRIALS)])

        def spec_of(trial):
            name = trial.folder_name
            if trial.budget == 2:
                config = {k: v for k, v in world.config().items() if k != "steps"}
            else:
                how = "children" if trial.id % 3 == 0 else "finish"
                config = {"behaviour": how, "pause": 1.0, "save_every": 2}
            return bench.spec(name, steps=trial.budget, retry=trial.retries, attempt=trial.attempts, **config)

        with ray_executor(bench, gpus=1, command=EITHER, folder=bench.root / "trials") as executor:
            assert executor.slots == 4
            worker = Worker(ledger, executor, spec_of=spec_of)
            killed = False
            deadline = time.monotonic() + 500
            while ledger.status().open and time.monotonic() < deadline:
                worker.step()
                begun = [p for p in (bench.root / "trials").glob("*/checkpoints/000002") if p.is_dir()]
                if not killed and worker.running == 4 and len(begun) >= 3:
                    ray_node.remove_node(other, allow_graceful=False)
                    killed = True
                time.sleep(0.02)
            assert killed
            assert bench.left() == [], "orphans"
        fake = [trial for trial in ledger.trials() if trial.budget == BUDGET]
        assert len(fake) == TRIALS - len(REAL)
        resumed = [
            t for t in fake if "--resume=true" in (bench.root / "trials" / t.folder_name / "stdout.log").read_text()
        ]
        assert resumed, "no trial of the lost node went on from its checkpoint"
        print(f"{len(resumed)} trials of the lost node went on elsewhere")
        for trial in (t for t in ledger.trials() if t.budget == 2):
            assert (trial.state, trial.last_step, trial.end_reason) == ("finished", 2, "all steps done")
            assert len(ledger.attempts(trial.id)) == 1
        assert_all_is_right(bench.root, ledger, TRIALS, None)


@pytest.mark.slow
def test_fractions_of_gpus_are_given_out_and_told(bench, ray_node):
    with ray_executor(bench, gpus=0.5) as executor:
        assert executor.slots == 4
        spec = bench.spec(behaviour="hang", steps=3)
        handle = executor.submit(spec)
        pid = wait_for(bench.left, 60)[0]
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert any(word in environment for word in (b"CUDA_VISIBLE_DEVICES=0", b"CUDA_VISIBLE_DEVICES=1"))
        assert not executor.is_waiting(handle)
        assert handle.device == "ray, 0.5 GPU"
        executor.cancel(handle, state="invalid", reason="seen")
        assert bench.end(executor, handle, 60).reason == "seen"
    assert bench.left() == []


@pytest.mark.slow
def test_what_a_trial_started_dies_with_its_actor(bench, ray_node):
    """Children that left group and session and ignore SIGTERM are swept when the actor is killed without a word."""
    with ray_executor(bench, retries=0) as executor:
        handle = executor.submit(bench.spec(behaviour="children", steps=600, pause=0.1))
        wait_for(lambda: len(bench.left()) >= 3, 60)
        executor._kill(executor._running[handle.token])
        ended = bench.end(executor, handle, 60)
        assert (ended.state, ended.suspended) == ("killed", False)
        assert ended.reason.startswith("its node or worker was lost 1 times (limit 1): ")
        wait_for(lambda: not bench.left(), 60)


@pytest.mark.slow
def test_run_folders_come_back_from_a_store(bench, ray_node, tmp_path):
    options = {"storage": f"file://{tmp_path}/store", "sync_s": 0.2, "scratch": str(tmp_path / "scratch")}
    spec = bench.spec(steps=8, pause=0.3, save_every=2)
    with ray_executor(bench, **options) as executor:
        handle = executor.submit(spec)
        wait_for((spec.run / "metrics.jsonl").exists, 60)
        assert bench.end(executor, handle, 60).state == "finished"
        assert read_metrics(spec.run / "metrics.jsonl").curve("loss")[0] == list(range(1, 9))
        assert (spec.run / "checkpoints/000008/pretrained_model/train_config.json").is_file()
        long = bench.spec("long", steps=10, save_every=2, continues=spec.run)
        assert bench.end(executor, executor.submit(long), 60).state == "finished"
        assert "--resume=true" in (long.run / "stdout.log").read_text()


@pytest.mark.slow
def test_a_cluster_that_is_not_fit_is_told(bench, ray_node, tmp_path):
    file = tmp_path / "a file"
    file.write_text("")
    for options, words in (
        ({"gpus": 64}, r"No node of the cluster has room for a trial that needs 64 GPU; nodes have .*2 GPU"),
        ({"resources": {"a100": 1}}, "needs 1 a100"),
        ({"folder": file / "trials"}, "Run folders cannot be made in .*a file"),
        ({"storage": "nowhere://bucket"}, "storage = 'nowhere://bucket/probe' cannot be used"),
        ({"gpus": 1.5}, "gpus is 1.5; allowed: a fraction up to 1, or a whole number"),
        ({"slots": 0}, "slots is 0; allowed: 1 or more"),
    ):
        with pytest.raises(ExecutorError, match=words):
            ray_executor(bench, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["a file"], "something was left"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_a_wrong_address_is_told_at_once(address, tmp_path):
    from otpilot.pilot.executors.ray import RayExecutor

    if ray.is_initialized():
        pytest.skip("this process is connected to a cluster already")
    with pytest.raises(ExecutorError, match=f"No Ray cluster answers at {address}: .*refused"):
        RayExecutor(address=address, folder=tmp_path / "trials")
    assert not (tmp_path / "trials").exists()


def test_an_address_that_is_none_is_told():
    from otpilot.pilot.executors.ray_cluster import connect

    if ray.is_initialized():
        pytest.skip("this process is connected to a cluster already")
    with pytest.raises(ExecutorError, match="'ray://host:port' is no address of a Ray cluster"):
        connect("ray://host:port")


def test_another_ray_is_told(monkeypatch):
    """Ray compares versions when it connects; its words are passed on in a line."""
    from otpilot.pilot.executors import ray_cluster

    def other(**_):
        raise RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.10.1")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", other)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray_cluster, "_check_answers", lambda address: None)
    with pytest.raises(ExecutorError, match=r"at h:1 cannot be used: Version mismatch: .* Ray: 2.9.0 Python: 3.10.1"):
        ray_cluster.connect("h:1")


def test_without_ray_it_is_told(monkeypatch):
    from otpilot.pilot.executors.ray import RayExecutor

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ExecutorError, match=r"install it with: pip install 'otpilot\[ray\]'"):
        RayExecutor(address="auto")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"otpilot": None}, "otpilot is not installed there"),
        ({"otpilot": "0.0.1"}, "it has otpilot 0.0.1, this is"),
        ({"python": (3, 9)}, "it has Python 3.9, this is"),
        ({"sees": False}, "it does not see /shared; use a path that all machines share, or storage = URL"),
        ({"writes": "Permission denied"}, r"it cannot write in /shared \(Permission denied\)"),
        ({}, "^$"),
    ],
)
def test_what_a_node_lacks_is_told(answer, words):
    import re

    from otpilot.pilot.executors.node import VERSION
    from otpilot.pilot.executors.ray_cluster import _what_is_wrong

    fit = {"otpilot": VERSION, "python": sys.version_info[:2], "sees": True, "writes": ""}
    assert re.search(words, _what_is_wrong({**fit, **answer}, Path("/shared")))


def run_here(order, wish=lambda: None):
    return run_order(order.plain(), wish=wish)


def order_of(bench, spec, **options):
    return Order(spec=spec, token="t", command=TRAINER, environment={MARK: bench.mark}, cwd="/", **options)


def test_a_node_refuses_a_folder_that_only_looks_the_same(bench, monkeypatch):
    from otpilot.pilot.executors import node

    monkeypatch.setattr(node, "SEEN_WITHIN_S", 0.1)
    ended = run_here(order_of(bench, bench.spec()))
    assert ended["state"] == "crashed"
    assert "is not the pilot's folder" in ended["reason"]
    assert not bench.spec().run.exists()


def test_a_node_with_another_otpilot_refuses(bench):
    spec = bench.spec()
    leave_token(spec, "t")
    ended = run_here(order_of(bench, spec, version="0.0.1"))
    assert ended["reason"].startswith("cannot be started: The pilot runs otpilot 0.0.1, the node ")
    assert not spec.run.exists()


def test_a_trial_goes_on_from_the_store_where_its_machine_is_gone(bench, tmp_path):
    """The first machine is lost (its scratch is removed) after a push; a checkpoint that came later is forgotten."""
    import shutil

    from otpilot.pilot.executors.node import Wish

    spec = bench.spec(steps=6, save_every=2, pause=0.05)
    store = {"storage": f"file://{tmp_path}/store", "config": spec.config.read_text()}
    first = tmp_path / "first"
    seen = (first / "trials" / "a" / "checkpoints" / "000002").exists
    ended = run_here(order_of(bench, spec, scratch=str(first), **store), wish=lambda: Wish() if seen() else None)
    assert ended["suspended"]
    left = tmp_path / "store" / "a" / "run" / "checkpoints"
    (left / "000004" / "pretrained_model").mkdir(parents=True, exist_ok=True)  # its upload was cut short
    shutil.rmtree(first)
    second = tmp_path / "second"
    ended = run_here(order_of(bench, spec, scratch=str(second), **store))
    assert ended["state"] == "finished"
    run = second / "trials" / "a"
    assert read_metrics(run / "metrics.jsonl").curve("loss")[0] == [1, 2, 3, 4, 5, 6]
    log = (run / "stdout.log").read_text()
    assert "checkpoints/000002/pretrained_model/train_config.json" in log
    assert json.loads((run / "outcome.json").read_text())["status"] == "finished"
