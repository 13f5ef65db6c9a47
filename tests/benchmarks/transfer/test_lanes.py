import os
import signal
import threading
import time

import pytest

from benchmarks.transfer import suites
from benchmarks.transfer.cells import Cell
from benchmarks.transfer.lanes import open_cells, run_cells
from benchmarks.transfer.results import read_results
from benchmarks.transfer.training import Workplace
from tests.benchmarks.transfer.made import STAND_IN, lines


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    monkeypatch.setitem(suites.SUITES, "stand_in", STAND_IN)
    place = Workplace(root=tmp_path / "work", episodes=4)
    data = place.data("stand_in")
    data.mkdir(parents=True)
    (data / "n20_dtw.ready").touch()
    (place.root / "mode").write_text("fine")
    return place


def cells(*seeds, method="ot"):
    return [Cell.parse(f"stand_in/act/{method}/10/{seed}") for seed in seeds]


def train(chosen, workplace, tmp_path, jobs=2):
    said = []
    return run_cells(chosen, workplace, jobs=jobs, say=said.append, results=tmp_path / "results"), said


def test_cells_are_trained_once_and_written_down(workplace, tmp_path):
    chosen = [*cells(1, 2), Cell.parse("stand_in/act/ot+share=0.1/10/1")]  # the third is the first
    records, said = train(chosen, workplace, tmp_path)
    assert sorted(record.seed for record in records) == [1, 2]
    assert records[0].success == {"source": (4, 4), "target_id": (2, 4), "target_ood": (1, 4)}
    assert records[0].figures == {"mass": 0.6, "bc_loss": 0.1}
    assert records[0].commit == "abc"
    assert read_results(tmp_path / "results") == records
    assert str(tmp_path) not in str(lines(tmp_path / "results" / "stand_in.jsonl"))
    assert "minutes left" in said[-1]
    assert train(chosen, workplace, tmp_path)[0] == []
    assert open_cells(cells(3), workplace, results=tmp_path / "results") == cells(3)


def test_a_failure_is_recorded_with_its_state_and_tried_again(workplace, tmp_path):
    (workplace.root / "mode").write_text("diverge")
    records, _ = train(cells(1, 2), workplace, tmp_path)
    assert {record.seed: record.state for record in records} == {1: "diverged", 2: "finished"}
    (workplace.root / "mode").write_text("fine")
    records, _ = train(cells(1, 2), workplace, tmp_path)
    assert [(record.seed, record.state) for record in records] == [(1, "finished")]


def test_a_crash_says_its_last_line_without_paths(workplace, tmp_path):
    (workplace.root / "mode").write_text("die")
    (record,), _ = train(cells(1), workplace, tmp_path)
    assert record.state == "crashed"
    assert record.reason == "Error: nothing works in RUN"


def test_an_interrupted_training_goes_on_from_its_checkpoint(workplace, tmp_path):
    (workplace.root / "mode").write_text("wait")

    def interrupt():
        while not (workplace.root / "waiting").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        train(cells(1), workplace, tmp_path, jobs=1)
    sender.join()
    assert not (tmp_path / "results").exists()
    (record,), said = train(cells(1), workplace, tmp_path)
    assert (record.state, record.resumed_at) == ("finished", 7)
    assert "goes on from step 7" in said[1]
