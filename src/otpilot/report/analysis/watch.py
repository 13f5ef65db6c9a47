"""The live table of `otpilot watch`: one row per run, drawn anew while the logs grow."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from otpilot.report.analysis.digits import figure
from otpilot.report.analysis.follow import FollowedFolder, Standing
from otpilot.report.analysis.rows import SUCCESS, success_metrics
from otpilot.report.analysis.terminal import STATES
from otpilot.report.analysis.told import plain
from otpilot.runs.counting import counted

LOSS = ("train/loss", "train/bc_loss", "train/l1_loss")
EVALUATION = ("eval/offline_eval/avg_l1", "eval/offline_eval/avg_loss", "eval/avg_l1", "eval/avg_loss")
MASS = ("train/ot_pi_sum", "train/ot_ot_pi_sum")
MISSING = "–"
MOST_ALARMS = 5


def watch(
    root: Path,
    console: Console,
    *,
    interval_s: float = 2.0,
    rounds: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Draw the table until Ctrl-C, or `rounds` times; the last table stays on the screen."""
    folder = FollowedFolder(root)
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        done = 0
        try:
            while True:
                live.update(standings_table(folder.refresh(), root), refresh=True)
                done += 1
                if rounds is not None and done >= rounds:
                    return
                sleep(interval_s)
        except KeyboardInterrupt:
            return


def standings_table(standings: Sequence[Standing], root: Path) -> Group:
    """Return one row per run, readable at 100 columns, and the newest alarms in words below."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold", min_width=12)
    table.add_column("state", no_wrap=True)
    for name in ("step", "loss", "eval", "mass", "steps/s", "ETA"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("alarm", overflow="fold")
    for one in standings:
        table.add_row(*_cells(one))
    running, starting = (sum(one.state == state for one in standings) for state in ("running", "starting"))
    begun = f", {starting} starting" if starting else ""
    counts = f"{running} running{begun}, {counted(len(standings), 'run')} below {plain(str(root))}"
    alarms = [
        Text(f"{plain(one.name)}: {plain(one.message)}", style="yellow", no_wrap=True, overflow="ellipsis")
        for one in standings
        if one.message
    ]
    return Group(table, *alarms[:MOST_ALARMS], Text(counts, style="dim"))


def _cells(one: Standing) -> list[Text]:
    total = "" if one.total is None else f"/{one.total:,}"
    return [
        Text(plain(one.name)),
        Text(one.state.replace("_", " "), style=STATES.get(one.state, "dim")),
        Text(f"{one.step:,}{total}"),
        Text(_first(one.values, LOSS)),
        Text(_evaluation(one.values)),
        Text(_first(one.values, MASS), style=_mass_style(one.values)),
        Text(MISSING if one.speed is None else figure(one.speed, digits=3)),
        Text(MISSING if one.eta is None else duration(one.eta)),
        Text(plain(one.alarm).replace("_", " "), style="yellow"),
    ]


def _first(values: Mapping[str, float], names: Sequence[str]) -> str:
    return next((figure(values[name], digits=3) for name in names if name in values), MISSING)


def _evaluation(values: Mapping[str, float]) -> str:
    """Return closed-loop success where there is one, for it outranks the loss; else the evaluation loss."""
    success = [name for name in success_metrics(values) if name.startswith(SUCCESS)]
    return f"{values[success[0]]:.0%}" if success and math.isfinite(values[success[0]]) else _first(values, EVALUATION)


def _mass_style(values: Mapping[str, float]) -> str:
    mass = next((values[name] for name in MASS if name in values), None)
    return "red" if mass is not None and mass < 1e-3 else ""


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: 45 s, 3 min 20 s, 2 h 5 min, 3 d 4 h."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    whole = max(0, round(min(seconds, 1e12)))
    for place, (unit, size) in enumerate(units):
        if whole >= size:
            rest = whole % size // units[place + 1][1] if place + 1 < len(units) else 0
            return f"{whole // size} {unit}" + (f" {rest} {units[place + 1][0]}" if rest else "")
    return "0 s"
