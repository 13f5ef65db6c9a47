"""Meta-World in two domains as LeRobot's `env` section: importing this makes `env.type: metaworld_transfer` known."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

from benchmarks.transfer.metaworld_place import (
    ACTION_DIMS,
    ENV_TYPE,
    FPS,
    IMAGE_SIZE,
    MAX_STEPS,
    STATE_DIMS,
    Place,
    parse_place,
)
from otpilot.errors import ConfigError


@EnvConfig.register_subclass(ENV_TYPE)
@dataclass
class MetaworldTransferConfig(EnvConfig):
    """Evaluation on Meta-World's button press.

    `cells` are NAME=DOMAIN:REGION, e.g. "target_ood=target:right". A picture is drawn at the beginning and after every
    `picture_every` steps, and stays between: with the policy's `n_action_steps` nothing that the policy looks at
    changes, because it looks only when its action queue is empty (and n_obs_steps is 1).
    """

    task: str | None = "button-press-topdown-v3"
    fps: int = FPS
    cells: list[str] = field(default_factory=lambda: ["source=source:full", "target=target:full"])
    image_size: int = IMAGE_SIZE
    max_steps: int = MAX_STEPS
    picture_every: int = 1

    def __post_init__(self) -> None:
        """Check the cells and declare LeRobot's features."""
        places = self.places()
        if not places or len({place.token for place in places}) > 1:
            raise ConfigError(
                f"env.cells is {self.cells}; give at least one NAME=DOMAIN:REGION, all or none with a token."
            )
        if min(self.image_size, self.max_steps, self.picture_every) < 1:
            raise ConfigError("env.image_size, env.max_steps and env.picture_every must be 1 or more.")
        dims = STATE_DIMS + len(places[0].indicator)
        self.features = {
            "action": PolicyFeature(type=FeatureType.ACTION, shape=(ACTION_DIMS,)),
            "agent_pos": PolicyFeature(type=FeatureType.STATE, shape=(dims,)),
            "pixels/top": PolicyFeature(type=FeatureType.VISUAL, shape=(self.image_size, self.image_size, 3)),
        }
        self.features_map = {
            "action": "action",
            "agent_pos": "observation.state",
            "pixels/top": "observation.images.top",
        }

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Arguments of the environment besides its place."""
        return {"image_size": self.image_size, "max_steps": self.max_steps, "picture_every": self.picture_every}

    def places(self) -> list[Place]:
        """Return the cells.

        Raises:
            ConfigError: If one is malformed, or names an unknown domain or region.
        """
        return [parse_place(text) for text in self.cells]

    def create_envs(
        self,
        n_envs: int,
        use_async_envs: bool = False,  # noqa: ARG002 - one renderer serves all episodes of a cell, in one process
    ) -> dict[str, dict[int, gymnasium.vector.VectorEnv]]:
        """Return one vector environment for each cell, in LeRobot's order {cell: {0: environments}}.

        Raises:
            ImportError: If Meta-World is not installed.
        """
        from benchmarks.transfer.metaworld_env import make_batch

        return {place.name: {0: make_batch(place, n_envs, **self.gym_kwargs)} for place in self.places()}
