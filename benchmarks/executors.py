"""What a trial costs on each executor, against the same process started by hand (the peer).

    python benchmarks/executors.py                # two minutes or so; Ray and submitit where they are installed

The same small process (a Python that writes one row and an outcome), one after another, in turns: by hand with
subprocess, as a thread, under the local executor, under a worker with ledger and guard (what `otpilot loop worker`
does), on a Ray cluster of this machine, and as a job of submitit's local executor (Slurm itself adds its queue). As a
real trial takes minutes, the milliseconds added count more than the ratio.
"""

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from otpilot.pilot.executors.base import Executor, TrialSpec
from otpilot.pilot.executors.in_process import InProcessExecutor
from otpilot.pilot.executors.local import LocalExecutor
from otpilot.pilot.guard import GuardSettings
from otpilot.pilot.ledger import Ledger, NewTrial, Trial
from otpilot.pilot.slots import Slots
from otpilot.pilot.worker import Worker

RUNS, CLUSTER_RUNS = 20, 6
SHORTEST_TRIAL_S = 30.0
TRAINER = """
import os, sys
given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
run, steps = given["output_dir"], given["steps"]
os.makedirs(run)
open(f"{run}/metrics.jsonl", "w").write('{"step": %s, "time": 0, "kind": "train", "values": {"loss": 1.0}}\\n' % steps)
open(f"{run}/outcome.json", "w").write('{"status": "finished", "reason": "done", "last_step": %s}' % steps)
"""


def specs(root: Path, config: Path) -> Iterator[TrialSpec]:
    number = 0
    while True:
        number += 1
        yield TrialSpec(name=f"t{number}", run=root / "trials" / f"t{number}", config=config, steps=1, seed=0)


def write_by_thread(spec: TrialSpec, *_: object) -> None:
    spec.run.mkdir(parents=True)
    row = '{"step": 1, "time": 0, "kind": "train", "values": {"loss": 1.0}}\n'
    (spec.run / "metrics.jsonl").write_text(row)
    (spec.run / "outcome.json").write_text('{"status": "finished", "reason": "done", "last_step": 1}')


def run_on(executor: Executor, spec: TrialSpec) -> None:
    handle = executor.submit(spec)
    while handle is None:  # a cluster notes late that room is free again
        time.sleep(0.001)
        handle = executor.submit(spec)
    while (ended := executor.poll(handle)) is None:
        time.sleep(0.001)
    assert ended.state == "finished", ended
    executor.forget(handle)


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        root = Path(temporary)
        script, config = root / "trainer.py", root / "config.json"
        script.write_text(TRAINER)
        config.write_text("{}")
        command = (sys.executable, "-S", "-E", str(script))
        next_spec = specs(root, config)

        def by_hand() -> None:
            spec = next(next_spec)
            spec.run.parent.mkdir(exist_ok=True)
            words = [f"--config_path={config}", f"--output_dir={spec.run}", "--steps=1", "--seed=0"]
            subprocess.run([*command, *words], check=True)

        room = Slots(limit=1, threads=1)
        local = stack.enter_context(LocalExecutor(slots=room, command=command))
        thread = stack.enter_context(InProcessExecutor(write_by_thread))
        ledger = stack.enter_context(Ledger.open(root / "ledger.db"))
        under = stack.enter_context(LocalExecutor(slots=Slots(limit=1, threads=1), command=command))

        def spec_of(trial: Trial) -> TrialSpec:
            return TrialSpec(name=trial.name, run=root / "trials" / trial.name, config=config, steps=1, seed=0)

        worker = Worker(ledger, under, spec_of=spec_of, guard=GuardSettings())

        def worked() -> None:
            name = f"w{next(next_spec).name}"
            ledger.add_trial(NewTrial(name=name, config_hash=name, seed=0, budget=1, config={}))
            while not worker.step().ended:
                time.sleep(0.001)

        turns: dict[str, tuple[Callable[[], None], int]] = {
            "by hand": (by_hand, RUNS),
            "in process (a thread)": (lambda: run_on(thread, next(next_spec)), RUNS),
            "local": (lambda: run_on(local, next(next_spec)), RUNS),
            "worker (ledger, guard)": (worked, RUNS),
        }
        if importlib.util.find_spec("ray"):
            from otpilot.pilot.executors.ray import RayExecutor

            on_ray = stack.enter_context(RayExecutor(gpus=0, slots=1, folder=root / "trials", command=command))
            turns["ray (one node)"] = (lambda: run_on(on_ray, next(next_spec)), CLUSTER_RUNS)
        if importlib.util.find_spec("submitit"):
            from otpilot.pilot.executors.slurm import SlurmExecutor

            jobs = stack.enter_context(SlurmExecutor(logs=root / "jobs", cluster="local", command=command))
            turns["submitit (local jobs)"] = (lambda: run_on(jobs, next(next_spec)), CLUSTER_RUNS)
        times: dict[str, list[float]] = {name: [] for name in turns}
        for work, _ in turns.values():
            work()
        for turn in range(RUNS):
            for name, (work, runs) in turns.items():
                if turn < runs:
                    times[name].append(seconds(work))
        tell(times)


def tell(times: dict[str, list[float]]) -> None:
    """Print medians and ratios."""
    found = {name: statistics.median(values) for name, values in times.items()}
    peer = found["by hand"]
    print("| executor | runs | ms a trial (median) | ratio to by hand | added, share of a 30 s trial |")
    print("|---|---|---|---|---|")
    for name, taken in found.items():
        share = f"{(taken - peer) / SHORTEST_TRIAL_S:.2%}" if taken > peer else "-"
        print(f"| {name} | {len(times[name])} | {taken * 1e3:.0f} | {taken / peer:.2f} | {share} |")


if __name__ == "__main__":
    main()
