"""A map from one domain's pictures to the other's, fitted on pairs: where things go, and what colour they get.

The map is small on purpose (the pose of a camera, a light, one colour per entry of a palette). What is fitted where
both domains were shown therefore also holds where only the source was: its pictures from there become the target's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from otpilot.errors import TransportError
from otpilot.transport.backgrounds import Background, Matched, fit_background
from otpilot.transport.pictures import axes, find_palette, in_parts, memberships, reduced, resized, warp
from otpilot.transport.solver import solve

POSE = ("turn", "zoom x", "zoom y", "shear", "shift x", "shift y", "tilt x", "tilt y")
JITTER = (1.0, 1.0, 1.0, 0.5, 0.3, 0.3, 1.0, 1.0)
"""What a jitter of 1 means in each number of a pose."""
PALETTE_REG = 0.1
"""Entropic strength of the transport between palettes; its cost is in nats."""
SIZE = 64
"""Pose and colours are fitted on pictures of at most so many pixels either way."""
POSED = 80
"""Pairs that the pose is fitted on; the colours take all."""
STARTS = tuple((turn, zoom) for turn in (-0.4, 0.0, 0.4) for zoom in (-0.35, 0.0))
"""Rotations (radians) and log zooms from which the search for the pose begins."""
LEVELS = ((16, 150), (32, 80), (64, 60))
"""Width of the pictures in pixels, and steps of the search, from coarse to fine."""
RATE = 0.02
ALIKE, MOVING = 1.02, 1.15
"""Poses explain colour, or what moves, equally well if their explained variances differ by less than that factor."""


@dataclass(frozen=True, kw_only=True)
class View:
    """How the target sees what the source's camera shows.

    Attributes:
        pose: Rotation (radians), log zoom along x and y, shear, shift right and down (picture widths and heights), tilt
            along x and y (depth per picture width and height).
        palette: The source's colours, 0 to 1.
        colours: What each becomes.
        light: The gain of a pixel is 1 + x light[0] + y light[1], x and y from -.5 to .5 over the target's picture.
        background: What stands still, if that is drawn as the target's own pictures show it.
    """

    pose: Float[Tensor, "8"]
    palette: Float[Tensor, "k c"]
    colours: Float[Tensor, "k c"]
    light: Float[Tensor, "2"]
    background: Background | None = None

    def __call__(
        self, pictures: Float[Tensor, "n c h w"], moves: Float[Tensor, "n 8"] | None = None
    ) -> Float[Tensor, "n c h w"]:
        """Return source pictures (0 to 1) as the target would see them; `moves` are added to the pose, row by row."""
        weights = memberships(pictures, self.palette)
        recoloured = nn.functional.conv2d(weights, self.colours.mT[:, :, None, None])
        pose = self.pose.expand(len(pictures), -1)
        pose = pose if moves is None else pose + moves
        if self.background is None:
            return self._lit(warp(recoloured, pose)).clamp(0.0, 1.0)
        moved = warp(torch.cat([recoloured, self.background.seen_in(pictures)], dim=1), pose)
        flat, still = self._lit(moved[:, :-1]), moved[:, -1:]
        return flat.lerp(resized(self.background.target, flat), still).clamp(0.0, 1.0)

    def _lit(self, pictures: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        x, y = axes(pictures)
        return pictures * (1.0 + self.light[0] * x + self.light[1] * y)

    def to(self, device: torch.device) -> "View":
        """Return the same view on a device."""
        background = None if self.background is None else self.background.to(device)
        return View(
            pose=self.pose.to(device),
            palette=self.palette.to(device),
            colours=self.colours.to(device),
            light=self.light.to(device),
            background=background,
        )

    def describe(self) -> str:
        """Return the pose in words."""
        turn, zoom_x, zoom_y, _, right, down, tilt_x, tilt_y = self.pose.tolist()
        zoom = math.exp(0.5 * (zoom_x + zoom_y))
        return (
            f"turned by {math.degrees(turn):.1f} degrees, zoom {zoom:.2f}, moved by {right:+.2f} and {down:+.2f} "
            f"picture widths, tilt {tilt_x:+.2f} and {tilt_y:+.2f}; {len(self.palette)} colours"
            + ("" if self.background is None else " before the target's background")
        )


def fit_view(
    source: Float[Tensor, "n c h w"],
    target: Float[Tensor, "n c h w"],
    everywhere: Float[Tensor, "m c h w"] | None = None,
) -> View:
    """Return the view that maps source pictures (0 to 1) onto the target pictures that they are paired with.

    The pose is the one that makes the source's palette tell most of the target's colours: the least variance of these
    within an entry, so that no entry needs to keep its colour (the correlation ratio of Roche et al., "The correlation
    ratio as a new similarity measure for multimodal image registration", 1998). Colours are then transported between
    both palettes, with the part of the pictures that each covers as weight, and as cost how much more seldom than by
    chance two entries meet in a pixel, in nats. Pairs need not be twins: things that stand elsewhere in either picture
    add to all costs alike. With `everywhere`, source pictures from all over its demonstrations, the view has a
    background, if there is one and paired pictures come nearer by it. Deterministic; fixed by the pictures alone.

    Raises:
        TransportError: If there are no pairs, or the sides differ in shape.
    """
    if source.shape != target.shape or not len(source):
        raise TransportError(
            f"pictures are {tuple(source.shape)} and {tuple(target.shape)}; allowed: equal, 1 or more."
        )
    ours, theirs = reduced(source, SIZE), reduced(target, SIZE)
    palette, others = find_palette(ours), find_palette(theirs)
    masks = memberships(ours, palette)
    some = torch.linspace(0, len(source) - 1, min(len(source), POSED)).long()
    pose = _fit_pose(masks[some], theirs[some])
    moved = warp(masks, pose.expand(len(masks), -1))
    plan = _transport_colours(moved, memberships(theirs, others))
    colours = (plan @ others.double() / plan.sum(1, keepdim=True)).to(target.dtype)
    view = View(pose=pose, palette=palette, colours=colours, light=_fit_light(moved, colours, theirs))
    if everywhere is None:
        return view
    matched = Matched(pose=pose, palette=palette, others=others, plan=plan)
    flat = view(everywhere.median(0).values[None])[0]
    made = replace(view, background=fit_background(matched, source, target, everywhere, flat))
    return made if _apart(made, source, target) < _apart(view, source, target) else view


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


def _transport_colours(moved: Float[Tensor, "n k h w"], theirs: Float[Tensor, "n l h w"]) -> Float[Tensor, "k l"]:
    """Return which of the target's colours each of the source's becomes, as mass, from where the two are."""
    joint = torch.einsum("nkhw,nlhw->kl", moved, theirs).double() / moved[:, 0].numel()
    joint = (joint + 1e-9) / (joint + 1e-9).sum()
    ours, others = joint.sum(1), joint.sum(0)
    cost = -(joint / (ours[:, None] * others[None])).log()
    return solve(cost - cost.min(), reg=PALETTE_REG, tau_src=None, tau_tgt=None, a=ours, b=others).unit_plan


def _fit_light(
    moved: Float[Tensor, "n k h w"], colours: Float[Tensor, "k c"], target: Float[Tensor, "n c h w"]
) -> Float[Tensor, "2"]:
    """Return the slopes of the gain that explain best what the mean target picture has more than the mean moved one."""
    made = torch.einsum("nkhw,kc->nchw", moved, colours).mean(0)
    x, y = axes(target)
    basis = torch.stack([(made * x).flatten(), (made * y).flatten()], dim=1)
    # gelsy, the default, reads pivots that torch leaves unset: last bits would depend on what lies in memory.
    gap = (target.mean(0) - made).flatten()[:, None]
    slopes: Tensor = torch.linalg.lstsq(basis, gap, driver="gelsd").solution[:, 0]
    return slopes


def _apart(view: View, source: Float[Tensor, "n c h w"], target: Float[Tensor, "n c h w"]) -> float:
    """Return the mean difference of paired pixels, the source's in the view."""
    pairs = zip(in_parts(source), in_parts(target), strict=True)
    return sum(float((view(ours) - theirs).abs().sum()) for ours, theirs in pairs) / source.numel()
