"""What a pair table remembers of a dataset, so that it is never used with another one."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from otpilot.pairing.arrays import Integers


@dataclass(frozen=True, kw_only=True)
class DatasetFingerprint:
    """The identity of a dataset as far as pairs depend on it.

    Attributes:
        total_frames: Number of frames.
        total_episodes: Number of episodes.
        lengths_sha256: Hash of the episode lengths, in order (see `from_lengths`).
        fps: Frames per second.
        keys: What was aligned, for instance ("observation.state",). Compared only where both sides name keys, since
            training with a table does not know what it was aligned by.
        name: What a person calls the dataset; never compared.
    """

    total_frames: int
    total_episodes: int
    lengths_sha256: str
    fps: float
    keys: tuple[str, ...] = ()
    name: str = ""

    @classmethod
    def from_lengths(
        cls, lengths: Integers, *, fps: float | int, keys: Sequence[str] = (), name: str = ""
    ) -> "DatasetFingerprint":
        """Return the fingerprint of a dataset whose episodes have these lengths (frames), in order."""
        array = np.asarray(lengths, "<i8")
        return cls(
            total_frames=int(array.sum()),
            total_episodes=len(array),
            lengths_sha256=hashlib.sha256(array.tobytes()).hexdigest(),
            fps=float(fps),
            keys=tuple(keys),
            name=name,
        )

    def difference(self, other: "DatasetFingerprint") -> str | None:
        """Return what tells the other dataset from this one, in words, or None when nothing does."""
        for name, word in (("total_episodes", "episodes"), ("total_frames", "frames"), ("fps", "frames per second")):
            mine, theirs = getattr(self, name), getattr(other, name)
            if mine != theirs:
                return f"{mine:.12g} {word} there, {theirs:.12g} here"
        if self.lengths_sha256 != other.lengths_sha256:
            return "episode lengths differ, though their sum does not"
        if self.keys and other.keys and self.keys != other.keys:
            return f"keys {', '.join(self.keys)} there, {', '.join(other.keys)} here"
        return None
