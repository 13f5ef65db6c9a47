"""What every executor must do. A new one joins by one line in KINDS."""

import json

import pytest

from otpilot.errors import ExecutorError
from otpilot.pilot.executors.base import TrialSpec
from otpilot.pilot.paths import TrialPaths
from otpilot.runs.reader import read_metrics, read_outcome
from tests.pilot.conftest import wait_for
from tests.pilot.executors.conftest import CLUSTERS

KINDS = (
    "in-process",
    "local",
    "worker",  # the local executor, driven through a ledger
    pytest.param("ray", marks=pytest.mark.slow),
    pytest.param("slurm", marks=pytest.mark.slow),
)


@pytest.fixture(params=KINDS)
def any_bench(request, bench):
    bench.kind = request.param
    if bench.kind == "ray":
        request.getfixturevalue("ray_node")
    if bench.kind == "slurm":
        pytest.importorskip("submitit", reason="submitit is not installed (otpilot[slurm])")
    return bench


def steps_of(spec: TrialSpec) -> list[int]:
    return read_metrics(spec.run / "metrics.jsonl").curve("loss")[0]


def test_a_trial_runs_to_its_end(any_bench):
    spec = any_bench.spec(steps=4)
    with any_bench.executor() as executor:
        handle = executor.submit(spec)
        ended = any_bench.end(executor, handle)
        assert (ended.state, ended.exit_code, ended.last_step, ended.suspended) == ("finished", 0, 4, False)
        assert executor.poll(handle) == ended
        assert steps_of(spec) == [1, 2, 3, 4]
        executor.forget(handle)
        with pytest.raises(ExecutorError, match="'a' is unknown here"):
            executor.poll(handle)


def test_no_more_than_its_slots_run_at_once(any_bench):
    with any_bench.executor(slots=2) as executor:
        assert executor.slots == 2
        handles = [executor.submit(any_bench.spec(name, behaviour="hang")) for name in "abc"]
        assert [handle is None for handle in handles] == [False, False, True]
        assert not executor.has_room()
        executor.cancel(handles[0], state="invalid", reason="enough")
        assert any_bench.end(executor, handles[0]).state == "invalid"
        assert executor.has_room()
        again = executor.submit(any_bench.spec("c"))
        assert any_bench.end(executor, again).state == "finished"


def test_a_crash_is_told_and_harms_nobody(any_bench):
    with any_bench.executor() as executor:
        bad = executor.submit(any_bench.spec("bad", behaviour="crash at import"))
        good = executor.submit(any_bench.spec("good"))
        ended = any_bench.end(executor, bad)
        assert (ended.state, ended.exit_code) == ("crashed", 1)
        assert "torch_of_another_world" in ended.reason
        assert any_bench.end(executor, good).state == "finished"


def test_cancelled_says_why(any_bench):
    spec = any_bench.spec(behaviour="hang")
    with any_bench.executor() as executor:
        handle = executor.submit(spec)
        wait_for(lambda: (spec.run / "metrics.jsonl").exists() and steps_of(spec))
        executor.cancel(handle, state="invalid", reason="loss is nan")
        executor.cancel(handle, state="killed", reason="the first word stays")
        ended = any_bench.end(executor, handle)
        assert (ended.state, ended.reason, ended.last_step) == ("invalid", "loss is nan", 1)
    with any_bench.executor() as later:
        assert any_bench.run(later, spec).reason == "loss is nan"


def test_cancelling_what_has_ended_changes_nothing(any_bench):
    with any_bench.executor() as executor:
        handle = executor.submit(any_bench.spec())
        ended = any_bench.end(executor, handle)
        executor.cancel(handle, state="invalid", reason="too late")
        executor.suspend(handle)
        assert executor.poll(handle) == ended


def test_suspended_goes_on_from_its_last_checkpoint(any_bench):
    spec = any_bench.spec(steps=6, pause=0.6 if any_bench.kind in CLUSTERS else 0.05, save_every=2)
    with any_bench.executor() as executor:
        handle = executor.submit(spec)
        wait_for((spec.run / "checkpoints" / "000002").exists, 60)
        executor.suspend(handle)
        ended = any_bench.end(executor, handle)
        assert ended.suspended
        assert read_outcome(spec.run) is None
        executor.forget(handle)
        before = spec.run.stat().st_ino
        assert any_bench.run(executor, spec).state == "finished"
        assert spec.run.stat().st_ino == before, "the same folder goes on"
        assert steps_of(spec) == [1, 2, 3, 4, 5, 6]


def test_suspended_without_a_checkpoint_begins_anew(any_bench):
    spec = any_bench.spec(steps=3, behaviour="hang")
    with any_bench.executor() as executor:
        handle = executor.submit(spec)
        wait_for(lambda: (spec.run / "metrics.jsonl").exists() and steps_of(spec))
        executor.suspend(handle)
        assert any_bench.end(executor, handle).suspended
        executor.forget(handle)
        spec.config.write_text(json.dumps({}))
        assert any_bench.run(executor, spec).state == "finished"
        assert steps_of(spec) == [1, 2, 3]
        assert (TrialPaths(spec.run).attempts / "1" / "metrics.jsonl").exists(), "nothing is thrown away"


def test_what_ended_is_not_run_again(any_bench):
    spec = any_bench.spec()
    with any_bench.executor() as executor:
        first = any_bench.run(executor, spec)
    outcome = (spec.run / "outcome.json").stat()
    with any_bench.executor() as later:
        assert any_bench.run(later, spec) == first
    assert (spec.run / "outcome.json").stat() == outcome


def test_a_retry_is_run_again(any_bench):
    with any_bench.executor() as executor:
        assert any_bench.run(executor, any_bench.spec(behaviour="crash at import")).state == "crashed"
        assert any_bench.run(executor, any_bench.spec(behaviour="crash at import")).state == "crashed"
        spec = any_bench.spec(retry=1, attempt=2)
        assert any_bench.run(executor, spec).state == "finished"
    assert any_bench.run(any_bench.executor(), spec).state == "finished"


def test_a_longer_trial_continues_a_shorter_one(any_bench):
    short = any_bench.spec("short", steps=4, save_every=2)
    long = any_bench.spec("long", steps=6, save_every=2, continues=short.run)
    with any_bench.executor() as executor:
        assert any_bench.run(executor, short).state == "finished"
        assert any_bench.run(executor, long).state == "finished"
    assert steps_of(short) == [1, 2, 3, 4]
    assert steps_of(long) == [1, 2, 3, 4, 5, 6], "the curve is whole"
    assert not (long.run / "checkpoints" / "000002").exists(), "it did not begin anew"


def test_continuing_what_has_no_checkpoint_is_told(any_bench):
    with any_bench.executor() as executor:
        ended = any_bench.run(executor, any_bench.spec(continues=any_bench.root / "nowhere"))
        assert ended.state == "crashed"
        assert "no complete checkpoint below step 3" in ended.reason


def test_closing_ends_what_runs(any_bench):
    executor = any_bench.executor()
    specs = [any_bench.spec(name, behaviour="hang", steps=3) for name in "ab"]
    for spec in specs:
        executor.submit(spec)
    wait_for(lambda: all((spec.run / "metrics.jsonl").exists() for spec in specs))
    executor.close()
    assert any_bench.left() == []
    assert all(read_outcome(spec.run) is None for spec in specs)


def test_wrong_use_is_refused(any_bench):
    with any_bench.executor() as executor, any_bench.executor() as other:
        spec = any_bench.spec(behaviour="hang")
        handle = executor.submit(spec)
        with pytest.raises(ExecutorError, match="'a' runs here already"):
            executor.submit(spec)
        with pytest.raises(ExecutorError, match="still runs"):
            executor.forget(handle)
        with pytest.raises(ExecutorError, match="unknown here"):
            other.poll(handle)
        with pytest.raises(ExecutorError, match="has 0 steps"):
            any_bench.spec(steps=0)
