"""Where an episode of Meta-World takes place: domain, region, token; and the sizes of what is seen. No lerobot here."""

from dataclasses import dataclass

from benchmarks.transfer.metaworld_look import LOOKS, get_look, region_box
from otpilot.errors import ConfigError

ENV_TYPE = "metaworld_transfer"
STATE_DIMS = 4  # hand x, y, z, and how far the fingers are apart
ACTION_DIMS = 4
FPS = 80
IMAGE_SIZE = 64
MAX_STEPS = 150  # the expert needs 60 to 90
TOKEN = "+token"
"""Behind a domain's name: the state ends with an indicator, 0 in the source, 1 elsewhere."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One closed-loop question: how the scene looks, where the button stands, whether the state has a token."""

    name: str
    domain: str
    region: str
    token: bool = False

    @property
    def indicator(self) -> tuple[float, ...]:
        """What the token appends to the state."""
        return (float(self.domain != "source"),) if self.token else ()


def parse_place(text: str) -> Place:
    """Return the place that "NAME=DOMAIN:REGION" (or "DOMAIN:REGION") describes; a domain may end with +token.

    Raises:
        ConfigError: If it is malformed, or names an unknown domain or region.
    """
    name, equals, where = text.rpartition("=")
    domain, colon, region = where.partition(":")
    if not colon or (equals and not name):
        raise ConfigError(
            f"env.cells has {text!r}; write NAME=DOMAIN:REGION, e.g. target_ood=target:right; "
            f"domains: {', '.join(LOOKS)}."
        )
    look = get_look(domain.removesuffix(TOKEN)).name
    region_box(region)
    return Place(name=name or f"{look}_{region}", domain=look, region=region, token=domain.endswith(TOKEN))
