"""The tabletop as LeRobot's `env` section: `--env.type=otpilot_tabletop`."""

from dataclasses import dataclass, field
from typing import Any

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig

from otpilot.errors import ConfigError
from otpilot.sim.domain import get_domain
from otpilot.sim.env import ENV_ID
from otpilot.sim.observation import DEFAULT_IMAGE_SIZE, DEFAULT_MAX_STEPS, FPS, check_views, state_axes
from otpilot.sim.region import get_region


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One closed-loop question: in which domain, starting in which region; logged as success_<name>."""

    name: str
    domain: str
    region: str


@EnvConfig.register_subclass("otpilot_tabletop")
@dataclass
class TabletopEnvConfig(EnvConfig):
    """Evaluation on the tabletop.

    `cells` are NAME=DOMAIN:REGION, e.g. "target_ood=target:right"; `seed` fixes the episodes of all cells, whatever
    the training seed is. LeRobot's own tools see the first cell.
    """

    task: str | None = "Tabletop-v0"
    fps: int = FPS
    cells: list[str] = field(default_factory=lambda: ["source=source:full", "target=target:full"])
    cameras: list[str] = field(default_factory=lambda: ["top"])
    image_size: int = DEFAULT_IMAGE_SIZE
    max_steps: int = DEFAULT_MAX_STEPS
    seed: int = 10_000

    def __post_init__(self) -> None:
        """Check the cells and declare LeRobot's features."""
        check_views(self.cameras, self.image_size)
        if not self.parsed_cells():
            raise ConfigError("env.cells is empty; give at least one NAME=DOMAIN:REGION.")
        sizes = {len(state_axes(get_domain(cell.domain))) for cell in self.parsed_cells()}
        if len(sizes) > 1:
            raise ConfigError(f"env.cells has {self.cells}; allowed: all domains with a token, or none.")
        self.features = {
            "action": PolicyFeature(type=FeatureType.ACTION, shape=(3,)),
            "agent_pos": PolicyFeature(type=FeatureType.STATE, shape=(sizes.pop(),)),
        }
        self.features_map = {"action": "action", "agent_pos": "observation.state"}
        for camera in self.cameras:
            shape = (self.image_size, self.image_size, 3)
            self.features[f"pixels/{camera}"] = PolicyFeature(type=FeatureType.VISUAL, shape=shape)
            self.features_map[f"pixels/{camera}"] = f"observation.images.{camera}"

    @property
    def package_name(self) -> str:
        """Package that registers the environment."""
        return "otpilot.sim"

    @property
    def gym_id(self) -> str:
        """Name under which gymnasium knows the environment."""
        return ENV_ID

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """Arguments of the environment's constructor: the first cell."""
        first = self.parsed_cells()[0]
        return {
            "domain": first.domain,
            "region": first.region,
            "cameras": tuple(self.cameras),
            "image_size": self.image_size,
            "max_steps": self.max_steps,
        }

    def parsed_cells(self) -> list[Cell]:
        """Return the cells.

        Raises:
            ConfigError: If one is malformed, or names an unknown domain or region.
        """
        return [parse_cell(text) for text in self.cells]


def parse_cell(text: str) -> Cell:
    """Return the cell that "NAME=DOMAIN:REGION" (or "DOMAIN:REGION") describes.

    Raises:
        ConfigError: If it is malformed, or names an unknown domain or region.
    """
    name, equals, place = text.rpartition("=")
    domain, colon, region = place.partition(":")
    if not colon or (equals and not name):
        raise ConfigError(f"env.cells has {text!r}; write NAME=DOMAIN:REGION, e.g. target_ood=target:right.")
    return Cell(name=name or f"{domain}_{region}", domain=get_domain(domain).name, region=get_region(region).name)
