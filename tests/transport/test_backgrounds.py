from dataclasses import replace

import numpy as np
import pytest
import torch

from otpilot.sim.domain import get_domain
from otpilot.sim.observation import observe
from otpilot.sim.region import get_region
from otpilot.sim.world import reset_world
from otpilot.transport.backgrounds import Background
from otpilot.transport.views import fit_view

SIDE = 48
RED, BLUE, GREY = (torch.tensor(colour)[:, None, None] for colour in ([0.9, 0.1, 0.1], [0.1, 0.2, 0.9], [0.6] * 3))


def chequered():
    place = torch.arange(SIDE) // 6
    fields = ((place[:, None] + place) % 2).float()
    return torch.stack([0.35 + 0.2 * fields, 0.5 - 0.2 * fields, 0.3 + 0 * fields])


def with_blocks(ground, colour, places, size=7):
    pictures = ground.expand(len(places), -1, -1, -1).clone()
    for picture, (x, y) in zip(pictures, places, strict=True):
        picture[:, y : y + size, x : x + size] = colour
    return pictures


def places(count, *, high=SIDE - 7, seed=0):
    """Places of a block, its left edge below `high`."""
    numbers = np.random.default_rng(seed)
    return np.stack([numbers.integers(0, high, count), numbers.integers(0, SIDE - 7, count)], axis=1)


def grey_table():
    """A grey table with a darker frame, so that a pose can be found."""
    table = GREY.expand(3, SIDE, SIDE).clone()
    table[:, :3], table[:, -3:], table[..., :3], table[..., -3:] = (torch.full((3, 1, 1), 0.15),) * 4
    return table


@pytest.fixture(scope="module")
def told():
    """Pairs on the left half, twins; the source shows its block everywhere."""
    left = places(80, high=SIDE // 2 - 7)
    source, target = with_blocks(grey_table(), RED, left), with_blocks(chequered(), BLUE, left)
    return fit_view(source, target, with_blocks(grey_table(), RED, places(120, seed=1)))


def test_what_stands_still_looks_as_in_the_target_where_nothing_was_demonstrated(told):
    elsewhere = [(30, 5), (36, 20), (28, 36)]
    made = told(with_blocks(grey_table(), RED, elsewhere))
    wanted = with_blocks(chequered(), BLUE, elsewhere)
    assert float((made - wanted).abs().mean()) < 0.02
    flat = replace(told, background=None)(with_blocks(grey_table(), RED, elsewhere))
    assert float((flat - wanted).abs().mean()) > 0.06
    assert told.describe().endswith("before the target's background")


def test_jitter_moves_things_and_not_the_background(told):
    empty = grey_table()[None]
    moves = torch.zeros(1, 8)
    moves[:, 4] = 0.1
    torch.testing.assert_close(told(empty, moves), told(empty), atol=0.02, rtol=0)
    block = with_blocks(grey_table(), RED, [(20, 20)])
    assert float((told(block, moves)[..., 28] - told(block)[..., 28]).abs().max()) > 0.2


def test_a_thing_that_every_pair_shows_is_no_background():
    """In the one target demonstration the block lies still; the source's lies elsewhere in half of the pairs."""
    there = [(20, 20)] * 60
    near = [(20, 20) if number % 2 else (8, 30) for number in range(60)]
    source, target = with_blocks(grey_table(), RED, near), with_blocks(chequered(), BLUE, there)
    view = fit_view(source, target, with_blocks(grey_table(), RED, places(120, seed=1)))
    assert view.background is not None
    blue = view.background.target[2, 20:27, 20:27] - view.background.target[0, 20:27, 20:27]
    assert float(blue.max()) < 0.3  # .8 in the block


def test_what_stands_before_the_background_too_often_is_drawn_as_a_thing():
    """The source's block lies in the middle in half of the pictures: there its background cannot be told."""
    left = places(80, high=SIDE // 2 - 7)
    source, target = with_blocks(grey_table(), RED, left), with_blocks(chequered(), BLUE, left)
    often = with_blocks(grey_table(), RED, [*places(60, seed=1), *[(20, 20)] * 60])
    view = fit_view(source, target, often)
    assert view.background is not None
    middle = view(with_blocks(grey_table(), RED, [(20, 20)]))[0, :, 22:25, 22:25]
    assert float((middle - BLUE).abs().mean()) < 0.15


def test_a_camera_that_moves_has_no_background():
    numbers = torch.Generator().manual_seed(0)
    source = torch.rand(40, 3, 1, SIDE, generator=numbers).expand(-1, -1, SIDE, -1)
    assert fit_view(source, 1.0 - source, source).background is None


def test_a_background_that_brings_pictures_no_nearer_is_left_out(monkeypatch):
    left = places(40)
    source, target = with_blocks(grey_table(), RED, left), with_blocks(chequered(), BLUE, left)
    assert fit_view(source, target, source).background is not None
    white = torch.ones(3, SIDE, SIDE)
    wrong = Background(source=grey_table(), steady=torch.ones(1, SIDE, SIDE), target=white, tolerance=0.1)
    monkeypatch.setattr("otpilot.transport.views.fit_background", lambda *_: wrong)
    assert fit_view(source, target, source).background is None


@pytest.mark.parametrize("size", [(24, 24), (96, 130)])
def test_pictures_of_another_size_are_seen_before_it_too(told, size):
    picture = torch.nn.functional.interpolate(with_blocks(grey_table(), RED, [(30, 20)]), size, mode="area")
    made = told(picture)
    assert made.shape[-2:] == size
    wanted = torch.nn.functional.interpolate(with_blocks(chequered(), BLUE, [(30, 20)]), size, mode="area")
    assert float((made - wanted).abs().mean()) < 0.04


def test_colours_near_the_background_are_it_and_others_are_not():
    still = Background(source=grey_table(), steady=torch.ones(1, SIDE, SIDE), target=chequered(), tolerance=0.1).to(
        torch.device("cpu")
    )
    near, far = grey_table() + 0.02, grey_table() + 0.1  # .035 and .17 away, over three channels
    assert float(still.seen_in(near[None]).min()) > 0.95
    assert float(still.seen_in(far[None]).max()) < 0.01


@pytest.mark.parametrize("name", ["target", "target_far"])
def test_on_the_tabletop_it_holds_where_the_target_was_never_shown(name):
    def seen(domain, region, seed):
        world = reset_world(get_domain(domain), get_region(region), seed=seed, episodes=range(60))
        picture = observe(world, get_domain(domain), cameras=("top",), image_size=64)["observation.images.top"]
        return torch.from_numpy(picture).permute(0, 3, 1, 2).float() / 255

    everywhere = torch.cat([seen("source", "left", 7), seen("source", "right", 7)])
    view = fit_view(seen("source", "left", 3), seen(name, "left", 3), everywhere)
    source, target = seen("source", "right", 9), seen(name, "right", 9)
    flat = (replace(view, background=None)(source) - target).abs().mean()
    assert float((view(source) - target).abs().mean()) < 0.8 * float(flat)
