"""Twin states: the same state of the world, drawn once in the source's look and once in the target's."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otpilot.errors import ConfigError, closest

SEED = 70_000
"""Of the twins' episodes: neither demonstrations nor closed loop use it."""
EPISODES = 24
FRAMES = 6
REGIONS = ("left", "right")
"""Where the target was demonstrated, and where it was not; the same words in every suite."""


@dataclass(frozen=True, kw_only=True)
class Twins:
    """n states of the expert's way, seen twice. Row i of both sides is the same state.

    `source` and `target` are raw observations, images uint8 (n, h, w, 3); `region` and `mark` name where the task lies
    and what the hand does; rows of one `episode` belong together.
    """

    source: Mapping[str, NDArray[Any]]
    target: Mapping[str, NDArray[Any]]
    region: NDArray[np.str_]
    mark: NDArray[np.str_]
    episode: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of states."""
        return len(self.episode)


def tabletop_twins(target: str) -> Callable[..., Twins]:
    """Return a function that makes twins of the tabletop and one of its target domains."""

    def make(*, image_size: int, token: bool, episodes: int = EPISODES, frames: int = FRAMES) -> Twins:
        suffix = "+token" if token else ""
        rows = []
        for number, region in enumerate(REGIONS):
            played = _tabletop_states(region, episodes)
            for row in range(episodes):
                length = int(np.argmax([world.success[row] for world in played])) + 1
                for step in _spread(length, frames):
                    state = played[step].rows(np.array([row]))
                    views = [_seen(state, domain + suffix, image_size) for domain in ("source", target)]
                    mark = "carrying" if bool(state.held[0]) else "reaching"
                    rows.append((*views, region, mark, number * episodes + row))
        return _stack(rows)

    return make


def metaworld_twins(*, image_size: int, token: bool, episodes: int = EPISODES, frames: int = FRAMES) -> Twins:
    """Return twins of Meta-World's button press: one episode played in both looks, which share their physics."""
    from benchmarks.transfer.metaworld_place import Place
    from benchmarks.transfer.metaworld_record import demonstrations

    rows = []
    for number, region in enumerate(REGIONS):
        sides = [
            demonstrations(
                Place(name=domain, domain=domain, region=region, token=token),
                episodes=episodes,
                seed=SEED,
                image_size=image_size,
            )
            for domain in ("source", "target")
        ]
        for row, both in enumerate(zip(*sides, strict=True)):
            if not np.allclose(both[0].state[:, :4], both[1].state[:, :4]):
                raise ConfigError(f"episode {row} of the {region} region differs between the domains; twins must not.")
            for step in _spread(len(both[0].action), frames):
                views = [
                    {"observation.images.top": side.pictures[step], "observation.state": side.state[step]}
                    for side in both
                ]
                mark = "pressing" if step >= 2 * len(both[0].action) // 3 else "reaching"
                rows.append((*views, region, mark, number * episodes + row))
    return _stack(rows)


TWINS: Mapping[str, Callable[..., Twins]] = {
    "tabletop": tabletop_twins("target"),
    "tabletop_far": tabletop_twins("target_far"),
    "metaworld": metaworld_twins,
}


def make_twins(suite: str, **settings: Any) -> Twins:
    """Return the twins of a suite.

    Raises:
        ConfigError: If it has none.
    """
    if suite not in TWINS:
        raise ConfigError(f"No twins for suite {suite!r}; allowed: {', '.join(TWINS)}.{closest(suite, TWINS)}")
    return TWINS[suite](**settings)


def _tabletop_states(region: str, episodes: int) -> list[Any]:
    """Return the worlds of all steps of the undisturbed expert in the source, until every episode succeeded."""
    from otpilot.sim.domain import get_domain
    from otpilot.sim.expert import expert_action
    from otpilot.sim.region import get_region
    from otpilot.sim.world import reset_world, step_world

    world = reset_world(get_domain("source"), get_region(region), seed=SEED, episodes=range(episodes))
    played = [world]
    while not world.success.all():
        world = step_world(world, expert_action(world))
        played.append(world)
    return played


def _seen(world: Any, domain: str, image_size: int) -> dict[str, NDArray[Any]]:
    from otpilot.sim.domain import get_domain
    from otpilot.sim.observation import observe

    seen = observe(world, get_domain(domain), cameras=("top",), image_size=image_size)
    return {key: value[0] for key, value in seen.items()}


def _spread(length: int, count: int) -> NDArray[np.int64]:
    """Return `count` steps of an episode, evenly spaced between its first and its last, each once."""
    return np.unique(np.linspace(0, length - 1, count).round().astype(np.int64))


def _stack(rows: list[tuple[Any, ...]]) -> Twins:
    source, target, region, mark, episode = zip(*rows, strict=True)
    return Twins(
        source={key: np.stack([view[key] for view in source]) for key in source[0]},
        target={key: np.stack([view[key] for view in target]) for key in target[0]},
        region=np.array(region),
        mark=np.array(mark),
        episode=np.array(episode, dtype=np.int64),
    )
