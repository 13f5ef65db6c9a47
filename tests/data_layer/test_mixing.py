import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpilot.data.mixing import EpochOrder, Rotation, rows_before, source_share
from otpilot.errors import ConfigError


@given(st.integers(1, 50), st.integers(0, 10**6), st.lists(st.integers(1, 20), min_size=1, max_size=8))
def test_an_epoch_holds_every_frame_once_however_it_is_cut(size, seed, counts):
    frames = np.arange(100, 100 + size)
    order = EpochOrder(frames, (seed, 1))
    whole = order.rows(0, 3 * size)
    for epoch in range(3):
        assert sorted(whole[epoch * size : (epoch + 1) * size]) == frames.tolist()
    place = 0
    fresh = EpochOrder(frames, (seed, 1))
    for count in counts:
        cut = fresh.rows(place, count)
        assert cut.tolist() == order.rows(place, count).tolist()
        place += count


def test_epochs_and_seeds_differ():
    frames = np.arange(200)
    first = EpochOrder(frames, (0, 1))
    assert first.rows(0, 200).tolist() != first.rows(200, 200).tolist()
    assert first.rows(0, 200).tolist() != EpochOrder(frames, (1, 1)).rows(0, 200).tolist()
    assert first.rows(0, 200).tolist() != EpochOrder(frames, (0, 0)).rows(0, 200).tolist()


def test_nothing_to_draw_is_an_error():
    with pytest.raises(ConfigError, match="No frames"):
        EpochOrder(np.empty(0, dtype=np.int64), (0,))


@given(st.integers(1, 64), st.floats(0, 1), st.integers(1, 500))
def test_rows_of_the_source_add_up_to_its_share(batch_size, share, steps):
    counts = np.diff([rows_before(step, batch_size=batch_size, share=share) for step in range(steps + 1)])
    assert counts.min() >= 0
    assert counts.max() <= batch_size
    assert abs(counts.sum() - share * batch_size * steps) < 1.0


def test_share_by_weight_and_by_size():
    assert source_share(0.9, source_frames=1000, target_frames=10, by_size=True) == pytest.approx(0.9)
    # without normalisation each frame of a domain counts by its domain's weight
    assert source_share(0.5, source_frames=300, target_frames=100, by_size=False) == pytest.approx(0.75)


@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=4), st.lists(st.integers(0, 40), min_size=1, max_size=60))
def test_a_rotation_deals_by_weight_wherever_it_is_cut(weights, counts):
    rotation = Rotation(weights)
    shares = np.asarray(weights) / sum(weights)
    place = 0
    for count in counts:
        dealt = rotation.before(place + count) - rotation.before(place)
        assert dealt.sum() == count
        assert dealt.min() >= 0
        place += count
        assert np.abs(rotation.before(place) - place * shares).max() < len(weights) + place / 1000
