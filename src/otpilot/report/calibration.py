"""What `otpilot calibrate` found: tables for a terminal and a heat map, drawn from plain numbers."""

import io
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from otpilot.config.ot import HealthConfig
from otpilot.errors import ConfigError
from otpilot.report.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes

type State = Literal["dead", "alive", "eating"]

DEAD_MASS = HealthConfig().dead_mass
"""Mass under which a cell is shown as dead."""
STATES: dict[State, tuple[str, str]] = {
    "dead": ("DEAD: as it stands, this is plain co-training", "red"),
    "eating": ("EATING THE POLICY: behaviour cloning drowns in it", "red"),
    "alive": ("ALIVE", "green"),
}


@dataclass(frozen=True, kw_only=True)
class TermRow:
    """One term of the cost: mean, standard deviation and extremes of its raw cost, share (0 to 1) of the whole."""

    name: str
    mean: float
    spread: float
    low: float
    high: float
    share: float


@dataclass(frozen=True, kw_only=True)
class GridPoint:
    """What a pair of strengths does, mean over batches; entropy in nats, diag_share NaN off square problems."""

    reg: float
    tau: float
    mass: float
    entropy: float
    diag_share: float
    unmatched_src: float
    converged: bool


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A grid of strengths, reg running slowest; `own` is the (reg, tau) to mark, None where the two taus differ."""

    title: str
    points: tuple[GridPoint, ...]
    own: tuple[float, float] | None

    @property
    def regs(self) -> list[float]:
        """Values of reg, in order."""
        return list(dict.fromkeys(point.reg for point in self.points))

    @property
    def taus(self) -> list[float]:
        """Values of tau, in order."""
        return list(dict.fromkeys(point.tau for point in self.points))


@dataclass(frozen=True, kw_only=True)
class GradientShares:
    """Norms of the encoder gradient, the transport's at weight 1; `share` is the weighted transport's of the whole."""

    cloning: float
    transport: float
    weight: float
    automatic: bool
    share: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """One setting to change, and what for."""

    setting: str
    before: str
    after: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The whole finding; `proposed_share` is None where the proposed weight is automatic."""

    about: str
    notes: tuple[str, ...]
    terms: tuple[TermRow, ...]
    gradient: GradientShares
    state: State
    mass: float
    reason: str
    present: Grid
    proposed: Grid
    changes: tuple[Change, ...]
    target_mass: float
    proposed_mass: float
    proposed_share: float | None


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One quantity of a grid: how it is called, what it tells, how it is read from a point."""

    name: str
    about: str
    read: Callable[[GridPoint], float]
    top: float | None = 1.0


QUANTITIES = (
    Quantity(name="mass", about="transported; under 0.001 dead", read=lambda point: point.mass),
    Quantity(name="plan entropy", about="nats; low is decided", read=lambda point: point.entropy, top=None),
    Quantity(name="diagonal share", about="1: only given pairs", read=lambda point: point.diag_share),
    Quantity(name="unmatched source", about="1: nobody is matched", read=lambda point: point.unmatched_src),
)


def render(found: Calibration, *, details: bool = False) -> Group:
    """Return everything for a terminal; `details` adds the grids of the other quantities."""
    parts: list[RenderableType] = [Text(f"Note: {note}", style="dim") for note in found.notes]
    parts += ["", Text(found.about, style="bold"), _verdict(found), "", _terms(found), "", _gradient(found), ""]
    for quantity in QUANTITIES if details else QUANTITIES[:1]:
        parts += [*_grids(found, quantity), ""]
    return Group(*parts, _proposal(found))


def write_heat_map(found: Calibration, path: Path) -> None:
    """Write both grids as a picture: a row as configured, a row as proposed, one panel for each quantity.

    Raises:
        ConfigError: If the ending is not .png, .svg or .pdf.
    """
    check_picture(path)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(17.0, 8.6), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"{STATES[found.state][0]}   |   {found.about}", fontsize=12)
    rows = figure.subfigures(2, 1, squeeze=False, hspace=0.04)
    for row, grid in zip(rows.flat, (found.present, found.proposed), strict=True):
        mark = "" if grid.own is None else f"; boxed: reg {grid.own[0]:g}, tau {grid.own[1]:g}"
        row.suptitle(f"{grid.title}{mark}", fontsize=11, fontweight="bold")
        for axes, quantity in zip(row.subplots(1, len(QUANTITIES)), QUANTITIES, strict=True):
            _panel(axes, grid, quantity)
    body = io.BytesIO()
    figure.savefig(body, format=path.suffix[1:], dpi=110)
    write_atomically(path, body.getvalue())


def write_config(config: Mapping[str, Any], path: Path) -> None:
    """Write a config as JSON, whole or not at all, and never over a file.

    Raises:
        ConfigError: If the file is there already.
    """
    if path.exists():
        raise ConfigError(f"{path} exists already; give another --write, or remove it.")
    write_atomically(path, (json.dumps(config, indent=2) + "\n").encode())


def check_picture(path: Path) -> None:
    """Raise ConfigError unless a picture can be written there."""
    if path.suffix not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"--out is {path}; allowed: a name that ends in .png, .svg or .pdf.")
    if not path.parent.is_dir():
        raise ConfigError(f"There is no folder {path.parent}; make it, or give another --out.")


def number(value: float) -> str:
    """Return a positive figure in at most six characters: 0.70, 12.3, 1e-12."""
    if math.isnan(value):
        return "-"
    if value == 0.0 or 0.01 <= value < 1000.0:
        return f"{value:.2f}" if value < 10.0 else f"{value:.3g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(share: float) -> str:
    """Return a share in per cent, small ones as a power of ten."""
    return f"{100.0 * share:.3g} %"


def _terms(found: Calibration) -> Table:
    table = Table(
        title="What each term costs (raw, between the rows of a batch)", title_justify="left", box=box.SIMPLE_HEAD
    )
    table.add_column("term")
    for name in ("mean", "spread", "lowest", "highest", "share of the cost"):
        table.add_column(name, justify="right")
    for term in found.terms:
        figures = [number(value) for value in (term.mean, term.spread, term.low, term.high)]
        table.add_row(escape(term.name), *figures, f"{term.share:.0%}")
    return table


def _gradient(found: Calibration) -> Table:
    gradient = found.gradient
    table = Table(title="Gradient on the encoder (median batch)", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("behaviour cloning", "transport at weight 1", "lambda_ot", "transport's share", "healthy"):
        table.add_column(name, justify="right")
    weight = f"auto, {number(gradient.weight)} here" if gradient.automatic else f"{gradient.weight:g}"
    style = "green" if 0.01 <= gradient.share <= 0.5 else "red"
    share = Text(percent(gradient.share), style=style)
    table.add_row(number(gradient.cloning), number(gradient.transport), weight, share, "1 to 50 %")
    return table


def _verdict(found: Calibration) -> Panel:
    title, style = STATES[found.state]
    return Panel(Text(found.reason), title=f"[bold]{title}[/]", title_align="left", border_style=style)


def _grids(found: Calibration, quantity: Quantity) -> Iterator[RenderableType]:
    yield Text(
        f"{quantity.name.capitalize()} over reg and tau ({quantity.about}); in [ ] the settings themselves",
        style="bold",
    )
    for grid in (found.present, found.proposed) if found.changes else (found.present,):
        table = Table(title=grid.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0))
        table.add_column("reg \\ tau", justify="right", style="cyan")
        for tau in grid.taus:
            table.add_column(f"{tau:.3g}", justify="right", min_width=9)
        for reg in grid.regs:
            cells = (_cell(point, grid, quantity, found.target_mass) for point in grid.points if point.reg == reg)
            table.add_row(f"{reg:.3g}", *cells)
        yield table
    if not all(point.converged for grid in (found.present, found.proposed) for point in grid.points):
        yield Text("~ not converged within max_iterations", style="dim")


def _cell(point: GridPoint, grid: Grid, quantity: Quantity, target_mass: float) -> Text:
    shown = number(quantity.read(point)) + ("" if point.converged else "~")
    style = ""
    if quantity.name == "mass":
        near = abs(point.mass - target_mass) <= 0.1
        style = "green" if near else "red" if point.mass < DEAD_MASS else "yellow"
    if (point.reg, point.tau) == grid.own:
        return Text(f"[{shown}]", style=f"bold reverse {style}")
    return Text(f"{shown} ", style=style)


def _proposal(found: Calibration) -> Group:
    if not found.changes:
        return Group(Text(f"Nothing to change: the mass is {found.proposed_mass:.2f}.", style="bold green"))
    table = Table(title="Proposal", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column("setting")
    table.add_column("now", justify="right", style="red")
    table.add_column("set it to", justify="right", style="green")
    table.add_column("why", style="dim")
    for change in found.changes:
        table.add_row(escape(change.setting), escape(change.before), escape(change.after), escape(change.why))
    share = (
        "the automatic weight keeps the gradient share"
        if found.proposed_share is None
        else f"gradient share {percent(found.proposed_share)} at the present lambda_ot"
    )
    told = f"Measured on these batches: mass {found.proposed_mass:.2f} (wanted {found.target_mass:g}); {share}."
    return Group(table, Text(told, style="bold"))


def _panel(axes: "Axes", grid: Grid, quantity: Quantity) -> None:
    """Draw one quantity of one grid, each cell with its figure, the grid's own cell in a box."""
    regs, taus = grid.regs, grid.taus
    values = [[quantity.read(point) for point in grid.points if point.reg == reg] for reg in regs]
    image = axes.imshow(values, origin="lower", cmap="viridis", vmin=0.0, vmax=quantity.top, aspect="auto")
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            dark = value < 0.6 * image.get_clim()[1]
            colour = "white" if dark else "black"
            axes.text(column, row, number(value), ha="center", va="center", fontsize=8, color=colour)
    if grid.own is not None:
        from matplotlib.patches import Rectangle

        corner = (taus.index(grid.own[1]) - 0.5, regs.index(grid.own[0]) - 0.5)
        axes.add_patch(Rectangle(corner, 1.0, 1.0, fill=False, edgecolor="red", linewidth=2.5, clip_on=False))
    axes.set_xticks(range(len(taus)), [f"{tau:.2g}" for tau in taus], fontsize=8)
    axes.set_yticks(range(len(regs)), [f"{reg:.2g}" for reg in regs], fontsize=8)
    axes.set_xlabel("tau_src = tau_tgt", fontsize=9)
    axes.set_ylabel("reg", fontsize=9)
    axes.set_title(f"{quantity.name} ({quantity.about})", fontsize=9)
