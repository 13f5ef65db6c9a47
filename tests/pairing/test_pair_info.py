"""The seeds' pair_info JSON: their example, round trips, and every way it can be wrong."""

import gzip
import json

import numpy as np
import pytest

from otpilot.errors import MissingFileError, PairingError
from otpilot.pairing.fingerprint import DatasetFingerprint
from otpilot.pairing.pair_info import export_pair_info, import_pair_info

SOURCE_LENGTHS, TARGET_LENGTHS = [9, 20, 12], [10, 6]
# The example of the issue, with a second target episode and a second source episode.
SEEDS_EXAMPLE = {
    "episode_0001": [
        {"demo_name": "episode_0001", "raw_dtw_dist": 1.23, "pairing": {"0": [0, 2]}},
        {"demo_name": "episode_0003", "raw_dtw_dist": 0.0012, "pairing": {"0": [0], "2": [4, 6], "9": [11]}},
    ],
    "episode_0002": [{"demo_name": "episode_0002", "raw_dtw_dist": 5.7, "pairing": {"0": [3, 1], "5": [19]}}],
}


def read(path, **options):
    return import_pair_info(
        path,
        source=DatasetFingerprint.from_lengths(SOURCE_LENGTHS, fps=30.0),
        target=DatasetFingerprint.from_lengths(TARGET_LENGTHS, fps=30.0),
        source_lengths=SOURCE_LENGTHS,
        target_lengths=TARGET_LENGTHS,
        **{"base_index_src": 1, "base_index_tgt": 1, **options},
    )


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_the_seeds_example_is_understood(tmp_path):
    table = read(write(tmp_path / "p.json", SEEDS_EXAMPLE))
    assert table.pair_source.tolist() == [0, 2, 1]
    assert table.pair_target.tolist() == [0, 0, 1]
    assert table.distance.tolist() == [1.23, 0.0012, 5.7]
    assert table.matches(0, 0).tolist() == [0, 2]
    assert table.matches(0, 1).tolist() == []
    assert table.matches(1, 2).tolist() == [4, 6]
    assert table.matches(1, 9).tolist() == [11]
    assert table.matches(2, 0).tolist() == [3, 1]
    assert table.ranked(0).tolist() == [1, 0]


@pytest.mark.parametrize("name", ["again.json", "again.json.gz"])
def test_the_seeds_example_round_trips(tmp_path, name):
    export_pair_info(read(write(tmp_path / "p.json", SEEDS_EXAMPLE)), tmp_path / name)
    data = (tmp_path / name).read_bytes()
    content = json.loads(gzip.decompress(data) if name.endswith("gz") else data)
    assert content == SEEDS_EXAMPLE
    assert sorted(file.name for file in tmp_path.iterdir()) == [name, "p.json"]


@pytest.mark.parametrize("name", ["again.json", "again.json.gz"])
def test_tables_round_trip(table, tmp_path, name, assert_same_table):
    export_pair_info(table, tmp_path / name)
    lengths = {"source_lengths": table.source_lengths.tolist(), "target_lengths": table.target_lengths.tolist()}
    assert_same_table(import_pair_info(tmp_path / name, source=table.source, target=table.target, **lengths), table)


def test_base_indices_are_those_of_each_side(tmp_path):
    content = {"demo_0": [{"demo_name": "episode_3", "raw_dtw_dist": 1, "pairing": {"9": [11]}}]}
    table = read(write(tmp_path / "p.json", content), base_index_tgt=0)
    assert (table.pair_target.tolist(), table.pair_source.tolist()) == ([0], [2])
    export_pair_info(table, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == content


def test_numbers_without_padding_round_trip(tmp_path):
    lengths = [3] * 12
    content = {
        "demo_10": [{"demo_name": "demo_11", "raw_dtw_dist": 1.0, "pairing": {"0": [0]}}],
        "demo_9": [{"demo_name": "demo_2", "raw_dtw_dist": 1.0, "pairing": {"0": [0]}}],
    }
    fingerprint = DatasetFingerprint.from_lengths(lengths, fps=30.0)
    table = import_pair_info(
        write(tmp_path / "p.json", content),
        source=fingerprint,
        target=fingerprint,
        source_lengths=lengths,
        target_lengths=lengths,
    )
    export_pair_info(table, tmp_path / "again.json")
    assert json.loads((tmp_path / "again.json").read_text()) == content


def test_target_frames_may_come_in_any_order(tmp_path):
    entry = {"demo_name": "episode_0001", "raw_dtw_dist": 1.0, "pairing": {"3": [7], "0": [2, 1], "1": []}}
    table = read(write(tmp_path / "p.json", {"episode_0001": [entry]}))
    np.testing.assert_array_equal(table.path(0), [[2, 0], [1, 0], [7, 3]])


def with_entry(**changes):
    entry = {"demo_name": "episode_0003", "raw_dtw_dist": 1.0, "pairing": {"0": [0]}, **changes}
    return {"episode_0002": [SEEDS_EXAMPLE["episode_0002"][0], {k: v for k, v in entry.items() if v is not ...}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (with_entry(demo_name=...), "'episode_0002', entry 1 has no 'demo_name'; it has raw_dtw_dist, pairing"),
        (with_entry(raw_dtw_dist=...), "entry 1 has no 'raw_dtw_dist'"),
        (with_entry(pairing=..., pairings={}), "entry 1 has no 'pairing'.*Did you mean 'pairings'"),
        (with_entry(raw_dtw_dist=float("nan")), "source episode 2: distance is nan"),
        (with_entry(raw_dtw_dist=float("inf")), "source episode 2: distance is inf"),
        (with_entry(raw_dtw_dist=-1.0), "source episode 2: distance is -1.0"),
        (with_entry(raw_dtw_dist="near"), "entry 1: raw_dtw_dist is 'near'"),
        (with_entry(raw_dtw_dist=None), "entry 1: raw_dtw_dist is None"),
        (
            with_entry(demo_name="episode_0004"),
            "entry 1: source episode 'episode_0004' is out of range.*base_index_src",
        ),
        (with_entry(demo_name="episode_0000"), "entry 1: source episode 'episode_0000' is out of range"),
        (with_entry(demo_name="last"), "entry 1: source episode is called 'last'"),
        (with_entry(demo_name=3), "entry 1: source episode is called 3"),
        (with_entry(demo_name="episode_0002"), "target episode 1, source episode 1: this pair occurs twice"),
        (with_entry(pairing={"0": [12]}), r"entry 1 \(episode_0003\): source frame 12; allowed: 0 to 11"),
        (with_entry(pairing={"0": [-1]}), "source frame -1"),
        (with_entry(pairing={"6": [0]}), r"entry 1 \(episode_0003\): target frame 6; allowed: 0 to 5"),
        (with_entry(pairing={"a": [0]}), "a target frame is no number"),
        (with_entry(pairing={"0": [0], "00": [1]}), "target frame 0 occurs twice"),
        (with_entry(pairing={"0": 3}), "target frame 0 has a int"),
        (with_entry(pairing={"0": [1.5]}), "source frame 1.5; allowed: a whole number"),
        (with_entry(pairing={"0": [True]}), "source frame True"),
        (with_entry(pairing=[]), "entry 1: pairing is an empty list"),
        (with_entry(pairing={}), "target episode 1, source episode 2: no frame is matched"),
        ({"episode_0002": [3]}, "'episode_0002', entry 0 is a int"),
        ({"episode_0002": []}, "'episode_0002' is an empty list"),
        ({"episode_0002": None}, "'episode_0002' is null"),
        ({"episode_0003": [{}]}, "target episode 'episode_0003' is out of range; it has 2 episodes, numbered from 1"),
        ({"episode_1": SEEDS_EXAMPLE["episode_0001"], "x1": [{}]}, "'x1': target episode 0 is named twice"),
        ({}, "the file is empty"),
        ([], "the top is a list"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_entry(tmp_path, content, message):
    with pytest.raises(PairingError, match=rf"p\.json: .*{message}"):
        read(write(tmp_path / "p.json", content))


@pytest.mark.parametrize("size", [0, 1, 40, -1])
@pytest.mark.parametrize("zipped", [False, True])
def test_truncated_files_are_named(tmp_path, size, zipped):
    data = json.dumps(SEEDS_EXAMPLE).encode()
    (tmp_path / "p.json").write_bytes((gzip.compress(data) if zipped else data)[:size])
    with pytest.raises(PairingError, match=r"p\.json is no pair_info JSON, or truncated"):
        read(tmp_path / "p.json")


def test_damaged_gzip_is_named(tmp_path):
    data = bytearray(gzip.compress(json.dumps(SEEDS_EXAMPLE).encode()))
    data[30] ^= 0xFF
    (tmp_path / "p.json.gz").write_bytes(data)
    with pytest.raises(PairingError, match=r"p\.json\.gz is no pair_info JSON, or truncated"):
        read(tmp_path / "p.json.gz")


def test_missing_file(tmp_path):
    with pytest.raises(MissingFileError, match=r"none\.json is not there"):
        read(tmp_path / "none.json")
