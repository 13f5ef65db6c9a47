import json
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otpilot.errors import ExecutorError
from otpilot.pilot.guard import Guard, GuardSettings, Tail
from otpilot.runs.record import MetricRecord
from tests.pilot.conftest import Clock


def line(step, kind="train", **values):
    return (
        MetricRecord(step=step, time=0.0, kind=kind, values=values or {"loss": 1.0, "grad_norm": 1.0}).to_line() + "\n"
    )


@pytest.fixture
def watched(tmp_path):
    """A guard with a hand-moved clock, and a function that lets the log grow."""
    path, clock = tmp_path / "metrics.jsonl", Clock()

    def make(**options):
        def grow(*lines):
            with path.open("a") as file:
                file.write("".join(lines))

        return Guard(path=path, settings=GuardSettings(**options), clock=clock), grow, clock

    return make


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_the_trial(watched, value):
    guard, grow, _ = watched()
    grow(line(1), line(2))
    assert guard.check() is None
    grow(line(3, kind="eval", loss=value))
    assert guard.check() is None, "an evaluation without a value is no reason"
    grow(line(50, loss=value, grad_norm=1.0), line(60))
    stop = guard.check()
    assert (stop.state, stop.step, stop.reason) == ("diverged", 50, f"loss is {value} at step 50")
    grow(line(70))
    assert guard.check() == stop, "the first word is final"


def test_a_gradient_far_above_its_own_past_ends_the_trial(watched):
    guard, grow, _ = watched(gradient_factor=100, gradient_patience=3)
    grow(*(line(n, loss=1.0, grad_norm=2.0 + n % 3) for n in range(20)))
    grow(line(21, grad_norm=1e4), line(22, grad_norm=1e4), line(23, grad_norm=3.0))
    assert guard.check() is None, "spikes are clipped away"
    grow(*(line(n, grad_norm=299.0) for n in range(30, 40)))
    assert guard.check() is None, "high, but not a hundredfold"


def test_an_explosion_says_how_far_above(watched):
    guard, grow, _ = watched(gradient_factor=100, gradient_patience=3)
    grow(*(line(n, grad_norm=2.0) for n in range(20)), *(line(n, grad_norm=500.0) for n in range(20, 23)))
    assert guard.check().reason == "grad_norm exploded: 500 at step 22, 3 rows above 200, its recent median 2"


@pytest.mark.parametrize("value", [2e6, math.inf, math.nan])
def test_a_gradient_above_the_ceiling_needs_no_past(watched, value):
    guard, grow, _ = watched()
    grow(line(1, grad_norm=value), line(2, grad_norm=value))
    assert guard.check() is None
    grow(line(3, grad_norm=value))
    assert "grad_norm exploded" in guard.check().reason


def test_gradients_that_are_zero_explode_nowhere(watched):
    guard, grow, _ = watched()
    grow(*(line(n, grad_norm=0.0) for n in range(30)), *(line(n, grad_norm=5.0) for n in range(30, 60)))
    assert guard.check() is None


def test_hopeless_is_asked_from_its_step_on(watched):
    asked = []

    def hopeless(step, latest):
        asked.append(step)
        return "l1 above 0.5" if latest.get(("eval", "avg_l1"), 0.0) > 0.5 else None

    guard, grow, _ = watched(hopeless_step=200, hopeless=hopeless)
    grow(line(100, kind="eval", avg_l1=9.0), line(150, kind="eval", avg_l1=0.4), line(200))
    assert guard.check() is None
    grow(line(250, kind="eval", avg_l1=0.6))
    assert guard.check().reason == "hopeless at step 250: l1 above 0.5"
    assert asked == [200, 250]


def test_a_trial_that_hangs_is_ended_one_that_goes_on_is_not(watched):
    guard, grow, clock = watched(start_s=100, hang_s=10)
    clock.now += 100
    assert guard.check() is None
    grow(line(1))
    clock.now += 9
    assert guard.check() is None
    clock.now += 10
    assert guard.check() is None
    clock.now += 1
    assert guard.check().reason == "no progress for 11 s (limit 10) behind step 1"


def test_a_trial_that_never_logs_is_ended(watched):
    guard, _, clock = watched(start_s=100)
    clock.now += 101
    assert guard.check().reason == "no progress for 101 s (limit 100) and no row was ever logged"


def test_garbage_is_counted_and_too_much_ends_the_trial(watched):
    guard, grow, _ = watched(garbage_lines=5, start_s=10)
    grow(line(1), "garbage\n" * 4, line(2))
    assert guard.check() is None
    assert (guard.tail.garbled, guard.tail.intact) == (4, 2)
    grow("[1]\n", "{}\n", '{"step": 3, "time": 0, "kind": "train", "values": 7}\n', "\x00\n")
    assert guard.check().reason == "metrics.jsonl is garbage: 8 unreadable lines, 2 readable"


def test_a_torn_line_waits_for_its_end(watched):
    guard, grow, _ = watched()
    whole = line(5, loss=math.nan)
    grow(line(1), whole[:25])
    assert guard.check() is None
    assert guard.tail.garbled == 0
    grow(whole[25:])
    assert guard.check().step == 5


def test_each_byte_is_read_once(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    tail = Tail(path)
    assert tail.read() == ([], False)
    path.write_text(line(1) * 1000)
    assert len(tail.read()[0]) == 1000
    offset = tail._offset
    with path.open("a") as file:
        file.write(line(2))
    assert [r.step for r in tail.read()[0]] == [2]
    assert tail._offset - offset == len(line(2))
    assert tail.read() == ([], False)


def test_a_resumed_log_is_read_anew(watched):
    guard, grow, _ = watched()
    grow(*(line(n, grad_norm=1.0) for n in range(20)))
    assert guard.check() is None
    draft = guard.path.with_suffix(".tmp")
    draft.write_text("".join(line(n, grad_norm=1.0) for n in range(10)))
    draft.replace(guard.path)
    assert guard.check() is None
    assert (guard.last_step, guard.tail.intact) == (9, 10)
    guard.path.write_text(line(1, loss=math.nan))
    assert guard.check().step == 1, "cut off, as well"


def test_an_endless_line_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("otpilot.pilot.guard.LINE_LIMIT", 1000)
    monkeypatch.setattr("otpilot.pilot.guard.CHUNK", 300)
    path = tmp_path / "metrics.jsonl"
    path.write_text(line(1) + "x" * 5000 + "\n" + line(2))
    tail = Tail(path)
    assert [r.step for r in tail.read()[0]] == [1, 2]
    assert tail.garbled == 1


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(["good", "torn\x00", "", "{}"]), max_size=12), st.lists(st.integers(1, 60), max_size=8))
def test_however_the_bytes_arrive_the_rows_are_the_same(tmp_path_factory, kinds, cuts):
    path = tmp_path_factory.mktemp("tail") / "metrics.jsonl"
    whole = "".join(line(n) if kind == "good" else f"{kind}\n" for n, kind in enumerate(kinds)).encode()
    tail, got, at = Tail(path), [], 0
    for cut in [*cuts, len(whole)]:
        with path.open("ab") as file:
            file.write(whole[at : at + cut])
        at += cut
        got += [record.step for record in tail.read()[0]]
    assert got == [n for n, kind in enumerate(kinds) if kind == "good"]
    assert tail.garbled == sum(kind != "good" for kind in kinds)


def test_wrong_settings_are_refused():
    for options, words in (
        ({"hang_s": 0}, "guard.hang_s is 0"),
        ({"gradient_factor": 1}, "guard.gradient_factor is 1"),
        ({"gradient_patience": 0}, "guard.gradient_patience is 0"),
        ({"gradient_rows": 60}, r"up to gradient_window \(50\)"),
    ):
        with pytest.raises(ExecutorError, match=words):
            GuardSettings(**options)


def test_the_records_are_those_that_the_trainer_writes():
    assert json.loads(line(1, loss=math.nan))["values"] == {"loss": "NaN"}
