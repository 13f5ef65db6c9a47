import cv2
import numpy as np
import pytest

from otpilot.errors import OtpilotError
from otpilot.report.figures import filmstrip, frames_grid, pairs_figure, plan_figure


def frames(count, height=16, width=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def decoded(png):
    """Return RGB, height x width x 3."""
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert image.shape[2] == 4
    return cv2.cvtColor(image, cv2.COLOR_BGRA2RGB)


def test_frames_grid_shows_every_pixel_of_every_frame():
    first, second = frames(5, 16, 20), frames(3, 10, 12, seed=1)
    image = decoded(frames_grid([("source", first), ("$target_{far}$ 目标", second)], scale=3))
    assert image.shape == (22 + 48 + 8 + 22 + 30, 5 * 68 - 8, 3)
    np.testing.assert_array_equal(image[22:70:3, 136:196:3], first[2])
    np.testing.assert_array_equal(image[100:130:3, 44:80:3], second[1])


def test_frames_grid_is_wide_enough_for_a_long_label():
    assert decoded(frames_grid([("x" * 100, frames(1))], scale=1)).shape[1] == 850


@pytest.mark.parametrize(("length", "k", "shown"), [(30, 4, [0, 10, 19, 29]), (3, 8, [0, 1, 2]), (1, 1, [0])])
def test_filmstrip_goes_from_the_first_to_the_last_frame(length, k, shown):
    episode = frames(length)
    image = decoded(filmstrip(episode, k=k, scale=2))
    assert image.shape == (32 + 22, len(shown) * 40 - 8, 3)
    for place, number in enumerate(shown):
        np.testing.assert_array_equal(image[0:32:2, place * 40 : place * 40 + 32 : 2], episode[number])


def test_pairs_lie_side_by_side_source_left():
    source, target = frames(4), frames(4, 12, 14, seed=1)
    image = decoded(pairs_figure(source, target, ["a", "b", "c", "d"], columns=3, scale=2))
    wide, high = 34 + 28 + 16, 32 + 22 + 8
    assert image.shape == (22 + 2 * high - 8, 3 * wide - 16, 3)
    np.testing.assert_array_equal(image[22 + high : 22 + high + 32 : 2, 0:32:2], source[3])
    np.testing.assert_array_equal(image[22:46:2, wide + 34 : wide + 62 : 2], target[1])


def plan_map(plan, **options):
    """Return the heat map's colour of every entry, read from the middle of its cell."""
    rows, columns = plan.shape
    image = decoded(plan_figure(plan, frames(rows), frames(columns), mass=0.5, **options))
    cell = min(max(384 // max(rows, columns), 4), 72)
    side = cell * -(-22 // cell) - 2
    left, top = 22 + side + 8, 44 + 8 + side + 8
    assert image.shape == (top + max(rows * cell, 160) + 8, max(left + columns * cell + 100, 400), 3)
    return image[top + cell // 2 : top + rows * cell : cell, left + cell // 2 : left + columns * cell : cell].astype(
        int
    )


def test_a_product_plan_is_flat_and_grey():
    colours = plan_map(np.full((6, 4), 1 / 24))
    assert (colours == colours[0, 0]).all()
    assert np.ptp(colours[0, 0]) < 15


def test_a_permutation_stands_out():
    colours = plan_map(np.eye(8) / 8)
    bright = colours.sum(-1)
    assert bright.diagonal().min() > bright[~np.eye(8, dtype=bool)].max() + 200


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (150, 2)])
def test_odd_plan_shapes_are_drawn(shape):
    colours = plan_map(np.full(shape, 1 / (shape[0] * shape[1])))
    assert colours.shape == (*shape, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: frames_grid([]), "0 rows"),
        (lambda: frames_grid([("a", frames(2).astype(np.float32))]), "row 'a' .* float32"),
        (lambda: filmstrip(frames(3), k=0), "k = 0"),
        (lambda: filmstrip(frames(0)), "none of them 0"),
        (lambda: pairs_figure(frames(2), frames(3), ["a", "b"]), "2 source frames, 3 target frames and 2 labels"),
        (lambda: plan_figure(np.ones((2, 3)), frames(3), frames(2), mass=1.0), r"shape \(2, 3\)"),
        (lambda: plan_figure(np.full((2, 2), np.nan), frames(2), frames(2), mass=1.0), "finite"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(OtpilotError, match=message):
        call()
