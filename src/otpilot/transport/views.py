"""A map from one domain's pictures to the other's, fitted on pairs: where things go, and what colour they get.

The map is small on purpose (the pose of a camera, a light, one colour per entry of a palette). What is fitted where
both domains were shown therefore also holds where only the source was: its pictures from there become the target's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from otpilot.errors import TransportError
from otpilot.transport.solver import solve

POSE = ("turn", "zoom x", "zoom y", "shear", "shift x", "shift y", "tilt x", "tilt y")
JITTER = (1.0, 1.0, 1.0, 0.5, 0.3, 0.3, 1.0, 1.0)
"""What a jitter of 1 means in each number of a pose."""
COLOURS = 16
"""Entries of a palette, at most."""
WIDTH = 0.08
"""Width of a palette entry in units of colour (0 to 1): how near a colour must be to count as it."""
BINS = 24
"""Colours are counted in so many bins per channel;"""
RARE = 3e-5
"""those that are rarer than this part of all pixels are left out of a palette."""
PALETTE_REG = 0.1
"""Entropic strength of the transport between palettes; its cost is in nats."""
POSED = 80
"""Pairs that the pose is fitted on; the colours take all."""
STARTS = tuple((turn, zoom) for turn in (-0.4, 0.0, 0.4) for zoom in (-0.35, 0.0))
"""Rotations (radians) and log zooms from which the search for the pose begins."""
LEVELS = ((16, 150), (32, 80), (64, 60))
"""Width of the pictures in pixels, and steps of the search, from coarse to fine."""
RATE = 0.02
ALIKE, MOVING = 1.02, 1.15
"""Poses explain colour, or what moves, equally well if their explained variances differ by less than that factor."""
NARROW = 0.2
"""Least projective depth of a pixel."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How the target sees what the source's camera shows.

    Attributes:
        pose: Rotation (radians), log zoom along x and y, shear, shift right and down (picture widths and heights), tilt
            along x and y (depth per picture width and height).
        palette: The source's colours, 0 to 1.
        colours: What each becomes.
        light: The gain of a pixel is 1 + x light[0] + y light[1], x and y from -.5 to .5 over the target's picture.
    """

    pose: Float[Tensor, "8"]
    palette: Float[Tensor, "k c"]
    colours: Float[Tensor, "k c"]
    light: Float[Tensor, "2"]

    def __call__(
        self, pictures: Float[Tensor, "n c h w"], moves: Float[Tensor, "n 8"] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """Return source pictures (0 to 1) as the target would see them; `moves` are added to the pose, row by row."""
        weights = memberships(pictures, self.palette)
        recoloured = nn.functional.conv2d(weights, self.colours.mT[:, :, None, None])
        pose = self.pose.expand(len(pictures), -1)
        moved = warp(recoloured, pose if moves is None else pose + moves)
        x, y = _axes(moved)
        return (moved * (1.0 + self.light[0] * x + self.light[1] * y)).clamp(0.0, 1.0)

    def to(self, device: torch.device) -> "View":
        """Return the same view on a device."""
        return View(**{name: value.to(device) for name, value in vars(self).items()})

    def describe(self) -> str:
        """Return the pose in words."""
        turn, zoom_x, zoom_y, _, right, down, tilt_x, tilt_y = self.pose.tolist()
        zoom = math.exp(0.5 * (zoom_x + zoom_y))
        return (
            f"turned by {math.degrees(turn):.1f} degrees, zoom {zoom:.2f}, moved by {right:+.2f} and {down:+.2f} "
            f"picture widths, tilt {tilt_x:+.2f} and {tilt_y:+.2f}; {len(self.palette)} colours"
        )


def warp(pictures: Float[Tensor, "n k h w"], pose: Float[Tensor, "n 8"]) -> Float[Tensor, "n k h w"]:
    """Return pictures as from a camera that was moved (`View.pose`); what was outside is drawn like the border.

    A projective map of the plane: exact for a flat scene, or a camera that only turns.
    """
    turn, zoom, shear, shift, tilt = pose[:, 0], pose[:, 1:3], pose[:, 3], pose[:, 4:6], pose[:, 6:8]
    x, y = _axes(pictures)
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
    pixels = _median(pictures).permute(0, 2, 3, 1).reshape(-1, pictures.shape[1])
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


def fit_view(source: Float[Tensor, "n c h w"], target: Float[Tensor, "n c h w"]) -> View:
    """Return the view that maps source pictures (0 to 1) onto the target pictures that they are paired with.

    The pose is the one that makes the source's palette tell most of the target's colours: the least variance of these
    within an entry, so that no entry needs to keep its colour (the correlation ratio of Roche et al., "The correlation
    ratio as a new similarity measure for multimodal image registration", 1998). Colours are then transported between
    both palettes, with the part of the pictures that each covers as weight, and as cost how much more seldom than by
    chance two entries meet in a pixel, in nats. Pairs need not be twins: things that stand elsewhere in either picture
    add to all costs alike. Deterministic; fixed by the pictures alone.

    Raises:
        TransportError: If there are no pairs, or the sides differ in shape.
    """
    if source.shape != target.shape or not len(source):
        raise TransportError(
            f"pictures are {tuple(source.shape)} and {tuple(target.shape)}; allowed: equal, 1 or more."
        )
    palette = find_palette(source)
    masks = memberships(source, palette)
    some = torch.linspace(0, len(source) - 1, min(len(source), POSED)).long()
    pose = _fit_pose(masks[some], target[some])
    moved = warp(masks, pose.expand(len(masks), -1))
    colours = _transport_colours(moved, target)
    return View(pose=pose, palette=palette, colours=colours, light=_fit_light(moved, colours, target))


def _fit_pose(masks: Float[Tensor, "n k h w"], target: Float[Tensor, "n c h w"]) -> Float[Tensor, "8"]:
    """Return the pose of least unexplained colour, searched from several starts at the coarsest level.

    Poses between which colour cannot tell are told apart by what moves: a square table looks alike after a quarter
    turn, what stands on it does not.
    """
    poses = [torch.zeros(len(POSE))]
    for turn, zoom in STARTS:
        poses.append(torch.tensor([turn, zoom, zoom, *[0.0] * (len(POSE) - 3)]))
    for width, steps in LEVELS:
        size = (min(width, target.shape[-2]), min(width, target.shape[-1]))
        small = [nn.functional.adaptive_avg_pool2d(part, size) for part in (masks, target)]
        tried = [_descend(pose, *small, steps=steps) for pose in poses]
        poses = [_choose(tried, *small)]
    return poses[0]


def _choose(
    tried: Sequence[tuple[Float[Tensor, "8"], float]],
    masks: Float[Tensor, "n k h w"],
    target: Float[Tensor, "n c h w"],
) -> Float[Tensor, "8"]:
    """Return the pose that explains most colour, among those that explain most of what moves of those alike."""
    grey = float(target.mean((0, 2, 3)).square().sum())  # what all poses explain
    most = -min(loss for _, loss in tried) - grey
    alike = [(pose, loss) for pose, loss in tried if ALIKE * (-loss - grey) >= most]
    if len(alike) == 1:
        return alike[0][0]
    moving = [_explained_motion(warp(masks, pose.expand(len(masks), -1)), target) for pose, _ in alike]
    told = [one for one, share in zip(alike, moving, strict=True) if MOVING * share >= max(moving)]
    return min(told, key=lambda found: found[1])[0]


def _explained_motion(masks: Float[Tensor, "n k h w"], target: Float[Tensor, "n c h w"]) -> float:
    """Return the share of the target's change between pictures that a linear map of the masks' change explains."""
    ours, theirs = (
        (part - part.mean(0)).permute(0, 2, 3, 1).reshape(-1, part.shape[1]).double() for part in (masks, target)
    )
    both = ours.mT @ theirs
    explained = (both * (torch.linalg.pinv(ours.mT @ ours, hermitian=True, rtol=1e-6) @ both)).sum()
    return float(explained / theirs.square().sum().clamp_min(1e-12))


def _descend(
    start: Float[Tensor, "8"], masks: Float[Tensor, "n k h w"], target: Float[Tensor, "n c h w"], *, steps: int
) -> tuple[Float[Tensor, "8"], float]:
    """Return the pose after some steps downhill, and what it leaves unexplained."""
    with torch.enable_grad():
        pose = start.clone().requires_grad_()
        optimizer = torch.optim.Adam([pose], lr=RATE)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        for _ in range(steps):
            loss = _unexplained(warp(masks, pose.expand(len(masks), -1)), target)
            (pose.grad,) = torch.autograd.grad(loss, pose)
            optimizer.step()
            schedule.step()
    return pose.detach(), float(loss.detach())


def _unexplained(masks: Float[Tensor, "n k h w"], target: Float[Tensor, "n c h w"]) -> Float[Tensor, ""]:
    """Return the mean variance of the target's colours within the palette entries, up to a constant."""
    mass = masks.sum((0, 2, 3))
    mean = torch.einsum("nkhw,nchw->kc", masks, target) / mass.clamp_min(1e-6)[:, None]
    return -(mass[:, None] * mean.square()).sum() / masks[:, 0].numel()


def _transport_colours(moved: Float[Tensor, "n k h w"], target: Float[Tensor, "n c h w"]) -> Float[Tensor, "k c"]:
    """Return the mean colour of what each source entry is transported to."""
    palette = find_palette(target)
    theirs = memberships(target, palette)
    joint = torch.einsum("nkhw,nlhw->kl", moved, theirs).double() / moved[:, 0].numel()
    joint = (joint + 1e-9) / (joint + 1e-9).sum()
    ours, others = joint.sum(1), joint.sum(0)
    cost = -(joint / (ours[:, None] * others[None])).log()
    plan = solve(cost - cost.min(), reg=PALETTE_REG, tau_src=None, tau_tgt=None, a=ours, b=others).unit_plan
    colours: Tensor = (plan @ palette.double() / plan.sum(1, keepdim=True)).to(target.dtype)
    return colours


def _fit_light(
    moved: Float[Tensor, "n k h w"], colours: Float[Tensor, "k c"], target: Float[Tensor, "n c h w"]
) -> Float[Tensor, "2"]:
    """Return the slopes of the gain that explain best what the mean target picture has more than the mean moved one."""
    made = torch.einsum("nkhw,kc->nchw", moved, colours).mean(0)
    x, y = _axes(target)
    basis = torch.stack([(made * x).flatten(), (made * y).flatten()], dim=1)
    slopes: Tensor = torch.linalg.lstsq(basis, (target.mean(0) - made).flatten()[:, None]).solution[:, 0]
    return slopes


def _median(pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Return pictures without the noise of single pixels: the median of each 3 x 3 neighbourhood, per channel."""
    padded = nn.functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    around = nn.functional.unfold(padded, 3).reshape(*pictures.shape[:2], 9, *pictures.shape[-2:])
    return around.median(dim=2).values


def _axes(pictures: Float[Tensor, "n k h w"]) -> tuple[Float[Tensor, "h w"], Float[Tensor, "h w"]]:
    """Return x and y of the middle of each pixel, -.5 to .5."""
    height, width = pictures.shape[-2:]
    down = torch.arange(height, device=pictures.device, dtype=pictures.dtype)
    right = torch.arange(width, device=pictures.device, dtype=pictures.dtype)
    y, x = torch.meshgrid((down + 0.5) / height - 0.5, (right + 0.5) / width - 0.5, indexing="ij")
    return x, y


def _over(values: Float[Tensor, "n"]) -> Float[Tensor, "n 1 1"]:
    """Return one number per picture, ready to meet its pixels."""
    return values[:, None, None]
