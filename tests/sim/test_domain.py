import dataclasses

import numpy as np
import pytest

from otpilot.errors import ConfigError
from otpilot.sim.camera import project, top_matrix
from otpilot.sim.domain import DOMAINS, SOURCE, CameraPose, get_domain
from otpilot.sim.observation import observe
from otpilot.sim.region import MIN_SEPARATION, REGIONS, Region, get_region
from otpilot.sim.world import reset_world


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=lambda domain: domain.name)
def test_whole_table_is_in_view(domain):
    corners = np.array([[[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]])
    seen = project(top_matrix(domain.camera)[None], corners)[0]
    assert ((seen >= 0.0) & (seen <= 1.0)).all()
    np.testing.assert_allclose(seen, domain.camera.corners(), atol=1e-12)  # the check and the renderer agree


def test_camera_that_cuts_the_table_is_refused():
    with pytest.raises(ConfigError, match="table corner lies at"):
        CameraPose(rotation_deg=45.0, zoom=0.9)


def test_unknown_names_offer_the_closest():
    with pytest.raises(ConfigError, match="Did you mean 'target_far'"):
        get_domain("target_fra")
    with pytest.raises(ConfigError, match="Did you mean 'left'"):
        get_region("lefft")
    with pytest.raises(ConfigError, match="Did you mean 'stripes'"):
        dataclasses.replace(SOURCE, texture="stripe")


def test_domain_and_region_objects_pass_through():
    assert get_domain(SOURCE) is SOURCE
    assert get_region(REGIONS["left"]) is REGIONS["left"]


@pytest.mark.parametrize(
    "change", [{"delay_steps": 9}, {"noise_std": -1.0}, {"pace": (0.04, 0.03)}], ids=lambda change: next(iter(change))
)
def test_out_of_range_settings_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        dataclasses.replace(SOURCE, **change)


@pytest.mark.parametrize("region", REGIONS.values(), ids=lambda region: region.name)
def test_samples_stay_in_the_box_and_apart(region):
    rng = np.random.default_rng(0)
    pairs = np.array([region.sample(rng) for _ in range(500)])
    x_low, x_high, y_low, y_high = region.box
    assert (pairs >= (x_low, y_low)).all()
    assert (pairs <= (x_high, y_high)).all()
    assert np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=1).min() >= MIN_SEPARATION
    # not merely inside: both blocks and goals reach every side of the box
    spread = np.ptp(pairs, axis=0)
    assert (spread > 0.9 * np.array([x_high - x_low, y_high - y_low])).all()


def test_left_and_right_share_nothing():
    assert REGIONS["left"].box[1] < REGIONS["right"].box[0]


@pytest.mark.parametrize("box", [(0.0, 0.5, 0.1, 0.9), (0.6, 0.4, 0.1, 0.9), (0.4, 0.5, 0.4, 0.5)])
def test_bad_boxes_are_refused(box):
    with pytest.raises(ConfigError, match="box"):
        Region(name="mine", box=box)


def test_a_token_ends_the_state_and_says_which_domain_it_is():
    for name, value in (("source", 0.0), ("target", 1.0), ("target_far", 1.0)):
        marked = get_domain(f"{name}+token")
        world = reset_world(marked, get_region("full"), seed=0, episodes=range(2))
        seen = observe(world, marked, cameras=("top",), image_size=32)
        plain = observe(world, get_domain(name), cameras=("top",), image_size=32)
        np.testing.assert_array_equal(seen["observation.state"][:, :3], plain["observation.state"])
        assert seen["observation.state"][:, 3].tolist() == [value, value]
        np.testing.assert_array_equal(seen["observation.images.top"], plain["observation.images.top"])
    with pytest.raises(ConfigError, match="'nowhere"):
        get_domain("nowhere+token")
