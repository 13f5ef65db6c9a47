"""What a table holds, what it refuses."""

import dataclasses

import numpy as np
import pytest

from otpilot.errors import PairingError
from otpilot.pairing.dtw import align_all
from otpilot.pairing.fingerprint import DatasetFingerprint
from otpilot.pairing.table import EpisodeNaming, PairTable


@pytest.fixture
def aligned():
    rng = np.random.default_rng(0)
    sources = [rng.normal(size=(n, 2)) for n in (6, 9, 1)]
    targets = [rng.normal(size=(n, 2)) for n in (7, 4)]
    lengths = {"source_lengths": [6, 9, 1], "target_lengths": [7, 4]}
    source = DatasetFingerprint.from_lengths([6, 9, 1], fps=10.0)
    target = DatasetFingerprint.from_lengths([7, 4], fps=10.0)
    alignments = align_all(sources, targets)
    return alignments, PairTable.from_alignments(alignments, source=source, target=target, **lengths)


def test_alignments_become_ranked_pairs_with_their_paths(aligned):
    alignments, table = aligned
    assert table.pairs == 6
    for pair in range(6):
        alignment = alignments[table.pair_target[pair]][table.pair_source[pair]]
        assert table.distance[pair] == alignment.distance
        assert sorted(map(tuple, table.path(pair).tolist())) == sorted(map(tuple, alignment.path.tolist()))
        for frame in range(table.target_lengths[table.pair_target[pair]]):
            expected = alignment.path[alignment.path[:, 1] == frame, 0]
            np.testing.assert_array_equal(table.matches(pair, frame), expected)
    for target in (0, 1):
        ranked = table.distance[table.pair_ptr[target] : table.pair_ptr[target + 1]]
        assert np.all(np.diff(ranked) >= 0)
        np.testing.assert_array_equal(table.ranked(target), np.arange(3) + 3 * target)


def test_lengths_that_do_not_fit_the_alignments_are_refused(aligned):
    alignments, table = aligned
    with pytest.raises(PairingError, match="do not fit 2 target and 2 source episodes"):
        PairTable.from_alignments(
            alignments, source=table.source, target=table.target, source_lengths=[6, 9], target_lengths=[7, 4]
        )
    with pytest.raises(PairingError, match="an alignment ends at target frame 6 of 8 frames"):
        PairTable.from_alignments(
            alignments, source=table.source, target=table.target, source_lengths=[6, 9, 1], target_lengths=[8, 4]
        )


def test_ranked_sorts_stably_whatever_the_order_stored(make_table):
    table = make_table([3, 3, 3, 3], [4], [[(2, 0.5), (0, 0.1), (3, 0.5), (1, 0.0)]])
    assert table.pair_source[table.ranked(0)].tolist() == [1, 0, 2, 3]


def test_check_fits_names_the_file_the_side_and_the_difference(table):
    table.check_fits(table.source, table.target)
    other = DatasetFingerprint.from_lengths([8, 13], fps=30.0)
    with pytest.raises(PairingError, match=r"pairs\.npz was made for another target .*20 frames there, 21 here"):
        table.check_fits(table.source, other, "pairs.npz")
    with pytest.raises(PairingError, match=r"another source dataset \(made/source\): 3 episodes there, 2 here"):
        table.check_fits(other, table.target)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fps": 15.0}, "30 frames per second there, 15"),
        ({"lengths_sha256": "0"}, "episode lengths differ"),
        ({"keys": ("action",)}, "keys observation.state there, action here"),
    ],
)
def test_fingerprints_tell_what_differs(change, message):
    mine = DatasetFingerprint.from_lengths([3, 4], fps=30.0, keys=["observation.state"], name="a")
    assert message in mine.difference(dataclasses.replace(mine, **change))


def test_fingerprints_ignore_names_and_keys_nobody_named():
    mine = DatasetFingerprint.from_lengths([3, 4], fps=30, keys=["observation.state"], name="a")
    assert mine.difference(DatasetFingerprint.from_lengths(np.array([3, 4]).tolist(), fps=30, name="b")) is None
    assert mine.difference(DatasetFingerprint.from_lengths([4, 3], fps=30)) is not None


def test_names_count_from_their_base():
    assert EpisodeNaming(prefix="demo_", digits=1, base=1).name(9) == "demo_10"
    assert EpisodeNaming().name(7) == "episode_0007"


def changed(table, name, index, value):
    array = getattr(table, name).copy()
    array[index] = value
    return {name: array}


@pytest.mark.parametrize(
    ("name", "index", "value", "message"),
    [
        ("distance", 3, np.nan, "target episode 1, source episode 0: distance is nan"),
        ("distance", 0, np.inf, "target episode 0, source episode 1: distance is inf"),
        ("distance", 0, -0.5, "target episode 0, source episode 1: distance is -0.5"),
        ("match_source", 20, 5, r"target episode 1, source episode 2: source frame 5; allowed: 0 to 4"),
        ("match_source", 0, -1, r"target episode 0, source episode 1: source frame -1; allowed: 0 to 19"),
        ("pair_source", 1, 3, "target episode 0, source episode 3: the source dataset has 3 episodes"),
        ("pair_source", 1, -1, "target episode 0, source episode -1: the source dataset has 3 episodes"),
        ("pair_source", 1, 1, "target episode 0, source episode 1: this pair occurs twice"),
        ("pair_ptr", 2, 4, "pair_ptr does not divide 5 pairs"),
        ("row_ptr", 5, 99, "row_ptr does not divide"),
        ("source_lengths", 1, 21, "the source fingerprint contradicts"),
    ],
)
def test_bad_entries_are_named(table, name, index, value, message):
    with pytest.raises(PairingError, match=message):
        dataclasses.replace(table, **changed(table, name, index, value))


def test_empty_tables_and_empty_pairs_are_refused(table, make_table):
    with pytest.raises(PairingError, match="the table is empty"):
        make_table([3], [2], [[]])
    with pytest.raises(PairingError, match="target episode 0, source episode 1: no frame is matched"):
        make_table([3, 3], [2], [[(0, 1.0), (1, 1.0)]], {(0, 1): {}})
    with pytest.raises(PairingError, match="target episode 0, source episode 1: no frame is matched"):
        make_table([3, 3], [2, 2], [[(1, 1.0)], [(0, 1.0)]], {(0, 1): {}})


def test_datasets_with_an_empty_episode_are_refused(make_table):
    with pytest.raises(PairingError, match="source episode 1 has 0 frames"):
        make_table([3, 0], [2], [[(0, 1.0)]])
