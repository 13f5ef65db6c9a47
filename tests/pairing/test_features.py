"""One scale for both sides, and quaternions without jumps."""

import numpy as np
import pytest

from otpilot.errors import PairingError
from otpilot.pairing.features import joint_zscore, make_quaternions_continuous


def test_joint_statistics_not_each_side_alone() -> None:
    rng = np.random.default_rng(0)
    sources = [rng.normal(3.0, 2.0, size=(n, 4)) for n in (5, 50)]
    targets = [rng.normal(-1.0, 0.5, size=(20, 4))]
    src, tgt = joint_zscore(sources, targets)
    frames = np.concatenate([*src, *tgt])
    np.testing.assert_allclose(frames.mean(axis=0), 0.0, atol=1e-12)
    np.testing.assert_allclose(frames.std(axis=0), 1.0, rtol=1e-12)
    assert np.all(tgt[0].mean(axis=0) < -0.5)
    assert [len(a) for a in src] == [5, 50]


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, -3e-7])
def test_constant_dims_become_zero(value: float) -> None:
    sources = [np.stack([np.full(30, value), np.arange(30.0)], axis=1)]
    src, tgt = joint_zscore(sources, [sources[0][:7]])
    assert np.all(src[0][:, 0] == 0.0)
    assert np.all(tgt[0][:, 0] == 0.0)
    assert np.ptp(src[0][:, 1]) > 1.0


def test_small_but_real_spread_counts() -> None:
    src, _ = joint_zscore([1.0 + 1e-6 * np.arange(10.0)[:, None]], [np.ones((1, 1))])
    assert np.ptp(src[0]) > 1.0


def test_bad_episodes_are_named() -> None:
    good = np.zeros((2, 3))
    with pytest.raises(PairingError, match="target episode 1 has shape"):
        joint_zscore([good], [good, np.zeros((2, 4))])
    with pytest.raises(PairingError, match="source episode 1 holds a value that is not finite"):
        joint_zscore([good, good * np.nan], [good])
    with pytest.raises(PairingError, match="0 episodes"):
        joint_zscore([], [])
    with pytest.raises(PairingError, match="0 frames"):
        joint_zscore([good[:0]], [])


def random_rotation_track(seed: int, frames: int = 60) -> np.ndarray:
    rng = np.random.default_rng(seed)
    track = np.cumsum(rng.normal(0.0, 0.05, size=(frames, 4)), axis=0) + rng.normal(size=4)
    return track / np.linalg.norm(track, axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_random_sign_flips_are_undone(seed: int) -> None:
    track = random_rotation_track(seed)
    flips = np.random.default_rng(seed + 100).choice([-1.0, 1.0], size=(len(track), 1))
    frames = np.concatenate([np.ones((60, 2)), track * flips, np.full((60, 1), 7.0)], axis=1)
    kept = frames.copy()
    result = make_quaternions_continuous(frames, 2, reference=track[0])
    np.testing.assert_array_equal(result[:, 2:6], track)
    np.testing.assert_array_equal(result[:, [0, 1, 6]], frames[:, [0, 1, 6]])
    np.testing.assert_array_equal(frames, kept)


def test_without_reference_both_signs_give_the_same() -> None:
    track = random_rotation_track(3)
    first, second = make_quaternions_continuous(track, 0), make_quaternions_continuous(-track, 0)
    np.testing.assert_array_equal(first, second)
    assert first[0][np.argmax(np.abs(first[0]))] > 0


def test_quaternion_outside_the_array() -> None:
    with pytest.raises(PairingError, match=r"columns 3\.\.6 lie outside 6 dims"):
        make_quaternions_continuous(np.zeros((2, 6)), 3)


def test_no_frames_no_quaternions() -> None:
    assert make_quaternions_continuous(np.zeros((0, 4)), 0).shape == (0, 4)
