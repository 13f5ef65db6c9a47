"""`otpilot recipes`: list, show, write."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from otpilot.commands.config import write_new
from otpilot.config.recipes import RECIPE_PREFIX, find_recipe, list_recipes, recipe_text

app = typer.Typer(help="Ready configs: `otpilot train --config_path=recipe:NAME --dataset.root=... --ot.src_root=...`.")
console = Console(highlight=False)
aside = Console(stderr=True, highlight=False)

Name = Annotated[str, typer.Argument(help="Name of the recipe; recipe:NAME will do as well.")]


@app.command("list")
def list_all() -> None:
    """List the recipes: name, the report that names it, what it does."""
    table = Table("name", "report", "what", box=None, pad_edge=False)
    for recipe in list_recipes():
        table.add_row(recipe.name, recipe.seed, escape(recipe.what))
    console.print(table)


@app.command()
def show(name: Name) -> None:
    """Print a recipe: what it is for (on stderr), and its JSON."""
    name = name.removeprefix(RECIPE_PREFIX)
    recipe = find_recipe(name)
    about = {"report": recipe.seed, "based on": recipe.base, "what": recipe.what, "when": recipe.when}
    for key, text in (about | ({"suspect": recipe.suspect} if recipe.suspect else {})).items():
        aside.print(f"[bold]{key}:[/] {escape(text)}", soft_wrap=True)
    typer.echo(recipe_text(name), nl=False)


@app.command()
def write(
    name: Name,
    out: Annotated[Path, typer.Option(help="JSON file to write; it must not exist yet.")],
) -> None:
    """Write a recipe to a file, to be edited."""
    name = name.removeprefix(RECIPE_PREFIX)
    write_new(out, recipe_text(name))
    console.print(f"{name} -> {escape(str(out))}", soft_wrap=True)
