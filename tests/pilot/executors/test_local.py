import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from otpilot.errors import ExecutorError
from otpilot.pilot import supervisor
from otpilot.pilot.executors import local
from otpilot.pilot.executors.local import LocalExecutor
from otpilot.pilot.executors.start import read_json
from otpilot.pilot.gpus import Calm
from otpilot.pilot.paths import TrialPaths
from otpilot.pilot.slots import Slots, plan_slots
from otpilot.runs.reader import read_metrics, read_outcome
from tests.pilot.conftest import wait_for
from tests.pilot.executors.conftest import MARK, TRAINER, processes_with
from tests.pilot.fake_nvml import FakeNvml, Gpu

# A pilot of its own, to be killed: submits one trial and waits for ever.
PILOT = """
import sys, time
from pathlib import Path
from otpilot.pilot.executors.base import TrialSpec
from otpilot.pilot.executors.local import LocalExecutor
from otpilot.pilot.slots import Slots, plan_slots
root, mode, mark = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
executor = LocalExecutor(
    slots=Slots(limit=1, threads=1), command={command!r}, on_pilot_death=mode, environment={{"{MARK}": mark}}
)
handle = executor.submit(TrialSpec(name="a", run=root / "trials" / "a", config=root / "a.json", steps=3, seed=7))
print(handle.process["supervisor"], flush=True)
time.sleep(600)
"""


def start_pilot(bench, mode):
    script = textwrap.dedent(PILOT).format(command=TRAINER, MARK=MARK)
    command = [sys.executable, "-c", script, str(bench.root), mode, bench.mark]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def started(spec):
    metrics = spec.run / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and read_metrics(metrics).records)


def log_of(spec) -> str:
    return (spec.run / "stdout.log").read_text()


STATES = {
    "finish": ("finished", "all steps done"),
    "crash at import": ("crashed", "exit code 1: ModuleNotFoundError: No module named 'torch_of_another_world'"),
    "wrong config": ("crashed", "exit code 2: Error: steps is -1; allowed: 1 or more."),
    "disk full": ("crashed", "the disk is full: exit code 1: OSError: [Errno 28] No space left on device"),
    "kill itself": ("killed", "ended by SIGKILL (out of memory?)"),
    "no outcome": ("crashed", "it ended with exit code 0, but left no outcome"),
    "diverge": ("diverged", "the loss is NaN"),
    "lie": ("invalid", "it says finished at step 1 of 3"),
    "late crash": ("finished", "all steps done (the process ended with exit code 134 behind its last step)"),
    "garbage": ("invalid", "metrics.jsonl has no readable line (90 unreadable)"),
    "half garbage": ("finished", "all steps done"),
}


def test_each_end_has_its_state_and_reason(bench):
    with bench.executor(slots=len(STATES)) as executor:
        handles = {how: executor.submit(bench.spec(how.replace(" ", "-"), behaviour=how)) for how in STATES}
        ends = {how: bench.end(executor, handle) for how, handle in handles.items()}
    assert {how: (end.state, end.reason) for how, end in ends.items()} == STATES
    assert ends["half garbage"].garbled == 1
    assert ends["kill itself"].exit_code == -signal.SIGKILL
    assert ends["late crash"].exit_code == 134


def test_the_log_is_kept_over_attempts_and_shown_in_the_run_folder(bench):
    with bench.executor() as executor:
        spec = bench.spec(behaviour="crash at import")
        bench.run(executor, spec)
        assert "trainer of" in log_of(spec), "even where the trainer made no folder"
        again = bench.spec(retry=1, attempt=2)
        assert bench.run(executor, again).state == "finished"
        text = log_of(again)
    assert [word in text for word in ("attempt 1:", "torch_of_another_world", "attempt 2:", "finish")] == [True] * 4


def test_a_reason_is_not_taken_from_an_earlier_attempt(bench):
    with bench.executor() as executor:
        bench.run(executor, bench.spec(behaviour="disk full"))
        assert bench.run(executor, bench.spec(behaviour="no outcome", retry=1)).reason.startswith("it ended with")


def test_a_trial_gets_its_threads_and_no_gpu(bench):
    show = (sys.executable, "-S", "-E", "-c", "import os; print(dict(os.environ))")
    spec = bench.spec()
    slots = Slots(limit=1, threads=3)
    with LocalExecutor(slots=slots, command=show, environment={"MINE": "1"}, cwd=bench.root) as executor:
        bench.run(executor, spec)
    for words in (
        "'OMP_NUM_THREADS': '3'",
        "'OMP_WAIT_POLICY': 'PASSIVE'",
        "'CUDA_VISIBLE_DEVICES': ''",
        "'MINE': '1'",
    ):
        assert words in log_of(spec)


def test_what_cannot_be_started_is_a_crash_of_that_trial(bench):
    with bench.executor(command=("/no/such/program",)) as executor:
        ended = bench.run(executor, bench.spec())
        assert (ended.state, ended.exit_code) == ("crashed", 127)
        assert "cannot start '/no/such/program'" in Path(TrialPaths(bench.spec().run).stdout).read_text()
        (bench.root / "trials" / ".pilot" / "b").write_text("a file where a folder should be")
        assert "cannot be started" in bench.run(executor, bench.spec("b")).reason
    with pytest.raises(ExecutorError, match="on_pilot_death is 'maybe'"):
        LocalExecutor(slots=Slots(limit=1, threads=1), on_pilot_death="maybe")


def test_a_whole_family_is_ended(bench):
    """Children that ignore SIGTERM, one of them in a session of its own, do not outlive their trial."""
    with bench.executor() as executor:
        spec = bench.spec(behaviour="children", pause=5.0)
        handle = executor.submit(spec)
        wait_for(lambda: len(bench.left()) >= 3)
        executor.cancel(handle, state="killed", reason="x")
        bench.end(executor, handle)
        assert bench.left() == []
        assert bench.run(executor, bench.spec("b", behaviour="children")).state == "finished"
        assert bench.left() == [], "nor when it ends by itself"


def test_who_ignores_sigterm_is_killed_after_the_grace(bench):
    with bench.executor(grace_s=0.1) as executor:
        handle = executor.submit(bench.spec(behaviour="stubborn", pause=5.0))
        wait_for(bench.left)
        started_by = wait_for(lambda: read_json(TrialPaths(handle.run).process))
        executor.cancel(handle, state="invalid", reason="x")
        ended = bench.end(executor, handle)
        assert (ended.state, started_by["token"]) == ("invalid", handle.token)


@pytest.mark.parametrize("behaviour", ["hang", "children", "stubborn"])
def test_in_kill_mode_nothing_outlives_the_pilot(bench, behaviour):
    spec = bench.spec(behaviour=behaviour, pause=0.0 if behaviour == "hang" else 5.0)
    with start_pilot(bench, "kill") as pilot:
        wait_for(lambda: len(bench.left()) >= (3 if behaviour == "children" else 1))
        wait_for(TrialPaths(spec.run).process.exists)
        pilot.kill()
    wait_for(lambda: not bench.left())
    with bench.executor() as executor:
        spec.config.write_text("{}")
        assert bench.run(executor, spec).state == "finished"


def test_in_adopt_mode_the_trial_lives_and_the_next_pilot_takes_it_up(bench):
    spec = bench.spec(behaviour="hang")
    with start_pilot(bench, "adopt") as pilot:
        keeper = int(pilot.stdout.readline())
        started(spec)
        pilot.kill()
    assert supervisor.birth(keeper) is not None
    with bench.executor(slots=1, on_pilot_death="adopt") as executor:
        handle = executor.submit(spec)
        assert handle.process["supervisor"] == keeper
        assert executor.poll(handle) is None
        assert not executor.has_room(), "what was adopted takes room"
        executor.cancel(handle, state="invalid", reason="seen enough")
        ended = bench.end(executor, handle)
        assert (ended.state, ended.reason, ended.last_step) == ("invalid", "seen enough", 1)
        assert executor.has_room()


def test_what_ended_between_two_pilots_is_taken_as_it_ended(bench):
    spec = bench.spec(pause=0.1)
    with start_pilot(bench, "adopt") as pilot:
        pilot.stdout.readline()
        started(spec)
        pilot.kill()
    wait_for(TrialPaths(spec.run).exit.exists)
    with bench.executor() as executor:
        ended = bench.run(executor, spec)
        assert (ended.state, ended.exit_code) == ("finished", 0)
    assert not TrialPaths(spec.run).attempts.exists()


def test_a_closed_adopting_executor_leaves_its_trials(bench):
    spec = bench.spec(behaviour="hang")
    executor = bench.executor(on_pilot_death="adopt")
    executor.submit(spec)
    started(spec)
    executor.close()
    assert len(bench.left()) == 1
    with pytest.raises(ExecutorError, match="is closed"):
        executor.submit(spec)
    with bench.executor(on_pilot_death="adopt") as later:
        handle = later.submit(spec)
        later.suspend(handle)
        assert bench.end(later, handle).suspended


def test_a_recycled_pid_is_not_taken_for_the_trial(bench):
    spec = bench.spec()
    with bench.executor() as executor:
        bench.run(executor, spec)
    paths = TrialPaths(spec.run)
    (paths.contract.outcome).unlink()
    paths.exit.unlink()
    body = read_json(paths.process)
    with subprocess.Popen(["sleep", "600"]) as stranger:
        job = {**read_json(paths.job), "on_pilot_death": "adopt"}
        paths.job.write_text(json.dumps(job))
        for birth in (body["supervisor_birth"], supervisor.birth(1)):
            paths.process.write_text(json.dumps({**body, "supervisor": stranger.pid, "supervisor_birth": birth}))
            with bench.executor(on_pilot_death="adopt") as executor:
                assert bench.run(executor, spec).state == "finished"
            paths.contract.outcome.unlink()
            paths.exit.unlink()
        assert stranger.poll() is None, "a stranger was harmed"
        stranger.kill()


@pytest.mark.parametrize("mode", ["kill", "adopt"])
def test_a_killed_supervisor_takes_its_trial_along(bench, mode):
    with bench.executor(on_pilot_death=mode) as executor:
        spec = bench.spec(behaviour="children", pause=5.0)
        handle = executor.submit(spec)
        wait_for(lambda: len(bench.left()) >= 3 and TrialPaths(spec.run).process.exists())
        os.kill(handle.process["supervisor"], signal.SIGKILL)
        ended = bench.end(executor, handle)
        assert (ended.state, ended.exit_code) == ("killed", -signal.SIGKILL)
        assert bench.left() == []


def test_pilot_and_supervisor_killed_together_leave_nothing_behind_the_next_start(bench):
    spec = bench.spec(behaviour="children", pause=5.0)
    with start_pilot(bench, "kill") as pilot:
        keeper = int(pilot.stdout.readline())
        wait_for(lambda: len(bench.left()) >= 3)
        os.kill(keeper, signal.SIGKILL)
        pilot.kill()
    spec.config.write_text("{}")
    with bench.executor() as executor:
        handle = executor.submit(spec)
        assert bench.end(executor, handle).state == "finished"
        assert bench.left() == []


def test_two_pilots_never_train_in_one_folder(bench, monkeypatch):
    monkeypatch.setattr(local, "LOCK_WAIT_S", 0.1)
    spec = bench.spec(behaviour="hang")
    with bench.executor() as first, bench.executor() as second:
        old = first.submit(spec)
        started(spec)
        spec.config.write_text("{}")
        new = second.submit(spec)  # the ledger says that the first one's lease is over
        assert bench.end(second, new).state == "finished"
        assert bench.end(first, old).state == "finished", "it reads the folder, which says so"


def test_a_folder_held_by_somebody_unseen_is_left_for_later(bench, monkeypatch):
    import fcntl

    monkeypatch.setattr(local, "LOCK_WAIT_S", 0.02)
    spec = bench.spec()
    paths = TrialPaths(spec.run)
    paths.root.mkdir(parents=True)
    with paths.lock.open("w") as held, bench.executor() as executor:
        fcntl.flock(held, fcntl.LOCK_EX)
        ended = bench.run(executor, spec)
        assert (ended.suspended, ended.reason) == (True, "its run folder is held by another process")
        held.close()
        assert bench.run(executor, spec).state == "finished"


def test_a_real_disk_that_is_full_is_named_and_the_others_go_on(bench):
    """A file system of 64 kB of our own; needs the right to mount."""
    small = bench.root / "trials"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.decode().strip()}")
    try:
        with bench.executor() as executor:
            ended = bench.run(executor, bench.spec("a", behaviour="fill the disk", steps=50))
            assert (ended.state, ended.exit_code) == ("crashed", 1)
            assert ended.reason.startswith("the disk is full")
            ended = bench.run(executor, bench.spec("b"))
            assert ended.state == "crashed"
            assert "disk is full" in ended.reason
            (small / "a" / "metrics.jsonl").write_text("")
            assert bench.run(executor, bench.spec("b", retry=1)).state == "finished"
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_the_marks_of_this_test_are_seen():
    with subprocess.Popen(["sleep", "600"], env={**os.environ, MARK: "here"}) as process:
        # a process has no environment for a moment after its exec
        assert wait_for(lambda: processes_with("here")) == [process.pid]
        process.kill()


def test_births_tell_processes_apart():
    with subprocess.Popen(["sleep", "600"]) as process:
        born = supervisor.birth(process.pid)
        assert supervisor.is_alive(process.pid, born)
        assert not supervisor.is_alive(process.pid, str(supervisor.birth(os.getpid())))
        process.kill()
        wait_for(lambda: supervisor.birth(process.pid) is None)  # a zombie is dead
    assert not supervisor.is_alive(process.pid, born)


def test_outcome_of_a_finished_trial_is_untouched_by_a_later_start(bench):
    spec = bench.spec()
    with bench.executor() as executor:
        bench.run(executor, spec)
    TrialPaths(spec.run).exit.unlink()  # the supervisor was killed before it wrote this
    outcome = (spec.run / "outcome.json").read_bytes()
    with bench.executor() as executor:
        assert bench.run(executor, spec).state == "finished"
    assert (spec.run / "outcome.json").read_bytes() == outcome
    assert read_outcome(spec.run).status == "finished"


def test_a_gpu_is_kept_only_while_a_trial_wants_it(bench, tmp_path):
    """Two pilots, one GPU: who finds nothing to run leaves it; a running trial keeps it by its supervisor."""

    def slots():
        return plan_slots(nvml=FakeNvml(Gpu("GPU-a")), calm=Calm(samples=1), visible="0", locks=tmp_path / "locks")

    options = {"command": TRAINER, "environment": {MARK: bench.mark}, "grace_s": 0.3}
    with LocalExecutor(slots=slots(), **options) as one, LocalExecutor(slots=slots(), **options) as two:
        assert one.has_room()
        assert not two.has_room()
        one.let_room_go()
        assert two.has_room()
        handle = two.submit(bench.spec(behaviour="hang"))
        assert handle.device == "GPU-a"
        assert (one.has_room(), two.has_room()) == (False, False)
        two.cancel(handle, state="killed", reason="x")
        bench.end(two, handle)
        assert one.has_room()
