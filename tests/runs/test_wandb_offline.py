"""Damage to files that wandb itself wrote: what is intact comes back, and what is lost is told."""

import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otpilot.runs.sources.spelling import parse_source
from otpilot.runs.sources.wandb_log import BLOCK, FILE_HEADER, Damage, read_records
from otpilot.runs.sources.wandb_offline import read_wandb_file
from tests.runs import formats
from tests.runs.formats import LogicalRun

LONG = LogicalRun(
    name="long",
    curves={
        "train/loss": {step: 1.0 / (step + 1) for step in range(0, 8000, 10)},
        "train/ot_pi_sum": {step: step / 7 for step in range(0, 8000, 10)},
        "eval/offline_eval/avg_loss": {step: step / 3 for step in range(0, 8000, 200)},
    },
    config={"policy": {"type": "act"}},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a wandb/ folder as wandb wrote it: a long run, one that ended with 1, one that was interrupted."""
    return formats.write_wandb_offline(
        tmp_path_factory.mktemp("wandb"), [LONG, formats.ONE, formats.EMPTY], exit_codes=[0, 1, 255]
    )


@pytest.fixture(scope="module")
def written(folder):
    """Return the bytes of a `.wandb` file of many blocks."""
    (path,) = Path(folder).glob("offline-run-*/run-id0.wandb")
    data = path.read_bytes()
    assert len(data) > 6 * BLOCK
    return data


@pytest.fixture(scope="module")
def places(written):
    """Return where each record begins and ends, read from the undamaged file."""
    ends, position = [], len(FILE_HEADER)
    damage = Damage()
    assert len(list(read_records(written, damage))) > 2000
    assert not damage.places
    while position + 7 <= len(written):
        if BLOCK - position % BLOCK < 7:
            position += BLOCK - position % BLOCK
            continue
        length, kind = int.from_bytes(written[position + 4 : position + 6], "little"), written[position + 6]
        ends.append((position, position + 7 + length, kind))
        position += 7 + length
    return ends


def read(tmp_path, data):
    path = tmp_path / "run-id0.wandb"
    path.write_bytes(data)
    return read_wandb_file(path)


def steps(run, name="train/loss"):
    return run.curves[name].steps.tolist() if name in run.curves else []


def test_the_undamaged_file_is_read_whole(tmp_path, written):
    run = read(tmp_path, written)
    assert run.notes == ()
    assert (run.id, run.name, run.state) == ("id0", "long", "finished")
    assert run.config == LONG.config
    for name, curve in LONG.curves.items():
        assert steps(run, name) == list(curve)
        np.testing.assert_array_equal(run.curves[name].values, list(curve.values()))


def test_truncated_anywhere_every_row_before_the_cut_comes_back(tmp_path, written, places):
    whole = [end for _, end, kind in places if kind in {1, 4}]
    rows = 0
    cuts = [*random.Random(0).sample(range(200, len(written)), 25), BLOCK, BLOCK + 3, 2 * BLOCK - 4, whole[900]]
    for cut in cuts:
        run = read(tmp_path, written[:cut])
        damage = Damage()
        assert len(list(read_records(written[:cut], damage))) == sum(end <= cut for end in whole)
        found = steps(run)
        assert found == list(LONG.curves["train/loss"])[: len(found)]
        _, end, kind = max(place for place in places if place[1] <= cut)
        clean = kind in {1, 4} and not written[end:cut].strip(b"\0")
        assert any("ends within a record" in note for note in run.notes) != clean
        rows = max(rows, len(found))
    assert rows > 600


@pytest.mark.parametrize("cut", [0, 1, 6, 7, 13, 20])
def test_a_file_that_has_barely_begun_is_an_empty_run(tmp_path, written, cut):
    run = read(tmp_path, written[:cut])
    assert run.curves == {}
    assert run.notes
    assert run.id == "id0"  # from the file's name


@settings(max_examples=30, deadline=None)
@given(flips=st.lists(st.tuples(st.integers(0, 10**7), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes_cost_the_records_they_touch_and_no_other(tmp_path_factory, written, places, flips):
    damaged, where = bytearray(written), []
    for position, bits in flips:
        where.append(len(FILE_HEADER) + position % (len(written) - len(FILE_HEADER)))
        damaged[where[-1]] ^= bits
    intact = set(read_records(written, Damage()))
    damage = Damage()
    found = list(read_records(bytes(damaged), damage))
    where = [position for position in where if damaged[position] != written[position]]  # two flips may undo each other
    touched = sum(any(start <= position < end for position in where) for start, end, _ in places)
    assert set(found) <= intact  # nothing invented
    assert len(intact) - len(found) <= touched  # nothing lost beyond what was touched
    if touched:
        assert damage.places or damage.torn_at is not None
        run = read(tmp_path_factory.mktemp("flipped"), bytes(damaged))
        assert any("damaged" in note or "ends within" in note for note in run.notes)


def test_a_damaged_stretch_is_told_in_bytes_and_records(tmp_path, written, places):
    start, end, _ = places[1000]
    damaged = (
        written[: start + 9] + bytes(byte ^ 0xFF for byte in written[start + 9 : start + 12]) + written[start + 12 :]
    )
    run = read(tmp_path, damaged)
    assert f"{end - start} bytes in 1 place are damaged (at {start})." in run.notes
    assert any(note.startswith("1 of ") and "records is lost" in note for note in run.notes)
    assert run.state == "finished"


def test_a_whole_block_of_garbage_costs_that_block(tmp_path, written):
    garbage = random.Random(1).randbytes(BLOCK)
    run = read(tmp_path, written[: 2 * BLOCK] + garbage + written[3 * BLOCK :])
    found = steps(run)
    whole = list(LONG.curves["train/loss"])
    assert len(whole) * (1 - 1.5 * BLOCK / len(written)) < len(found) < len(whole)
    assert found[0] == 0
    assert found[-1] == whole[-1]
    assert any("damaged" in note for note in run.notes)


def test_a_damaged_header_is_told_and_the_rest_read(tmp_path, written):
    run = read(tmp_path, b"X" + written[1:])
    assert steps(run) == list(LONG.curves["train/loss"])
    assert "header" in run.notes[0]


def test_something_else_with_that_suffix_is_a_problem_not_a_run(tmp_path):
    (tmp_path / "x.wandb").write_bytes(b"not a log of W&B" * 1000)
    source = parse_source(str(tmp_path / "x.wandb"))
    assert list(source.runs()) == []
    assert "holds no record of W&B" in source.problems[0]


def test_without_an_exit_record_the_last_change_tells(tmp_path, written):
    run = read(tmp_path, written[: len(written) // 2])
    assert run.state == "running"
    path = tmp_path / "run-id0.wandb"
    os.utime(path, (time.time() - 7200, time.time() - 7200))
    run = read_wandb_file(path)
    assert run.state == "killed"
    assert "2 hours" in run.reason


def test_the_exit_code_is_the_state(folder):
    runs = {run.name: run for run in parse_source(folder).runs()}
    assert {name: (run.state, run.reason) for name, run in runs.items()} == {
        "long": ("finished", ""),
        "one": ("crashed", "exit code 1"),
        "empty": ("killed", "exit code 255"),
    }
