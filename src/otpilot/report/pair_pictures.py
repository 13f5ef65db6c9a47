"""Pictures of a pair table, as PNG bytes: distances, warping paths, coverage of the source frames."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from otpilot.errors import PairingError
from otpilot.pairing.inspect import TableFigures
from otpilot.pairing.table import PairTable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_GOOD, _BAD, _QUIET = "#2a6fbb", "#c0392b", "#9aa5b1"


def distance_png(table: PairTable, figures: TableFigures) -> bytes:
    """Return a picture of the distances: one row of dots per target episode, its best one marked, and a histogram.

    Target episodes without a good partner (see `inspect_table`) are drawn in red.
    """
    height = 1.6 + 0.22 * len(figures.targets)
    figure = _figure(9.0, min(max(height, 3.0), 30.0))
    rows, histogram = figure.subplots(1, 2, width_ratios=[2, 1])
    rows.scatter(table.distance, table.pair_target, s=9, color=_QUIET, label="all pairs")
    for bad, colour, label in ((False, _GOOD, "best"), (True, _BAD, "best, but not good")):
        chosen = [t for t in figures.targets if (t.problem is not None) == bad and t.partners]
        if chosen:
            rows.scatter([t.best for t in chosen], [t.episode for t in chosen], s=28, color=colour, label=label)
    rows.set(xlabel="distance (path cost / larger norm)", ylabel="target episode", title="Distance per target episode")
    rows.set_ylim(len(figures.targets) - 0.5, -0.5)
    _whole_ticks(rows.yaxis)
    best = [t.best for t in figures.targets if t.partners]
    bins = np.histogram_bin_edges(table.distance, bins=30)
    histogram.hist(table.distance, bins=bins.tolist(), color=_QUIET)
    histogram.hist(best, bins=bins.tolist(), color=_GOOD)
    histogram.set(xlabel="distance", ylabel="pairs", title="Histogram", yscale="log")
    handles, labels = rows.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return _png(figure)


def paths_png(table: PairTable, pairs: Sequence[int]) -> bytes:
    """Return a picture of the warping paths of these pairs, one panel each; the dotted line is no warping at all.

    Raises:
        PairingError: no pair is given, or one is out of range.
    """
    if not pairs:
        raise PairingError("no pair to draw; give at least one.")
    for pair in pairs:
        if not 0 <= pair < table.pairs:
            raise PairingError(f"pair {pair} is out of range; allowed: 0 to {table.pairs - 1}.")
    columns = min(len(pairs), 5)
    lines = -(-len(pairs) // columns)
    figure = _figure(2.4 * columns, 2.5 * lines)
    panels = figure.subplots(lines, columns, squeeze=False).ravel()
    for panel, pair in zip(panels, pairs, strict=False):
        _draw_path(panel, table, pair)
    for panel in panels[len(pairs) :]:
        panel.set_axis_off()
    return _png(figure)


def coverage_png(figures: TableFigures) -> bytes:
    """Return a picture of the share of every source episode's frames that some target frame is matched to."""
    figure = _figure(9.0, 3.0)
    panel = figure.subplots()
    index = np.arange(len(figures.coverage))
    panel.bar(index, 100 * figures.coverage, color=_QUIET, width=0.9, label="by any pair")
    panel.bar(index, 100 * figures.best_coverage, color=_GOOD, width=0.9, label="by a best pair")
    panel.set(
        xlabel="source episode", ylabel="frames matched (%)", title="Coverage of the source frames", ylim=(0, 105)
    )
    _whole_ticks(panel.xaxis)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8)
    return _png(figure)


def _draw_path(panel: "Axes", table: PairTable, pair: int) -> None:
    """Draw one warping path."""
    path = table.path(pair)
    source, target = int(table.pair_source[pair]), int(table.pair_target[pair])
    panel.plot([0, table.target_lengths[target] - 1], [0, table.source_lengths[source] - 1], ":", color=_QUIET)
    panel.plot(path[:, 1], path[:, 0], ".-" if len(path) < 3 else "-", color=_GOOD, linewidth=1.5)
    panel.set_title(f"target {target}, source {source}\ndistance {table.distance[pair]:.3g}", fontsize=8)
    panel.set_xlabel("target frame", fontsize=7)
    panel.set_ylabel("source frame", fontsize=7)
    panel.tick_params(labelsize=7)


def _whole_ticks(axis: "Axis") -> None:
    """Put ticks at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))


def _figure(width: float, height: float) -> "Figure":
    """Return an empty figure (inches) that belongs to no window system."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: "Figure") -> bytes:
    """Return the figure as PNG bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
