"""What the alignment compares: sequences on one scale, with quaternions that do not jump."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64

from otpilot.errors import PairingError
from otpilot.pairing.arrays import Array

# A dimension whose spread is below this share of its size is constant up to rounding, which dividing would blow up.
_CONSTANT = 1e-9


def joint_zscore(
    sources: Sequence[Float[Array, "..."]], targets: Sequence[Float[Array, "..."]]
) -> tuple[list[Float64[Array, "_ dims"]], list[Float64[Array, "_ dims"]]]:
    """Return both sides with every dimension shifted and scaled by the mean and deviation of all frames together.

    A dimension that is constant over both sides becomes 0, so it does not count.

    Args:
        sources: Source episodes, each (frames, dims).
        targets: Target episodes, of the same dims.

    Raises:
        PairingError: there is no frame at all, the dims differ, or a value is not finite.
    """
    named = [(f"source episode {i}", array) for i, array in enumerate(sources)]
    named += [(f"target episode {i}", array) for i, array in enumerate(targets)]
    if not named:
        raise PairingError("cannot normalise 0 episodes; allowed: at least one.")
    dims = named[0][1].shape[1:]
    for where, array in named:
        if array.ndim != 2 or array.shape[1:] != dims:
            raise PairingError(f"{where} has shape {array.shape}; allowed: (frames, *{dims}), as in {named[0][0]}.")
        if not np.isfinite(array).all():
            raise PairingError(f"{where} holds a value that is not finite.")
    frames = np.concatenate([np.asarray(array, np.float64) for _, array in named])
    if not len(frames):
        raise PairingError("cannot normalise 0 frames; allowed: at least one.")
    mean, deviation = frames.mean(axis=0), frames.std(axis=0)
    constant = deviation <= _CONSTANT * np.maximum(np.abs(mean), 1e-300)
    scale = np.where(constant, 0.0, 1.0 / np.where(constant, 1.0, deviation))
    scaled = [(np.asarray(array, np.float64) - mean) * scale for _, array in named]
    return scaled[: len(sources)], scaled[len(sources) :]


def make_quaternions_continuous(
    frames: Float[Array, "frames dims"], start: int, reference: Float[Array, " 4"] | None = None
) -> Float[Array, "frames dims"]:
    """Return a copy in which the quaternion at columns start..start+3 never flips its sign between two frames.

    q and -q are the same rotation, but lie far apart for a distance. The sign of the first frame is the one nearer to
    `reference`: give all episodes one reference (for instance the first quaternion of the first episode), else their
    signs may differ.

    Args:
        frames: One episode (frames, dims).
        start: First column of the quaternion, in whatever order its four parts are stored.
        reference: A quaternion in the same order; None makes the largest part of the first frame positive.

    Raises:
        PairingError: the four columns lie outside the array.
    """
    if start < 0 or start + 4 > frames.shape[1]:
        raise PairingError(f"quaternion columns {start}..{start + 3} lie outside {frames.shape[1]} dims.")
    result = frames.copy()
    if not len(result):
        return result
    quaternion = result[:, start : start + 4]
    first = quaternion[0]
    anchor = np.where(np.arange(4) == np.argmax(np.abs(first)), 1.0, 0.0) if reference is None else reference
    overlap = np.concatenate([[first @ anchor], np.sum(quaternion[1:] * quaternion[:-1], axis=1)])
    quaternion *= np.cumprod(np.where(overlap < 0, -1.0, 1.0))[:, None].astype(frames.dtype)
    return result
