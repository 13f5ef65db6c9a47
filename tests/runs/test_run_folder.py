import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpilot.errors import RunError
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_config, read_metrics, read_outcome
from otpilot.runs.record import MetricRecord, Outcome
from otpilot.runs.writer import RunWriter, write_json_atomically

NUMBERS = st.one_of(st.floats(), st.integers(-(2**53), 2**53))


def make(tmp_path):
    return RunWriter.create(tmp_path / "run", config={"steps": 3}, environment={"device": "cpu"})


@given(st.dictionaries(st.text(max_size=20), NUMBERS, max_size=5), st.integers(0, 10**9))
def test_any_number_survives_the_line(values, step):
    line = MetricRecord(step=step, time=1.5, kind="train", values=values).to_line()
    assert "\n" not in line
    again = MetricRecord.from_line(line).values
    assert list(again) == list(values)
    for name, value in values.items():
        assert again[name] == value or (math.isnan(value) and math.isnan(again[name]))


def test_nan_and_infinity_are_strict_json(tmp_path):
    with make(tmp_path) as writer:
        writer.log(1, "train", {"loss": math.nan, "grad_norm": math.inf, "x": -math.inf})
        line = writer.paths.metrics.read_text()
    body = json.loads(line, parse_constant=lambda word: pytest.fail(f"bare {word} is not JSON"))
    assert body["values"] == {"loss": "NaN", "grad_norm": "Infinity", "x": "-Infinity"}


def test_every_line_is_there_before_the_next(tmp_path):
    writer = make(tmp_path)
    for step in range(3):
        writer.log(step, "train", {"loss": float(step)})
        assert read_metrics(writer.paths.metrics).curve("loss") == (
            list(range(step + 1)),
            [float(s) for s in range(step + 1)],
        )
    writer.close()


def test_torn_and_garbled_lines_are_counted_not_raised(tmp_path):
    writer = make(tmp_path)
    writer.log(1, "train", {"loss": 1.0})
    writer.log(2, "train", {"loss": 2.0})
    writer.close()
    path = writer.paths.metrics
    whole = path.read_bytes()
    path.write_bytes(whole[:10] + b"\xff\x00" + whole[10:-9])
    log = read_metrics(path)
    assert log.skipped == 2
    assert log.records == ()
    path.write_bytes(whole[:-9])
    log = read_metrics(path)
    assert (log.skipped, log.curve("loss")) == (1, ([1], [1.0]))


@pytest.mark.parametrize(
    "line",
    [
        '{"step":1e999,"time":1.0,"kind":"train","values":{}}',
        '{"step":1,"time":' + "9" * 400 + ',"kind":"train","values":{}}',
        '{"step":1,"time":1.0,"kind":"train","values":{"x":' + "[" * 100_000 + "]" * 100_000 + "}}",
    ],
    ids=["endless step", "endless time", "deep"],
)
def test_lines_that_json_takes_and_numbers_do_not_are_garbled(tmp_path, line):
    writer = make(tmp_path)
    writer.log(1, "train", {"loss": 1.0})
    writer.close()
    with writer.paths.metrics.open("a") as file:
        file.write(line + "\n")
    log = read_metrics(writer.paths.metrics)
    assert (log.skipped, log.curve("loss")) == (1, ([1], [1.0]))


def test_reopening_drops_what_lies_behind_the_checkpoint(tmp_path):
    writer = make(tmp_path)
    for step in (1, 2, 3):
        writer.log(step, "train", {"loss": float(step)})
    writer.finish(Outcome(status="crashed", reason="x", last_step=3))
    again = RunWriter.reopen(tmp_path / "run", step=2, config={}, environment={})
    again.log(3, "train", {"loss": 30.0})
    again.close()
    assert read_metrics(again.paths.metrics).curve("loss") == ([1, 2, 3], [1.0, 2.0, 30.0])
    assert read_outcome(tmp_path / "run") is None


def test_an_existing_folder_is_refused_and_left_alone(tmp_path):
    make(tmp_path).close()
    (tmp_path / "run" / "config.json").write_text('{"mine": 1}')
    with pytest.raises(RunError, match="exists already"):
        make(tmp_path)
    assert read_config(tmp_path / "run") == {"mine": 1}


def test_outcome_round_trip_and_damage(tmp_path):
    writer = make(tmp_path)
    assert read_outcome(tmp_path / "run") is None
    outcome = Outcome(status="diverged", reason="loss is NaN", last_step=12)
    writer.finish(outcome)
    assert read_outcome(tmp_path / "run") == outcome
    RunPaths(tmp_path / "run").outcome.write_text('{"status": "happy", "reason": "", "last_step": 1}')
    with pytest.raises(RunError, match="happy"):
        read_outcome(tmp_path / "run")
    RunPaths(tmp_path / "run").outcome.write_text('{"status": "fini')
    with pytest.raises(RunError, match="damaged"):
        read_outcome(tmp_path / "run")


def test_a_failed_atomic_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "outcome.json"
    write_json_atomically(path, {"a": 1})
    loop: list = []
    loop.append(loop)
    with pytest.raises(ValueError, match="Circular"):
        write_json_atomically(path, loop)
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]
