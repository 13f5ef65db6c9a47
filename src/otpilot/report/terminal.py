"""Tables and progress for a terminal."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from otpilot.report.result import MethodResult, SuccessRate


class StepRate(ProgressColumn):
    """Steps per second."""

    def render(self, task: Task) -> Text:
        """Return the newest speed."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} steps/s", style="progress.data.speed")


class TrainingBar:
    """Progress of one training run: loss, success so far, steps per second, time left."""

    def __init__(self, console: Console) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            StepRate(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console,
        )
        self._task = self._bar.add_task("Training", total=None, figures="")

    def start(self, *, total: int, done: int) -> None:
        """Show how many steps there are, and how many are done already."""
        self._bar.reset(self._task, total=total, completed=done, figures="")

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Show that a step is done."""
        self._bar.update(self._task, completed=step, figures=newest(values))

    def note(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(Text.assemble(("Note:", "yellow"), f" {text}"), soft_wrap=True)

    def __enter__(self) -> Self:
        """Start drawing."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop drawing."""
        self._bar.stop()


def newest(values: Mapping[str, float]) -> str:
    """Return the figures that matter while training: loss, transported mass, success so far."""
    parts = [f"loss {values['loss']:.3f}"] if "loss" in values else []
    if "ot_pi_sum" in values:
        parts.append(f"mass {values['ot_pi_sum']:.2g}")
    names = [name for name in values if name.startswith("success_") and not name.endswith(("_low", "_high"))]
    parts += [f"{name.removeprefix('success_')} {values[name]:.2f}" for name in names]
    return "  ".join(parts)


@contextmanager
def counting(console: Console, what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar for work that reports (done, total)."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)

        def count(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield count


def stages(console: Console) -> Progress:
    """Return a progress display for the stages of a longer job, several of which may run at once."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
    )


def success_table(title: str, methods: Sequence[MethodResult]) -> Table:
    """Return one row per method, one column per cell: rate and 95 % interval; the title says how many episodes."""
    cells = list(methods[0].success)
    table = Table(title=title)
    table.add_column("method")
    for cell in cells:
        table.add_column(cell.replace("_", " "))
    for method in methods:
        table.add_row(method.name, *[_cell(method.success[cell]) for cell in cells])
    return table


def _cell(success: SuccessRate) -> str:
    return str(success).replace("[", r"\[")
