import dataclasses

import numpy as np
import pytest

from otpilot.sim.domain import DOMAINS, SOURCE, get_domain
from otpilot.sim.expert import FUMBLE_START, FUMBLE_STEPS, disturbed, expert_action
from otpilot.sim.record import DEFAULT_FUMBLES, DEFAULT_NOISE
from otpilot.sim.region import REGIONS, get_region
from otpilot.sim.world import (
    GOAL_RADIUS,
    GRASP_RADIUS,
    GRIPPER_SPEED,
    HOLD_AT,
    MAX_SPEED,
    keep_rows,
    reset_world,
    step_world,
)


def drive(domain, region, *, seed, episodes, steps, noise=0.0, fumbles=0.0):
    """Return the worlds that the expert goes through."""
    world = reset_world(domain, region, seed=seed, episodes=episodes)
    history = [world]
    for _ in range(steps):
        executed = disturbed(expert_action(world), world, noise_std=noise, fumble_share=fumbles)
        world = step_world(world, executed)
        history.append(world)
    return history


def one(**changes):
    """Return a single tabletop with the hand 0.3 left of the block, changed as told."""
    world = reset_world(SOURCE, get_region("full"), seed=0, episodes=[0])
    base = {"hand": [[0.2, 0.5]], "block": [[0.5, 0.5]], "goal": [[0.8, 0.5]]}
    return dataclasses.replace(world, **{name: np.array(value) for name, value in {**base, **changes}.items()})


@pytest.mark.parametrize("clumsy", [False, True], ids=["exact", "clumsy"])
@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("domain", DOMAINS)
def test_expert_always_succeeds_in_time(domain, region, clumsy):
    noise, fumbles = (DEFAULT_NOISE, DEFAULT_FUMBLES) if clumsy else (0.0, 0.0)
    history = drive(
        get_domain(domain), get_region(region), seed=7, episodes=range(600), steps=80, noise=noise, fumbles=fumbles
    )
    assert history[-1].success.all()


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=lambda domain: domain.name)
def test_demonstrations_have_the_promised_length(domain):
    history = drive(domain, get_region("full"), seed=1, episodes=range(300), steps=75)
    steps = np.argmax([world.success for world in history], axis=0)
    assert 25 <= steps.mean() <= 40
    assert steps.min() >= 10


def test_episode_does_not_depend_on_its_batch():
    many = drive(get_domain("target_far"), get_region("left"), seed=5, episodes=range(8), steps=40, noise=0.01)[-1]
    few = drive(get_domain("target_far"), get_region("left"), seed=5, episodes=[6, 2], steps=40, noise=0.01)[-1]
    for name, value in vars(many.rows(np.array([6, 2]))).items():
        np.testing.assert_array_equal(getattr(few, name), value, err_msg=name)


def test_seeds_and_episodes_differ():
    starts = [
        reset_world(SOURCE, get_region("full"), seed=seed, episodes=[episode]).block
        for seed in (0, 1)
        for episode in (0, 1)
    ]
    assert len(np.unique(np.concatenate(starts), axis=0)) == 4


def test_domains_share_the_layouts_of_a_seed():
    source, far = (
        reset_world(get_domain(name), get_region("full"), seed=3, episodes=range(4))
        for name in ("source", "target_far")
    )
    np.testing.assert_array_equal(source.block, far.block)
    np.testing.assert_array_equal(source.goal, far.goal)


def test_hand_and_gripper_have_limited_speed():
    world = one()
    after = step_world(world, np.array([[0.9, 0.9, 1.0]]))
    assert np.linalg.norm(after.hand - world.hand) == pytest.approx(MAX_SPEED)
    assert after.gripper[0] == pytest.approx(GRIPPER_SPEED)
    near = step_world(world, np.array([[0.21, 0.5, 0.1]]))
    np.testing.assert_allclose(near.agent_pos, [[0.21, 0.5, 0.1]], rtol=1e-6)


@pytest.mark.parametrize(("distance", "held"), [(0.9 * GRASP_RADIUS, True), (1.1 * GRASP_RADIUS, False)])
def test_grasp_needs_the_block_within_reach(distance, held):
    world = one(hand=[[0.5 - distance, 0.5]])
    for _ in range(3):
        world = step_world(world, np.array([[0.5 - distance, 0.5, 1.0]]))
    assert world.held[0] == held


def test_closed_fingers_do_not_sweep_the_block_up():
    world = one(gripper=[1.0])
    for _ in range(20):
        world = step_world(world, np.array([[0.8, 0.5, 1.0]]))
    assert not world.held[0]
    np.testing.assert_array_equal(world.block, [[0.5, 0.5]])


@pytest.mark.parametrize(("miss", "success"), [(0.9 * GOAL_RADIUS, True), (1.1 * GOAL_RADIUS, False)])
def test_success_is_a_release_within_the_goal_and_stays(miss, success):
    at = 0.8 - miss
    world = one(hand=[[at, 0.5]], block=[[at, 0.5]], gripper=[1.0], held=[True])
    world = step_world(world, np.array([[at, 0.5, 1.0]]))
    assert not world.success[0]  # over the goal, but not let go
    for _ in range(2):
        world = step_world(world, np.array([[at, 0.5, 0.0]]))
    assert world.gripper[0] < HOLD_AT
    assert world.success[0] == success
    world = step_world(world, np.array([[0.1, 0.1, 0.0]]))
    assert world.success[0] == success
    np.testing.assert_allclose(world.block, [[at, 0.5]])


def test_block_that_lies_in_the_goal_unmoved_is_no_success():
    world = one(goal=[[0.5, 0.5]])
    for gripper in (0.4, 0.0, 0.4, 0.0):
        world = step_world(world, np.array([[0.2, 0.5, gripper]]))
    assert not world.success[0]


def test_control_delay_shifts_the_motion_by_its_steps():
    delayed = dataclasses.replace(SOURCE, delay_steps=2)
    quick, slow = (reset_world(domain, get_region("full"), seed=0, episodes=[0]) for domain in (SOURCE, delayed))
    rng = np.random.default_rng(0)
    actions = rng.uniform(size=(10, 1, 3))
    path_quick, path_slow = [], []
    for action in actions:
        quick, slow = step_world(quick, action), step_world(slow, action)
        path_quick.append(quick.agent_pos)
        path_slow.append(slow.agent_pos)
    np.testing.assert_array_equal(path_slow[2:], path_quick[:-2])


def test_keep_rows_freezes_the_finished():
    old = reset_world(get_domain("target_far"), get_region("full"), seed=0, episodes=range(2))
    new = step_world(old, expert_action(old))
    mixed = keep_rows(old, new, np.array([True, False]))
    np.testing.assert_array_equal(mixed.pending[1], old.pending[1])
    np.testing.assert_array_equal(mixed.step, [1, 0])


def test_expert_opens_again_after_a_missed_grasp():
    world = one(gripper=[1.0])
    for _ in range(60):
        world = step_world(world, expert_action(world))
    assert world.success[0]


def test_disturbance_is_the_episodes_own():
    world = reset_world(SOURCE, get_region("full"), seed=0, episodes=range(2000))
    wanted = np.full((2000, 3), 0.5)
    executed = disturbed(wanted, world, noise_std=0.01, fumble_share=0.0)
    np.testing.assert_array_equal(executed, disturbed(wanted, world, noise_std=0.01, fumble_share=0.0))
    assert (executed - wanted)[:, :2].std() == pytest.approx(0.01, rel=0.05)
    np.testing.assert_array_equal(executed[:, 2], 0.5)
    np.testing.assert_array_equal(wanted, 0.5)


def test_fumbles_close_the_fingers_once_in_their_share_of_episodes():
    world = reset_world(SOURCE, get_region("full"), seed=0, episodes=range(1000))
    closed = []
    for step in range(FUMBLE_START[1] + FUMBLE_STEPS):
        now = dataclasses.replace(world, step=np.full(1000, step))
        closed.append(disturbed(np.zeros((1000, 3)), now, noise_std=0.0, fumble_share=0.4)[:, 2])
    counts = np.sum(closed, axis=0)
    assert set(counts) == {0.0, FUMBLE_STEPS}
    assert (counts > 0).mean() == pytest.approx(0.4, abs=0.05)
