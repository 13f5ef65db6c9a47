"""A scripted expert that needs nothing but what the camera and the state show at this moment."""

import numpy as np
from jaxtyping import Float

from otpilot.sim.arrays import Array
from otpilot.sim.world import GOAL_RADIUS, HOME, World, towards

REACHED = 0.03  # a hand this near to its destination has arrived, in table widths
STAYING = 0.06  # once the fingers move, it still counts as arrived up to here (against jitter)
CLOSED = 0.95
BRAKING = 0.3  # near its destination the hand covers this share of what is left per step,
CREEPING = 0.012  # but at least this much, in table widths
DRIFT_STEPS = 3
FUMBLE_STEPS = 3
FUMBLE_START = (2, 16)  # first and last + 1 control step at which a fumble may begin


def expert_action(world: World) -> Float[Array, "b 3"]:
    """Return the next absolute target (x, y, gripper) of every row.

    Open fingers go to the block, close there, carry it to the goal, open, and go home. Each target lies one expert step
    (the episode's `pace`, less near the destination) ahead, times one more than the control delay, so a delayed hand
    keeps the same speed. Which phase it is follows from distances and the gripper alone; no counter is hidden.
    """
    moving = world.gripper > 0.05
    open_fingers = world.gripper < CLOSED
    to_block = np.linalg.norm(world.block - world.hand, axis=1)
    to_goal = np.linalg.norm(world.goal - world.hand, axis=1)
    placed = ~world.held & (np.linalg.norm(world.block - world.goal, axis=1) <= GOAL_RADIUS)
    at_block = (to_block <= REACHED) | (moving & (to_block <= STAYING))
    at_goal = (to_goal <= REACHED) | (open_fingers & (to_goal <= STAYING))

    grasping = ~world.held & ~placed & at_block & open_fingers
    lifting = world.held & open_fingers & ~at_goal
    carrying = world.held & ~open_fingers & ~at_goal
    destination = np.where((carrying | (world.held & at_goal))[:, None], world.goal, world.block)
    destination = np.where(lifting[:, None], world.hand, destination)
    destination = np.where(placed[:, None], np.asarray(HOME), destination)
    offset = destination - world.hand
    speed = np.minimum(world.pace, np.maximum(BRAKING * np.linalg.norm(offset, axis=1), CREEPING))
    point = world.hand + towards(offset, speed * (1 + world.pending.shape[1]))
    close = (grasping | lifting | carrying).astype(np.float64)
    return np.concatenate([point, close[:, None]], axis=1)


def disturbed(
    action: Float[Array, "b 3"], world: World, *, noise_std: float, fumble_share: float
) -> Float[Array, "b 3"]:
    """Return `action` as a clumsy hand executes it, from each episode's own stream.

    The hand drifts by Gaussian noise of `noise_std` table widths that changes every DRIFT_STEPS steps, and in
    `fumble_share` of the episodes the fingers close for FUMBLE_STEPS steps somewhere on the way. Executed but not
    recorded, this widens the states that demonstrations cover (a missed grasp among them) while the labels stay the
    expert's (DART, Laskey et al. 2017, arXiv 1703.09327).
    """
    executed = np.array(action, dtype=np.float64)
    for row, (stream, step) in enumerate(zip(world.stream.tolist(), world.step.tolist(), strict=True)):
        executed[row, :2] += np.random.default_rng([stream, step // DRIFT_STEPS]).normal(scale=noise_std, size=2)
        episode = np.random.default_rng(stream)
        fumbles, start = episode.random() < fumble_share, int(episode.integers(*FUMBLE_START))
        if fumbles and start <= step < start + FUMBLE_STEPS:
            executed[row, 2] = 1.0
    return executed
