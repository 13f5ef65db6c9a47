"""`otpilot config`: show, check, diff, migrate."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.markup import escape

from otpilot.commands.process import prepare_process
from otpilot.config.compat import translate
from otpilot.config.files import YAML_SUFFIXES, read_config_file, to_json
from otpilot.errors import ConfigError
from otpilot.runs.counting import counted

app = typer.Typer(help="Show, check, compare and migrate config files.")
console = Console(highlight=False)
aside = Console(stderr=True, highlight=False)

WITH_OVERRIDES = {"allow_extra_args": True, "ignore_unknown_options": True}
Name = Annotated[str, typer.Argument(metavar="FILE", help="JSON or YAML file, checkpoint folder, or recipe:NAME.")]


def _load_lerobot() -> None:
    """Import what knows LeRobot's config classes, with the environments and plugins that register themselves."""
    prepare_process()
    with aside.status("Loading LeRobot ..."):
        from lerobot.utils.import_utils import register_third_party_plugins

        import otpilot.config.schema
        import otpilot.sim.env_config  # noqa: F401 - registers the env type

        register_third_party_plugins()


@app.command(context_settings=WITH_OVERRIDES)
def show(
    context: typer.Context,
    file: Name,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON that `otpilot train` reads back.")] = False,
) -> None:
    """Print a config with every default filled in, and where each value comes from; --key=value overrides it."""
    _load_lerobot()
    from otpilot.config.canonical import flatten
    from otpilot.config.overrides import split_options
    from otpilot.config.show import resolve

    files, overrides = split_options([file, *context.args])
    if len(files) != 1:
        raise ConfigError(f"One file is shown at a time; given: {', '.join(files) or 'none'}.")
    resolved = resolve(files[0], overrides)
    _tell(resolved.notes)
    if as_json:
        typer.echo(to_json(resolved.body), nl=False)
        return
    for key, value in flatten(resolved.body).items():
        origin = resolved.origins[key]
        line = escape(f"{key} = {value}")
        console.print(f"[dim]{line}[/]" if origin == "default" else f"{line}  [cyan]({origin})[/]", soft_wrap=True)


@app.command(context_settings=WITH_OVERRIDES)
def check(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="JSON or YAML files, or recipe:NAME.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print name, problems and notes of each file as JSON.")
    ] = False,
) -> None:
    """Look for problems: unknown keys, values out of range, contradictions. Needs no data and no GPU; exit code 1.

    Overrides (--key=value or --key value) hold for every file.
    """
    _load_lerobot()
    from otpilot.config.check import check_config
    from otpilot.config.overrides import split_options

    files, overrides = split_options([*files, *context.args])
    if not files:
        raise ConfigError("No file to check; give one or more, then --key=value for all of them.")
    results = [check_config(file, overrides) for file in files]
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(result) for result in results], indent=2))
        raise typer.Exit(1 if any(result.problems for result in results) else 0)
    for result in results:
        verdict = "[green]ok[/]" if not result.problems else f"[red]{counted(len(result.problems), 'problem')}[/]"
        console.print(f"{escape(result.name)}: {verdict}", soft_wrap=True)
        for problem in result.problems:
            console.print(f"  [red]problem[/] {escape(problem)}", soft_wrap=True)
        for note in result.notes:
            console.print(f"  [dim]note[/]    {escape(note)}", soft_wrap=True)
    problems, notes = (sum(len(getattr(one, kind)) for one in results) for kind in ("problems", "notes"))
    bad = sum(bool(one.problems) for one in results)
    summary = f"{bad} with problems" if bad else "no problems"
    console.print(
        f"{counted(len(files), 'file')}: {summary}; {counted(problems, 'problem')}, {counted(notes, 'note')}."
    )
    raise typer.Exit(1 if bad else 0)


@app.command()
def diff(left: Name, right: Name) -> None:
    """Print the keys in which two configs differ once every default is filled in; exit code 1 if there are any."""
    _load_lerobot()
    from otpilot.config.show import differences

    found = differences(left, right)
    if not found:
        console.print("No difference.")
        return
    for one in found:
        console.print(escape(f"{one.path}: {one.left} -> {one.right}"), soft_wrap=True)
    raise typer.Exit(1)


@app.command()
def migrate(
    file: Name,
    out: Annotated[Path | None, typer.Option(help="File to write (.json or .yaml); default: print JSON.")] = None,
) -> None:
    """Rewrite an older config with today's keys, without adding defaults; each change is reported."""
    made = translate(read_config_file(file))
    _tell(made.notes)
    if out is None:
        typer.echo(to_json(made.config), nl=False)
        return
    is_yaml = out.suffix.lower() in YAML_SUFFIXES
    write_new(out, yaml.safe_dump(made.config, sort_keys=False) if is_yaml else to_json(made.config))
    aside.print(f"{escape(file)} with today's keys -> {escape(str(out))}", soft_wrap=True)


def write_new(path: Path, text: str) -> None:
    """Write a file that must not exist yet.

    Raises:
        ConfigError: If it exists, or its folder does not.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists already; give another --out, or remove it.") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}.") from error


def _tell(notes: tuple[str, ...]) -> None:
    for note in notes:
        aside.print(f"[dim]note[/] {escape(note)}", soft_wrap=True)
