"""Alignment against an independent dynamic programme, its limits, and odd episodes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otpilot.errors import PairingError
from otpilot.pairing.dtw import METRICS, Alignment, DTWOptions, align, align_all, band

# The first call compiles the kernel; that time says nothing about an example.
patient = settings(deadline=None)


def local_distance(a: np.ndarray, b: np.ndarray, metric: str) -> float:
    difference = [abs(p - q) for p, q in zip(a.tolist(), b.tolist(), strict=True)]
    if metric == "l1":
        return sum(difference)
    return max(difference) if metric == "linf" else sum(d * d for d in difference) ** 0.5


def reference_cost(x: np.ndarray, y: np.ndarray, metric: str, allowed: set[tuple[int, int]] | None = None) -> float:
    """Plain dictionary recursion, written apart from the kernel."""
    best: dict[tuple[int, int], float] = {}
    for i in range(len(x)):
        for j in range(len(y)):
            if allowed is not None and (i, j) not in allowed:
                continue
            before = [best[at] for at in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if at in best]
            if before or (i, j) == (0, 0):
                best[i, j] = min(before, default=0.0) + local_distance(x[i], y[j], metric)
    return best[len(x) - 1, len(y) - 1]


def assert_valid(alignment: Alignment, rows: int, columns: int) -> None:
    steps = np.diff(alignment.path, axis=0)
    assert alignment.path[0].tolist() == [0, 0]
    assert alignment.path[-1].tolist() == [rows - 1, columns - 1]
    assert steps.size == 0 or (steps.min() >= 0 and steps.max() <= 1 and steps.sum(axis=1).min() >= 1)


def path_cost(x: np.ndarray, y: np.ndarray, alignment: Alignment, metric: str) -> float:
    return sum(local_distance(x[i], y[j], metric) for i, j in alignment.path.tolist())


sizes = st.integers(1, 14)
seeds = st.integers(0, 2**32 - 1)


@patient
@given(sizes, sizes, st.integers(1, 4), seeds, st.sampled_from(METRICS), st.booleans())
def test_cost_and_path_equal_an_independent_implementation(
    rows: int, columns: int, dims: int, seed: int, metric: str, ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(rows, dims)), rng.normal(size=(columns, dims))
    if ties:
        x, y = np.round(x), np.round(y)
    alignment = align(x, y, DTWOptions(metric=metric))
    assert alignment.cost == pytest.approx(reference_cost(x, y, metric), rel=1e-12, abs=1e-12)
    assert path_cost(x, y, alignment, metric) == pytest.approx(alignment.cost, rel=1e-12, abs=1e-12)
    assert_valid(alignment, rows, columns)
    norm = max(np.sqrt((x**2).sum()), np.sqrt((y**2).sum()))
    assert alignment.distance == pytest.approx(alignment.cost / norm if alignment.cost else 0.0, rel=1e-12)


@patient
@given(sizes, sizes, st.integers(0, 6), seeds)
def test_window_holds_the_best_path_inside_the_band(rows: int, columns: int, window: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(rows, 2)), rng.normal(size=(columns, 2))
    longer, shorter = max(rows, columns), min(rows, columns)

    def inside(i: int, j: int) -> bool:
        along, across = (i, j) if rows >= columns else (j, i)
        return abs(across - int(along * (shorter - 1) / max(longer - 1, 1) + 0.5)) <= window

    allowed = {(i, j) for i in range(rows) for j in range(columns) if inside(i, j)}
    alignment = align(x, y, DTWOptions(window=window))
    assert alignment.cost == pytest.approx(reference_cost(x, y, "l2", allowed), rel=1e-12, abs=1e-12)
    assert {tuple(step) for step in alignment.path.tolist()} <= allowed
    assert_valid(alignment, rows, columns)


@patient
@given(sizes, sizes, st.integers(1, 5), seeds)
def test_stride_aligns_every_nth_frame_and_bounds_the_cost(rows: int, columns: int, stride: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(rows, 2)), rng.normal(size=(columns, 2))
    alignment = align(x, y, DTWOptions(stride=stride))
    assert_valid(alignment, rows, columns)
    assert alignment.cost == pytest.approx(path_cost(x, y, alignment, "l2"), rel=1e-12, abs=1e-12)
    assert alignment.cost >= align(x, y).cost - 1e-12
    picked_x = sorted({*range(0, rows, stride), rows - 1})
    picked_y = sorted({*range(0, columns, stride), columns - 1})
    knots = align(x[picked_x], y[picked_y]).path
    steps = {tuple(step) for step in alignment.path.tolist()}
    assert {(picked_x[i], picked_y[j]) for i, j in knots.tolist()} <= steps


def test_window_and_stride_together_stay_near_the_diagonal() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 3))
    y = np.roll(x, 20, axis=0)
    path = align(x, y, DTWOptions(window=6, stride=3)).path
    assert np.abs(path[:, 0] - path[:, 1]).max() <= 6 + 3
    assert np.abs(align(x, y, DTWOptions(stride=3)).path @ [1, -1]).max() > 9


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 7), (7, 1), (2, 300), (300, 2), (300, 1)])
@pytest.mark.parametrize("window", [None, 0, 3])
@pytest.mark.parametrize("stride", [1, 4])
def test_one_frame_and_very_unequal_episodes(rows: int, columns: int, window: int | None, stride: int) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(rows, 3)), rng.normal(size=(columns, 3))
    alignment = align(x, y, DTWOptions(window=window, stride=stride))
    assert_valid(alignment, rows, columns)
    assert alignment.cost == pytest.approx(path_cost(x, y, alignment, "l2"))


def test_constant_episodes_cost_nothing_and_follow_the_diagonal() -> None:
    alignment = align(np.zeros((6, 2)), np.zeros((6, 2)))
    assert (alignment.cost, alignment.distance) == (0.0, 0.0)
    assert alignment.path.tolist() == [[i, i] for i in range(6)]


def test_band_without_window_is_everything() -> None:
    first, last = band(3, 5, None)
    assert (first.tolist(), last.tolist()) == ([0, 0, 0], [4, 4, 4])


def test_any_number_of_workers_gives_the_same_result_and_progress_reaches_the_end() -> None:
    rng = np.random.default_rng(2)
    sources = [rng.normal(size=(rng.integers(5, 40), 3)) for _ in range(37)]
    targets = [rng.normal(size=(rng.integers(5, 40), 3)) for _ in range(3)]
    seen: list[tuple[int, int]] = []
    one = align_all(sources, targets, workers=1)
    many = align_all(sources, targets, workers=4, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (111, 111)
    assert seen == sorted(seen)
    for t in range(3):
        assert len(one[t]) == len(many[t]) == 37
        for s in range(37):
            assert one[t][s].cost == many[t][s].cost
            np.testing.assert_array_equal(one[t][s].path, many[t][s].path)
            if s % 9 == 0:
                assert one[t][s].cost == align(sources[s], targets[t]).cost


def test_float32_and_views_are_taken() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3, 20)).astype(np.float32).T
    y = rng.normal(size=(18, 6))[:, ::2]
    assert align(x, y).cost == align(np.array(x, np.float64), y.copy()).cost


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (np.zeros((0, 2)), np.zeros((3, 2)), r"source episode 0 has shape \(0, 2\)"),
        (np.zeros(3), np.zeros((3, 2)), r"source episode 0 has shape \(3,\)"),
        (np.zeros((3, 2)), np.zeros((3, 4)), "source episode 0 has 2 dims; allowed: 4"),
        (np.array([[0.0], [np.nan]]), np.zeros((3, 1)), "source episode 0 is not finite at frame 1"),
        (np.zeros((3, 1)), np.array([[np.inf]]), "target episode 0 is not finite at frame 0"),
    ],
)
def test_bad_episodes_are_named(source: np.ndarray, target: np.ndarray, message: str) -> None:
    with pytest.raises(PairingError, match=message):
        align(source, target)


def test_no_episodes_is_an_error() -> None:
    with pytest.raises(PairingError, match="0 source with 1 target"):
        align_all([], [np.zeros((2, 1))])


def test_an_interrupt_ends_the_run_soon() -> None:
    seen: list[int] = []

    def stop(done: int, total: int) -> None:
        seen.append(done)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align_all([np.zeros((5, 1))] * 100, [np.zeros((5, 1))] * 9, workers=2, progress=stop)
    assert seen == [16]
    with pytest.raises(PairingError, match="workers is 0"):
        align_all([np.zeros((5, 1))], [np.zeros((5, 1))], workers=0)


def test_bad_options_are_named() -> None:
    with pytest.raises(PairingError, match=r"metric is 'linff'; allowed: l1, l2, linf\. Did you mean 'linf'"):
        DTWOptions(metric="linff")
    with pytest.raises(PairingError, match="window is -1"):
        DTWOptions(window=-1)
    with pytest.raises(PairingError, match="stride is 0"):
        DTWOptions(stride=0)
