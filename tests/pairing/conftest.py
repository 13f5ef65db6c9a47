"""Small datasets and tables for the pairing tests."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from otpilot.pairing.fingerprint import DatasetFingerprint
from otpilot.pairing.table import PairTable


def build_table(
    source_lengths: Sequence[int],
    target_lengths: Sequence[int],
    pairs: Sequence[Sequence[tuple[int, float]]],
    matches: dict[tuple[int, int], dict[int, list[int]]] | None = None,
) -> PairTable:
    """Table from (source episode, distance) per target; unless given, target frame u is matched to min(u, last)."""
    sources, distances, counts, frames = [], [], [], []
    for target, entries in enumerate(pairs):
        for source, distance in entries:
            default = {u: [min(u, source_lengths[source] - 1)] for u in range(target_lengths[target])}
            pairing = (matches or {}).get((target, source), default)
            sources.append(source)
            distances.append(distance)
            for u in range(target_lengths[target]):
                counts.append(len(pairing.get(u, [])))
                frames += pairing.get(u, [])
    return PairTable(
        source=DatasetFingerprint.from_lengths(list(source_lengths), fps=30.0, name="made/source"),
        target=DatasetFingerprint.from_lengths(list(target_lengths), fps=30.0, name="made/target"),
        source_lengths=np.asarray(source_lengths, np.int32),
        target_lengths=np.asarray(target_lengths, np.int32),
        pair_ptr=np.concatenate([[0], np.cumsum([len(entries) for entries in pairs], dtype=np.int64)]),
        pair_source=np.asarray(sources, np.int32),
        distance=np.asarray(distances, np.float64),
        row_ptr=np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]),
        match_source=np.asarray(frames, np.int32),
    )


def compare_tables(first: PairTable, second: PairTable) -> None:
    """Every array, fingerprint and naming is equal."""
    for name in ("source_lengths", "target_lengths", "pair_ptr", "pair_source", "distance", "row_ptr", "match_source"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)
    for name in ("source", "target", "source_naming", "target_naming"):
        assert getattr(first, name) == getattr(second, name)


@pytest.fixture(scope="session")
def make_table() -> Callable[..., PairTable]:
    return build_table


@pytest.fixture(scope="session")
def assert_same_table() -> Callable[[PairTable, PairTable], None]:
    return compare_tables


@pytest.fixture
def table() -> PairTable:
    """Three source episodes (10, 20, 5 frames), two target episodes (8, 12 frames)."""
    return build_table([10, 20, 5], [8, 12], [[(1, 0.5), (0, 1.0)], [(2, 0.0), (0, 0.25), (1, 3.0)]])
