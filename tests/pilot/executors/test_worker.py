import os
import subprocess
from dataclasses import replace

import pytest

from otpilot.errors import ConfigError, RunError
from otpilot.pilot import supervisor
from otpilot.pilot.executors.local import LocalExecutor
from otpilot.pilot.gpus import Calm
from otpilot.pilot.guard import GuardSettings
from otpilot.pilot.ledger import Ledger
from otpilot.pilot.slots import plan_slots
from otpilot.pilot.trust import DeviceTrust
from otpilot.pilot.worker import Score, Worker, is_gone, this_process
from otpilot.runs.reader import read_metrics
from tests.pilot.conftest import new_trial, wait_for
from tests.pilot.executors.conftest import MARK, TRAINER
from tests.pilot.fake_nvml import FakeNvml, Gpu

GUARD = GuardSettings(gradient_patience=2, garbage_lines=20)


@pytest.fixture
def book(tmp_path):
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        yield ledger


def last_loss(trial, spec):
    return Score(value=read_metrics(spec.run / "metrics.jsonl").curve("loss")[1][-1], metrics={"n": 1})


def make_worker(bench, book, executor, behaviours, **options):
    def spec_of(trial):
        config = dict(behaviours[trial.id])
        name = trial.folder_name
        return bench.spec(name, steps=trial.budget, retry=trial.retries, attempt=trial.attempts, **config)

    return Worker(book, executor, spec_of=spec_of, **options)


def plan(book, *behaviours, budget=4):
    """Add a trial for each behaviour; returns them by id."""
    trials = book.add_trials([new_trial(n, budget=budget) for n in range(len(behaviours))])
    made = [{"behaviour": b} if isinstance(b, str) else b for b in behaviours]
    return {trial.id: body for trial, body in zip(trials, made, strict=True)}


ENDS = {
    "finish": ("finished", "all steps done"),
    "nan": ("diverged", "loss is nan at step 2"),
    "explode": ("diverged", "grad_norm exploded: 1e+09 at step 3, 2 rows above 1e+06"),
    "crash at import": ("crashed", "exit code 1: ModuleNotFoundError: No module named 'torch_of_another_world'"),
    "hang": ("killed", "no progress for "),
    "disk full": ("crashed", "the disk is full: exit code 1: OSError: [Errno 28] No space left on device"),
    "garbage": ("invalid", "metrics.jsonl is garbage: "),
    "half garbage": ("finished", "all steps done"),
    "kill itself": ("killed", "ended by SIGKILL (out of memory?)"),
}


def test_whatever_a_trial_does_it_is_recorded_and_the_round_goes_on(bench, book):
    guarded = {"nan", "explode", "garbage"}
    behaviours = plan(book, *({"behaviour": how, "linger": 600 if how in guarded else 0} for how in ENDS))
    with bench.executor(slots=3) as executor:

        def guard(trial):  # the others may take long on a busy machine
            return replace(GUARD, hang_s=0.3) if behaviours[trial.id]["behaviour"] == "hang" else GUARD

        worker = make_worker(bench, book, executor, behaviours, guard=guard, score_of=last_loss, max_retries=0)
        worker.run(poll_s=0.01)
    ends = {behaviours[t.id]["behaviour"]: (t.state, t.end_reason) for t in book.trials()}
    assert {how: state for how, (state, _) in ends.items()} == {how: state for how, (state, _) in ENDS.items()}
    for how, (_, reason) in ENDS.items():
        assert ends[how][1].startswith(reason)
    by_how = {behaviours[t.id]["behaviour"]: t for t in book.trials()}
    assert (by_how["finish"].score, by_how["finish"].metrics) == (0.25, {"n": 1})
    assert by_how["half garbage"].metrics["garbled_lines"] == 1
    assert by_how["nan"].score is None
    assert (by_how["nan"].last_step, by_how["finish"].last_step) == (by_how["nan"].last_step, 4)
    assert book.attempts(by_how["finish"].id)[0].device == "cpu"


def test_what_crashed_is_tried_again_but_not_for_ever_nor_when_foreseen(bench, book, tmp_path):
    once = {"behaviour": "crash once", "mark": str(tmp_path / "mark")}
    behaviours = plan(book, once, "crash at import", "wrong config", "diverge")
    with bench.executor() as executor:
        make_worker(bench, book, executor, behaviours, max_retries=2).run(poll_s=0.01)
    found = [(t.state, t.retries) for t in book.trials()]
    assert found == [("finished", 1), ("crashed", 2), ("crashed", 0), ("diverged", 0)]
    assert [a.outcome for a in book.attempts(1)] == ["crashed", "finished"]


def test_a_score_that_the_machine_cannot_read_is_asked_for_again(bench, book):
    tries = []

    def stalled(trial, spec):
        tries.append(trial.id)
        if len(tries) == 1:
            raise OSError(5, "Input/output error")
        return last_loss(trial, spec)

    with bench.executor() as executor:
        make_worker(bench, book, executor, plan(book, "finish"), score_of=stalled, max_retries=1).run(poll_s=0.01)
    assert (book.trial(1).state, book.trial(1).retries, len(tries)) == ("finished", 1, 2)


def test_a_trial_without_a_score_is_invalid(bench, book):
    def no_score(trial, spec):
        raise RunError("no evaluation was logged")

    with bench.executor() as executor:
        make_worker(bench, book, executor, plan(book, "finish"), score_of=no_score).run(poll_s=0.01)
    assert (book.trial(1).state, book.trial(1).end_reason) == (
        "invalid",
        "it finished, but has no score: no evaluation was logged",
    )


def test_a_trial_whose_files_cannot_be_made_is_its_own_crash(bench, book):
    behaviours = plan(book, "finish", "finish")

    def spec_of(trial):
        if trial.id == 1:
            raise ConfigError("ot.reg is -1; allowed: above 0.")
        return bench.spec(trial.folder_name, **behaviours[trial.id])

    with bench.executor() as executor:
        Worker(book, executor, spec_of=spec_of, max_retries=0).run(poll_s=0.01)
    assert [(t.state, t.end_reason) for t in book.trials()] == [
        ("crashed", "cannot be started: ot.reg is -1; allowed: above 0."),
        ("finished", "all steps done"),
    ]


def test_stopped_in_the_evening_goes_on_next_night(bench, book):
    behaviours = plan(book, {"pause": 0.05, "save_every": 2}, budget=8)
    with bench.executor() as executor:
        worker = make_worker(bench, book, executor, behaviours)
        worker.step()
        run = bench.root / "trials" / book.trial(1).folder_name
        wait_for((run / "checkpoints" / "000002").exists)
        worker.stop(reason="the night is over")
        assert (worker.running, bench.left()) == (0, [])
    waiting = book.trial(1)
    assert (waiting.state, waiting.end_reason, waiting.retries) == ("queued", "the night is over", 0)
    with bench.executor() as executor:
        make_worker(bench, book, executor, behaviours).run(poll_s=0.01)
    assert book.trial(1).state == "finished"
    assert read_metrics(run / "metrics.jsonl").curve("loss")[0] == list(range(1, 9))


def test_nothing_new_starts_when_the_budget_is_spent(bench, book):
    behaviours = plan(book, "finish", "finish", "finish")
    reports = []
    with bench.executor(slots=1) as executor:
        worker = make_worker(bench, book, executor, behaviours)
        worker.run(poll_s=0.01, until=lambda: any(r.started for r in reports), watch=reports.append)
    assert [t.state for t in book.trials()] == ["finished", "queued", "queued"]
    assert sum(len(r.started) for r in reports) == 1


def test_a_lost_lease_ends_the_process_and_writes_nothing(bench, tmp_path):
    now = [1000.0]
    with Ledger.open(tmp_path / "ledger.db", lease_s=0.004, clock=lambda: now[0]) as book, bench.executor() as executor:
        worker = make_worker(bench, book, executor, plan(book, "hang"), owner="one")
        worker.step()
        wait_for(bench.left)
        now[0] += 1
        other = book.claim("two")
        assert other.trial.id == 1
        wait_for(lambda: worker.step(take_new=False).running == 0)
        assert bench.left() == []
        assert (book.trial(1).owner, book.trial(1).state) == ("two", "leased")


def test_a_result_that_comes_behind_the_lease_is_not_written(bench, tmp_path):
    now = [1000.0]
    with Ledger.open(tmp_path / "ledger.db", lease_s=60, clock=lambda: now[0]) as book, bench.executor() as executor:
        worker = make_worker(bench, book, executor, plan(book, "finish"), owner="one")
        worker.step()
        wait_for(lambda: not bench.left())
        now[0] += 100  # the machine slept
        other = book.claim("two")
        wait_for(lambda: worker.step(take_new=False).running == 0)
        assert book.trial(1).state == "leased"
        assert book.heartbeat([other]) == set()


def test_a_trial_that_is_slept_over_between_claim_and_start_is_let_go(bench, tmp_path):
    now = [1000.0]
    with Ledger.open(tmp_path / "ledger.db", lease_s=60, clock=lambda: now[0]) as book, bench.executor() as executor:
        behaviours = plan(book, "hang")
        taken = []

        def slow_spec(trial):
            now[0] += 100
            taken.append(taken or book.claim("two"))
            return bench.spec(trial.folder_name, **behaviours[trial.id])

        worker = Worker(book, executor, spec_of=slow_spec, owner="one")
        worker.step()
        wait_for(lambda: worker.step(take_new=False).running == 0)
        assert (book.trial(1).owner, bench.left()) == ("two", [])


def test_a_restarted_worker_takes_over_from_its_dead_self_at_once(bench, book):
    with subprocess.Popen(["sleep", "600"]) as dead:
        name = f"{os.uname().nodename}:{dead.pid}:{supervisor.birth(dead.pid)}"
        assert not is_gone(name)
        dead.kill()
    assert is_gone(name)
    behaviours = plan(book, "finish", "finish", "finish")
    book.claim(name)
    book.claim("elsewhere:1:x")
    with bench.executor() as executor:
        worker = make_worker(bench, book, executor, behaviours)
        assert [t.id for t in worker.step().started] == [1, 3]
        wait_for(lambda: len(worker.step().ended) or book.status().by_state.get("finished") == 2)
        wait_for(lambda: worker.step().running == 0)
    assert [t.state for t in book.trials()] == ["finished", "leased", "finished"]
    assert not is_gone(this_process())
    assert not is_gone("me")


def test_many_workers_may_have_one_kind_each(bench, book):
    book.add_trials([new_trial(1, kind="baseline"), new_trial(2)])
    with bench.executor() as executor:
        behaviours = {1: {}, 2: {}}
        worker = make_worker(bench, book, executor, behaviours, kinds=("baseline",))
        wait_for(lambda: worker.step().ended)
    assert [t.state for t in book.trials()] == ["finished", "queued"]


class Trusting(DeviceTrust):
    """Leaves no GPU alone."""

    def rests(self, device):
        return False


@pytest.mark.parametrize("trust", [DeviceTrust, Trusting])
def test_a_broken_gpu_swallows_no_trials_while_another_works(bench, book, tmp_path, trust):
    slots = plan_slots(
        nvml=FakeNvml(Gpu("GPU-a"), Gpu("GPU-b")), calm=Calm(samples=1), visible="0,1", locks=tmp_path / "locks"
    )
    slots.trust = trust()
    behaviours = plan(book, *({"behaviour": "finish", "pause": 0.1, "broken": "GPU-a"} for _ in range(4)))
    with LocalExecutor(slots=slots, command=TRAINER, environment={MARK: bench.mark}, grace_s=0.3) as executor:
        make_worker(bench, book, executor, behaviours).run(poll_s=0.01)
    ends = [trial.state for trial in book.trials()]
    tries = [attempt.device for trial in book.trials() for attempt in book.attempts(trial.id)]
    if trust is Trusting:
        assert "crashed" in ends, "else the broken GPU is none, and this shows nothing"
    else:
        assert ends == ["finished"] * 4
        assert sorted(tries) == ["GPU-a", *["GPU-b"] * 4], "one try was lost to it"
