"""How Meta-World's scene looks in each domain, and where the button may stand. Needs MuJoCo only inside functions."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otpilot.errors import ConfigError, closest

Rgb = tuple[int, int, int]
Vector = tuple[float, float, float]
CAMERA = "corner2"
"""LeRobot's camera for Meta-World; it hangs upside down, so its pictures are turned by 180 degrees."""
TASK = "button-press-topdown-v3"
Y_RANGE = (0.8, 0.9)
HEIGHT = 0.115


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """A chequered texture: two colours, and how many tiles lie side by side."""

    colours: tuple[Rgb, Rgb]
    count: int

    def draw(self, height: int, width: int) -> NDArray[np.uint8]:
        """Return the texture, (height, width, 3)."""
        rows, columns = np.mgrid[:height, :width]
        odd = (rows * self.count // height + columns * self.count // width) % 2
        return np.asarray(self.colours, dtype=np.uint8)[odd]


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look of the scene. What is left out stays as LeRobot and Meta-World have it.

    `camera` is (position, the point looked at, vertical opening in degrees); `textures` and `materials` go by the names
    of the scene file; `lights` are the diffuse colours of the lamps in order, `headlight` ambient and diffuse grey.
    """

    name: str
    camera: tuple[Vector, Vector, float] | None = None
    textures: Mapping[str, Tiles] = field(default_factory=dict)
    materials: Mapping[str, Vector] = field(default_factory=dict)
    lights: tuple[Vector, ...] = ()
    headlight: tuple[float, float] | None = None


SOURCE = Look(name="source")
TARGET = Look(
    name="target",
    camera=((0.62, 0.02, 0.92), (-0.02, 0.68, 0.12), 56.0),
    textures={
        "T_table": Tiles(colours=((58, 84, 76), (84, 112, 100)), count=8),
        "T_floor": Tiles(colours=((92, 80, 70), (110, 96, 84)), count=4),
        "T_wallmetal": Tiles(colours=((60, 60, 90), (60, 60, 90)), count=1),
    },
    materials={"btn_yellow": (0.2, 0.45, 0.7), "btn_black": (0.55, 0.55, 0.5)},
    lights=((0.7, 0.6, 0.45), (0.1, 0.1, 0.15), (0.15, 0.15, 0.2)),
    headlight=(0.32, 0.25),
)
LOOKS: Mapping[str, Look] = {look.name: look for look in (SOURCE, TARGET)}
REGIONS: Mapping[str, tuple[float, float]] = {"full": (-0.1, 0.1), "left": (-0.1, -0.01), "right": (0.01, 0.1)}
"""Range of the button's x; Meta-World's own is `full`."""


def draw_without_screen() -> None:
    """Choose how MuJoCo and Mesa draw, unless the user has; call it before MuJoCo is imported."""
    os.environ.setdefault("MUJOCO_GL", "egl")  # osmesa works, too
    os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa draws on the CPU: threads only hinder 64 x 64 pixels


def get_look(name: str) -> Look:
    """Return the look of a name.

    Raises:
        ConfigError: If it is unknown.
    """
    if name not in LOOKS:
        raise ConfigError(f"domain is {name!r}; allowed: {', '.join(LOOKS)}.{closest(name, LOOKS)}")
    return LOOKS[name]


def region_box(name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the lowest and highest position of the button in a region.

    Raises:
        ConfigError: If the name is unknown.
    """
    if name not in REGIONS:
        raise ConfigError(f"region is {name!r}; allowed: {', '.join(REGIONS)}.{closest(name, REGIONS)}")
    low, high = REGIONS[name]
    return np.array([low, Y_RANGE[0], HEIGHT]), np.array([high, Y_RANGE[1], HEIGHT])


def apply_look(model: Any, look: Look) -> None:
    """Change a MuJoCo model to a look, before anything of it is drawn.

    Shadows and smoothed edges go in every look: they are most of the time that a picture takes on a CPU.
    """
    import mujoco

    model.vis.quality.shadowsize = model.vis.quality.offsamples = 0
    if look.camera is not None:
        position, target, opening = look.camera
        place = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, CAMERA)
        model.cam_pos[place], model.cam_fovy[place] = position, opening
        model.cam_quat[place] = _upside_down(np.array(position), np.array(target))
    for name, tiles in look.textures.items():
        place = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_TEXTURE, name)
        height, width = int(model.tex_height[place]), int(model.tex_width[place])
        start = int(model.tex_adr[place])
        model.tex_data[start : start + height * width * 3] = tiles.draw(height, width).ravel()
    for name, colour in look.materials.items():
        model.mat_rgba[mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_MATERIAL, name)] = (*colour, 1.0)
    for place, diffuse in enumerate(look.lights):
        model.light_diffuse[place] = diffuse
    if look.headlight is not None:
        model.vis.headlight.ambient[:], model.vis.headlight.diffuse[:] = look.headlight


class Pictures:
    """Draws all episodes of one domain, with one renderer that is made at the first picture."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._renderer: Any = None

    def take(self, model: Any, data: Any) -> NDArray[np.uint8]:
        """Return what the camera sees, (size, size, 3), the right way up."""
        import mujoco

        if self._renderer is None:
            self._renderer = mujoco.Renderer(model, self.size, self.size)
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                self._renderer.scene.flags[flag] = 0
        self._renderer.update_scene(data, camera=CAMERA)
        return np.flip(self._renderer.render(), (0, 1)).copy()

    def close(self) -> None:
        """Give the renderer back; a later picture makes a new one."""
        if self._renderer is not None:
            self._renderer.close()
            self._renderer = None


def _upside_down(position: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the quaternion of a camera at `position` that looks at `target` with its top pointing down."""
    import mujoco

    back = (position - target) / np.linalg.norm(position - target)
    right = np.cross((0.0, 0.0, -1.0), back)
    right /= np.linalg.norm(right)
    quaternion = np.zeros(4)
    mujoco.mju_mat2Quat(quaternion, np.stack([right, np.cross(back, right), back], axis=1).ravel())
    return quaternion
