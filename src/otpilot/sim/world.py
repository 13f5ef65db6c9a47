"""The state of B tabletops side by side, and what one control step does to them. Positions are in table widths."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from otpilot.sim.arrays import Array
from otpilot.sim.domain import Domain
from otpilot.sim.region import Region

MAX_SPEED = 0.06  # table widths per control step
GRIPPER_SPEED = 0.34  # of the way from open to closed per control step: three steps to close
HOLD_AT = 0.5  # a gripper value from here on holds; under it the block is free
GRASP_RADIUS = 0.075
GOAL_RADIUS = 0.10
HOME = (0.5, 0.2)
HOME_SPREAD = 0.1  # the hand starts this far around HOME on either axis


@dataclass(frozen=True, kw_only=True)
class World:
    """B independent tabletops; row i belongs to one episode and never depends on the other rows.

    `gripper` is 0 open to 1 closed; `pending` holds the actions that the control delay keeps back, oldest first;
    `pace` is the expert's speed in this episode; `stream` names the episode's own randomness after the start.
    """

    hand: Float[Array, "b 2"]
    gripper: Float[Array, "b"]
    block: Float[Array, "b 2"]
    goal: Float[Array, "b 2"]
    held: Bool[Array, "b"]
    success: Bool[Array, "b"]
    pending: Float[Array, "b delay 3"]
    step: Int[Array, "b"]
    pace: Float[Array, "b"]
    stream: Int[Array, "b"]

    @property
    def agent_pos(self) -> Float[Array, "b 3"]:
        """State as the policy sees it: x, y, gripper."""
        state: Float[Array, "b 3"] = np.concatenate([self.hand, self.gripper[:, None]], axis=1).astype(np.float32)
        return state

    def rows(self, index: Int[Array, "k"]) -> "World":
        """Return the world of the chosen rows."""
        return World(**{name: value[index] for name, value in vars(self).items()})


def reset_world(domain: Domain, region: Region, *, seed: int, episodes: Sequence[int]) -> World:
    """Return fresh tabletops, one per number in `episodes`.

    Each draws from `default_rng([seed, episode])` alone, so an episode is the same in any batch. Domains with equal
    seeds share the layouts (the draws are in the same order), which makes evaluations comparable row by row.
    """
    hands, blocks, goals, paces, streams = [], [], [], [], []
    for episode in episodes:
        rng = np.random.default_rng([seed, episode])
        hands.append(np.asarray(HOME) + rng.uniform(-HOME_SPREAD, HOME_SPREAD, size=2))
        paces.append(rng.uniform(*domain.pace))
        streams.append(int(rng.integers(2**31)))
        block, goal = region.sample(rng)
        blocks.append(block)
        goals.append(goal)
    count = len(hands)
    hand = np.stack(hands)
    waiting = np.concatenate([hand, np.zeros((count, 1))], axis=1)
    return World(
        hand=hand,
        gripper=np.zeros(count),
        block=np.stack(blocks),
        goal=np.stack(goals),
        held=np.zeros(count, dtype=bool),
        success=np.zeros(count, dtype=bool),
        pending=np.repeat(waiting[:, None], domain.delay_steps, axis=1),
        step=np.zeros(count, dtype=np.int64),
        pace=np.asarray(paces),
        stream=np.asarray(streams, dtype=np.int64),
    )


def step_world(world: World, action: Float[Array, "b 3"]) -> World:
    """Return the world one control step later.

    `action` is the absolute target (x, y, gripper), clipped to [0, 1]; the hand moves towards it at most MAX_SPEED and
    the gripper at most GRIPPER_SPEED. A gripper that closes past HOLD_AT within GRASP_RADIUS of the block takes it (the
    fingers centre it under the hand); one that opens past HOLD_AT leaves it. Success is a block left within GOAL_RADIUS
    of the goal, and stays.
    """
    queue = np.concatenate([world.pending, np.clip(action, 0.0, 1.0).astype(np.float64)[:, None]], axis=1)
    target = queue[:, 0]
    hand = world.hand + towards(target[:, :2] - world.hand, np.full(len(target), MAX_SPEED))
    gripper = world.gripper + np.clip(target[:, 2] - world.gripper, -GRIPPER_SPEED, GRIPPER_SPEED)
    near = np.linalg.norm(world.block - hand, axis=1) <= GRASP_RADIUS
    taken = near & (gripper > world.gripper)
    held = (world.held | taken) & (gripper >= HOLD_AT)
    block = np.where(held[:, None], hand, world.block)
    placed = world.held & ~held & (np.linalg.norm(block - world.goal, axis=1) <= GOAL_RADIUS)
    return replace(
        world,
        hand=hand,
        gripper=gripper,
        block=block,
        held=held,
        success=world.success | placed,
        pending=queue[:, 1:],
        step=world.step + 1,
    )


def towards(offset: Float[Array, "b 2"], limit: Float[Array, "b"]) -> Float[Array, "b 2"]:
    """Return `offset`, shortened to the length `limit` where it is longer."""
    length = np.linalg.norm(offset, axis=1)
    shortened: Float[Array, "b 2"] = offset * np.minimum(1.0, limit / np.maximum(length, 1e-12))[:, None]
    return shortened


def keep_rows(old: World, new: World, active: Bool[Array, "b"]) -> World:
    """Return `new` where `active`, and `old` where an episode has ended."""
    mixed = {}
    for name, value in vars(new).items():
        mask = active.reshape(-1, *([1] * (value.ndim - 1)))
        mixed[name] = np.where(mask, value, getattr(old, name))
    return World(**mixed)
