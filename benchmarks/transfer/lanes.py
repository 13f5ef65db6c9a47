"""Trains many cells, so many at a time, and tells of each that is done and of the time left."""

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.transfer.cells import Cell
from benchmarks.transfer.results import FINISHED, RESULTS, Record, append_result, find_result, read_results
from benchmarks.transfer.training import Training, Workplace
from otpilot.errors import RunError

POLL_S = 0.5
Say = Callable[[str], None]


def open_cells(cells: Sequence[Cell], workplace: Workplace, *, results: Path = RESULTS) -> list[Cell]:
    """Return the cells without a finished result of at least as many episodes, each training once, in order."""
    records = read_results(results)
    seen: set[tuple[str, int, int]] = set()
    left = []
    for cell in cells:
        key = (cell.recipe.hash, cell.seed, cell.recipe.steps)
        if key not in seen and find_result(cell, records, episodes=workplace.episodes) is None:
            left.append(cell)
        seen.add(key)
    return left


def run_cells(
    cells: Sequence[Cell], workplace: Workplace, *, jobs: int, say: Say, results: Path = RESULTS
) -> list[Record]:
    """Train every cell that has no result yet, `jobs` at a time, and return the new records.

    A failed training is recorded with its state and the rest goes on. On Ctrl-C or SIGTERM the running ones save a
    checkpoint, and KeyboardInterrupt is raised.
    """
    waiting = open_cells(cells, workplace, results=results)
    total, before = len(waiting), len(cells)
    say(f"{total} cells to train, {before - total} done or twice in the list; {jobs} at a time.")
    running: list[Training] = []
    records: list[Record] = []
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                _start(waiting.pop(0), workplace, running, say)
            time.sleep(POLL_S)
            for training in list(running):
                record = training.poll()
                if record is None:
                    continue
                running.remove(training)
                append_result(record, results)
                records.append(record)
                left = _left_s(records, [*(item.cell for item in running), *waiting], jobs)
                say(f"[{len(records)}/{total}] {describe(record)}; about {left / 60:.0f} minutes left")
    finally:
        signal.signal(signal.SIGTERM, previous)
        for training in running:
            training.stop()
    return records


def describe(record: Record) -> str:
    """Return one line on a record: its success by cell, or why there is none."""
    if record.state != FINISHED:
        return f"{record.cell}: {record.state} ({record.reason})"
    rates = ", ".join(f"{name} {record.rate(name).rate:.2f}" for name in record.success)
    return f"{record.cell}: {rates} ({record.wall_s / 60:.1f} minutes)"


def _start(cell: Cell, workplace: Workplace, running: list[Training], say: Say) -> None:
    training = Training(cell=cell, workplace=workplace)
    try:
        training.start()
    except RunError as error:  # another process has it; its result will be there
        say(f"{cell.name}: left out, {error}")
        return
    running.append(training)
    if training.resumed_at is not None:
        say(f"{cell.name}: goes on from step {training.resumed_at}")


def _left_s(records: Sequence[Record], left: Sequence[Cell], jobs: int) -> float:
    """Return the seconds that the rest may take, by the time of a step so far."""
    whole = [record for record in records if record.resumed_at is None] or records
    per_step = sum(record.wall_s for record in whole) / max(1, sum(record.steps for record in whole))
    return per_step * sum(cell.recipe.steps for cell in left) / jobs


def _interrupt(number: int, frame: object) -> None:  # noqa: ARG001 - what signal.signal calls with
    raise KeyboardInterrupt
