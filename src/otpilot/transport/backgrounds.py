"""What stands still before a camera that stands still: the target's is drawn where a source picture shows the source's.

A palette of flat colours has no texture and no shadow, and a map of the plane puts what has depth in the wrong place;
for all that never moves the target's own pictures say how it looks. It is fitted on the pairs that a view is fitted on.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from otpilot.transport.pictures import in_parts, memberships, resized, warp

TOLERANCE = 0.06
"""How far a colour may be from the background's (norm over channels, 0 to 1) to be the background's, at least;"""
NOISES = 6.0
"""in standard deviations of the noise, where that is more;"""
NOISY = 0.03
"""with more noise than this the camera moves, or the scene does, and there is no background."""
STEADY, SURE = 0.7, 0.9
"""Least share of the source's pictures that must show its background at a pixel: of those that show nothing else near
there, or of all."""
NEAR = 1 / 21
"""A pixel is left out where something stands before the background within this part of the picture's width."""
CLEAN = 0.6
"""Least share of a pixel that is background where it is looked at."""
LEAST = 0.05
"""Least share of the pairs that must show the target's background at a pixel."""


@dataclass(frozen=True, kw_only=True)
class Background:
    """The source's background, and the target's as the target's camera sees it.

    Attributes:
        source: What stands still in source pictures, 0 to 1.
        steady: 1 where that can be told, 0 where something stands before it too often.
        target: What stands still in target pictures.
        tolerance: How far a colour may be from the background's to be taken for it, as a norm over channels.
        noise: Standard deviation of the noise in target pictures, which what is drawn has none of.
    """

    source: Float[Tensor, "c h w"]
    steady: Float[Tensor, "1 h w"]
    target: Float[Tensor, "c h w"]
    tolerance: float
    noise: float = 0.0

    def seen_in(self, pictures: Float[Tensor, "n c h2 w2"]) -> Float[Tensor, "n 1 h2 w2"]:
        """Return how much of each pixel of source pictures is background, 0 to 1."""
        size = (self.source.shape[-2], self.source.shape[-1])
        larger = pictures.shape[-2] > size[0] or pictures.shape[-1] > size[1]
        small = nn.functional.adaptive_avg_pool2d(pictures, size) if larger else pictures
        apart = (small - resized(self.source, small)).square().sum(1, keepdim=True) / self.tolerance**2
        return resized(torch.exp(-apart.square()) * resized(self.steady, small), pictures)

    def to(self, device: torch.device) -> "Background":
        """Return the same background on a device."""
        return replace(
            self, source=self.source.to(device), steady=self.steady.to(device), target=self.target.to(device)
        )


@dataclass(frozen=True, kw_only=True)
class Matched:
    """What a view knows when its background is looked for: pose, both palettes, and which colour becomes which.

    Attributes:
        pose: Of the target's camera (`View.pose`).
        palette: The source's colours.
        others: The target's.
        plan: Mass that is transported between the two.
    """

    pose: Float[Tensor, "8"]
    palette: Float[Tensor, "k c"]
    others: Float[Tensor, "l c"]
    plan: Float[Tensor, "k l"]


def fit_background(
    matched: Matched,
    source: Float[Tensor, "n c h w"],
    target: Float[Tensor, "n c h w"],
    everywhere: Float[Tensor, "m c h w"],
    flat: Float[Tensor, "c h w"],
) -> Background | None:
    """Return the background of paired pictures, or None where nothing stands still.

    The source's is the median of `everywhere`, pictures from all over its demonstrations. The target's is, pixel by
    pixel, the median of those target pictures in which nothing stands before it: neither near there in the source
    picture that it is paired with (moved into the target's camera), nor by the colour that it has in the target, if
    that is the colour of things that move in the source. Where no picture is left, what surrounds it is drawn on.
    `flat` is the source's background as the view draws it without this.
    """
    found = _still(everywhere)
    if found is None:
        return None
    # What stands before it often was taken for it, or hid it; now that the colours of what moves are known:
    moving = _moving(matched, found, everywhere)
    found = _behind(matched, found, everywhere, moving)
    moving = _moving(matched, found, everywhere)
    things = (moving @ matched.plan / matched.plan.sum(0).clamp_min(1e-12)).to(target.dtype)
    seen = torch.cat(list(_clean(matched, found, things, source, target)))
    if not bool((known := seen.float().mean(0) >= LEAST).any()):
        return None
    median = torch.where(seen[:, None], target, torch.nan).nanmedian(0).values
    drawn = flat + _drawn_on(torch.where(known, median - flat, 0.0), known)
    errors = (target - drawn).abs().permute(0, 2, 3, 1)[seen]
    return replace(found, target=drawn.clamp(0.0, 1.0), noise=1.4826 * float(errors.median()))


def _still(everywhere: Float[Tensor, "m c h w"]) -> Background | None:
    """Return the median of the source's pictures as its background, or None where it is none of most of them."""
    plain = everywhere.median(0).values
    noise = 1.4826 * float((everywhere - plain).abs().median())
    if noise > NOISY:
        return None
    steady = torch.ones_like(plain[:1])
    found = Background(source=plain, steady=steady, target=plain, tolerance=max(TOLERANCE, NOISES * noise))
    return replace(found, steady=(_shown(found, everywhere) >= SURE).to(plain.dtype))


def _shown(found: Background, pictures: Float[Tensor, "m c h w"]) -> Float[Tensor, "1 h w"]:
    """Return how often each pixel shows the background."""
    return torch.stack([found.seen_in(some).sum(0) for some in in_parts(pictures)]).sum(0) / len(pictures)


def _moving(matched: Matched, found: Background, everywhere: Float[Tensor, "m c h w"]) -> Float[Tensor, "k"]:
    """Return for each of the source's colours how much of it is not background, 0 to 1."""
    mass = torch.zeros(2, len(matched.palette), dtype=matched.plan.dtype)
    for some in in_parts(everywhere):
        masks = memberships(some, matched.palette)
        mass += torch.stack([masks.sum((0, 2, 3)), (masks * (1.0 - found.seen_in(some))).sum((0, 2, 3))])
    return mass[1] / mass[0].clamp_min(1e-6)


def _behind(
    matched: Matched, found: Background, everywhere: Float[Tensor, "m c h w"], moving: Float[Tensor, "k"]
) -> Background:
    """Return the background as the median of those pictures that show nothing near that has a moving thing's colour."""
    things, reach = (moving > 0.5).to(everywhere.dtype), 2 * _reach(everywhere)
    hidden = (torch.einsum("nkhw,k->nhw", memberships(some, matched.palette), things) for some in in_parts(everywhere))
    free = torch.cat([_widened(part[:, None], reach) < 0.5 for part in hidden])
    count = free.sum(0)
    median = torch.where(free, everywhere, torch.nan).nanmedian(0).values.nan_to_num()
    sure = found.steady > 0
    known = replace(found, source=torch.where(sure, found.source, median), steady=torch.ones_like(found.steady))
    pairs = zip(in_parts(everywhere), in_parts(free), strict=True)
    shown = torch.stack([(known.seen_in(some) * part).sum(0) for some, part in pairs]).sum(0)
    steady = sure | ((count >= LEAST * len(everywhere)) & (shown >= STEADY * count))
    return replace(known, steady=steady.to(median.dtype))


def _widened(share: Float[Tensor, "n 1 h w"], reach: int) -> Float[Tensor, "n 1 h w"]:
    """Return the largest share within reach of each pixel."""
    return nn.functional.max_pool2d(share, 2 * reach + 1, stride=1, padding=reach)


def _reach(pictures: Tensor) -> int:
    return max(1, round(NEAR * pictures.shape[-1]))


def _clean(
    matched: Matched,
    found: Background,
    things: Float[Tensor, "l"],
    source: Float[Tensor, "n c h w"],
    target: Float[Tensor, "n c h w"],
) -> Iterator[Bool[Tensor, "some h w"]]:
    """Yield where the target's pictures show its background, some pictures at a time."""
    for ours, theirs in zip(in_parts(source), in_parts(target), strict=True):
        still = warp(found.seen_in(ours), matched.pose.expand(len(ours), -1))
        least = -_widened(-still, _reach(still))[:, 0]
        thing = torch.einsum("nlhw,l->nhw", memberships(theirs, matched.others), things)
        yield (least > CLEAN) & (thing < 0.5)


def _drawn_on(values: Float[Tensor, "c h w"], known: Bool[Tensor, "h w"]) -> Float[Tensor, "c h w"]:
    """Return the values, each unknown pixel being the mean of its neighbours that are known, ring by ring."""
    filled, weight = values[None] * known, known[None, None].to(values.dtype)
    while not bool(weight.all()):
        around, count = (9 * nn.functional.avg_pool2d(part, 3, stride=1, padding=1) for part in (filled, weight))
        new = (weight == 0) & (count > 0)
        filled = torch.where(new, around / count.clamp_min(1.0), filled)
        weight = torch.where(new, 1.0, weight)
    return filled[0]
