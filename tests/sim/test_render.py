import dataclasses

import numpy as np
import pytest

from otpilot.errors import ConfigError
from otpilot.sim.camera import CAMERAS, camera_matrices, project
from otpilot.sim.domain import DOMAINS, SOURCE, get_domain
from otpilot.sim.region import get_region
from otpilot.sim.render import render
from otpilot.sim.world import reset_world, step_world


def start(domain, episodes=range(4)):
    return reset_world(domain, get_region("full"), seed=0, episodes=episodes)


def quiet(name):
    """Return the preset without sensor noise."""
    return dataclasses.replace(get_domain(name), noise_std=0.0)


@pytest.mark.parametrize("size", [32, 64, 96, 256])
@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("domain", DOMAINS.values(), ids=lambda domain: domain.name)
def test_shape_type_and_repeatability(domain, camera, size):
    world = start(domain)
    first, second = (render(world, domain, camera=camera, size=size) for _ in range(2))
    assert first.shape == (4, size, size, 3)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("camera", CAMERAS)
def test_picture_does_not_depend_on_the_batch(camera):
    domain = get_domain("target_far")
    many = render(start(domain, range(6)), domain, camera=camera)
    few = render(start(domain, [5, 1]), domain, camera=camera)
    np.testing.assert_array_equal(few, many[[5, 1]])


def test_domains_look_different():
    pictures = [render(start(domain), domain).astype(float) for domain in DOMAINS.values()]
    for left in range(3):
        for right in range(left):
            assert np.abs(pictures[left] - pictures[right]).mean() > 30.0


@pytest.mark.parametrize("name", DOMAINS)
def test_block_and_goal_are_drawn_where_they_are(name):
    # Corners of the workspace, the hand far away: nothing covers them, everything is in view.
    domain = quiet(name)
    spots = np.array([[0.12, 0.12], [0.88, 0.12], [0.12, 0.88], [0.88, 0.88]])
    world = dataclasses.replace(start(domain), block=spots, goal=spots[::-1].copy(), hand=np.full((4, 2), 0.5))
    picture = render(world, domain, size=128).astype(float)
    moved = dataclasses.replace(world, block=np.full((4, 2), 0.5))
    changed = np.abs(picture - render(moved, domain, size=128)).sum(axis=-1)
    centre = project(camera_matrices(domain, "top", world.hand), spots[:, None])[:, 0] * 128
    for row in range(4):
        column, line = np.rint(centre[row] - 0.5).astype(int)
        assert changed[row, line, column] > 60.0
    goalless = dataclasses.replace(world, goal=np.full((4, 2), 0.5))
    ring = np.abs(picture - render(goalless, domain, size=128)).sum(axis=-1)
    assert (ring.max(axis=(1, 2)) > 60.0).all()


@pytest.mark.parametrize("name", DOMAINS)
def test_block_goal_and_gripper_stand_out_at_64_pixels(name):
    domain = quiet(name)
    world = dataclasses.replace(
        start(domain, [0]), block=np.array([[0.3, 0.7]]), goal=np.array([[0.7, 0.7]]), hand=np.array([[0.5, 0.3]])
    )
    picture = render(world, domain)[0].astype(float)
    for colour in (domain.palette.block, domain.palette.goal, domain.palette.gripper):
        # brightness varies over the table, so compare colours by direction
        reference = np.asarray(colour) / np.linalg.norm(colour)
        likeness = picture @ reference / np.maximum(np.linalg.norm(picture, axis=-1), 1e-9)
        brightness = np.linalg.norm(picture, axis=-1) / np.linalg.norm(colour)
        assert ((likeness > 0.99) & (brightness > 0.5) & (brightness < 1.6)).sum() >= 6


@pytest.mark.parametrize("change", [{"gripper": 1.0}, {"held": True}], ids=["closed", "held"])
@pytest.mark.parametrize("name", DOMAINS)
def test_fingers_and_hold_are_visible(name, change):
    domain = quiet(name)
    world = start(domain)
    ((field, value),) = change.items()
    other = dataclasses.replace(world, **{field: np.full(4, value)})
    difference = np.abs(render(world, domain).astype(float) - render(other, domain)).max(axis=-1)
    assert ((difference > 30.0).sum(axis=(1, 2)) >= 4).all()


def test_sensor_noise_has_its_strength_and_changes_with_time():
    domain = get_domain("target_far")
    world = start(domain, range(16))
    clean = render(world, quiet("target_far")).astype(float)
    inner = (clean > 40) & (clean < 215)  # away from clipping
    noise = (render(world, domain) - clean)[inner]
    assert noise.std() == pytest.approx(domain.noise_std, rel=0.1)
    later = dataclasses.replace(world, step=world.step + 1)
    assert (render(world, domain) != render(later, domain)).mean() > 0.5


def test_wrist_camera_follows_the_hand():
    world = start(SOURCE)
    moved = step_world(world, np.tile([0.9, 0.9, 0.0], (4, 1)))
    before, after = (camera_matrices(SOURCE, "wrist", w.hand) for w in (world, moved))
    np.testing.assert_allclose(project(before, world.hand[:, None]), 0.5)
    np.testing.assert_allclose(project(after, moved.hand[:, None]), 0.5)


def test_bad_camera_and_size_are_refused():
    with pytest.raises(ConfigError, match="Did you mean 'wrist'"):
        render(start(SOURCE), SOURCE, camera="wirst")
    with pytest.raises(ConfigError, match="32 to 256"):
        render(start(SOURCE), SOURCE, size=16)
