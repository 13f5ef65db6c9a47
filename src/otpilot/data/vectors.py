"""The vectors that alignment compares: whole keys, slices of them, several side by side; quaternions without flips."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from numpy.typing import NDArray

from otpilot.data.frames import read_column
from otpilot.errors import DatasetError, closest
from otpilot.pairing.features import make_quaternions_continuous

Episodes = list[NDArray[np.float64]]
_SLICE = re.compile(r"(?P<key>[^\[\]]+)(?:\[(?P<start>\d+):(?P<stop>\d+)\])?")


@dataclass(frozen=True, kw_only=True)
class VectorSlice:
    """Some columns of a vector key: "observation.state", or "observation.state[0:7]"; stop None is the end."""

    key: str
    start: int = 0
    stop: int | None = None

    @classmethod
    def parse(cls, text: str) -> "VectorSlice":
        """Return what KEY or KEY[START:STOP] means.

        Raises:
            DatasetError: If it is neither.
        """
        found = _SLICE.fullmatch(text)
        if found is None:
            raise DatasetError(
                f"Cannot read the key {text!r}; write KEY or KEY[START:STOP], e.g. observation.state[0:7]."
            )
        start, stop = found["start"], found["stop"]
        return cls(key=found["key"], start=int(start or 0), stop=int(stop) if stop else None)

    def check(self, dataset: LeRobotDataset) -> int:
        """Return the number of columns, or raise DatasetError where the dataset has no such vector or columns."""
        vectors = _vectors(dataset)
        if self.key not in vectors:
            raise DatasetError(
                f"{dataset.root} has no vector {self.key!r} to align; "
                f"allowed: {', '.join(vectors)}.{closest(self.key, vectors)}"
            )
        dims = vectors[self.key]
        stop = dims if self.stop is None else self.stop
        if not 0 <= self.start < stop <= dims:
            raise DatasetError(f"{self.key}[{self.start}:{stop}] lies outside {self.key!r}, which has {dims} columns.")
        return stop - self.start


def read_episodes(
    dataset: LeRobotDataset, keys: Sequence[str], quaternions: Sequence[str], references: Sequence[NDArray[Any]]
) -> Episodes:
    """Return each episode's vectors, (frames, dims), the keys side by side.

    Args:
        dataset: A whole dataset.
        keys: KEY or KEY[START:STOP] each.
        quaternions: KEY[START:STOP] of four columns each, whose signs are made consistent before anything is cut.
        references: A quaternion for each of them; its sign decides the sign of every episode's first frame.

    Raises:
        DatasetError: If a key is missing or no vector, or columns do not exist.
    """
    wanted = [VectorSlice.parse(key) for key in keys]
    for vector in wanted:
        vector.check(dataset)
    bounds = np.cumsum(episode_lengths(dataset.meta))[:-1]
    columns = {key: np.split(_column(dataset, key), bounds) for key in {vector.key for vector in wanted}}
    for text, reference in zip(quaternions, references, strict=True):
        vector = check_quaternion(dataset, text)
        if vector.key in columns:
            columns[vector.key] = [
                make_quaternions_continuous(episode, vector.start, reference) for episode in columns[vector.key]
            ]
    parts = [[episode[:, vector.start : vector.stop] for episode in columns[vector.key]] for vector in wanted]
    return [np.concatenate(pieces, axis=1) for pieces in zip(*parts, strict=True)]


def first_quaternions(dataset: LeRobotDataset, quaternions: Sequence[str]) -> list[NDArray[np.float64]]:
    """Return the quaternion of a dataset's first frame for each of KEY[START:STOP]: the reference for all episodes."""
    vectors = [check_quaternion(dataset, text) for text in quaternions]
    return [_column(dataset, vector.key)[0, vector.start : vector.stop] for vector in vectors]


def check_quaternion(dataset: LeRobotDataset, text: str) -> VectorSlice:
    """Return the slice that holds a quaternion.

    Raises:
        DatasetError: If it is not four columns of a vector.
    """
    vector = VectorSlice.parse(text)
    dims = vector.check(dataset)
    if dims != 4:
        raise DatasetError(f"The quaternion {text!r} has {dims} columns; write KEY[START:STOP] with four of them.")
    return vector


def _vectors(dataset: LeRobotDataset) -> dict[str, int]:
    """Return the number of columns of every vector key."""
    return {
        key: int(np.prod(feature["shape"]))
        for key, feature in dataset.meta.features.items()
        if feature["dtype"].startswith("float") and key != "timestamp"
    }


def _column(dataset: LeRobotDataset, key: str) -> NDArray[np.float64]:
    values = read_column(dataset, key).astype(np.float64)
    return values.reshape(len(values), -1)


def episode_lengths(meta: LeRobotDatasetMetadata) -> list[int]:
    """Return the frames of every episode of a dataset, in order."""
    starts = np.asarray(meta.episodes["dataset_from_index"])
    lengths: list[int] = (np.asarray(meta.episodes["dataset_to_index"]) - starts).tolist()
    return lengths
