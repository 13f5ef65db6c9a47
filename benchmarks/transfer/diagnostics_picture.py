"""The two leading principal components of a policy's encodings of twin states, as an SVG."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.transfer.diagnostics_measures import principal_axes
from benchmarks.transfer.diagnostics_twins import REGIONS, Twins
from otpilot.report.palette import OKABE_ITO

MARKERS = ("o", "^", "s", "D")
LINES = 24
"""Twins joined by a line in each panel."""


def draw(path: Path, source: NDArray[np.float64], target: NDArray[np.float64], twins: Twins, *, title: str) -> Path:
    """Write the picture, one panel per region, and return its path.

    Colour tells the domain, shape what the hand does; thin lines join some twins. Both panels share the components of
    all rows of both domains, so that distances can be compared.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    rows = np.concatenate([source, target])
    axes = principal_axes(rows, 2)
    centre = rows.mean(axis=0)
    points = {"source": (source - centre) @ axes, "target": (target - centre) @ axes}
    share = ((rows - centre) @ axes).var(axis=0) / max(float((rows - centre).var(axis=0).sum()), 1e-12)
    figure = Figure(figsize=(9.0, 4.4), layout="constrained")
    panels = figure.subplots(1, len(REGIONS), sharex=True, sharey=True)
    for panel, region in zip(panels, REGIONS, strict=True):
        _panel(panel, points, twins, region)
        panel.set_xlabel(f"component 1 ({share[0]:.0%} of the variance)")
    panels[0].set_ylabel(f"component 2 ({share[1]:.0%})" if len(share) > 1 else "")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle(title, fontsize=10)
    # The same run gives the same file: no date, no random names.
    with rc_context({"svg.hashsalt": "otpilot", "svg.fonttype": "path"}):
        figure.savefig(path, metadata={"Date": None})
    return path


def _panel(panel: Any, points: dict[str, NDArray[np.float64]], twins: Twins, region: str) -> None:
    here = np.flatnonzero(twins.region == region)
    for row in here[np.unique(np.linspace(0, len(here) - 1, min(LINES, len(here))).round().astype(int))]:
        pair = np.stack([points["source"][row], points["target"][row]])
        panel.plot(pair[:, 0], pair[:, 1], color="#999999", linewidth=0.6, zorder=1)
    for domain, colour in zip(points, OKABE_ITO, strict=False):
        for mark, marker in zip(np.unique(twins.mark).tolist(), MARKERS, strict=False):
            chosen = here[twins.mark[here] == mark]
            spots = points[domain][chosen]
            panel.scatter(
                spots[:, 0], spots[:, 1], s=14, marker=marker, color=colour, alpha=0.75, linewidths=0, zorder=2,
                label=f"{domain}, {mark}",
            )  # fmt: skip
    seen = "demonstrated in the target" if region == REGIONS[0] else "not demonstrated in the target"
    panel.set_title(f"{region}: {seen}", fontsize=9)
    panel.tick_params(labelsize=8)
