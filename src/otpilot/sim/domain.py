"""What differs between two domains: colours, camera, light, texture, sensor noise, control delay, pace."""

import math
from dataclasses import dataclass, field, replace

from otpilot.errors import ConfigError, closest

Rgb = tuple[int, int, int]
TEXTURES: tuple[str, ...] = ("plain", "stripes", "checker", "grain")


@dataclass(frozen=True, kw_only=True)
class Palette:
    """RGB colours, 0 to 255; `pattern` is the second colour of the table's texture."""

    table: Rgb
    pattern: Rgb
    backdrop: Rgb
    block: Rgb
    goal: Rgb
    gripper: Rgb

    def __post_init__(self) -> None:
        """Check the range of every channel."""
        for name, colour in vars(self).items():
            if len(colour) != 3 or not all(0 <= channel <= 255 for channel in colour):
                raise ConfigError(f"palette.{name} is {colour}; allowed: three whole numbers from 0 to 255.")


@dataclass(frozen=True, kw_only=True)
class CameraPose:
    """Where the top camera hangs: the table's unit square is rotated, scaled, tilted and shifted into the image.

    `zoom` is image widths per table width, `shift` is in image widths (right, down), and `tilt` is the growth of
    the projective depth per table width along x and y (0, 0 looks straight down).
    """

    rotation_deg: float = 0.0
    zoom: float = 0.92
    shift: tuple[float, float] = (0.0, 0.0)
    tilt: tuple[float, float] = (0.0, 0.0)

    def corners(self) -> list[tuple[float, float]]:
        """Return the table's four corners in the image, in image widths from the upper left."""
        turn = math.radians(self.rotation_deg)
        found = []
        for x, y in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)):
            depth = 1.0 + self.tilt[0] * x + self.tilt[1] * y
            right = self.zoom * (math.cos(turn) * x - math.sin(turn) * y) / depth
            up = self.zoom * (math.sin(turn) * x + math.cos(turn) * y) / depth
            found.append((0.5 + self.shift[0] + right, 0.5 + self.shift[1] - up))
        return found

    def __post_init__(self) -> None:
        """Check that the whole table is in view."""
        if self.zoom <= 0 or abs(self.tilt[0]) + abs(self.tilt[1]) >= 2:
            raise ConfigError(
                f"camera zoom {self.zoom}, tilt {self.tilt}; allowed: zoom > 0 and |tilt| summing under 2."
            )
        outside = [corner for corner in self.corners() if not all(0.0 <= value <= 1.0 for value in corner)]
        if outside:
            x, y = outside[0]
            raise ConfigError(
                f"camera {self}: a table corner lies at ({x:.2f}, {y:.2f}), outside the image; allowed: 0 to 1. "
                "Lower zoom, rotation, tilt or shift."
            )


@dataclass(frozen=True, kw_only=True)
class Light:
    """Brightness over the table: gain * (1 + strength * (distance from the centre along the direction))."""

    direction_deg: float = 0.0
    strength: float = 0.0
    gain: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One look and feel of the table.

    `texture` is one of TEXTURES; `texture_scale` is in periods per table width; `noise_std` in grey levels of 255;
    `delay_steps` is how many control steps pass before an action takes effect; `pace` is the range of the expert's
    speed in table widths per step, drawn once per episode; a wide range makes the moment of the grasp unpredictable.
    `token` is a number that the state carries at its end to say which domain it is; None leaves the state as it is.
    """

    name: str
    palette: Palette
    camera: CameraPose = field(default_factory=CameraPose)
    light: Light = field(default_factory=Light)
    texture: str = "plain"
    texture_scale: float = 6.0
    noise_std: float = 0.0
    delay_steps: int = 0
    pace: tuple[float, float] = (0.040, 0.044)
    token: float | None = None

    def __post_init__(self) -> None:
        """Check words and ranges."""
        if self.texture not in TEXTURES:
            raise ConfigError(
                f"domain {self.name}: texture is {self.texture!r}; allowed: {', '.join(TEXTURES)}."
                f"{closest(self.texture, TEXTURES)}"
            )
        if not 0 <= self.delay_steps <= 5:
            raise ConfigError(f"domain {self.name}: delay_steps is {self.delay_steps}; allowed: 0 to 5.")
        if not 0.0 <= self.noise_std <= 64.0:
            raise ConfigError(f"domain {self.name}: noise_std is {self.noise_std}; allowed: 0 to 64 grey levels.")
        if not 0.0 < self.pace[0] <= self.pace[1]:
            raise ConfigError(f"domain {self.name}: pace is {self.pace}; allowed: 0 < low <= high.")


SOURCE = Domain(
    name="source",
    palette=Palette(
        table=(206, 198, 182),
        pattern=(206, 198, 182),
        backdrop=(96, 100, 110),
        block=(205, 40, 40),
        goal=(50, 160, 80),
        gripper=(40, 42, 60),
    ),
)

TARGET = Domain(
    name="target",
    palette=Palette(
        table=(52, 64, 92),
        pattern=(74, 88, 120),
        backdrop=(20, 20, 24),
        block=(245, 205, 55),
        goal=(190, 80, 205),
        gripper=(226, 228, 232),
    ),
    camera=CameraPose(rotation_deg=12.0, zoom=0.82, shift=(0.0, 0.0)),
    light=Light(direction_deg=30.0, strength=0.5, gain=1.0),
    texture="stripes",
    noise_std=5.0,
    pace=(0.030, 0.033),
)

TARGET_FAR = Domain(
    name="target_far",
    palette=Palette(
        table=(132, 96, 66),
        pattern=(108, 76, 52),
        backdrop=(188, 196, 204),
        block=(70, 190, 240),
        goal=(250, 150, 40),
        gripper=(245, 240, 235),
    ),
    camera=CameraPose(rotation_deg=-20.0, zoom=0.70, shift=(0.11, -0.07), tilt=(0.08, 0.42)),
    light=Light(direction_deg=200.0, strength=0.7, gain=0.95),
    texture="grain",
    texture_scale=9.0,
    noise_std=9.0,
    delay_steps=1,
    pace=(0.030, 0.033),
)

DOMAINS: dict[str, Domain] = {domain.name: domain for domain in (SOURCE, TARGET, TARGET_FAR)}
TOKEN = "+token"


def get_domain(name: str | Domain) -> Domain:
    """Return the preset called `name`; a Domain is handed back as it is.

    "target+token" is the target whose state ends with a 1 that says so; "source+token" ends with a 0.

    Raises:
        ConfigError: the name is unknown; the message offers the closest one.
    """
    if isinstance(name, Domain):
        return name
    plain = name.removesuffix(TOKEN)
    if plain != name and plain in DOMAINS:
        return replace(DOMAINS[plain], name=name, token=0.0 if plain == SOURCE.name else 1.0)
    if name not in DOMAINS:
        raise ConfigError(f"domain is {name!r}; allowed: {', '.join(DOMAINS)}.{closest(name, DOMAINS)}")
    return DOMAINS[name]
