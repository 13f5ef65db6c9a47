"""Trials in a cluster's queue: leased, not running, and not late."""

import os
import subprocess

import pytest

from otpilot.pilot import supervisor
from otpilot.pilot.executors.in_process import InProcessExecutor
from otpilot.pilot.executors.nowhere import NowhereExecutor
from otpilot.pilot.guard import GuardSettings
from otpilot.pilot.ledger import Ledger
from otpilot.pilot.worker import Worker
from tests.pilot.conftest import new_trial, wait_for
from tests.pilot.executors.conftest import work


class Queue(InProcessExecutor):
    """Trials begin to count when `open` is set."""

    open = False

    def is_waiting(self, handle):
        return not self.open


@pytest.fixture
def book(tmp_path):
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        yield ledger


def test_a_waiting_trial_is_leased_and_the_guard_sleeps(bench, book):
    book.add_trial(new_trial(1, budget=3))
    with Queue(work, slots=1) as executor:
        impatient = GuardSettings(start_s=0.05, hang_s=0.05)
        worker = Worker(book, executor, spec_of=lambda t: bench.spec(behaviour="hang"), guard=impatient, max_retries=0)
        assert [t.id for t in worker.step().started] == [1]
        worker.step()
        worker.step()
        assert (book.trial(1).state, book.trial(1).started) == ("leased", None)
        assert book.attempts(1)[0].device is None
        executor.open = True
        worker.step()
        assert book.trial(1).started is not None
        wait_for(lambda: worker.step().ended)
        assert book.trial(1).state == "killed"
        executor.close()


def test_what_began_and_ended_between_two_looks_has_run(bench, book):
    book.add_trial(new_trial(1, budget=3))
    with Queue(work, slots=1) as executor:
        worker = Worker(book, executor, spec_of=lambda t: bench.spec(steps=3))
        wait_for(lambda: worker.step().ended)
    assert (book.trial(1).state, book.attempts(1)[0].device) == ("finished", "cpu")
    assert book.trial(1).started is not None


def test_a_pilot_that_only_steers_takes_nothing_not_even_what_was_lost(bench, book):
    book.add_trials([new_trial(n) for n in range(3)])
    with subprocess.Popen(["sleep", "600"]) as dead:
        owner = f"{os.uname().nodename}:{dead.pid}:{supervisor.birth(dead.pid)}"
        dead.kill()
    book.claim(owner)
    with NowhereExecutor() as executor:
        worker = Worker(book, executor, spec_of=lambda t: bench.spec())
        assert (worker.step().started, worker.running, executor.slots) == ((), 0, 0)
        worker.stop(reason="over")
    assert [a.outcome for a in book.attempts(1)] == [None], "who has room takes it over"
    assert [t.state for t in book.trials()] == ["leased", "queued", "queued"]
