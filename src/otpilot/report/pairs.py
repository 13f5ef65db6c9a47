"""The page of `otpilot pair inspect`: what a pair table holds, and what a person should look at."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from otpilot.errors import ConfigError
from otpilot.pairing.arrays import Array
from otpilot.pairing.inspect import PairFigures, TableFigures
from otpilot.pairing.matches import FrameMatches
from otpilot.pairing.table import PairTable
from otpilot.report.figures import pairs_figure
from otpilot.report.html import write_html
from otpilot.report.markdown import write_markdown
from otpilot.report.pair_pictures import coverage_png, distance_png, paths_png
from otpilot.report.result import Picture, Report

_SHOWN_PATHS = 10  # two lines of panels
_SHOWN_FRAMES = 4  # lines of matched frames; so few that the picture is wide and the page shows it in full size
_SHOWN_WORST = 5
_SIDE = 128  # width of a frame on the page, in pixels
_STANDSTILL = 0.25  # a path that stands still for this share of its steps is worth a sentence


@dataclass(frozen=True, kw_only=True, eq=False)
class MatchedFrames:
    """Pictures of matched frames, one source and one target picture per match."""

    camera: str
    matches: FrameMatches
    source: UInt8[Array, "n h w 3"]
    target: UInt8[Array, "n h2 w2 3"]


@dataclass(frozen=True, kw_only=True)
class ShownPairs:
    """The pairs a page shows: nearest ones, the farthest of the nearest, the farthest of all."""

    nearest: tuple[int, ...]
    poor: tuple[int, ...]
    farthest: tuple[int, ...]

    @property
    def with_frames(self) -> tuple[int, ...]:
        """Pairs whose matched frames are shown, each once."""
        return tuple(dict.fromkeys((*_thinned(self.nearest, _SHOWN_FRAMES), *self.poor, *self.farthest)))


def shown_pairs(table: PairTable, figures: TableFigures) -> ShownPairs:
    """Return which pairs the page shows: nearest pairs of targets spread over the table, and the worst."""
    nearest = [int(table.ranked(target.episode)[0]) for target in figures.targets if target.partners]
    return ShownPairs(
        nearest=tuple(_thinned(nearest, _SHOWN_PATHS)),
        poor=tuple(pair.pair for pair in figures.worst_best_pairs[:_SHOWN_WORST]),
        farthest=tuple(pair.pair for pair in figures.worst_pairs[:_SHOWN_WORST]),
    )


def pairs_report(table: PairTable, figures: TableFigures, frames: MatchedFrames | None, *, name: str) -> Report:
    """Return the report on a table called `name`; without `frames` there are no matched frames in it."""
    return Report(
        title=f"Pairs of {name}",
        facts=tuple(_facts(table, figures)),
        methods=(),
        findings=tuple(_findings(figures)),
        charts=(),
        pictures=tuple(_pictures(table, figures, frames)),
    )


def write_pairs_report(report: Report, folder: Path) -> Path:
    """Write index.html, index.md and the pictures (PNG) into a new folder; return the page.

    Raises:
        ConfigError: The folder exists, or there is none to make it in.
    """
    try:
        folder.mkdir()
    except FileExistsError as error:
        raise ConfigError(f"{folder} exists already; give another --out, or remove it.") from error
    except FileNotFoundError as error:
        raise ConfigError(f"There is no folder {folder.parent}; make it, or give another --out.") from error
    write_markdown(report, folder / "index.md")
    page = folder / "index.html"
    write_html(report, page)
    return page


def _facts(table: PairTable, figures: TableFigures) -> Iterator[tuple[str, str]]:
    for side, fingerprint in (("Source", table.source), ("Target", table.target)):
        name = f"{fingerprint.name}: " if fingerprint.name else ""
        yield side, f"{name}{fingerprint.total_episodes} episodes, {fingerprint.total_frames} frames"
    if table.source.keys:
        yield "Aligned by", ", ".join(table.source.keys)
    yield "Pairs", f"{table.pairs} of episodes, {len(table.match_source)} matched frames"
    best = [target.best for target in figures.targets if target.partners]
    yield "Distance", f"median {np.median(table.distance):.3g} of all pairs, {np.median(best):.3g} of the nearest"
    yield (
        "Source frames matched",
        f"{figures.total_coverage:.0%} by any pair, {figures.total_best_coverage:.0%} by the nearest pairs",
    )


def _findings(figures: TableFigures) -> Iterator[str]:
    yield from figures.warnings
    if not any(target.problem for target in figures.targets):
        yield "Every target episode has a good partner."
    used = np.flatnonzero(figures.uses)
    most = int(figures.uses.argmax())
    yield (
        f"{len(used)} of {len(figures.uses)} source episodes are the nearest one of some target episode; the most "
        f"frequent, episode {most}, of {int(figures.uses[most])}."
    )
    still = [target for target in figures.targets if target.partners and target.stretch > _STANDSTILL]
    for target in sorted(still, key=lambda one: -one.stretch)[:_SHOWN_WORST]:
        yield (
            f"Target episode {target.episode} and source episode {target.best_source}, its nearest: one of the two "
            f"stands still for {target.stretch:.0%} of the path."
        )
    yield f"Farthest of the nearest pairs: {_listed(figures.worst_best_pairs)}."
    yield f"Farthest of all pairs: {_listed(figures.worst_pairs)}."


def _listed(pairs: Sequence[PairFigures]) -> str:
    return ", ".join(
        f"target {one.target_episode} with source {one.source_episode} ({one.distance:.3g})"
        for one in pairs[:_SHOWN_WORST]
    )


def _pictures(table: PairTable, figures: TableFigures, frames: MatchedFrames | None) -> Iterator[Picture]:
    shown = shown_pairs(table, figures)
    yield Picture(
        title="Distances",
        caption="A dot is a pair; blue is the nearest source episode of a target episode, red one that is not good.",
        png=distance_png(table, figures),
    )
    yield from _frames(table, frames, _thinned(shown.nearest, _SHOWN_FRAMES), "Matched frames", "a nearest pair")
    yield Picture(
        title="Warping paths",
        caption="Nearest pair of each target episode, up to 10 of them. On the dotted line nothing would be warped.",
        png=paths_png(table, shown.nearest),
    )
    yield Picture(
        title="Coverage of the source frames",
        caption=(
            "Share of each source episode's frames that some target frame is matched to; blue counts only the nearest "
            "source episode of each target episode."
        ),
        png=coverage_png(figures),
    )
    for title, what, pairs in (
        ("Worst of the nearest pairs", "the nearest pair of a target episode, farthest first", shown.poor),
        ("Worst pairs of all", "a pair, the farthest first", shown.farthest),
    ):
        yield Picture(title=title, caption=f"Each panel is {what}.", png=paths_png(table, pairs))
        yield from _frames(table, frames, pairs[:_SHOWN_FRAMES], f"{title}: frames", what)


def _frames(
    table: PairTable, frames: MatchedFrames | None, pairs: Sequence[int], title: str, what: str
) -> Iterator[Picture]:
    if frames is None:
        return
    rows = frames.matches.of(pairs)
    owner, from_source, from_target = (
        frames.matches.pair[rows],
        frames.matches.source_frame[rows],
        frames.matches.target_frame[rows],
    )
    labels = [
        f"source {table.pair_source[pair]}:{source}, target {table.pair_target[pair]}:{target}"
        for pair, source, target in zip(owner.tolist(), from_source.tolist(), from_target.tolist(), strict=True)
    ]
    source, target = _fitted(frames.source[rows]), _fitted(frames.target[rows])
    yield Picture(
        title=title,
        caption=(
            f"Each line is {what}, from its beginning (left) to its end; below each match, episode:frame. "
            f"Camera {frames.camera}."
        ),
        png=pairs_figure(
            source, target, labels, columns=len(rows) // len(pairs), scale=max(1, _SIDE // source.shape[2])
        ),
    )


def _fitted(frames: UInt8[Array, "n h w 3"]) -> UInt8[Array, "n h2 w2 3"]:
    """Return the frames shrunk to the page's width of a frame, averaged; smaller ones stay as they are."""
    height, width = frames.shape[1:3]
    if width <= _SIDE:
        return frames
    size = (_SIDE, max(1, round(height * _SIDE / width)))
    return np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in frames]).astype(np.uint8)


def _thinned(pairs: Sequence[int], count: int) -> list[int]:
    """Return at most `count` of the pairs, evenly spread."""
    places = np.linspace(0, len(pairs) - 1, min(count, len(pairs))).round().astype(int)
    return [pairs[place] for place in places.tolist()]
