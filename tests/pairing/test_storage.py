"""Tables on disk: round trips, and files that are damaged, foreign or of another time."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otpilot.errors import MissingFileError, PairingError
from otpilot.pairing.storage import load_table, save_table
from otpilot.pairing.table import EpisodeNaming


def test_round_trip_keeps_everything(table, tmp_path, assert_same_table):
    table = dataclasses.replace(
        table,
        source=dataclasses.replace(table.source, keys=("observation.state", "action")),
        target_naming=EpisodeNaming(prefix="demo_", digits=1, base=1),
    )
    save_table(table, tmp_path / "pairs.npz")
    assert_same_table(load_table(tmp_path / "pairs.npz"), table)
    assert [file.name for file in tmp_path.iterdir()] == ["pairs.npz"]


@st.composite
def ragged(draw):
    """Any matches: gaps, jumps back, repeats, target episodes without pairs."""
    source_lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    target_lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=3))
    pairs, matches = [], {}
    for target, length in enumerate(target_lengths):
        chosen = draw(st.lists(st.sampled_from(range(len(source_lengths))), unique=True))
        pairs.append([(source, draw(st.floats(0, 9))) for source in chosen])
        for source in chosen:
            frames = st.lists(st.integers(0, source_lengths[source] - 1), max_size=3)
            pairing = {frame: draw(frames) for frame in range(length)}
            if not any(pairing.values()):
                pairing[draw(st.integers(0, length - 1))] = [0]
            matches[target, source] = pairing
    if not matches:
        pairs[0], matches[0, 0] = [(0, 1.0)], {0: [0]}
    return source_lengths, target_lengths, pairs, matches


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ragged())
def test_any_matches_round_trip(make_table, assert_same_table, tmp_path, content):
    table = make_table(*content)
    save_table(table, tmp_path / "any.npz")
    assert_same_table(load_table(tmp_path / "any.npz"), table)


def test_saving_over_a_table_replaces_it(table, make_table, tmp_path, assert_same_table):
    path = tmp_path / "pairs.npz"
    save_table(make_table([3], [2], [[(0, 1.0)]]), path)
    save_table(table, path)
    assert_same_table(load_table(path), table)


def test_a_failed_save_leaves_the_old_table_and_no_litter(table, tmp_path, monkeypatch, assert_same_table):
    path = tmp_path / "pairs.npz"
    save_table(table, path)

    def full(file, **arrays):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="no space left"):
        save_table(table, path)
    assert_same_table(load_table(path), table)
    assert [file.name for file in tmp_path.iterdir()] == ["pairs.npz"]


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.npz is not there"):
        load_table(tmp_path / "none.npz")


def test_every_truncation_is_noticed(table, tmp_path):
    save_table(table, tmp_path / "pairs.npz")
    data = (tmp_path / "pairs.npz").read_bytes()
    for size in [*range(0, len(data), 97), len(data) - 1]:
        (tmp_path / "cut.npz").write_bytes(data[:size])
        with pytest.raises(PairingError, match=r"cut\.npz is no pair table, or damaged or truncated"):
            load_table(tmp_path / "cut.npz")


def test_a_flipped_bit_in_the_matches_is_noticed(table, tmp_path):
    save_table(table, tmp_path / "pairs.npz")
    data = bytearray((tmp_path / "pairs.npz").read_bytes())
    with np.load(tmp_path / "pairs.npz") as file:
        steps = file["row_steps"].tobytes()
    at = bytes(data).find(steps, bytes(data).find(b"row_steps.npy"))
    data[at] ^= 1
    (tmp_path / "pairs.npz").write_bytes(data)
    with pytest.raises(PairingError, match=r"pairs\.npz is no pair table, or damaged"):
        load_table(tmp_path / "pairs.npz")


@pytest.mark.parametrize("content", [b"", b"hello", b'{"episode_0001": []}', b"PK\x03\x04nonsense", b"\x93NUMPY"])
def test_other_files_are_no_table(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(PairingError, match=r"x\.npz is no pair table"):
        load_table(tmp_path / "x.npz")


def test_npy_and_foreign_npz_are_no_table(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros(3))
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    with pytest.raises(PairingError, match=r"x\.npy is no pair table"):
        load_table(tmp_path / "x.npy")
    with pytest.raises(PairingError, match=r"x\.npz: this is an npz file, but no pair table: it has no 'meta'"):
        load_table(tmp_path / "x.npz")


def rewrite(path, **changes):
    """Write the file anew with some arrays changed by functions, or left out (None)."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    for name, change in changes.items():
        if change is None:
            del arrays[name]
        else:
            arrays[name] = change(arrays[name].copy())
    np.savez(path, **arrays)


def edit_meta(**values):
    def change(array):
        return np.frombuffer(json.dumps({**json.loads(array.tobytes()), **values}).encode(), np.uint8)

    return change


def put(index, value):
    def change(array):
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"meta": edit_meta(format_version=2)}, "format_version is 2; this otpilot reads 1"),
        ({"meta": edit_meta(format="other")}, "its format is 'other'"),
        ({"meta": lambda array: array[:-5]}, "the table is damaged"),
        ({"meta": edit_meta(matches=10**6)}, "bytes of steps for 1000000 matches"),
        ({"meta": edit_meta(source={"total_frames": 35})}, "the table is damaged"),
        ({"distance": None}, "the table is damaged .*distance"),
        ({"distance": put(2, np.nan)}, "target episode 1, source episode 2: distance is nan"),
        ({"distance": lambda array: array[:-1]}, "(4 distances for 5 pairs|the table is damaged)"),
        ({"odd_source": put(0, 30)}, "target episode 0, source episode 0: source frame"),
        ({"odd_at": put(0, 999)}, "odd_at names match 999"),
        ({"row_steps": lambda array: array[:-1]}, "bytes of steps"),
        ({"row_steps": put(0, 0)}, "row_ptr does not divide"),
        ({"target_lengths": put(0, 9)}, "the target fingerprint contradicts"),
        ({"pair_source": lambda array: array[:0], "distance": lambda array: array[:0]}, "the table is empty"),
    ],
)
def test_damaged_content_names_the_file_and_the_entry(table, tmp_path, changes, message):
    path = tmp_path / "pairs.npz"
    save_table(table, path)
    rewrite(path, **changes)
    with pytest.raises(PairingError, match=rf"pairs\.npz: .*{message}"):
        load_table(path)
