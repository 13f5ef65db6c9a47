"""`otpilot loop`: start, watch, stop, resume and report a campaign. It imports neither torch nor lerobot."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from otpilot.commands.worker import work as work_on
from otpilot.errors import ConfigError
from otpilot.runs.counting import counted

if TYPE_CHECKING:
    from otpilot.pilot.campaign.answers import Ended
    from otpilot.pilot.campaign.opening import Opened
    from otpilot.pilot.campaign.stages import Campaign
    from otpilot.pilot.campaign.status import CampaignStatus
    from otpilot.pilot.executors.base import Executor
    from otpilot.pilot.ledger import Ledger
    from otpilot.pilot.slots import Slots

app = typer.Typer(
    help="Campaigns: rounds of analysing, proposing, trying, reviewing and deciding, without supervision.",
    no_args_is_help=True,
)
console = Console(highlight=False)

Place = Annotated[Path, typer.Argument(metavar="CAMPAIGN", help="A campaign's folder, or its campaign.toml.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan; start nothing and write nothing.")]
SteerOnly = Annotated[bool, typer.Option("--steer-only", help="Only decide; trials are run by `loop worker`.")]
STOP_TIMEOUT_S = 120.0

app.command(name="worker", no_args_is_help=True)(work_on)


@app.command(no_args_is_help=True)
def start(campaign: Place, dry_run: DryRun = False, steer_only: SteerOnly = False) -> None:
    """Start a campaign and run it until it ends; Ctrl-C suspends it, `otpilot loop resume` continues it."""
    _work(campaign, dry_run=dry_run, resume=False, steer_only=steer_only)


@app.command(no_args_is_help=True)
def resume(campaign: Place, dry_run: DryRun = False, steer_only: SteerOnly = False) -> None:
    """Continue a campaign that was stopped or killed; suspended trials continue from their checkpoints."""
    _work(campaign, dry_run=dry_run, resume=True, steer_only=steer_only)


@app.command(no_args_is_help=True)
def status(campaign: Place) -> None:
    """Show what is running or waiting, and the latest decisions."""
    from otpilot.pilot.campaign.books import open_ledger
    from otpilot.pilot.campaign.folder import CampaignPaths
    from otpilot.pilot.campaign.settings import find_file, read_settings
    from otpilot.pilot.campaign.status import read_status

    file = find_file(campaign)
    settings, paths = read_settings(file), CampaignPaths(file.parent)
    with open_ledger(paths, settings, must_exist=True) as ledger:
        _show(read_status(ledger, paths, settings), settings.name or file.parent.resolve().name)


@app.command(no_args_is_help=True)
def stop(campaign: Place) -> None:
    """Ask the pilot to suspend its trials and stop; `otpilot loop resume` continues them."""
    from otpilot.pilot.campaign.folder import CampaignPaths, ask_to_stop, steersman
    from otpilot.pilot.campaign.settings import find_file

    paths = CampaignPaths(find_file(campaign).parent)
    pilot = steersman(paths)
    if pilot is None:
        console.print(f"No pilot works on {paths.root}; there is nothing to stop.", markup=False, soft_wrap=True)
        return
    ask_to_stop(paths, pilot)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    with console.status(f"Waiting for process {pilot.pid} to suspend its trials ..."):
        while steersman(paths) == pilot and time.monotonic() < deadline:
            time.sleep(0.1)
    if steersman(paths) == pilot:
        raise ConfigError(
            f"Process {pilot.pid} on {pilot.host} was asked to stop {STOP_TIMEOUT_S:.0f} s ago and still works; it "
            "stops as soon as its trials have saved their checkpoints."
        )
    console.print(f"Stopped. Go on with: otpilot loop resume {paths.root}", markup=False, soft_wrap=True)


@app.command(no_args_is_help=True)
def report(campaign: Place) -> None:
    """Write the report of a campaign's present state, and print a summary."""
    from otpilot.pilot.campaign.books import open_ledger
    from otpilot.pilot.campaign.opening import check_same, open_folder
    from otpilot.pilot.campaign.stages import Campaign

    opened = open_folder(campaign)
    with open_ledger(opened.paths, opened.settings, must_exist=True) as ledger:
        check_same(ledger, opened)
        made = Campaign(ledger, opened.settings, opened.base, rules=opened.rules, runs=opened.paths.trials)
        opened.paths.reports.mkdir(exist_ok=True)
        _write_reports(opened, made, None, show=True)


def _work(campaign: Path, *, dry_run: bool, resume: bool, steer_only: bool) -> None:
    """Start or resume a campaign, or say what that would mean."""
    from otpilot.pilot.campaign.base_check import check_base, check_data
    from otpilot.pilot.campaign.books import open_ledger, was_started
    from otpilot.pilot.campaign.folder import is_asked_to_stop, steering
    from otpilot.pilot.campaign.hand import note_software
    from otpilot.pilot.campaign.opening import check_same, open_folder
    from otpilot.pilot.campaign.outage import FAILURES, try_again
    from otpilot.pilot.campaign.pilot import Pilot

    opened = open_folder(campaign)
    settings, paths = opened.settings, opened.paths
    if not resume and not _has_begun(opened):
        with console.status("Checking the base config ..."):
            notes = check_base(opened)
        for note in notes:
            console.print(f"Note: {note}", markup=False, soft_wrap=True)
        if not steer_only:
            try:
                check_data(opened, notes)
            except ConfigError as error:  # a plan is shown all the same
                if not dry_run:
                    raise
                console.print(f"Note: {error}", markup=False, soft_wrap=True)
    if dry_run:
        _dry_run(opened)
        return
    with steering(paths) as me, open_ledger(paths, settings, must_exist=resume) as ledger, telling(paths.log) as tell:
        if was_started(ledger) and not resume:
            raise ConfigError(
                f"The campaign in {paths.root} was started before; go on with `otpilot loop resume {paths.root}`."
            )
        check_same(ledger, opened)
        for note in opened.notes:
            tell(f"Note: {note}")
        note_software(ledger)
        if resume and (again := try_again(ledger)):
            tell(f"{len(again)} trials that were lost before the campaign ended are tried again.")
        executor, where = _executor(opened, steer_only=steer_only)
        tell(f"Campaign {opened.name}: {where}; stop it with Ctrl-C or `otpilot loop stop {paths.root}`.")
        with executor, signals() as asked:
            pilot = Pilot(
                ledger,
                executor,
                settings,
                opened.base,
                paths,
                rules=opened.rules,
                tell=tell,
                stop=lambda: asked.is_set() or is_asked_to_stop(paths, me),
                report=lambda made, ended: _write_reports(opened, made, ended),
            )
            ended = pilot.run()
        if ended is not None and ended.kind in FAILURES:
            raise typer.Exit(1)
        if ended is None:
            tell(_stopped(ledger, paths.root, steer_only=steer_only))


def _stopped(ledger: "Ledger", root: Path, *, steer_only: bool) -> str:
    """Return what becomes of the trials when a pilot stops: its own are suspended, those of workers go on."""
    from otpilot.pilot.campaign.status import is_interrupted
    from otpilot.pilot.states import HELD

    now = ledger.now()
    held = sum(not is_interrupted(trial, now) for trial in ledger.trials(states=HELD))
    parts = [] if steer_only else ["trials are suspended"]
    if held:
        parts.append(f"workers go on with {counted(held, 'trial')}")
    elif steer_only:
        parts.append("no worker runs a trial")
    again = f"otpilot loop resume {root}{' --steer-only' * steer_only}"
    return f"Stopped; {', '.join(parts)}. Go on with: {again}"


def _has_begun(opened: "Opened") -> bool:
    from otpilot.pilot.campaign.books import has_ledger, open_ledger, was_started

    if not has_ledger(opened.paths, opened.settings):
        return False
    with open_ledger(opened.paths, opened.settings) as ledger:
        return was_started(ledger)


def _executor(opened: "Opened", *, steer_only: bool) -> "tuple[Executor, str]":
    """Return where this pilot's trials run, and that in words."""
    from otpilot.pilot.executors.local import LocalExecutor
    from otpilot.pilot.executors.nowhere import NowhereExecutor

    if steer_only:
        return NowhereExecutor(), "trials run with `otpilot loop worker`"
    slots = _slots(opened)
    cwd = (opened.paths.root / opened.settings.cwd).resolve()
    made = LocalExecutor(slots=slots, on_pilot_death=opened.settings.death, grace_s=60.0, cwd=cwd)
    return made, _described(slots)


def _dry_run(opened: "Opened") -> None:
    from otpilot.pilot.campaign.books import has_ledger, open_ledger
    from otpilot.pilot.campaign.dry_run import describe_plan

    slots = _described(_slots(opened))
    if not has_ledger(opened.paths, opened.settings):
        lines = describe_plan(opened, slots=slots)
    else:
        with open_ledger(opened.paths, opened.settings) as ledger:
            lines = describe_plan(opened, ledger, slots=slots)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _slots(opened: "Opened") -> "Slots":
    from otpilot.pilot.slots import plan_slots

    settings = opened.settings
    return plan_slots(concurrency=settings.concurrency, threads=settings.threads, use_gpus=settings.gpus)


def _described(slots: "Slots") -> str:
    where = "the CPU" if slots.monitor is None or not slots.monitor.devices else "GPUs"
    threads = "a thread" if slots.threads == 1 else f"{slots.threads} threads"
    each = "" if slots.limit == 1 else " each"
    return f"{counted(slots.limit, 'trial')} at once on {where}, {threads}{each}"


def _write_reports(opened: "Opened", made: "Campaign", ended: "Ended | None", *, show: bool = False) -> None:
    from otpilot.pilot.campaign.reports import write_reports

    for path in write_reports(opened, made, ended, console=console if show else None):
        if show:
            console.print(f"Report -> {path}", markup=False, soft_wrap=True)


@contextmanager
def signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM, SIGINT and SIGHUP set; a second signal of the same kind acts as ever."""
    asked = threading.Event()
    before: dict[int, Any] = {}

    def handle(number: int, _frame: object) -> None:
        asked.set()
        signal.signal(number, before[number])

    for name in ("SIGTERM", "SIGINT", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup has said otherwise
            before[number] = signal.signal(number, handle)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def telling(path: Path) -> Iterator[Callable[[str], None]]:
    """Yield a function that prints a line and writes it into a log; library messages go there, too."""
    log = logging.getLogger("otpilot.pilot")
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)

    def tell(line: str) -> None:
        log.info(line)
        console.print(f"[dim]{datetime.now():%H:%M:%S}[/] {escape(line)}", soft_wrap=True)

    try:
        yield tell
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        handler.close()


def _show(found: "CampaignStatus", name: str) -> None:
    pilot = found.steersman
    who = f"process {pilot.pid} on {pilot.host}" if pilot is not None else "nobody"
    console.print(f"[bold]{escape(name)}[/]: {escape(found.phase)}", soft_wrap=True)
    rows = {
        "steered by": who,
        "round": f"{found.round} of {found.rounds}",
        "incumbent": found.incumbent,
        "trials": ", ".join(f"{count} {state}" for state, count in found.by_state.items()) or "none yet",
        "used": f"{found.hours:.2f} hours, {found.gpu_hours:.2f} GPU-hours, {found.trials} trials",
    }
    for key, value in rows.items():
        console.print(f"  [dim]{key:<11}[/] {escape(value)}", soft_wrap=True)
    if found.running:
        table = Table(box=None, header_style="dim")
        for title in ("running", "for", "step", "since"):
            table.add_column(title, justify="right" if title == "step" else "left")
        for trial in found.running:
            since = "just now" if trial.since is None else f"{datetime.fromtimestamp(trial.since):%H:%M:%S}"
            since = "interrupted" if trial.interrupted else since
            table.add_row(escape(trial.name), trial.kind, f"{trial.step} of {trial.steps}", since)
        console.print(table)
    for decision in found.decisions:
        when = f"{datetime.fromtimestamp(decision.time):%m-%d %H:%M}"
        console.print(f"  [dim]{when}[/] [bold]{decision.kind}[/]: {escape(decision.reason)}", soft_wrap=True)
