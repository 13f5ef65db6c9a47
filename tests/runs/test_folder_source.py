"""Run folders in every state, alone and below a folder; and how sources are spelled."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pytest

from otpilot.errors import RunError
from otpilot.runs.history import Curve, RunHistory
from otpilot.runs.record import Outcome
from otpilot.runs.sources.folder import Folder
from otpilot.runs.sources.run_folder import read_run_folder
from otpilot.runs.sources.secrets import Redacted
from otpilot.runs.sources.spelling import forms, parse_source
from otpilot.runs.sources.wandb_api import WandbProject, WandbQuery
from otpilot.runs.writer import RunWriter


def make(folder, *, outcome=None, age_s=0.0, steps=(1, 2)):
    with RunWriter.create(folder, config={"steps": 3}, environment={}) as writer:
        for step in steps:
            writer.log(step, "train", {"loss": float(step)})
        if outcome:
            writer.finish(outcome)
    os.utime(folder / "metrics.jsonl", (time.time() - age_s,) * 2)
    return folder


def read(text):
    source = parse_source(str(text))
    return {run.id: run for run in source.runs()}, source.problems


def test_a_resumed_run_of_several_files_is_one_run(tmp_path, monkeypatch):
    """Two files are no two repetitions, from which a noise could be known."""
    parts = {"a": ([1, 2, 3], [1.0, 2.0, 3.0]), "b": ([3, 4], [9.0, 4.0])}
    for name in parts:
        (tmp_path / name).mkdir()
        (tmp_path / name / "run-x.wandb").write_bytes(b"")

    def part(path):
        steps, values = parts[path.parent.name]
        curve = Curve(name="train/loss", steps=np.array(steps), values=np.array(values))
        ends = {"a": "killed", "b": "finished"}
        state = ends[path.parent.name]
        return RunHistory(id="x", name="x", source="w", state=state, curves={"train/loss": curve}, notes=("a note",))

    monkeypatch.setattr("otpilot.runs.sources.folder.read_wandb_file", part)
    (run,) = Folder(root=tmp_path).runs()
    assert run.state == "finished"
    assert run.curves["train/loss"].ordered().values.tolist() == [1.0, 2.0, 9.0, 4.0]
    assert run.notes == ("a note", "It was resumed: 2 files are read as one run.")


@pytest.mark.parametrize("status", ["finished", "stopped_early", "diverged", "crashed", "killed"])
def test_the_outcome_is_the_state(tmp_path, status):
    run = read_run_folder(make(tmp_path / "r", outcome=Outcome(status=status, reason="why", last_step=2)))
    assert (run.state, run.reason, run.config) == (status, "why", {"steps": 3})


@pytest.mark.parametrize(("age_s", "state"), [(0.0, "running"), (240.0, "running"), (400.0, "killed")])
def test_without_an_outcome_the_last_change_tells(tmp_path, age_s, state):
    assert read_run_folder(make(tmp_path / "r", age_s=age_s)).state == state


def test_a_run_that_logs_rarely_is_given_three_of_its_intervals(tmp_path):
    folder = make(tmp_path / "r")
    body = [{"step": i, "time": 1.7e9 + 600.0 * i, "kind": "train", "values": {"loss": 1.0}} for i in range(5)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in body))
    for age_s, state in ((1700.0, "running"), (1900.0, "killed")):
        os.utime(folder / "metrics.jsonl", (time.time() - age_s,) * 2)
        assert read_run_folder(folder).state == state


def test_alarms_are_events(tmp_path):
    with RunWriter.create(tmp_path / "r", config={}, environment={}) as writer:
        writer.log(7, "health", {"alarm": "mass_low", "message": "little mass", "mass": 1e-6})
    (event,) = read_run_folder(tmp_path / "r").events
    assert (event.step, event.kind, event.message, event.values) == (7, "mass_low", "little mass", {"mass": 1e-6})
    assert read_run_folder(tmp_path / "r").curves == {}


def test_text_among_the_values_is_told(tmp_path):
    with RunWriter.create(tmp_path / "r", config={}, environment={}) as writer:
        writer.log(1, "train", {"loss": 1.0, "phase": "warm"})
    assert read_run_folder(tmp_path / "r").notes == ("Values that are no numbers were left out: train/phase.",)


def test_damage_is_noted_and_the_rest_read(tmp_path):
    folder = make(tmp_path / "r", outcome=Outcome(status="finished", reason="", last_step=2))
    (folder / "config.json").write_text('{"torn')
    (folder / "outcome.json").write_text("[]")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "ti')
    run = read_run_folder(folder)
    assert run.curves["train/loss"].values.tolist() == [1.0, 2.0]
    assert len(run.notes) == 3
    assert "1 of 3 lines of metrics.jsonl" in run.notes[0]


def test_one_metric_under_two_names_is_one_curve(tmp_path):
    with RunWriter.create(tmp_path / "r", config={}, environment={}) as writer:
        for step in range(3):
            writer.log(
                step,
                "train",
                {"ot_loss": float(step), "ot_ot_loss": float(step), "ot_pi_sum": 1.0, "ot_ot_pi_sum": 2.0},
            )
    run = read_run_folder(tmp_path / "r")
    assert set(run.curves) == {"train/ot_loss", "train/ot_pi_sum"}
    assert run.curves["train/ot_pi_sum"].values.tolist() == [1.0] * 3
    assert run.notes == (
        "train/ot_pi_sum and train/ot_ot_pi_sum are one metric with different rows; train/ot_pi_sum is used.",
    )


def test_runs_are_found_however_deep_and_known_by_their_path(tmp_path):
    make(tmp_path / "campaign" / "trials" / "a1")
    make(tmp_path / "campaign" / "trials" / "a2")
    make(tmp_path / "seeds" / "1" / "run")
    make(tmp_path / "seeds" / "2" / "run")
    pretrained = tmp_path / "campaign" / "trials" / "a1" / "checkpoints" / "100" / "pretrained_model"
    pretrained.mkdir(parents=True)
    (pretrained / "config.json").write_text("{}")
    (tmp_path / "loop").symlink_to(tmp_path)
    runs, problems = read(tmp_path)
    assert list(runs) == ["campaign/trials/a1", "campaign/trials/a2", "seeds/1/run", "seeds/2/run"]
    assert problems == []
    assert list(read(tmp_path / "seeds" / "1" / "run")[0]) == ["run"]
    assert list(read(tmp_path / "seeds" / "1" / "run" / "metrics.jsonl")[0]) == ["run"]


def test_one_run_is_read_at_a_time(tmp_path, monkeypatch):
    for name in "abc":
        make(tmp_path / name)
    read_folders = []
    monkeypatch.setattr(
        "otpilot.runs.sources.folder.read_run_folder",
        lambda path, **options: (read_folders.append(path.name), read_run_folder(path, **options))[1],
    )
    runs = parse_source(str(tmp_path)).runs()
    assert read_folders == []
    next(runs)
    assert read_folders == ["a"]


def test_a_folder_without_runs_is_a_problem(tmp_path):
    runs, problems = read(tmp_path)
    assert runs == {}
    assert "holds no run" in problems[0]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("wandb:lab/ot", WandbQuery(entity="lab", project="ot")),
        ("wandb:lab/ot/x1", WandbQuery(entity="lab", project="ot", ids=("x1",))),
        (
            "wandb:lab/ot?group=g%20h&tags=a,b&ids=x,y",
            WandbQuery(entity="lab", project="ot", group="g h", tags=("a", "b"), ids=("x", "y")),
        ),
        ("https://wandb.ai/lab/ot/runs/x1?nw=1", WandbQuery(entity="lab", project="ot", ids=("x1",))),
        ("https://wandb.ai/lab/ot", WandbQuery(entity="lab", project="ot")),
    ],
)
def test_spellings_of_wandb(text, query):
    source = parse_source(text, cache=Path("c"))
    assert isinstance(source, Redacted)
    assert isinstance(source.inner, WandbProject)
    assert source.inner.query == query


@pytest.mark.parametrize(
    "text", ["wandb:", "wandb:lab", "wandb:lab/", "wandb:a/b/c/d", "wandb:lab/ot?", "wandb:lab/ot?x=1"]
)
def test_a_wandb_source_that_is_none(text):
    if text == "wandb:lab/ot?":
        parse_source(text)
        return
    with pytest.raises(RunError, match="allowed:"):
        parse_source(text)


def test_an_unknown_spelling_names_the_forms_and_the_closest(tmp_path):
    (tmp_path / "runs").mkdir()
    with pytest.raises(RunError) as error:
        parse_source(str(tmp_path / "rnus"))
    assert "Did you mean 'runs'?" in str(error.value)
    assert all(form in str(error.value) for form in forms())
    with pytest.raises(RunError, match="Did you mean 'wandb'"):
        parse_source("wanbd:lab/ot")
    (tmp_path / "x.cvs").write_text("")
    with pytest.raises(RunError, match=r"Did you mean '\.csv'"):
        parse_source(str(tmp_path / "x.cvs"))


def test_a_folder_shares_out_its_paths_without_reading(tmp_path):
    make(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "run-x.wandb").write_bytes(b"")
    assert [path.name for path in Folder(root=tmp_path).paths()] == ["a", "run-x.wandb"]
