"""The sampler's distributions (chi-square, fixed seeds), its borders, and its streams."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from otpilot.errors import PairingError
from otpilot.pairing.sampler import PairSampler, SamplerOptions

DRAWS = 20_000
LIMIT = 1e-3  # with fixed seeds these tests always give the same p; a wrong distribution gives 0
SOURCE_LENGTHS, TARGET_LENGTHS = [30, 40, 50, 60], [25, 35]
DISTANCES = [[(0, 0.2), (1, 1.0), (2, 1.5), (3, 3.0)], [(3, 0.0), (1, 0.5)]]


@pytest.fixture
def uneven(make_table):
    """Four source and two target episodes of different lengths."""
    return make_table(SOURCE_LENGTHS, TARGET_LENGTHS, DISTANCES)


def p_value(values, probabilities):
    """Chi-square p of integers 0..k-1 against probabilities; a value that cannot be is p = 0."""
    probabilities = np.asarray(probabilities, float)
    observed = np.bincount(values, minlength=len(probabilities)).astype(float)
    if len(observed) > len(probabilities) or observed[probabilities == 0].any():
        return 0.0
    possible = probabilities > 0
    if possible.sum() == 1:
        return 1.0
    return chisquare(observed[possible], probabilities[possible] / probabilities.sum() * observed.sum()).pvalue


def episodes_for(sampler, target_episode, starts=(0, 25)):
    rows = np.full(DRAWS, starts[target_episode] + 3)
    return sampler.table.pair_source[sampler.draw(0, target_rows=rows).pairs]


def test_the_test_itself_can_fail():
    values = np.random.default_rng(0).integers(0, 4, DRAWS)
    assert p_value(values, [1, 1, 1, 1]) > LIMIT
    assert p_value(values, [1, 1, 1, 1.2]) < LIMIT
    assert p_value(values, [1, 1, 1, 0]) == 0.0


def test_target_rows_are_uniform_over_all_matched_frames(uneven):
    draw = PairSampler(uneven).draw(0, DRAWS)
    assert p_value(draw.target_rows, np.ones(60)) > LIMIT


@pytest.mark.parametrize("sharpness", [0.0, 0.5, 2.0])
def test_sharpness_weighs_episodes_exponentially(uneven, sharpness):
    sampler = PairSampler(uneven, SamplerOptions(sharpness=sharpness, seed=1))
    weights = np.exp(-sharpness * np.array([0.2, 1.0, 1.5, 3.0]))
    assert p_value(episodes_for(sampler, 0), weights) > LIMIT
    assert p_value(episodes_for(sampler, 1), [0, np.exp(-sharpness * 0.5), 0, 1]) > LIMIT


@pytest.mark.parametrize(("quantile", "cutoff"), [(0.0, 0.0), (0.5, 0.75), (0.75, 1.375)])
def test_logistic_weights_with_a_quantile_cutoff_over_all_pairs(uneven, quantile, cutoff):
    options = SamplerOptions(sharpness=3.0, weighting="logistic", cutoff_quantile=quantile, seed=2)
    weights = 1 / (1 + np.exp(3.0 * (np.array([0.2, 1.0, 1.5, 3.0]) - cutoff)))
    assert p_value(episodes_for(PairSampler(uneven, options), 0), weights) > LIMIT


def test_the_cutoff_is_that_of_all_allowed_pairs_not_of_the_nearest_alone(uneven):
    options = SamplerOptions(sharpness=3.0, weighting="logistic", topk_src_episodes=2, seed=6)
    sampler = PairSampler(uneven, options, allowed_tgt_episodes=np.array([0]))
    weights = 1 / (1 + np.exp(3.0 * (np.array([0.2, 1.0]) - 1.25)))  # 1.25: median of the four
    assert p_value(episodes_for(sampler, 0), weights) > LIMIT


@pytest.mark.parametrize("weighting", ["exp", "logistic"])
def test_extreme_sharpness_takes_the_nearest_without_overflow(uneven, weighting):
    sampler = PairSampler(uneven, SamplerOptions(sharpness=1e6, weighting=weighting))
    assert np.all(np.isfinite(sampler.probabilities))
    assert set(episodes_for(sampler, 0)) == {0}


@pytest.mark.parametrize(("top", "expected"), [(1, [1, 0, 0, 0]), (2, [1, 1, 0, 0]), (9, [1, 1, 1, 1])])
def test_topk_keeps_the_nearest_episodes(uneven, top, expected):
    sampler = PairSampler(uneven, SamplerOptions(topk_src_episodes=top, seed=3))
    assert p_value(episodes_for(sampler, 0), expected) > LIMIT


def test_topk_counts_allowed_episodes_only_and_sorts_unranked_tables(make_table):
    table = make_table([5] * 4, [5], [[(3, 3.0), (0, 0.1), (2, 0.2), (1, 1.0)]])
    sampler = PairSampler(table, SamplerOptions(topk_src_episodes=2), allowed_src_episodes=[1, 2, 3])
    assert p_value(episodes_for(sampler, 0), [0, 1, 1, 0]) > LIMIT


def test_an_episode_with_many_matches_is_not_drawn_more_often(make_table):
    matches = {(0, 0): {3: [0, 1, 2, 3, 4]}, (0, 1): {3: [2]}}
    sampler = PairSampler(make_table([5, 5], [5], [[(0, 1.0), (1, 1.0)]], matches))
    draw = sampler.draw(0, DRAWS)
    assert p_value(draw.source_rows, [0.1] * 5 + [0, 0, 0.5, 0, 0]) > LIMIT


@pytest.mark.parametrize("frame", [0, 2, 12, 23, 24])
def test_window_is_uniform_inside_the_episode_and_leaves_the_target_alone(make_table, frame):
    table = make_table([7, 25, 7], [25], [[(1, 1.0)]])
    draw = PairSampler(table, SamplerOptions(window_size=4, seed=frame)).draw(0, target_rows=np.full(DRAWS, frame))
    expected = np.zeros(25)
    expected[max(frame - 4, 0) : frame + 5] = 1
    assert p_value(draw.source_rows - 7, expected) > LIMIT
    assert np.all(draw.target_rows == frame)


def test_no_window_is_uniform_over_the_matched_episode(uneven):
    sampler = PairSampler(uneven, SamplerOptions(no_window=True, window_size=3, topk_src_episodes=1, seed=5))
    draw = sampler.draw(0, target_rows=np.full(DRAWS, 30))
    expected = np.zeros(180)
    expected[120:] = 1  # source episode 3, the nearest of target episode 1
    assert p_value(draw.source_rows, expected) > LIMIT


def test_without_window_the_matches_are_drawn_alike(make_table):
    table = make_table([9], [2], [[(0, 1.0)]], {(0, 0): {0: [8, 2, 2, 5], 1: [0]}})
    draw = PairSampler(table).draw(0, target_rows=np.zeros(DRAWS, np.int64))
    assert p_value(draw.source_rows, [0, 0, 0.5, 0, 0, 0.25, 0, 0, 0.25]) > LIMIT


@settings(deadline=None)
@given(st.integers(0, 40), st.booleans(), st.integers(0, 2**40))
def test_episode_borders_are_never_crossed(make_table, window, no_window, seed):
    table = make_table(SOURCE_LENGTHS, TARGET_LENGTHS, DISTANCES)
    source_starts, target_starts = np.array([500, 0, 100, 300]), np.array([35, 0])
    sampler = PairSampler(
        table,
        SamplerOptions(window_size=window, no_window=no_window, seed=seed),
        source_starts=source_starts,
        target_starts=target_starts,
    )
    draw = sampler.draw(7, 200)
    episode, target = table.pair_source[draw.pairs], table.pair_target[draw.pairs]
    inside = draw.source_rows - source_starts[episode]
    frame = draw.target_rows - target_starts[target]
    assert np.all((inside >= 0) & (inside < table.source_lengths[episode]))
    assert np.all((frame >= 0) & (frame < table.target_lengths[target]))
    if not no_window:
        matched = np.minimum(frame, table.source_lengths[episode] - 1)
        assert np.all(np.abs(inside - matched) <= window)


def test_excluded_episodes_are_never_drawn(uneven):
    sampler = PairSampler(uneven, allowed_src_episodes=[0, 1, 2], allowed_tgt_episodes=[1])
    draw = sampler.draw(0, DRAWS)
    assert set(uneven.pair_source[draw.pairs]) == {1}
    assert set(uneven.pair_target[draw.pairs]) == {1}
    assert set(draw.target_rows) == set(range(25, 60))
    assert set(draw.source_rows) <= set(range(30, 70))
    with pytest.raises(PairingError, match="target row 3 belongs to no target episode with an allowed partner"):
        sampler.draw(0, target_rows=np.array([30, 3]))


def test_a_target_episode_without_allowed_partner_is_not_drawn(make_table):
    sampler = PairSampler(make_table([4, 4], [3, 3], [[(0, 1.0)], [(1, 1.0)]]), allowed_src_episodes=[1])
    assert sampler.target_episodes.tolist() == [1]
    assert sampler.target_rows.tolist() == [3, 4, 5]


def test_unmatched_target_frames_take_the_nearest_match_but_are_not_drawn(make_table):
    matches = {(0, 0): {2: [7], 6: [1]}, (0, 1): {0: [3]}}
    table = make_table([9, 9], [8], [[(0, 1.0), (1, 1.0)]], matches)
    sampler = PairSampler(table)
    assert sampler.target_rows.tolist() == [0, 2, 6]
    for allowed, expected in ((0, [7, 7, 7, 7, 7, 1, 1, 1]), (1, [12] * 8)):
        only = PairSampler(table, allowed_src_episodes=[allowed])
        assert only.draw(0, target_rows=np.arange(8)).source_rows.tolist() == expected


def rows_of(sampler, batches, n=64):
    return [(draw.source_rows.tolist(), draw.target_rows.tolist()) for draw in (sampler.draw(k, n) for k in batches)]


def test_resume_in_the_middle_gives_the_same_following_batches(uneven):
    options = SamplerOptions(window_size=5, sharpness=0.5, seed=11)
    whole = rows_of(PairSampler(uneven, options), range(20))
    assert rows_of(PairSampler(uneven, options), range(13, 20)) == whole[13:]
    assert rows_of(PairSampler(uneven, options), reversed(range(20))) == whole[::-1]
    assert rows_of(PairSampler(uneven, SamplerOptions(window_size=5, sharpness=0.5, seed=12)), range(20)) != whole


def test_sources_batches_and_workers_never_share_a_number(uneven):
    """Two streams, four workers each (worker w draws batches w, w + 4, ...): no random number occurs twice."""
    seen: set[float] = set()
    count = 0
    for stream in (0, 1):
        sampler = PairSampler(uneven, SamplerOptions(seed=3), stream=stream)
        for worker in range(4):
            for batch in range(worker, 40, 4):
                numbers = sampler._uniform(batch, 16).ravel().tolist()
                seen.update(numbers)
                count += len(numbers)
    assert len(seen) == count == 2 * 40 * 4 * 16


def test_streams_are_statistically_apart(uneven):
    first = PairSampler(uneven, SamplerOptions(seed=3), stream=0)
    second = PairSampler(uneven, SamplerOptions(seed=3), stream=1)
    same = [np.mean(first.draw(k, 500).target_rows == second.draw(k, 500).target_rows) for k in range(20)]
    assert abs(np.mean(same) - 1 / 60) < 0.006  # chance: one of 60 rows; four standard deviations


def test_given_rows_and_options_do_not_shift_the_stream(uneven):
    """The source episodes drawn are the same with and without window: each column of numbers has one use."""
    plain, jittered = (PairSampler(uneven, SamplerOptions(window_size=w, seed=4)) for w in (0, 6))
    one, other = plain.draw(2, 300), jittered.draw(2, 300)
    np.testing.assert_array_equal(one.pairs, other.pairs)
    np.testing.assert_array_equal(one.pairs, plain.draw(2, target_rows=one.target_rows).pairs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weighting": "logistics"}, "weighting is 'logistics'.*Did you mean 'logistic'"),
        ({"window_size": -1}, "window_size is -1"),
        ({"sharpness": float("nan")}, "sharpness is nan"),
        ({"cutoff_quantile": 1.5}, "cutoff_quantile is 1.5"),
        ({"topk_src_episodes": 0}, "topk_src_episodes is 0"),
        ({"seed": -3}, "seed is -3"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(PairingError, match=message):
        SamplerOptions(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stream": -1}, r"stream is -1; allowed: a whole number >= 0"),
        ({"source_starts": [0, 1]}, "source_starts has 2 entries; the table has 4"),
        ({"target_starts": [0, 10]}, "two target episodes overlap"),
        ({"allowed_src_episodes": [4]}, r"allowed source episode 4 is out of range; allowed: 0 to 3"),
        ({"allowed_tgt_episodes": [-1]}, "allowed target episode -1"),
        ({"allowed_src_episodes": [0], "allowed_tgt_episodes": [1]}, "share no pair"),
    ],
)
def test_bad_arguments_are_named(uneven, arguments, message):
    with pytest.raises(PairingError, match=message):
        PairSampler(uneven, **arguments)


def test_draw_wants_a_number_or_rows(uneven):
    with pytest.raises(PairingError, match="draw needs n, or target_rows"):
        PairSampler(uneven).draw(0)
    assert len(PairSampler(uneven).draw(0, 0).source_rows) == 0
