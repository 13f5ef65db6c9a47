"""Executors on fake trials, and what must be true when a test is over: no process of it is left."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from otpilot.pilot import supervisor
from otpilot.pilot.executors.base import Executor, TrialSpec
from otpilot.pilot.executors.in_process import InProcessExecutor
from otpilot.pilot.executors.local import LocalExecutor
from otpilot.pilot.slots import Slots
from tests.pilot.conftest import wait_for
from tests.pilot.executors.ledger_backed import LedgerBackedExecutor

SCRIPT = Path(__file__).with_name("fake_trainer.py")
TRAINER = (sys.executable, "-S", "-E", str(SCRIPT))
MARK = "OTPILOT_TEST"
CLUSTERS = ("ray", "slurm")


def processes_with(value: str) -> list[int]:
    """Return the living processes that carry OTPILOT_TEST=value, this one left out."""
    wanted, found = f"{MARK}={value}".encode(), []
    for entry in os.listdir("/proc"):  # noqa: PTH208 - quick
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                environment = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if wanted in environment and supervisor.birth(int(entry)):
                found.append(int(entry))
    return found


@dataclass
class Bench:
    """Makes specs in a folder, and executors of one kind whose processes carry a mark."""

    root: Path
    kind: str = "local"
    made: list[Executor] = field(default_factory=list)

    @property
    def mark(self) -> str:
        return str(self.root)

    def spec(self, name="a", *, steps=3, retry=0, attempt=1, continues=None, **config) -> TrialSpec:
        path = self.root / f"{name}.json"
        path.write_text(json.dumps(config))
        return TrialSpec(
            name=name, run=self.root / "trials" / name, config=path, steps=steps, seed=7, retry=retry,
            attempt=attempt, continues=continues,
        )  # fmt: skip

    def executor(self, *, slots=2, **options) -> Executor:
        if self.kind == "in-process":
            made = InProcessExecutor(work, slots=slots)
        elif self.kind == "ray":
            made = ray_executor(self, slots=slots, **options)
        elif self.kind == "slurm":
            made = job_executor(self, slots=slots, **options)
        else:
            options = {"command": TRAINER, "grace_s": 0.3, "environment": {MARK: self.mark}, **options}
            made = LocalExecutor(slots=Slots(limit=slots, threads=1), **options)
        if self.kind == "worker":
            made = LedgerBackedExecutor(made, self.root / "ledger.db")
        self.made.append(made)
        return made

    def end(self, executor, handle, timeout_s=20.0):
        timeout_s = max(timeout_s, 120.0 if self.kind in CLUSTERS else 0.0)
        return wait_for(lambda: executor.poll(handle), timeout_s)

    def run(self, executor, spec):
        return self.end(executor, executor.submit(spec))

    def left(self) -> list[int]:
        return processes_with(self.mark)


def work(spec: TrialSpec, checkpoint, ended: threading.Event) -> None:
    """The fake trainer as a function."""
    from otpilot.pilot.executors.start import trainer_arguments

    config = json.loads(spec.config.read_text())
    behaviour = config.get("behaviour", "finish")
    if behaviour in ("children", "stubborn", "kill itself"):
        raise RuntimeError(f"{behaviour} needs a process")
    run = spec.run
    trainer_arguments(spec, checkpoint)
    first = 1 if checkpoint is None else int(checkpoint.name) + 1
    run.mkdir(parents=True, exist_ok=checkpoint is not None)
    if behaviour == "crash at import":
        raise ModuleNotFoundError("No module named 'torch_of_another_world'")
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines() if metrics.exists() else []
    metrics.write_text("".join(f"{line}\n" for line in lines if json.loads(line)["step"] < first))
    with metrics.open("a") as log:
        for step in range(first, spec.steps + 1):
            if ended.wait(600 if behaviour == "hang" and step == 2 else config.get("pause", 0.0)):
                return
            body = {"step": step, "time": time.time(), "kind": "train", "values": {"loss": 1.0 / step}}
            log.write(json.dumps(body) + "\n")
            log.flush()
            if config.get("save_every") and step % config["save_every"] == 0:
                model = run / "checkpoints" / f"{step:06d}" / "pretrained_model"
                model.mkdir(parents=True)
                (model / "train_config.json").write_text(json.dumps(config))
    outcome = {"status": "finished", "reason": "all steps done", "last_step": spec.steps}
    (run / "outcome.json").write_text(json.dumps(outcome))


def ray_executor(bench: Bench, **options) -> Executor:
    """Return an executor on the cluster that the test's fixture connected to."""
    from otpilot.pilot.executors.ray import RayExecutor

    options = {"command": TRAINER, "grace_s": 0.3, "environment": {MARK: bench.mark}, "gpus": 0, "cpus": 0, **options}
    return RayExecutor(address="auto", **options)


def job_executor(bench: Bench, **options) -> Executor:
    """Return an executor of Slurm's jobs where there is a Slurm, else of submitit's jobs on this machine."""
    from otpilot.pilot.executors.slurm import SlurmExecutor

    options = {"command": TRAINER, "grace_s": 0.3, "environment": {MARK: bench.mark}, **options}
    return SlurmExecutor(logs=bench.root / "jobs", cluster="slurm" if has_slurm() else "local", **options)


def has_slurm() -> bool:
    """Return whether a Slurm answers here, with an idle or busy node."""
    if shutil.which("sinfo") is None:
        return False
    answer = subprocess.run(["sinfo", "--noheader", "--format=%t"], capture_output=True, text=True, check=False)
    return any(state in answer.stdout for state in ("idle", "mix", "alloc"))


def start_cluster(**head):
    """Return a Ray cluster on this machine. On a busy one Ray's own deadlines pass, so it is tried again."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_raylet_start_wait_time_s"] = "120"  # noqa: SIM112 - Ray spells it so
    from ray.cluster_utils import Cluster

    for left in (2, 1, 0):
        made = Cluster()
        try:
            made.add_node(include_dashboard=False, object_store_memory=STORE_BYTES, **head)
            return made
        except Exception:
            made.shutdown()
            if not left:
                raise
    raise AssertionError


def add_node(cluster, **resources):
    for left in (2, 1, 0):
        try:
            return cluster.add_node(object_store_memory=STORE_BYTES, **resources)
        except Exception:
            if not left:
                raise
    raise AssertionError


STORE_BYTES = 80 << 20


@pytest.fixture(scope="session")
def ray_node():
    """Connect to a Ray cluster of one node for the rest of the session."""
    ray = pytest.importorskip("ray", reason="Ray is not installed (otpilot[ray])")
    cluster = start_cluster(num_cpus=8, num_gpus=2)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def bench(tmp_path):
    made = Bench(tmp_path)
    yield made
    for executor in made.made:
        executor.close()
    assert made.left() == [], "processes were left"
