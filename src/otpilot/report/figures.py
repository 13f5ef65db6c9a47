"""Pictures for reports as PNG bytes: sample frames, matched pairs, transport plans, episodes."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib import colormaps
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm

from otpilot.errors import OtpilotError
from otpilot.pairing.arrays import Array
from otpilot.report.canvas import Canvas, coloured, enlarged, thumbnail

_GAP = 8
_TEXT = 22  # height of a line of text
_CHARACTER = 8.5  # width of one at 13 px, on the generous side
_PLAN_SIDE = 384  # aim for the longer side of a plan's heat map, in pixels
_THUMBNAIL = 22  # smallest useful picture beside a plan's rows


def frames_grid(rows: Sequence[tuple[str, UInt8[Array, "k h w 3"]]], *, scale: int = 2) -> bytes:
    """Return rows of frames, each under its label; rows may differ in length, frames keep their size times `scale`.

    Raises:
        OtpilotError: No rows, or a row without frames or with another shape or type than uint8 (k, h, w, 3).
    """
    if not rows:
        raise OtpilotError("frames_grid got 0 rows; allowed: at least 1.")
    for label, frames in rows:
        _check_frames(frames, f"row {label!r}")
    widths = [len(frames) * (frames.shape[2] * scale + _GAP) - _GAP for _, frames in rows]
    heights = [_TEXT + frames.shape[1] * scale + _GAP for _, frames in rows]
    longest = max(len(label) for label, _ in rows)
    canvas = Canvas(width=max(*widths, int(longest * _CHARACTER)), height=sum(heights) - _GAP)
    top = 0
    for (label, frames), height in zip(rows, heights, strict=True):
        canvas.text(label, left=0, top=top + _TEXT / 2 - 1)
        for place, frame in enumerate(frames):
            canvas.image(enlarged(frame, scale), left=place * (frame.shape[1] * scale + _GAP), top=top + _TEXT)
        top += height
    return canvas.png()


def filmstrip(frames: UInt8[Array, "t h w 3"], *, k: int = 8, scale: int = 2) -> bytes:
    """Return k frames of an episode, evenly spaced from the first to the last, each above its number.

    A shorter episode shows every frame once.

    Raises:
        OtpilotError: k is under 1, or the frames are not uint8 (t, h, w, 3) with t >= 1.
    """
    _check_frames(frames, "the episode")
    if k < 1:
        raise OtpilotError(f"filmstrip got k = {k}; allowed: at least 1.")
    shown = np.unique(np.linspace(0, len(frames) - 1, k).round().astype(int)).tolist()
    high, wide = frames.shape[1] * scale, frames.shape[2] * scale
    canvas = Canvas(width=len(shown) * (wide + _GAP) - _GAP, height=high + _TEXT)
    for place, number in enumerate(shown):
        left = place * (wide + _GAP)
        canvas.image(enlarged(frames[number], scale), left=left, top=0)
        canvas.text(f"{number}", left=left + wide / 2, top=high + _TEXT / 2 + 1, align="center")
    return canvas.png()


def pairs_figure(
    source: UInt8[Array, "n h w 3"],
    target: UInt8[Array, "n h2 w2 3"],
    labels: Sequence[str],
    *,
    columns: int = 3,
    scale: int = 2,
) -> bytes:
    """Return matched frames side by side, source left and target right, `columns` pairs to a line, labels beneath.

    Raises:
        OtpilotError: The three lengths differ, or the frames are not uint8 (n, h, w, 3) with n >= 1.
    """
    _check_frames(source, "source")
    _check_frames(target, "target")
    if not len(source) == len(target) == len(labels):
        raise OtpilotError(
            f"pairs_figure got {len(source)} source frames, {len(target)} target frames and {len(labels)} labels; "
            "allowed: equally many."
        )
    columns = min(columns, len(labels))
    left_half = source.shape[2] * scale + 2
    needed = max(int(len(label) * _CHARACTER) for label in labels)
    wide = max(left_half + target.shape[2] * scale, needed) + 2 * _GAP
    high = max(source.shape[1], target.shape[1]) * scale + _TEXT + _GAP
    lines = math.ceil(len(labels) / columns)
    canvas = Canvas(width=columns * wide - 2 * _GAP, height=_TEXT + lines * high - _GAP)
    for place in range(columns):
        canvas.text("source", left=place * wide, top=_TEXT / 2 - 1)
        canvas.text("target", left=place * wide + left_half, top=_TEXT / 2 - 1)
    for number, (from_source, from_target, label) in enumerate(zip(source, target, labels, strict=True)):
        line, place = divmod(number, columns)
        left, top = place * wide, _TEXT + line * high
        canvas.image(enlarged(from_source, scale), left=left, top=top)
        canvas.image(enlarged(from_target, scale), left=left + left_half, top=top)
        canvas.text(label, left=left, top=top + high - _GAP - _TEXT / 2)
    return canvas.png()


def plan_figure(
    unit_plan: Float[Array, "n m"],
    source: UInt8[Array, "n h w 3"],
    target: UInt8[Array, "m h2 w2 3"],
    *,
    mass: float,
) -> bytes:
    """Return a transport plan as a heat map, with its source frames along the left and target frames along the top.

    Colours show n * m * P on a logarithmic scale around 1, the uniform product plan, which is therefore one flat grey;
    yellow is more, dark blue is less. The scale ends at 10 times, or at the largest entry if that is larger; smaller
    entries are drawn as its lower end.

    Args:
        unit_plan: P, non-negative, sums to one.
        source: Picture of each row.
        target: Picture of each column.
        mass: Transported mass, for the title.

    Raises:
        OtpilotError: P is not a finite non-negative matrix, or the pictures do not fit its shape.
    """
    _check_plan(unit_plan, source, target)
    rows, columns = unit_plan.shape
    relative = rows * columns * unit_plan
    limit = max(10.0, float(relative.max()))
    scale = ScalarMappable(norm=LogNorm(vmin=1 / limit, vmax=limit, clip=True), cmap=colormaps["cividis"])
    cell = min(max(_PLAN_SIDE // max(rows, columns), 4), 72)
    every = math.ceil(_THUMBNAIL / cell)
    side = cell * every - 2
    left, top = _TEXT + side + _GAP, 2 * _TEXT + _GAP + side + _GAP
    canvas = Canvas(width=max(left + columns * cell + 100, 400), height=top + max(rows * cell, 160) + _GAP)
    canvas.text(f"mass {mass:.3g}, {rows} x {columns}", left=left, top=_TEXT / 2)
    canvas.text("target", left=left, top=_TEXT * 1.5 + 2)
    canvas.text("source", left=_TEXT / 2, top=top + rows * cell / 2, align="center", turn=90)
    for row in range(0, rows, every):
        canvas.image(thumbnail(source[row], side), left=_TEXT, top=top + row * cell + 1)
    for column in range(0, columns, every):
        canvas.image(thumbnail(target[column], side), left=left + column * cell + 1, top=top - side - _GAP)
    canvas.image(coloured(np.maximum(relative, 1 / limit), scale, cell), left=left, top=top)
    canvas.colour_bar(
        scale,
        left=left + columns * cell + 2 * _GAP,
        top=top,
        height=max(rows * cell, 160),
        ticks=(1 / limit, 1 / math.sqrt(limit), 1.0, math.sqrt(limit), limit),
        label="mass of an entry, uniform = 1",
    )
    return canvas.png()


def _check_frames(frames: Array, what: str) -> None:
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise OtpilotError(
            f"{what} has shape {frames.shape} and type {frames.dtype}; allowed: uint8 (k, h, w, 3), none of them 0."
        )


def _check_plan(unit_plan: Array, source: Array, target: Array) -> None:
    _check_frames(source, "source")
    _check_frames(target, "target")
    if unit_plan.shape != (len(source), len(target)):
        raise OtpilotError(
            f"the plan has shape {unit_plan.shape} for {len(source)} source and {len(target)} target frames; "
            f"allowed: ({len(source)}, {len(target)})."
        )
    if not np.isfinite(unit_plan).all() or unit_plan.min() < 0:
        raise OtpilotError(
            f"the plan has entries from {unit_plan.min()} to {unit_plan.max()}; allowed: finite, not below 0."
        )
