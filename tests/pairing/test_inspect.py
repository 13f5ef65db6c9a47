"""Figures of a table, and its pictures."""

import dataclasses

import numpy as np
import pytest

from otpilot.errors import PairingError
from otpilot.pairing.inspect import inspect_table
from otpilot.report.pair_pictures import coverage_png, distance_png, paths_png


def test_numbers_of_every_target_episode(table):
    figures = inspect_table(table)
    first, second = figures.targets
    assert (first.partners, first.best_source, first.best, first.median, first.worst) == (2, 1, 0.5, 0.75, 1.0)
    assert (second.partners, second.best_source, second.best, second.median, second.worst) == (3, 2, 0.0, 0.25, 3.0)
    assert [t.problem for t in figures.targets] == [None, None]
    assert figures.warnings == ()


def test_worst_pairs_come_first_with_their_rank(table):
    figures = inspect_table(table, worst=2)
    assert [(p.target_episode, p.source_episode, p.distance, p.rank) for p in figures.worst_pairs] == [
        (1, 1, 3.0, 2),
        (0, 0, 1.0, 1),
    ]
    assert [(p.target_episode, p.source_episode, p.rank) for p in figures.worst_best_pairs] == [(0, 1, 0), (1, 2, 0)]
    with pytest.raises(PairingError, match="worst is -1"):
        inspect_table(table, worst=-1)


def test_coverage_counts_each_source_frame_once(make_table):
    matches = {(0, 0): {0: [0, 1], 1: [1]}, (0, 1): {0: [5]}, (1, 0): {0: [9], 1: [0]}}
    table = make_table([10, 8, 4], [2, 2], [[(0, 1.0), (1, 0.5)], [(0, 1.0)]], matches)
    figures = inspect_table(table)
    np.testing.assert_allclose(figures.coverage, [0.3, 1 / 8, 0.0])
    np.testing.assert_allclose(figures.best_coverage, [0.2, 1 / 8, 0.0])
    assert figures.uses.tolist() == [1, 1, 0]
    assert figures.total_coverage == pytest.approx(4 / 22)
    assert figures.total_best_coverage == pytest.approx(3 / 22)
    assert "1 of 3 source episodes are in no pair: 2." in figures.warnings


@pytest.mark.parametrize(
    ("best", "others", "expected"),
    [
        ([0.1, 0.1, 0.11, 0.12, 0.6], 1.0, "is above 0.15, the fence of all best distances"),
        ([0.1, 0.1, 0.11, 0.12, 1.3], 1.0, "is above 1, the median of all pairs"),
        ([0.1, 0.1, 0.11, 0.12, 0.13], 1.0, None),
        ([0.5, 0.5, 0.5, 0.5, 0.5], 0.5, None),
    ],
)
def test_target_episodes_without_a_good_partner_are_told(make_table, best, others, expected):
    pairs = [[(0, value), (1, max(value, others)), (2, max(value, others))] for value in best]
    figures = inspect_table(make_table([4, 4, 4], [3] * 5, pairs))
    assert [t.problem for t in figures.targets[:4]] == [None] * 4
    if expected is None:
        assert figures.targets[4].problem is None
        assert figures.warnings == ()
    else:
        assert expected in figures.targets[4].problem
        assert figures.warnings[0].startswith("Target episode 4 has no good partner: its best distance")


def test_a_target_episode_without_partners_is_told(make_table):
    figures = inspect_table(make_table([4], [3, 3], [[], [(0, 1.0)]]))
    assert figures.targets[0].best_source is None
    assert np.isnan(figures.targets[0].best)
    assert figures.warnings == ("Target episode 0 has no good partner: it has no source episode at all.",)


@pytest.mark.parametrize(
    ("pairing", "expected"),
    [
        ({0: [0], 1: [1], 2: [2], 3: [3]}, 0.0),
        ({0: [0, 1, 2, 3], 1: [3], 2: [3], 3: [3]}, 0.5),
        ({0: [0], 1: [0], 2: [1, 2, 3], 3: [3]}, 2 / 5),
    ],
)
def test_stretch_is_the_longest_run_in_one_episode(make_table, pairing, expected):
    table = make_table([4], [4], [[(0, 1.0)]], {(0, 0): pairing})
    assert inspect_table(table).targets[0].stretch == pytest.approx(expected)


def size(png):
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


def test_pictures_are_png_and_show_the_data(table, make_table):
    figures = inspect_table(table)
    assert size(distance_png(table, figures))[0] > 800
    assert size(coverage_png(figures))[0] > 800
    assert size(paths_png(table, [0]))[0] < size(paths_png(table, [0, 1, 2]))[0]
    assert paths_png(table, [0]) != paths_png(table, [3])
    farther = dataclasses.replace(table, distance=table.distance * np.array([1, 1, 1, 1, 2]))
    assert distance_png(farther, inspect_table(farther)) != distance_png(table, figures)


def test_pictures_of_odd_tables_work(make_table):
    table = make_table([1], [1, 3], [[(0, 0.0)], []])
    figures = inspect_table(table)
    for png in (distance_png(table, figures), coverage_png(figures), paths_png(table, [0])):
        size(png)


def test_pairs_out_of_range_cannot_be_drawn(table):
    with pytest.raises(PairingError, match="pair 5 is out of range; allowed: 0 to 4"):
        paths_png(table, [5])
    with pytest.raises(PairingError, match="no pair to draw"):
        paths_png(table, [])
