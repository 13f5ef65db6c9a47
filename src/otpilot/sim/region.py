"""Where on the table an episode may start: the whole table, one half, or any box."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from otpilot.errors import ConfigError, closest
from otpilot.sim.arrays import Array

MIN_SEPARATION = 0.25  # between block and goal at the start, in table widths: 2.5 goal radii, so nothing starts solved
_CANDIDATES = 64


@dataclass(frozen=True, kw_only=True)
class Region:
    """A box (x low, x high, y low, y high in table widths) in which the block starts and the goal lies.

    Block and goal share the box, so that demonstrations from one half show nothing of the other. The hand's start does
    not depend on it.
    """

    name: str
    box: tuple[float, float, float, float]

    def __post_init__(self) -> None:
        """Check that the box lies on the table and has room for a block and a goal."""
        x_low, x_high, y_low, y_high = self.box
        if not (0.1 <= x_low <= x_high <= 0.9 and 0.1 <= y_low <= y_high <= 0.9):
            raise ConfigError(
                f"region {self.name}: box is {self.box}; allowed: 0.1 <= low <= high <= 0.9 on both axes."
            )
        diagonal = math.hypot(x_high - x_low, y_high - y_low)
        if diagonal < 1.5 * MIN_SEPARATION:
            raise ConfigError(
                f"region {self.name}: the diagonal of box {self.box} is {diagonal:.3f}; allowed: at least "
                f"{1.5 * MIN_SEPARATION}, because block and goal start {MIN_SEPARATION} apart."
            )

    def sample(self, rng: np.random.Generator) -> tuple[Float[Array, "2"], Float[Array, "2"]]:
        """Return a block and a goal position, uniform over the box given that they are MIN_SEPARATION apart."""
        x_low, x_high, y_low, y_high = self.box
        while True:
            pairs = rng.uniform((x_low, y_low), (x_high, y_high), size=(_CANDIDATES, 2, 2))
            apart = np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=1) >= MIN_SEPARATION
            if apart.any():
                block, goal = pairs[int(apart.argmax())]
                return block, goal


REGIONS: dict[str, Region] = {
    region.name: region
    for region in (
        Region(name="full", box=(0.12, 0.88, 0.12, 0.88)),
        Region(name="left", box=(0.12, 0.46, 0.12, 0.88)),
        Region(name="right", box=(0.54, 0.88, 0.12, 0.88)),
    )
}


def get_region(name: str | Region) -> Region:
    """Return the preset called `name`; a Region is handed back as it is.

    Raises:
        ConfigError: the name is unknown; the message offers the closest one.
    """
    if isinstance(name, Region):
        return name
    if name not in REGIONS:
        raise ConfigError(f"region is {name!r}; allowed: {', '.join(REGIONS)}.{closest(name, REGIONS)}")
    return REGIONS[name]
