"""Pilots and trials killed with SIGKILL at random moments: nothing is lost, run twice, orphaned or torn."""

import contextlib
import json
import multiprocessing
import os
import random
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from otpilot.pilot.executors.in_process import InProcessExecutor
from otpilot.pilot.ledger import Ledger
from otpilot.pilot.worker import Worker
from tests.pilot.conftest import new_trial, wait_for
from tests.pilot.executors.chaos import assert_all_is_right, spec_of
from tests.pilot.executors.chaos_driver import drive
from tests.pilot.executors.conftest import MARK, TRAINER

KILLS = 24
TRIALS, BUDGET = 60, 6


@pytest.fixture(scope="module")
def pilots():
    """Return a context in which a pilot process starts in milliseconds: its imports are done already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.pilot.executors.chaos_driver"])
    with pytest.MonkeyPatch.context() as patch:  # the server does not look where pytest looks
        patch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
        context.Process(target=int).start()
    return context


def told(bench, place, mode, **changes):
    body = {"root": str(bench.root), "ledger": place, "slots": 3, "command": TRAINER, "mode": mode}
    return {**body, "environment": {MARK: bench.mark}, **changes}


def start(pilots, body):
    driver = pilots.Process(target=drive, args=(body,))
    driver.start()
    return driver


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["kill", "adopt"])
def test_killed_pilots_and_trials_change_nothing_in_the_end(bench, place, pilots, mode):
    luck = random.Random()
    body = told(bench, place, mode)
    ledger = Ledger.open(**place)
    ledger.add_trials([new_trial(n, budget=BUDGET) for n in range(TRIALS)])
    pilots_killed = trials_killed = 0
    driver = start(pilots, body)
    while pilots_killed < KILLS:
        if luck.random() < 0.75:  # else it may be hit while it starts
            wait_for(lambda now=driver: bench.left() or not now.is_alive())
        driver.join(luck.uniform(0.0, 0.3))
        if not driver.is_alive():
            break
        living = bench.left()
        if living and luck.random() < 0.5:
            with contextlib.suppress(ProcessLookupError):
                os.kill(luck.choice(living), signal.SIGKILL)
                trials_killed += 1
        if luck.random() < 0.3:
            continue
        driver.kill()
        driver.join()
        pilots_killed += 1
        if mode == "kill":
            wait_for(lambda: not bench.left(), timeout_s=10)
        driver = start(pilots, body)
    driver.join(240)
    assert driver.exitcode == 0
    assert pilots_killed >= 20, f"only {pilots_killed} pilots were killed before all was done: slow the trials down"
    assert bench.left() == []
    assert_all_is_right(bench.root, ledger, TRIALS, BUDGET)
    outcomes = Counter(a.outcome for trial in ledger.trials() for a in ledger.attempts(trial.id))
    print(f"{mode}: {pilots_killed} pilots and {trials_killed} trials killed; attempts: {dict(outcomes)}")
    assert outcomes["lost"] > 0
    assert trials_killed > 0
    ledger.close()


def count_runs(counter, lock):
    def work(spec, checkpoint, ended):
        with lock:
            counter[spec.name] += 1
        spec.run.mkdir(parents=True)
        line = {"step": spec.steps, "time": 0.0, "kind": "train", "values": {"loss": 1.0}}
        (spec.run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
        (spec.run / "outcome.json").write_text(
            json.dumps({"status": "finished", "reason": "done", "last_step": spec.steps})
        )

    return work


def test_two_pilots_on_one_ledger_run_no_trial_twice(tmp_path, place):
    """200 trials, two pilots with a ledger connection of their own and 4 slots each."""
    counter, lock, failures = Counter(), threading.Lock(), []
    with Ledger.open(**place) as ledger:
        ledger.add_trials([new_trial(n, budget=5) for n in range(200)])

    def pilot(name):
        try:
            with Ledger.open(**place) as mine, InProcessExecutor(count_runs(counter, lock), slots=4) as executor:
                worker = Worker(mine, executor, spec_of=lambda t: spec_of(tmp_path, t), owner=name)
                worker.run(poll_s=0.002)
        except Exception as error:
            failures.append(error)

    pilots = [threading.Thread(target=pilot, args=(name,)) for name in ("one", "two")]
    for thread in pilots:
        thread.start()
    for thread in pilots:
        thread.join()
    assert failures == []
    assert len(counter) == 200
    assert set(counter.values()) == {1}
    with Ledger.open(**place) as ledger:
        assert dict(ledger.status().by_state) == {"finished": 200}
        owners = Counter(ledger.attempts(trial.id)[0].owner for trial in ledger.trials())
        assert all(trial.attempts == 1 for trial in ledger.trials())
    assert set(owners) == {"one", "two"}, "one of them did nothing"


@pytest.mark.slow
def test_four_worker_processes_on_one_ledger_run_no_trial_twice(bench, place, pilots):
    """200 trials as processes, four pilots in processes of their own."""
    body = told(bench, place, "kill", slots=1, command=("bash", "-c", QUICK_TRAINER, "bash"))
    with Ledger.open(**place) as ledger:
        ledger.add_trials([new_trial(n, budget=1) for n in range(200)])
        drivers = [start(pilots, body) for _ in range(4)]
        for driver in drivers:
            driver.join(300)
            assert driver.exitcode == 0
        assert_all_is_right(bench.root, ledger, 200, 1)
        assert all(trial.attempts == 1 for trial in ledger.trials())
        owners = Counter(ledger.attempts(trial.id)[0].owner for trial in ledger.trials())
    assert len(owners) == 4


# One row and an outcome, in a few milliseconds.
QUICK_TRAINER = """
for word; do case $word in --output_dir=*) run=${word#*=};; esac; done
mkdir -p "$(dirname "$run")"; mkdir "$run" || exit 3
echo '{"step": 1, "time": 0, "kind": "train", "values": {"loss": 1.0}}' > "$run/metrics.jsonl"
echo '{"status": "finished", "reason": "done", "last_step": 1}' > "$run/outcome.json"
"""
