import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otpilot.runs import lines
from otpilot.runs.lines import read_table
from otpilot.runs.record import MetricRecord


def line(step, values, kind="train", time=1.5):
    return MetricRecord(step=step, time=time, kind=kind, values=values).to_line()


def read(tmp_path, *texts, end="\n"):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes("\n".join(texts).encode() + end.encode())
    return read_table(path)


def column(table, name, kind="train"):
    found = table.columns[kind, name]
    return found.steps.tolist(), found.values.tolist()


NUMBERS = st.one_of(st.floats(), st.integers(-(2**63), 2**64), st.booleans())
OTHER = st.one_of(st.none(), st.text(max_size=3), st.lists(st.integers(), max_size=2), st.just({"a": 1}))
NAMES = st.sampled_from(["loss", "ot/π", "a", "b", 'q"uote', "alarm?"])
ROWS = st.tuples(
    st.integers(-5, 10**6),
    st.sampled_from(["train", "eval", "sim"]),
    st.dictionaries(NAMES, st.one_of(NUMBERS, NUMBERS, NUMBERS, OTHER), max_size=5),
)
DAMAGE = st.sampled_from(
    ["", "{", '{"step":1}', "\ufffd\x00", '{"step":1,"time":1,"kind":"train","values":[]}', "null"]
)


def reference(texts):
    """The plain reading, line by line, that the fast one must equal."""
    columns, skipped = {}, 0
    for text in texts:
        try:
            record = MetricRecord.from_line(text)
            values = dict(record.values.items())
        except (ValueError, AttributeError):
            skipped += bool(text.strip())
            continue
        for name, value in values.items():
            if isinstance(value, bool | int | float):
                steps, found = columns.setdefault((record.kind, name), ([], []))
                steps.append(record.step)
                found.append(float(value))
    return columns, skipped


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(ROWS, ROWS, ROWS, DAMAGE), max_size=12), st.sampled_from([1 << 20, 64]))
def test_the_fast_reading_equals_the_plain_one(tmp_path_factory, rows, chunk_bytes):
    texts = [row if isinstance(row, str) else line(row[0], row[2], kind=row[1]) for row in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "CHUNK_BYTES", chunk_bytes)
        table = read(tmp_path_factory.mktemp("table"), *texts)
    expected, skipped = reference(texts)
    assert table.skipped == skipped
    assert set(table.columns) == set(expected)
    for key, (steps, values) in expected.items():
        assert table.columns[key].steps.tolist() == steps
        np.testing.assert_array_equal(table.columns[key].values, values)


def test_non_finite_values_and_missing_ones_stay_apart(tmp_path):
    table = read(
        tmp_path, line(1, {"a": math.nan, "b": 1}), line(2, {"b": -math.inf}), line(3, {"a": math.inf, "b": 1e308})
    )
    steps, values = column(table, "a")
    assert steps == [1, 3]
    assert math.isnan(values[0])
    assert values[1] == math.inf
    assert column(table, "b") == ([1, 2, 3], [1.0, -math.inf, 1e308])


def test_bare_nan_as_python_writes_it_is_read(tmp_path):
    table = read(tmp_path, json.dumps({"step": 7, "time": 1, "kind": "train", "values": {"a": math.nan, "b": 2}}))
    assert table.skipped == 0
    assert math.isnan(column(table, "a")[1][0])
    assert column(table, "b") == ([7], [2.0])


def test_unsorted_and_repeated_steps_stay_as_logged(tmp_path):
    table = read(tmp_path, *(line(step, {"a": index}) for index, step in enumerate([5, 1, 5, 5, 2])))
    assert column(table, "a") == ([5, 1, 5, 5, 2], [0.0, 1.0, 2.0, 3.0, 4.0])


def test_a_torn_last_line_and_garbage_in_between_are_counted(tmp_path):
    rows = [line(step, {"a": step}) for step in range(100)]
    rows[40] = rows[40][:20] + "\udcff".encode("utf-8", "surrogateescape").decode("latin1") + rows[40][25:]
    table = read(tmp_path, *rows, line(100, {"a": 1.0})[:-9], end="")
    assert table.skipped == 2
    assert table.rows == 99
    assert column(table, "a")[0] == [step for step in range(100) if step != 40]


def test_ten_thousand_names_a_line(tmp_path):
    values = {f"metric/{index}": index / 7 for index in range(10_000)}
    table = read(tmp_path, *(line(step, values) for step in range(20)))
    assert len(table.columns) == 10_000
    assert column(table, "metric/9999") == (list(range(20)), [9999 / 7] * 20)


def test_new_names_on_every_line_stay_cheap(tmp_path):
    table = read(tmp_path, *(line(step, {f"{step}/{i}": float(i) for i in range(20)}) for step in range(400)))
    assert len(table.columns) == 8_000
    assert column(table, "399/19") == ([399], [19.0])


@pytest.mark.parametrize("value", ["text", [1, 2], {"a": 1}, 10**400])
def test_what_is_no_number_leaves_the_rest_of_its_line(tmp_path, value):
    table = read(tmp_path, line(1, {"a": 1.0, "odd": value}), line(2, {"a": 2.0}))
    assert column(table, "a") == ([1, 2], [1.0, 2.0])
    assert ("train", "odd") not in table.columns
    assert table.skipped == 0


def test_an_alarm_is_a_text_line_and_no_curve(tmp_path):
    table = read(tmp_path, line(1, {"mass": 0.5}, kind="health"), line(2, {"alarm": "low", "mass": 0.1}, kind="health"))
    assert column(table, "mass", "health") == ([1], [0.5])
    assert [(text.step, text.values["alarm"]) for text in table.texts] == [(2, "low")]


@pytest.mark.parametrize("step", ["1e30", str(2**63), '"x"', "NaN", "null"])
def test_a_step_that_is_none_costs_its_line_alone(tmp_path, step):
    odd = f'{{"step":{step},"time":1.0,"kind":"train","values":{{"a":1.0}}}}'
    table = read(tmp_path, line(1, {"a": 1.0}), odd, line(2, {"a": 2.0}))
    assert column(table, "a") == ([1, 2], [1.0, 2.0])
    assert table.skipped == 1


def test_deep_nesting_is_one_garbled_line(tmp_path):
    table = read(tmp_path, line(1, {"a": 1.0}), '{"values":' + "[" * 200_000, line(2, {"a": 2.0}))
    assert column(table, "a") == ([1, 2], [1.0, 2.0])
    assert table.skipped == 1


def test_columns_without_gaps_share_their_steps(tmp_path):
    table = read(tmp_path, *(line(step, {"a": 1.0, "b": 2.0}) for step in range(10)))
    assert table.columns["train", "a"].steps is table.columns["train", "b"].steps


def test_text_in_one_line_does_not_send_the_others_the_slow_way(tmp_path, monkeypatch):
    slow = []
    add = lines._add_loose
    monkeypatch.setattr(lines, "_add_loose", lambda text, collector: (slow.append(text), add(text, collector))[1])
    rows = [line(step, {"a": 1.0}) for step in range(500)]
    rows[250] = line(250, {"a": 1.0, "note": "text"})
    table = read(tmp_path, *rows, line(500, {"alarm": "low"}, kind="health"))
    assert len(slow) == 2
    assert len(column(table, "a")[0]) == 500
