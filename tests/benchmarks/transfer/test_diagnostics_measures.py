import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.transfer.diagnostics_measures import match, principal_axes, separation
from otpilot.errors import OtpilotError

GROUPS = np.repeat(np.arange(20), 6)


def clouds(seed=0, n=120, dims=16):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dims)), rng.normal(size=(n, dims))


def test_one_distribution_cannot_be_separated_and_a_shift_can():
    source, target = clouds()
    same = separation(source, target, GROUPS)
    assert 0.35 < same.accuracy < 0.65
    assert same.variance_share < 0.02
    shifted = separation(source, target + 3.0, GROUPS)
    assert shifted.accuracy > 0.99
    assert shifted.accuracy_few > 0.99
    # means 3 apart in units of the spread: 2.25 between, 1 within
    assert shifted.variance_share == pytest.approx(2.25 / 3.25, abs=0.03)


def test_a_domain_that_shows_in_what_hardly_varies_is_seen_by_all_dimensions_alone():
    rng = np.random.default_rng(0)
    source, target = (rng.normal(size=(120, 16)) * np.repeat([10.0, 0.01], [12, 4]) for _ in range(2))
    target[:, -1] += 0.2
    found = separation(source, target, GROUPS)
    assert found.accuracy > 0.99
    assert found.accuracy_few < 0.65


def test_the_probe_is_asked_about_unseen_groups_only():
    """Each group has a place of its own and one row of each domain; remembering the places tells nothing new."""
    rng = np.random.default_rng(1)
    place = np.repeat(rng.normal(size=(20, 60)) * 5, 6, axis=0)
    source, target = place + rng.normal(size=place.shape) * 1e-3, place + rng.normal(size=place.shape) * 1e-3
    assert 0.3 < separation(source, target, GROUPS).accuracy < 0.7


def test_twins_find_each_other_and_an_offset_counts_only_where_it_should():
    source, _ = clouds(dims=4)
    exact = match(source, source.copy())
    assert (exact.top1, exact.mean_rank, exact.n) == (1.0, 1.0, 120)
    assert (exact.chance_top1, exact.chance_rank) == (1 / 120, 60.5)
    apart = match(source, source + 20.0)
    assert apart.top1 < 0.1
    assert (apart.top1_centred, apart.mean_rank_centred) == (1.0, 1.0)


def test_strangers_rank_by_chance_and_a_collapsed_encoding_too():
    found = match(*clouds(dims=3))
    assert abs(found.mean_rank - found.chance_rank) < 8  # three standard errors of 120 uniform ranks: 9.5
    flat = match(np.ones((120, 3)), np.ones((120, 3)))
    assert flat.mean_rank == flat.chance_rank  # ties share their ranks, so a constant is no perfect match
    assert flat.top1 == 0.0


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(1, 4), st.integers(0, 1000))
def test_ranks_follow_a_renaming_of_the_rows(n, dims, seed):
    rng = np.random.default_rng(seed)
    source, target, order = rng.normal(size=(n, dims)), rng.normal(size=(n, dims)), rng.permutation(n)
    plain, renamed = match(source, target), match(source[order], target[order])
    assert 1.0 <= plain.mean_rank <= n
    assert renamed.mean_rank == pytest.approx(plain.mean_rank)
    assert renamed.top1 == pytest.approx(plain.top1)


def test_principal_axes_are_those_of_the_largest_spread():
    rows = np.random.default_rng(0).normal(size=(200, 3)) * [1.0, 9.0, 3.0]
    axes = principal_axes(rows, 2)
    assert axes.shape == (3, 2)
    assert axes[1, 0] > 0.99
    assert axes[2, 1] > 0.99


@pytest.mark.parametrize("broken", [np.full((4, 2), np.nan), np.ones((3, 2)), np.ones((4, 3))])
def test_what_cannot_be_compared_is_refused(broken):
    with pytest.raises(OtpilotError):
        match(np.ones((4, 2)), broken)
    with pytest.raises(OtpilotError):
        separation(np.ones((4, 2)), broken, np.arange(4))


def test_too_few_episodes_are_refused():
    with pytest.raises(OtpilotError, match="groups"):
        separation(*clouds(n=4), np.array([0, 0, 1, 1]))
