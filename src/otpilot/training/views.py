"""Source rows as the target's camera would have seen them; the map is fitted on pairs before training starts."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from lerobot.utils.constants import OBS_IMAGE, OBS_IMAGES
from numpy.typing import NDArray
from torch import Tensor, nn

from otpilot.config.schema import TrainConfig
from otpilot.data.domains import Domain, Domains
from otpilot.data.mixing import RowMap
from otpilot.data.pairs import all_samplers
from otpilot.errors import ConfigError
from otpilot.transport.views import JITTER, View, fit_view

PAIRS = 240
"""Paired pictures that a view is fitted on,"""
SIZE = 192
"""each brought to at most this many pixels either way; pose and colours are fitted on smaller ones."""
SHOWN = 8
"""Pairs that are kept to look at."""
NEARER = 0.8
"""A view is worth it by itself if paired pixels differ by at most this part of what they differ by without it."""
CHUNK = 24
"""Rows that are read at a time."""
AUTO_SHARE = 0.5
"""Share of source rows with view_share = auto, where there are pairs and pictures: docs/log.md."""


@dataclass(frozen=True, kw_only=True)
class ViewSample:
    """Some of the pairs that a view was fitted on, (k, c, h, w) from 0 to 1, and how near it brings all of them.

    `apart` is the mean difference of paired pixels as they are, `left` that of the source's in the target's view.
    """

    source: Tensor
    seen: Tensor
    target: Tensor
    apart: float
    left: float


@dataclass(frozen=True, kw_only=True)
class SourceViews:
    """Shows source rows of a batch in the target's view; labels and states stay.

    The pose is moved at random by up to `jitter` radians (and so on) for each row, so that an error of the fit is
    nothing to rely on; then the row is augmented as all others are. Draws come from torch's own generators, whose state
    checkpoints carry.

    Attributes:
        views: The view of each camera, by the number of the source; a source without one stays as it is.
        share: The part of a source's rows that is meant for its views.
        jitter: How far the pose moves.
        samples: What the fit came to, by number and camera as well.
        names: The sources' names, by number.
        transforms: What augments the pictures of a row, ([steps,] channels, height, width); None for nothing.
    """

    views: Mapping[int, Mapping[str, View]]
    share: float
    jitter: float = 0.0
    samples: Mapping[int, Mapping[str, ViewSample]] = field(default_factory=dict)
    names: Mapping[int, str] = field(default_factory=dict)
    transforms: Callable[[Tensor], Tensor] | None = None

    @property
    def shares(self) -> dict[str, float]:
        """The part of its rows that is meant for its views, by the name of each source that has one."""
        return {self.names[number]: self.share for number in self.views}

    def __call__(self, rows: Mapping[str, Any], rows_of: RowMap) -> dict[str, Any]:
        """Return the rows, images float (rows, [steps,] channels, height, width) in [0, 1], some in the other view.

        Only the rows that `rows_of` marks as viewed are changed, with all their cameras.
        """
        found = dict(rows)
        for number, views in self.views.items():
            places = np.flatnonzero(rows_of.viewed & (rows_of.domain == number))
            if not len(places):
                continue
            device = next(iter(views.values())).pose.device
            ours = torch.as_tensor(places, device=device)
            noise = torch.rand(len(ours), len(JITTER), device=device) * 2.0 - 1.0
            moves = self.jitter * noise * torch.tensor(JITTER, device=device)
            cameras = [key for key in rows if key.startswith(OBS_IMAGE) and not key.endswith("_is_pad")]
            for camera in cameras if self.transforms is not None else views:
                pictures = found[camera][ours]
                if camera in views:
                    pictures = _seen(pictures, views[camera], moves)
                if self.transforms is not None:
                    pictures = torch.stack([self.transforms(row) for row in pictures])
                found[camera] = found[camera].index_copy(0, ours, pictures)
        return found


def make_source_views(
    config: TrainConfig, domains: Domains, device: torch.device, tell: Callable[[str], None] = lambda _: None
) -> SourceViews | None:
    """Return the views that a config asks for, fitted on pairs that the run's own sampler draws; None for none.

    Each source that is paired has its own. With `view_share` auto there are none where there is nothing to fit them on,
    or where pictures do not come nearer by it (NEARER). `tell` hears what is done.

    Raises:
        ConfigError: If a number is asked for, and there are no pairs or no pictures.
    """
    share = _asked(config)
    if share <= 0.0:
        return None
    ot = config.ot
    exact = copy.copy(config)
    exact.ot = replace(ot, window_size=0, no_window=False)
    samplers = all_samplers(exact, domains) if ot.method != "none" else {}
    cameras = list(domains.target.reader.meta.camera_keys)
    if not samplers or not cameras:
        if ot.view_share == "auto":
            return None
        raise ConfigError(_nothing_to_fit(config, cameras))
    tell("Fitting the target's view of the source's pictures ...")
    views: dict[int, dict[str, View]] = {}
    samples: dict[int, dict[str, ViewSample]] = {}
    for number, source in enumerate(domains.sources, 1):
        if source.name not in samplers:
            tell(f"{source.name} is not paired: its pictures stay as they are.")
            continue
        drawn = samplers[source.name].draw(0, PAIRS)
        ours = _pictures(source, drawn.source_rows, cameras)
        theirs = _pictures(domains.target, drawn.target_rows, cameras)
        everywhere = _pictures(source, _spread(source, PAIRS), cameras) if ot.view_background else {}
        for camera in cameras:
            name = camera.removeprefix(f"{OBS_IMAGES}.") + (f" ({source.name})" if number > 1 else "")
            view, sample = _fit((ours[camera], theirs[camera], everywhere.get(camera)), name, tell)
            if ot.view_share == "auto" and sample.left > NEARER * sample.apart:
                tell(f"Too little to be worth it: source pictures of {name} stay as they are (ot.view_share sets it).")
                continue
            views.setdefault(number, {})[camera] = view.to(device)
            samples.setdefault(number, {})[camera] = sample
    if not views:
        return None
    return SourceViews(
        views=views,
        share=share,
        jitter=ot.view_jitter,
        samples=samples,
        names={number: source.name for number, source in enumerate(domains.sources, 1)},
        transforms=domains.target.reader.transforms,
    )


def _asked(config: TrainConfig) -> float:
    """Return the share of source rows that a config wants in the target's view, 0 for none."""
    if not config.ot.enable:
        return 0.0
    return AUTO_SHARE if config.ot.view_share == "auto" else float(config.ot.view_share)


def _nothing_to_fit(config: TrainConfig, cameras: list[str]) -> str:
    """Return why there is nothing to fit the views on that a number in `view_share` asks for, and what to set."""
    lacking, remedy = "pictures", ""
    if cameras and config.ot.method == "none":
        lacking, remedy = "pairs (ot.method is none)", "ot.lambda_ot = 0 instead of that, or "
    elif cameras:
        lacking, remedy = "pairs", "ot.pair_info_path, or "
    return (
        f"ot.view_share is {_asked(config)}, but there are no {lacking} to fit a view on; "
        f"set {remedy}ot.view_share = 0."
    )


def _fit(
    pictures: tuple[Tensor, Tensor, Tensor | None], name: str, tell: Callable[[str], None]
) -> tuple[View, ViewSample]:
    """Return the view of one camera and what it comes to, which is told under the camera's name."""
    source, target, everywhere = pictures
    view = fit_view(source, target, everywhere)
    sample = _sample(view, source, target)
    tell(
        f"Target's view of {name}: {view.describe()}; paired pictures differ by {sample.left:.3f} instead of "
        f"{sample.apart:.3f}."
    )
    return view, sample


def _sample(view: View, source: Tensor, target: Tensor) -> ViewSample:
    seen = view(source)
    some = torch.linspace(0, len(source) - 1, min(len(source), SHOWN)).long()
    return ViewSample(
        source=source[some],
        seen=seen[some],
        target=target[some],
        apart=float((source - target).abs().mean()),
        left=float((seen - target).abs().mean()),
    )


def _spread(domain: Domain, count: int) -> NDArray[np.int64]:
    """Return rows from all over a domain's training episodes."""
    rows = domain.frames(domain.train_episodes)
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]


def _pictures(domain: Domain, rows: NDArray[np.int64], cameras: list[str]) -> dict[str, Tensor]:
    """Return the pictures of some rows, (rows, channels, h, w) from 0 to 1, brought to at most SIZE pixels."""
    parts: dict[str, list[Tensor]] = {camera: [] for camera in cameras}
    for start in range(0, len(rows), CHUNK):
        read = domain.reader.rows(rows[start : start + CHUNK], augment=False)
        for camera in cameras:
            parts[camera].append(_small(read[camera]))
    return {camera: torch.cat(part) for camera, part in parts.items()}


def _small(pictures: Tensor) -> Tensor:
    """Return pictures (rows, [steps,] channels, h, w), uint8 or float, as float of at most SIZE; of steps the last."""
    last = pictures[:, -1] if pictures.ndim == 5 else pictures
    scaled = last.float() / 255.0 if last.dtype == torch.uint8 else last.float()
    height, width = (min(SIZE, side) for side in scaled.shape[-2:])
    return nn.functional.adaptive_avg_pool2d(scaled, (height, width))


def _seen(pictures: Tensor, view: View, moves: Tensor) -> Tensor:
    """Return pictures through a view, as noisy as the target's; observation steps of one row share its pose."""
    if pictures.ndim == 5:
        moves = moves.repeat_interleave(pictures.shape[1], 0)
    seen = view(pictures.flatten(0, -4), moves).reshape(pictures.shape)
    if view.background is None or not view.background.noise:
        return seen
    return (seen + view.background.noise * torch.randn_like(seen)).clamp(0.0, 1.0)
