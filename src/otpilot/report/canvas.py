"""A transparent canvas in pixels for pictures, text and colour maps, ending as PNG."""

import warnings
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from otpilot.pairing.arrays import Array

INK = "#767c86"  # as readable on white as on a dark page
_DPI = 128  # a power of two, so that pixels / dpi * dpi is exact
_CJK = ("Noto Sans CJK SC", "Source Han Sans SC", "Microsoft YaHei", "PingFang SC", "WenQuanYi Micro Hei", "SimHei")


class Canvas:
    """A figure of given width and height in pixels; positions count from the upper left corner."""

    def __init__(self, *, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI, facecolor="none")
        self._agg = FigureCanvasAgg(self._figure)

    def image(self, pixels: UInt8[Array, "h w 3"], *, left: int, top: int) -> None:
        """Place a picture pixel by pixel."""
        self._figure.figimage(pixels, left, self.height - top - len(pixels), origin="upper")

    def text(self, text: str, *, left: float, top: float, size: int = 13, align: str = "left", turn: int = 0) -> None:
        """Write a line; `top` is the line's middle, `size` in pixels, `turn` in degrees against the clock."""
        self._figure.text(
            left / self.width,
            1 - top / self.height,
            text,
            fontsize=size * 72 / _DPI,
            family=_families(),
            color=INK,
            ha=align,
            va="center",
            rotation=turn,
            rotation_mode="anchor",
            parse_math=False,
        )

    def colour_bar(
        self, scale: ScalarMappable, *, left: int, top: int, height: int, ticks: Sequence[float], label: str
    ) -> None:
        """Draw the legend of a colour scale, 14 pixels wide, with its label beside it."""
        place = (left / self.width, 1 - (top + height) / self.height, 14 / self.width, height / self.height)
        axes = self._figure.add_axes(place)
        bar = self._figure.colorbar(scale, cax=axes)
        bar.outline.set_visible(False)
        bar.set_ticks(list(ticks), labels=[f"{tick:.2g}" for tick in ticks])
        bar.minorticks_off()
        axes.tick_params(colors=INK, labelsize=12 * 72 / _DPI, length=3, width=0.6)
        bar.set_label(label, color=INK, size=12 * 72 / _DPI)

    def png(self) -> bytes:
        """Return the picture as PNG with transparency."""
        with warnings.catch_warnings():
            # A label in a script that no installed font has is drawn as boxes; the page repeats it as text.
            warnings.filterwarnings("ignore", message="Glyph .* missing from font")
            self._agg.draw()  # type: ignore[no-untyped-call]
        rgba: UInt8[Array, "h w 4"] = np.asarray(self._agg.buffer_rgba())  # type: ignore[no-untyped-call]
        _, body = cv2.imencode(".png", cv2.cvtColor(rgba, cv2.COLOR_RGBA2BGRA))
        return body.tobytes()


@cache
def _families() -> list[str]:
    """Return matplotlib's own font, and behind it an installed one that has Chinese, if any."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return ["DejaVu Sans", *[name for name in _CJK if name in installed][:1]]


def enlarged(frame: UInt8[Array, "h w 3"], scale: int) -> UInt8[Array, "h2 w2 3"]:
    """Return the frame with every pixel repeated `scale` times each way: what the policy saw, unsmoothed."""
    return frame.repeat(scale, axis=0).repeat(scale, axis=1)


def thumbnail(frame: UInt8[Array, "h w 3"], size: int) -> UInt8[Array, "s s 3"]:
    """Return the frame fitted to `size` x `size` pixels, averaged where it shrinks."""
    method = cv2.INTER_AREA if size < min(frame.shape[:2]) else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(frame, (size, size), interpolation=method), dtype=np.uint8)


def coloured(values: Float[Array, "n m"], scale: ScalarMappable, cell: int) -> UInt8[Array, "h w 3"]:
    """Return the matrix as squares of `cell` pixels in the colours of `scale`."""
    rgb: UInt8[Array, "n m 3"] = scale.to_rgba(values, bytes=True)[..., :3]
    return enlarged(rgb, cell)
