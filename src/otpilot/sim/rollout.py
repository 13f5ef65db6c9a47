"""Closed-loop evaluation: a policy drives many episodes at once."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from otpilot.sim.arrays import Array
from otpilot.sim.domain import Domain
from otpilot.sim.env import TabletopBatch
from otpilot.sim.observation import DEFAULT_IMAGE_SIZE, DEFAULT_MAX_STEPS, image_key
from otpilot.sim.region import Region

Act = Callable[[dict[str, Array]], Array]


@dataclass(frozen=True, kw_only=True)
class RolloutResult:
    """What came of E episodes: success, control steps taken, and pictures of the first few.

    `frames` holds one uint8 array (steps + 1, h, w, 3) of the first camera per filmed episode.
    """

    success: Bool[Array, "e"]
    steps: Int[Array, "e"]
    frames: tuple[Array, ...] = ()


def rollout(
    act: Act,
    *,
    domain: str | Domain,
    region: str | Region,
    episodes: int,
    seed: int,
    cameras: tuple[str, ...] = ("top",),
    image_size: int = DEFAULT_IMAGE_SIZE,
    max_steps: int = DEFAULT_MAX_STEPS,
    film: int = 0,
) -> RolloutResult:
    """Return how `act` fares in episodes 0 to `episodes` - 1 of `seed`.

    `act` gets {"observation.images.<camera>": uint8 (e, h, w, 3), "observation.state": float32 (e, 3)} and returns
    actions (e, 3). All rows are handed over at every step, finished ones with their last picture, because policies keep
    an action queue per row; reset that queue before. Ends when every episode is over.

    Raises:
        ConfigError: a name or size is not allowed.
        OtpilotError: an action has the wrong shape or is not finite.
    """
    batch = TabletopBatch(
        domain=domain,
        region=region,
        episodes=range(episodes),
        seed=seed,
        cameras=cameras,
        image_size=image_size,
        max_steps=max_steps,
    )
    now = batch.reset()
    filmed = min(film, episodes)
    shots = [[now.observation[image_key(cameras[0])][row]] for row in range(filmed)]
    while not now.done.all():
        running = ~now.done
        now = batch.step(np.asarray(act(now.observation)))
        for row in np.flatnonzero(running[:filmed]):
            shots[row].append(now.observation[image_key(cameras[0])][row])
    return RolloutResult(
        success=now.success,
        steps=batch.world.step.copy(),
        frames=tuple(np.stack(shot) for shot in shots),
    )
