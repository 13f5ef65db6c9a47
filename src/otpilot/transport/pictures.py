"""What views do to pictures: a camera's pose, a palette, and smoothing; (n, channels, height, width), 0 to 1."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

COLOURS = 16
"""Entries of a palette, at most."""
WIDTH = 0.08
"""Width of a palette entry in units of colour (0 to 1): how near a colour must be to count as it."""
BINS = 24
"""Colours are counted in so many bins per channel;"""
RARE = 3e-5
"""those that are rarer than this part of all pixels are left out of a palette."""
NARROW = 0.2
"""Least projective depth of a pixel."""
AT_ONCE = 24
"""Pictures that are looked at in one go."""


def warp(pictures: Float[Tensor, "n k h w"], pose: Float[Tensor, "n 8"]) -> Float[Tensor, "n k h w"]:
    """Return pictures as from a camera that was moved (`View.pose`); what was outside is drawn like the border.

    A projective map of the plane: exact for a flat scene, or a camera that only turns.
    """
    turn, zoom, shear, shift, tilt = pose[:, 0], pose[:, 1:3], pose[:, 3], pose[:, 4:6], pose[:, 6:8]
    x, y = axes(pictures)
    x, y = x - _over(shift[:, 0]), y - _over(shift[:, 1])
    cos, sin = _over(turn.cos()), _over(turn.sin())
    x, y = cos * x - sin * y, sin * x + cos * y
    x, y = (x + _over(shear) * y) * _over((-zoom[:, 0]).exp()), y * _over((-zoom[:, 1]).exp())
    depth = (1.0 - _over(tilt[:, 0]) * x - _over(tilt[:, 1]) * y).clamp_min(NARROW)
    grid = 2.0 * torch.stack([x / depth, y / depth], dim=-1)
    return nn.functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)


def memberships(pictures: Float[Tensor, "n c h w"], palette: Float[Tensor, "k c"]) -> Float[Tensor, "n k h w"]:
    """Return how much of each palette entry a pixel is; they sum to one."""
    # Squared distances but for what all entries share, so that no tensor holds pixels x entries x channels; from the
    # middle grey, so that products stay small enough for TF32.
    centred = palette - 0.5
    scaled = centred / WIDTH**2
    nearness = nn.functional.conv2d(pictures - 0.5, scaled[:, :, None, None], -0.5 * (scaled * centred).sum(1))
    return torch.softmax(nearness, dim=1)


def find_palette(pictures: Float[Tensor, "n c h w"], count: int = COLOURS, rounds: int = 20) -> Float[Tensor, "k c"]:
    """Return colours that stand for those of the pictures, rare ones as well.

    k-means over the occupied bins of colour, begun with the heaviest bin and then what is far from all so far; a bin
    counts with the root of its pixels, so that a small thing of its own colour has an entry of its own.
    """
    pixels = smooth(pictures).permute(0, 2, 3, 1).reshape(-1, pictures.shape[1])
    bins, counts = torch.unique((pixels * BINS).round(), dim=0, return_counts=True)
    kept = counts >= min(RARE * len(pixels), float(counts.max()))
    bins, mass = bins[kept] / BINS, counts[kept].to(pixels.dtype).sqrt()
    centres = bins[mass.argmax()][None]
    for _ in range(count - 1):
        distance = torch.cdist(bins, centres).amin(1)
        if float(distance.max()) < WIDTH:
            break
        centres = torch.cat([centres, bins[(mass.sqrt() * distance.square()).argmax()][None]])
    for _ in range(rounds):
        own = nn.functional.one_hot(torch.cdist(bins, centres).argmin(1), len(centres)).to(mass.dtype) * mass[:, None]
        centres = (own.mT @ bins) / own.sum(0)[:, None].clamp_min(1e-9)
    found: Tensor = centres
    return found


def in_parts(pictures: Shaped[Tensor, "n c h w"]) -> Iterator[Shaped[Tensor, "some c h w"]]:
    """Yield pictures in order, some at a time, so that what is made of them needs little memory."""
    for start in range(0, len(pictures), AT_ONCE):
        yield pictures[start : start + AT_ONCE]


def resized(pictures: Float[Tensor, "*n c h w"], like: Tensor) -> Float[Tensor, "*n c h2 w2"]:
    """Return pictures, or one, of the height and width of others."""
    if pictures.shape[-2:] == like.shape[-2:]:
        return pictures
    several = pictures if pictures.ndim == 4 else pictures[None]
    made = nn.functional.interpolate(several, like.shape[-2:], mode="bilinear", align_corners=False)
    return made if pictures.ndim == 4 else made[0]


def smooth(pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Return pictures without the noise of single pixels: the median of each 3 x 3 neighbourhood, per channel."""
    padded = nn.functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    around = nn.functional.unfold(padded, 3).reshape(*pictures.shape[:2], 9, *pictures.shape[-2:])
    return around.median(dim=2).values


def axes(pictures: Float[Tensor, "n k h w"]) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Return x and y of the middle of each pixel, -.5 to .5."""
    height, width = pictures.shape[-2:]
    down = torch.arange(height, device=pictures.device, dtype=pictures.dtype)
    right = torch.arange(width, device=pictures.device, dtype=pictures.dtype)
    y, x = torch.meshgrid((down + 0.5) / height - 0.5, (right + 0.5) / width - 0.5, indexing="ij")
    return x, y


def _over(values: Float[Tensor, "n"]) -> Float[Tensor, "n 1 1"]:
    """Return one number per picture, ready to meet its pixels."""
    return values[:, None, None]
