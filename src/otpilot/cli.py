"""The command line: parse, call one function, print. Heavy imports happen inside the command that needs them."""

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from otpilot.commands import analysis as analysis_commands
from otpilot.commands import config as config_commands
from otpilot.commands import loop as loop_commands
from otpilot.commands import propose as propose_commands
from otpilot.commands import recipes as recipes_commands
from otpilot.commands.process import prepare_process
from otpilot.config.files import check_folder
from otpilot.errors import ConfigError, OtpilotError

app = typer.Typer(
    name="otpilot",
    help="Optimal-transport co-training for LeRobot policies: pair, train, evaluate, demo.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def main() -> None:
    """Run the command line; an error that we foresaw, or of a file or folder, is one line and exit code 2."""
    try:
        app()
    except OtpilotError as error:
        errors.print(f"[bold red]Error:[/] {_plain(str(error))}", soft_wrap=True)
        sys.exit(2)
    except BrokenPipeError:  # who read our output has gone, as in `otpilot ... | head`
        _let_go_of_the_output()
        sys.exit(1)
    except OSError as error:
        _print_os_error(error)
        sys.exit(2)
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        sys.exit(130)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"otpilot {version('otpilot')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Handle options that stand before the command."""


@app.command(context_settings=PASS_ON)
def train(context: typer.Context) -> None:
    """Train a policy: otpilot train --config_path=cfg.json [--key=value ...].

    The config is LeRobot's training config plus an `ot` section; every key can be overridden, e.g.
    --steps=2000 --ot.lambda_ot=0.02 --ot.loss_config.features.0.weight_label=0.1. Resume with
    --resume=true --config_path=RUN/checkpoints/last/pretrained_model/train_config.json.
    """
    if not context.args or {"-h", "--help"} & set(context.args):
        console.print(train.__doc__)
        raise typer.Exit(0 if context.args else 2)
    prepare_process()
    console.quiet = os.environ.get("RANK", "0") != "0"  # of several processes the first one talks
    with console.status("Loading LeRobot ..."):
        from otpilot.training.command import run_training
    from otpilot.report.terminal import TrainingBar

    try:
        with TrainingBar(console) as bar:
            outcome, paths = run_training(context.args, bar)
    except BrokenPipeError:
        raise
    except OSError as error:  # the config was fine: a pilot tries again what does not end with 2
        _print_os_error(error)
        raise typer.Exit(1) from error
    ended = f"{outcome.status}: {outcome.reason} ({outcome.last_step} steps) -> {paths.root}"
    console.print(ended, markup=False, soft_wrap=True)
    if outcome.status == "killed":
        if paths.last_checkpoint.exists():
            again = f"Go on with: otpilot train --resume=true --config_path={shlex.quote(str(paths.root))}"
            console.print(again, markup=False, soft_wrap=True)
        raise typer.Exit(143 if outcome.reason.startswith("SIGTERM") else 130)  # as shells tell of signals


pair_app = typer.Typer(help="Align two datasets and store which frames match; inspect what was stored.")
app.add_typer(pair_app, name="pair")


@pair_app.callback(invoke_without_command=True)
def pair(
    context: typer.Context,
    source: Annotated[Path | None, typer.Option(help="Folder of the source dataset (many demonstrations).")] = None,
    target: Annotated[Path | None, typer.Option(help="Folder of the target dataset (few demonstrations).")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write: .npz, or pair_info .json / .json.gz.")] = None,
    key: Annotated[
        list[str], typer.Option(help="Vector to align, KEY or KEY[START:STOP]; repeat for several side by side.")
    ] = [  # noqa: B006
        "observation.state"
    ],
    quaternion: Annotated[
        list[str], typer.Option(help="KEY[START:STOP] of four columns that hold a quaternion; may be repeated.")
    ] = [],  # noqa: B006
    window: Annotated[
        int | None, typer.Option(help="Half-width of the Sakoe-Chiba band in frames; no limit if not given.")
    ] = None,
    stride: Annotated[int, typer.Option(help="Align every n-th frame.")] = 1,
    metric: Annotated[str, typer.Option(help="Distance between two frames: l1, l2 or linf.")] = "l2",
    workers: Annotated[int, typer.Option(help="Number of threads.")] = os.cpu_count() or 1,
) -> None:
    """Align two datasets by dynamic time warping and store which frames match; --source, --target, --out are needed."""
    if context.invoked_subcommand is not None:
        if source or target or out:
            raise ConfigError(f"Options of `otpilot pair {context.invoked_subcommand}` stand behind its name.")
        return
    if source is None or target is None or out is None:
        given = {"--source": source, "--target": target, "--out": out}
        missing = " and ".join(name for name, value in given.items() if value is None)
        raise ConfigError(f"otpilot pair needs {missing}; see `otpilot pair --help`, or `otpilot pair inspect`.")
    if out.exists():
        raise ConfigError(f"{out} exists already; give another --out, or remove it.")
    if not out.parent.is_dir():
        raise ConfigError(f"There is no folder {out.parent}; make it, or give another --out.")
    check_folder(out.parent, "--out")
    prepare_process()
    with console.status("Loading LeRobot ..."):
        from otpilot.data.pairs import make_table
        from otpilot.pairing.dtw import DTWOptions
        from otpilot.pairing.pair_info import export_pair_info
        from otpilot.pairing.storage import save_table
    options = DTWOptions(window=window, stride=stride, metric=metric)
    from otpilot.report.terminal import counting

    with counting(console, "Aligning episode pairs") as count:
        table = make_table(
            source, target, keys=key, quaternions=quaternion, options=options, workers=workers, progress=count
        )
    save = export_pair_info if out.name.endswith((".json", ".json.gz")) else save_table
    save(table, out)
    console.print(f"{table.pairs} episode pairs, {len(table.match_source)} matched frames -> {out}")


@pair_app.command()
def inspect(
    table: Annotated[Path, typer.Argument(help="Pair table (.npz), or pair_info .json / .json.gz.")],
    source: Annotated[Path | None, typer.Option(help="Folder of the source dataset, to show matched frames.")] = None,
    target: Annotated[Path | None, typer.Option(help="Folder of the target dataset, to show matched frames.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="New folder to write; default: <table's name>_inspect beside it.")
    ] = None,
    camera: Annotated[str | None, typer.Option(help="Camera to show; default: the first.")] = None,
    base_index_src: Annotated[int, typer.Option(help="Number of source episode 0 in pair_info names.")] = 0,
    base_index_tgt: Annotated[int, typer.Option(help="Number of target episode 0 in pair_info names.")] = 0,
) -> None:
    """Show what a pair table holds: distances, paths, coverage, the worst pairs, and matched frames side by side."""
    out = table.with_name(f"{table.name.split('.')[0]}_inspect") if out is None else out
    if out.exists():
        raise ConfigError(f"{out} exists already; give another --out, or remove it.")
    check_folder(out.parent, "--out")
    if (source is None) != (target is None):
        raise ConfigError(f"--{'source' if source is None else 'target'} is missing; give both datasets, or neither.")
    if source is None and table.name.endswith((".json", ".json.gz")):
        raise ConfigError(f"{table} says nothing about its datasets; give --source and --target.")
    prepare_process()
    from otpilot.pairing.inspect import inspect_table
    from otpilot.pairing.storage import load_table
    from otpilot.report.pairs import MatchedFrames, pairs_report, shown_pairs, write_pairs_report

    frames = None
    if source is None or target is None:
        pairs = load_table(table)
        figures = inspect_table(pairs)
    else:
        with console.status("Loading LeRobot ...") as status:
            from otpilot.data.inspect import DatasetFolders, open_table, pick_camera, read_frames
            from otpilot.pairing.matches import spread_matches

            folders = DatasetFolders(source=source, target=target)
            pairs = open_table(table, folders, base_index_src=base_index_src, base_index_tgt=base_index_tgt)
            figures = inspect_table(pairs)
            status.update("Reading matched frames ...")
            shown = pick_camera(folders, camera)
            matches = spread_matches(pairs, shown_pairs(pairs, figures).with_frames)
            frames = MatchedFrames(
                camera=shown,
                matches=matches,
                source=read_frames(source, matches.source_row, camera=shown),
                target=read_frames(target, matches.target_row, camera=shown),
            )
    page = write_pairs_report(pairs_report(pairs, figures, frames, name=table.name), out)
    for warning in figures.warnings:
        console.print(f"[yellow]Warning:[/] {_plain(warning)}", soft_wrap=True)
    good = sum(one.problem is None for one in figures.targets)
    console.print(f"{good} of {len(figures.targets)} target episodes have a good partner -> {page}", soft_wrap=True)


@app.command(context_settings=PASS_ON)
def calibrate(
    context: typer.Context,
    target_mass: Annotated[float, typer.Option()] = 0.7,
    batches: Annotated[int, typer.Option(min=1)] = 8,
    out: Annotated[Path | None, typer.Option()] = None,
    write: Annotated[Path | None, typer.Option()] = None,
    details: Annotated[bool, typer.Option("--details")] = False,
) -> None:
    """Measure a transport without training: otpilot calibrate --config_path=cfg.json [--key=value ...].

    Prints the cost of each term, whether the transport is dead and why, the effect of other strengths, and a proposal.
    --target-mass=0.7 is the mass that the proposal should transport, --batches=8 the number of batches to measure,
    --details shows more grids, --out=heat.png draws them, --write=new.json writes the config with the proposal.
    """
    if not context.args or {"-h", "--help"} & set(context.args):
        console.print(calibrate.__doc__, markup=False)
        raise typer.Exit(0 if context.args else 2)
    if write is not None and write.exists():
        raise ConfigError(f"{write} exists already; give another --write, or remove it.")
    if write is not None and not write.parent.is_dir():
        raise ConfigError(f"There is no folder {write.parent}; make it, or give another --write.")
    if write is not None:
        check_folder(write.parent, "--write")
    from otpilot.report.calibration import check_picture, render, write_config, write_heat_map

    if out is not None:
        check_picture(out)
    prepare_process()
    with console.status("Loading LeRobot ...") as status:
        from otpilot.training.calibrate import calibrate as measure

        result = measure(context.args, target_mass=target_mass, batches=batches, progress=status.update)
    console.print(render(result.report, details=details))
    if out is not None:
        write_heat_map(result.report, out)
        console.print(f"Heat map -> {out}")
    if write is not None:
        write_config(result.config, write)
        console.print(f"Config with the proposal -> {write}")


@app.command(context_settings=PASS_ON)
def views(
    context: typer.Context,
    out: Annotated[Path, typer.Option()] = Path("views"),
) -> None:
    """Fit the target's view of the source's pictures without training: otpilot views --config_path=cfg.json.

    Prints how the target's camera stands compared with the source's, and how much closer the view brings the pictures.
    Draws --out=FOLDER/view_<camera>.png: source pictures, the same in the target's view, and their target partners.
    """
    if not context.args or {"-h", "--help"} & set(context.args):
        console.print(views.__doc__, markup=False)
        raise typer.Exit(0 if context.args else 2)
    check_folder(out, "--out")
    prepare_process()
    with console.status("Loading LeRobot ..."):
        from otpilot.training.command import look_at_views

    with console.status("Fitting ..."):
        drawn = look_at_views(context.args, out, lambda line: console.print(line, markup=False))
    for path in drawn:
        console.print(f"Picture -> {path}")


@app.command()
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A run folder, a checkpoint, or its pretrained_model folder.")],
    cell: Annotated[list[str], typer.Option(help="NAME=DOMAIN:REGION, e.g. ood=target:right; may be repeated.")] = [],  # noqa: B006
    episodes: Annotated[int, typer.Option(help="Episodes per cell.", min=1)] = 100,
    seed: Annotated[int | None, typer.Option(help="Seed of the episodes; default: that of the run.")] = None,
) -> None:
    """Measure closed-loop success of a trained policy on the tabletop, with exact binomial intervals."""
    prepare_process()
    with console.status("Loading LeRobot ..."):
        from otpilot.training.command import evaluate_checkpoint
    from otpilot.report.terminal import success_table

    with console.status("Evaluating ...") as status:
        result = evaluate_checkpoint(
            checkpoint,
            cells=cell,
            episodes=episodes,
            seed=seed,
            progress=lambda name: status.update(f"Evaluating {name} ..."),
        )
    console.print(success_table(f"Success over {episodes} episodes, with 95 % intervals", [result]))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="New folder to write.")] = Path("demo"),
    steps: Annotated[
        int | None, typer.Option(help="Training steps of each method; default: what fits in 5 minutes.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of training.", min=0)] = 0,
    episodes: Annotated[int, typer.Option(help="Closed-loop episodes per cell.", min=1)] = 100,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="source-only, target-only, co-training, 'co-training + OT'; may be repeated. Default: the last two."
        ),
    ] = None,
    policy: Annotated[str, typer.Option(help="act or diffusion (which takes longer).")] = "act",
) -> None:
    """Record two simulated domains, pair them, train with and without transport, evaluate, and write a report."""
    check_folder(out.parent, "--out")
    prepare_process()
    from otpilot.demo.run import run_demo
    from otpilot.demo.settings import DEFAULT_METHODS

    chosen = tuple(method) if method else DEFAULT_METHODS
    run_demo(out, console=console, steps=steps, seed=seed, episodes=episodes, methods=chosen, policy=policy)


app.add_typer(analysis_commands.app)  # analyze, compare, postmortem, watch
app.add_typer(config_commands.app, name="config")
app.add_typer(loop_commands.app, name="loop")
app.add_typer(propose_commands.app)
app.add_typer(recipes_commands.app, name="recipes")


def _let_go_of_the_output() -> None:
    """Let what is still to be written go nowhere, so that Python does not complain of it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_os_error(error: OSError) -> None:
    """Say which file or folder it was and what the system said; otherwise of which kind the error is."""
    names = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
    told = f"{names}: {error.strerror}." if names and error.strerror else f"{type(error).__name__}: {error}"
    errors.print(f"[bold red]Error:[/] {_plain(told)}", soft_wrap=True)


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("[", r"\[")
