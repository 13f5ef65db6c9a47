"""`otpilot loop worker`: runs a campaign's trials on this machine, a Ray cluster or Slurm; another process decides."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otpilot.errors import ConfigError

if TYPE_CHECKING:
    from otpilot.pilot.executors.base import Executor

WhereOption = Annotated[
    str,
    typer.Option("--ledger", metavar="URL|DIR", help="postgresql://USER@HOST/DATABASE, or a campaign's folder."),
]


def work(
    ledger: WhereOption,
    folder: Annotated[
        Path | None,
        typer.Option(help="With a URL: where run folders are written; the campaign's own folder if machines share it."),
    ] = None,
    slots: Annotated[int | None, typer.Option(help="Trials at once; default: the campaign's concurrency.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of each trial; default: the campaign's.")] = None,
    gpus: Annotated[
        bool | None,
        typer.Option("--gpus/--no-gpus", help="Use this machine's GPUs or not; default: as the campaign says."),
    ] = None,
    ray: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Run on a Ray cluster: auto, HOST:PORT, ray://HOST:PORT, local.")
    ] = "",
    gpus_per_trial: Annotated[float | None, typer.Option(help="On Ray: GPUs of each trial; may be a fraction.")] = None,
    resource: Annotated[list[str] | None, typer.Option(metavar="NAME=AMOUNT", help="On Ray: custom resources.")] = None,
    storage: Annotated[
        str, typer.Option(metavar="URL", help="On Ray: store for run folders if nodes share no path.")
    ] = "",
    slurm: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Run as Slurm jobs: partition=gpu, timeout_min=240.")
    ] = None,
) -> None:
    """Run trials of a campaign until it is over; Ctrl-C suspends them and returns them to the ledger.

    Decisions are made by `otpilot loop start`, here or on another machine (with --steer-only it runs no trials itself).
    Any number of workers may come and go; a trial whose worker is lost is taken over when its lease ends.
    """
    from otpilot.pilot.campaign.hand import Hand, check_software, find_place, read_campaign

    if ray and slurm:
        raise ConfigError("--ray and --slurm were both given; a worker has one place to run trials.")
    place = find_place(ledger, folder)
    with place.open() as book:
        settings, base = read_campaign(book)
        check_software(book)
        cwd = (place.paths.root / settings.cwd).resolve()
        ours = place.settings or settings
        slots = ours.concurrency if slots is None else slots
        threads = ours.threads if threads is None else threads
        gpus = ours.gpus if gpus is None else gpus
        if ray:
            executor = _ray(ray, slots, threads, gpus_per_trial, resource or [], storage, place.paths.trials, cwd)
        elif slurm:
            executor = _slurm(slurm, slots, threads, place.paths.root, cwd)
        else:
            executor = _local(slots, threads, gpus, cwd)
        from otpilot.commands.loop import signals, telling

        log = place.paths.root / f"worker-{os.uname().nodename}-{os.getpid()}.log"
        with executor, signals() as asked, telling(log) as tell:
            hand = Hand(book, executor, settings, base, place.paths, tell=tell, stop=asked.is_set)
            tell(f"Worker {hand.worker.owner}: up to {executor.slots} trials at once; Ctrl-C suspends them.")
            over = hand.work()
            tell("Stopped; its trials were given back." if over is None else f"The campaign is over: {over}")


def _local(slots: int | None, threads: int | None, gpus: bool, cwd: Path) -> "Executor":
    from otpilot.pilot.executors.local import LocalExecutor
    from otpilot.pilot.slots import plan_slots

    return LocalExecutor(slots=plan_slots(concurrency=slots, threads=threads, use_gpus=gpus), grace_s=60.0, cwd=cwd)


def _ray(
    address: str,
    slots: int | None,
    threads: int | None,
    gpus: float | None,
    resources: list[str],
    storage: str,
    folder: Path,
    cwd: Path,
) -> "Executor":
    from otpilot.pilot.executors.ray import RayExecutor

    return RayExecutor(
        address=None if address == "local" else address,
        slots=slots,
        cpus=float(threads or 1),
        gpus=gpus,
        resources={name: _number(name, value) for name, value in _pairs("--resource", resources).items()},
        storage=storage,
        folder=folder,
        cwd=None if storage else cwd,
        grace_s=60.0,
    )


def _slurm(told: list[str], slots: int | None, threads: int | None, root: Path, cwd: Path) -> "Executor":
    from otpilot.pilot.executors.slurm import SlurmExecutor

    return SlurmExecutor(
        logs=root / "slurm",
        slots=slots or 1,
        threads=threads or 1,
        parameters=_pairs("--slurm", told),
        cwd=cwd,
        grace_s=60.0,
    )


def _pairs(option: str, words: list[str]) -> dict[str, str]:
    """Return NAME=VALUE words as a dict."""
    pairs = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name or not value:
            raise ConfigError(f"{option} is {word!r}; allowed: NAME=VALUE.")
        pairs[name] = value
    return pairs


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"--resource {name} is {value!r}; allowed: a number.") from None
