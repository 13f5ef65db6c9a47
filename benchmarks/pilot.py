"""What the pilot costs: the ledger at 10,000 trials, and a trial under the pilot against its process started by hand.

    python benchmarks/pilot.py                        # a minute or two; SQLite
    python benchmarks/pilot.py postgresql://USER@HOST/DATABASE     # the ledger part there, in a schema that is dropped

Ledger: 10,000 trials of 1,000 configs over 10 seeds, 1,000 of them ended with metrics, a decision for every 25.
Targets: status in under 1 s; for one more trial claim + start + heartbeat + finish under 1 % of the shortest trial that
makes sense (30 s).

`otpilot loop status` on a campaign with that ledger, as a call and as a command.

Executor: the same small process (a Python that writes one row and an outcome) N times, one after another: by hand with
subprocess, under the local executor, and under a worker with ledger and guard. The peer is the process started by hand;
as a real trial takes minutes, the difference in milliseconds counts more than the ratio.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

from sqlalchemy import create_engine

from otpilot.pilot.campaign.folder import CampaignPaths
from otpilot.pilot.campaign.settings import read_settings
from otpilot.pilot.campaign.status import read_status
from otpilot.pilot.executors.base import TrialSpec
from otpilot.pilot.executors.local import LocalExecutor
from otpilot.pilot.guard import GuardSettings
from otpilot.pilot.ledger import Ledger, NewTrial, Result, Trial
from otpilot.pilot.ledger.database import parse_where
from otpilot.pilot.slots import Slots
from otpilot.pilot.worker import Worker

TRIALS, SEEDS, ROUND, ENDED = 10_000, 10, 100, 1000
STATUS_GOAL_S = 1.0
SHORTEST_TRIAL_S, SHARE_GOAL = 30.0, 0.01
RUNS = 40
SCHEMA = "otpilot_benchmark"
CONFIG = {f"section_{n}": {f"key_{m}": m / 7 for m in range(15)} for n in range(12)}  # 5 kB, as a real one
METRICS = {f"eval/offline_eval/metric_{n}": n / 7 for n in range(12)}
TRAINER = """
import os, sys
given = dict(word[2:].split("=", 1) for word in sys.argv[1:])
run, steps = given["output_dir"], given["steps"]
os.makedirs(run)
open(f"{run}/metrics.jsonl", "w").write('{"step": %s, "time": 0, "kind": "train", "values": {"loss": 1.0}}\\n' % steps)
open(f"{run}/outcome.json", "w").write('{"status": "finished", "reason": "done", "last_step": %s}' % steps)
"""


def new_trial(number: int) -> NewTrial:
    config = number // SEEDS
    return NewTrial(
        name=f"variant_{config}",
        config_hash=f"{config:016x}",
        seed=number % SEEDS,
        budget=2000,
        config={**CONFIG, "n": config},
        round=number // ROUND,
        rule="some_rule",
        edits=[{"key": "ot.loss_config.reg", "op": "mul", "value": 2.0}],
        reason="the plan is dead: its mass is below 1e-3 and does not rise",
        evidence={"pi_sum": 1e-4, "slope": 0.0},
    )


def median_time(work: Callable[[], object], times: int) -> float:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def fill(ledger: Ledger) -> float:
    """Write the trials down and end half of them; returns seconds per trial added."""
    began = time.perf_counter()
    for first in range(0, TRIALS, ROUND):
        ledger.add_trials([new_trial(n) for n in range(first, first + ROUND)])
        ledger.begin_round(first // ROUND)
    added = time.perf_counter() - began
    for number in range(ENDED):
        end_one(ledger, number)
        if number % 25 == 0:
            ledger.decide("review", "not distinguishable", round=number // ROUND, evidence={"p": 0.3}, key=f"d{number}")
    return added / TRIALS


def end_one(ledger: Ledger, number: int) -> None:
    lease = ledger.claim("bench")
    assert lease is not None
    ledger.start(lease, process={"pid": number}, device="GPU-0")
    ledger.heartbeat([lease])
    ledger.finish(lease, Result(state="finished", reason="all steps done", score=1.0 / (1 + number), metrics=METRICS))


def measure_ledger(ledger: Ledger, name: str) -> bool:
    """Print the times at 10,000 trials; return whether the targets are met."""
    per_added = fill(ledger)
    status = median_time(ledger.status, 9)
    everything = median_time(ledger.trials, 3)
    cycle = median_time(lambda: end_one(ledger, 1), 100)
    known = median_time(lambda: ledger.add_trial(new_trial(5)), 30)
    share = cycle / SHORTEST_TRIAL_S
    print(f"ledger ({name}) with {ledger.status().trials:,} trials, milliseconds:")
    print(f"  status {status * 1e3:.1f}   all trials as records {everything * 1e3:.0f}")
    print(f"  add one of a hundred {per_added * 1e3:.2f}   ask for a known one {known * 1e3:.2f}")
    print(f"  claim + start + heartbeat + finish {cycle * 1e3:.1f}")
    met = status < STATUS_GOAL_S and share < SHARE_GOAL
    word = "met" if met else "MISSED"
    print(f"  target: status < {STATUS_GOAL_S:g} s, cycle / {SHORTEST_TRIAL_S:g} s < {SHARE_GOAL}: {share:.5f}, {word}")
    return met


def measure_command(root: Path) -> None:
    """Print what `otpilot loop status` takes on a campaign with that ledger, inside and as a command by itself."""
    (root / "campaign.toml").write_text('base = "base.json"\nledger = "big.db"\n')
    settings, paths = read_settings(root), CampaignPaths(root)
    with Ledger.open(root / "big.db") as ledger:
        inside = median_time(lambda: read_status(ledger, paths, settings), 9)
    words = [sys.executable, "-m", "otpilot", "loop", "status", str(root)]
    whole = median_time(lambda: subprocess.run(words, check=True, stdout=subprocess.DEVNULL), 5)
    bare = median_time(lambda: subprocess.run([sys.executable, "-c", "import otpilot.cli"], check=True), 5)
    word = "met" if inside < STATUS_GOAL_S else "MISSED"
    print(f"  otpilot loop status: {inside * 1e3:.0f} ms (target: < {STATUS_GOAL_S:g} s, {word});")
    print(f"    as a command {whole * 1e3:.0f} ms, of which starting otpilot takes {bare * 1e3:.0f} ms")


def measure_executor(root: Path) -> None:
    """Print what the same process costs by hand, under the executor, and under a worker."""
    script, config = root / "trainer.py", root / "config.json"
    script.write_text(TRAINER)
    config.write_text("{}")
    command = (sys.executable, "-S", "-E", str(script))
    ran = iter(range(10**6))

    def spec() -> TrialSpec:
        number = next(ran)
        return TrialSpec(name=f"t{number}", run=root / "trials" / f"t{number}", config=config, steps=1, seed=0)

    def by_hand() -> None:
        made = spec()
        made.run.parent.mkdir(exist_ok=True)
        words = [f"--config_path={config}", f"--output_dir={made.run}", "--steps=1", "--seed=0"]
        subprocess.run([*command, *words], check=True)

    def supervised(executor: LocalExecutor) -> None:
        handle = executor.submit(spec())
        assert handle is not None
        while executor.poll(handle) is None:
            time.sleep(0.001)
        executor.forget(handle)

    times: dict[str, list[float]] = {"by hand": [], "local executor": [], "worker": []}
    with (
        Ledger.open(root / "ledger.db") as ledger,
        LocalExecutor(slots=Slots(limit=1, threads=1), command=command) as executor,
    ):

        def spec_of(trial: Trial) -> TrialSpec:
            return TrialSpec(name=trial.name, run=root / "trials" / trial.name, config=config, steps=1, seed=0)

        worker = Worker(ledger, executor, spec_of=spec_of, guard=GuardSettings())

        def worked() -> None:
            number = next(ran)
            ledger.add_trial(NewTrial(name=f"w{number}", config_hash=f"{number}", seed=0, budget=1, config=CONFIG))
            while not worker.step().ended:
                time.sleep(0.001)

        turns = {"by hand": by_hand, "local executor": lambda: supervised(executor), "worker": worked}
        for work in turns.values():
            work()
        for _ in range(RUNS):
            for name, work in turns.items():
                times[name].append(median_time(work, 1))
    found = {name: statistics.median(values) for name, values in times.items()}
    print(f"one trial of {RUNS}, median milliseconds (ratio to the process started by hand):")
    for name, taken in found.items():
        print(f"  {name:15s} {taken * 1e3:7.1f}  ({taken / found['by hand']:.2f})")
    added = found["worker"] - found["by hand"]
    print(f"  the pilot adds {added * 1e3:.0f} ms a trial: {added / SHORTEST_TRIAL_S:.2%} of one that takes 30 s")


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        if len(sys.argv) > 1:
            with Ledger.open(sys.argv[1], schema=SCHEMA) as ledger:
                measure_ledger(ledger, "PostgreSQL")
            engine = create_engine(parse_where(sys.argv[1]))
            with engine.begin() as connection:
                connection.exec_driver_sql(f"DROP SCHEMA {SCHEMA} CASCADE")
            engine.dispose()
        else:
            with Ledger.open(root / "big.db") as ledger:
                measure_ledger(ledger, "SQLite")
            measure_command(root)
        measure_executor(root)


if __name__ == "__main__":
    main()
