"""CSV, Trackio's file and the seeds' summaries, beyond what all sources share."""

import gzip
import json
import math
import sqlite3
from pathlib import Path

import pytest

from otpilot.runs.sources.spelling import parse_source

DATA = Path(__file__).parents[1] / "data"


def read(path):
    source = parse_source(str(path))
    return {run.name: run for run in source.runs()}, source.problems


def csv(tmp_path, text, name="table.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_seeds_summary_is_read_to_the_last_digit():
    path = DATA / "summaries" / "compare_runs_3.json"
    runs, problems = read(path)
    raw = json.loads(path.read_text())
    assert list(runs) == list(raw)
    assert problems == []
    figures = runs["r1"].summary["train/loss"]
    assert figures == {**raw["r1"]["summary"]["train/loss"], "steps": 25}
    assert runs["r1"].summary["train/ot_pi_sum"]["last"] == raw["r1"]["summary"]["train/ot_ot_pi_sum"]["last"]
    assert set(runs["r1"].summary) >= {"train/ot_cost/observation.state", "eval/offline_eval/avg_l1", "train/ot_loss"}
    assert runs["r1"].curves == {}


@pytest.mark.parametrize("body", ["[]", '{"a": 1}', "{", "[" * 100_000])
def test_a_json_that_is_no_summary_is_a_problem(tmp_path, body):
    runs, problems = read(csv(tmp_path, body, "x.json"))
    assert runs == {}
    assert len(problems) == 1


def test_a_summary_with_a_strange_run_keeps_the_others(tmp_path):
    body = {
        "good": {"summary": {"train/loss": {"first": math.nan, "note": "x"}, "odd": 3}},
        "bad": 7,
        "none": {"summary": {}},
    }
    runs, problems = read(csv(tmp_path, json.dumps(body), "x.json"))
    assert set(runs) == {"good", "none"}
    assert math.isnan(runs["good"].summary["train/loss"]["first"])
    assert len(problems) == 1


def test_a_file_by_trackio_itself(tmp_path):
    path = tmp_path / "ot.db"
    path.write_bytes(gzip.decompress((DATA / "trackio" / "ot.db.gz").read_bytes()))
    runs, problems = read(path)
    assert problems == []
    run = runs["<script>alert(1)</script>"]
    assert run.curves["train/loss"].steps.tolist() == [50, 100, 150, 200, 250, 300]
    values = run.curves["train/loss"].values.tolist()
    assert (values[0], math.isnan(values[1]), values[2:]) == (15.125, True, [math.inf, -math.inf, 1e308, 0.5])
    assert run.curves["train/ot_pi_sum"].values.tolist() == [i / 8 for i in range(6)]
    assert run.curves["eval/offline_eval/avg_loss"].steps.tolist() == [100, 200, 300]
    assert run.config == {"policy": {"type": "act"}, "steps": 300}
    assert run.group == "pairs"
    assert [(event.kind, event.message) for event in run.events] == [
        ("warn", "mass low: The plan carries little mass.")
    ]
    assert runs["one"].curves["train/loss"].values.tolist() == [0.5]


def test_a_file_by_an_older_trackio_without_run_ids(tmp_path):
    path = tmp_path / "old.db"
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE metrics (id INTEGER PRIMARY KEY, timestamp, run_name, step, metrics)")
        rows = [
            ("2025-12-24T10:11:12", "a", 1, '{"loss": 0.5}'),
            ("?", "a", 2, "{torn"),
            ("2025", "b", 3, '{"loss": "NaN"}'),
        ]
        base.executemany("INSERT INTO metrics (timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?)", rows)
    base.close()
    runs, _ = read(path)
    assert runs["a"].curves["train/loss"].steps.tolist() == [1]
    assert runs["a"].notes == ("1 row is garbled and was left out.",)
    assert math.isnan(runs["b"].curves["train/loss"].values[0])


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00" + b"\xff" * 4000, b"text"])
def test_a_damaged_or_other_database_is_a_problem(tmp_path, content):
    path = tmp_path / "x.db"
    path.write_bytes(content)
    runs, problems = read(path)
    assert runs == {}
    assert len(problems) == 1


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_the_delimiter_is_found(tmp_path, delimiter):
    text = "step,loss,grdn\n1,0.5,2\n2,,3\n".replace(",", delimiter)
    runs, _ = read(csv(tmp_path, text))
    assert runs["table"].curves["train/loss"].steps.tolist() == [1]
    assert runs["table"].curves["train/grad_norm"].values.tolist() == [2.0, 3.0]


def test_a_wide_table_of_several_runs(tmp_path):
    runs, _ = read(csv(tmp_path, "run,step,loss\na,1,0.5\nb,1,0.7\na,2,0.4\n"))
    assert runs["a"].curves["train/loss"].values.tolist() == [0.5, 0.4]
    assert runs["b"].curves["train/loss"].values.tolist() == [0.7]


def test_two_runs_of_one_display_name_stay_two(tmp_path):
    text = '"Step","base - eval/avg_l1","ours - eval/avg_l1","ours - eval/avg_l1"\n1,0.3,0.2,0.9\n2,0.3,0.2,0.9\n'
    runs, _ = read(csv(tmp_path, text))
    found = {name: next(iter(run.curves.values())).values.tolist() for name, run in runs.items()}
    assert found == {"base": [0.3, 0.3], "ours": [0.2, 0.2], "ours#2": [0.9, 0.9]}


def test_a_name_with_the_separator_in_an_export_of_wandb(tmp_path):
    text = '"Step","act - w8 - train/loss","act - w8 - train/loss__MIN","act - w8 - train/loss__MAX"\n50,0.5,0.5,0.5\n'
    runs, _ = read(csv(tmp_path, text))
    assert runs["act - w8"].curves["train/loss"].values.tolist() == [0.5]


def test_what_is_no_number_is_counted(tmp_path):
    runs, _ = read(csv(tmp_path, "step,loss\n1,abc\n2,0.5\nx,0.5\n1.5,1\ninf,1\n3\n4,-Infinity\n"))
    assert runs["table"].curves["train/loss"].steps.tolist() == [2, 4]
    assert runs["table"].curves["train/loss"].values.tolist() == [0.5, -math.inf]
    assert runs["table"].notes == ("4 cells or rows are no numbers, or have no step, and were left out.",)


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "loss\n1\n"])
def test_a_table_without_a_step_is_a_problem(tmp_path, text):
    runs, problems = read(csv(tmp_path, text))
    assert runs == {}
    assert "no column for the step" in problems[0]


def test_a_table_with_a_thousand_columns_and_repeated_names(tmp_path):
    names = [f"m{i}" for i in range(1000)]
    runs, _ = read(csv(tmp_path, ",".join(["step", *names]) + "\n" + ",".join(["7", *["1e308"] * 1000]) + "\n"))
    assert len(runs["table"].curves) == 1000


def test_a_torn_last_row_is_left_out_a_whole_one_without_its_newline_is_not(tmp_path):
    runs, _ = read(csv(tmp_path, "step,loss,lr\n1,0.5,0.1\n2,0.2"))
    assert runs["table"].curves["train/loss"].values.tolist() == [0.5]
    assert len(runs["table"].notes) == 1
    runs, _ = read(csv(tmp_path, "step,loss\n1,0.5\n2,0.25"))
    assert runs["table"].curves["train/loss"].values.tolist() == [0.5, 0.25]
