"""The ready configs that come with otpilot: what they are for, and their content. No lerobot."""

import json
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from otpilot.errors import ConfigError, closest

RECIPE_PREFIX = "recipe:"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One ready config: where it comes from, what it changes, when to use it, and what looks wrong in it."""

    name: str
    seed: str
    base: str
    what: str
    when: str
    suspect: str = ""


def list_recipes() -> tuple[Recipe, ...]:
    """Return every recipe, in the order of the reports that name them."""
    table = tomllib.loads(_folder().joinpath("index.toml").read_text(encoding="utf-8"))
    return tuple(Recipe(name=name, **about) for name, about in table.items())


def find_recipe(name: str) -> Recipe:
    """Return what is known about a recipe.

    Raises:
        ConfigError: If there is none of that name, with the closest.
    """
    known = {recipe.name: recipe for recipe in list_recipes()}
    if name not in known:
        raise ConfigError(_unknown(name, known))
    return known[name]


def read_recipe(name: str) -> dict[str, Any]:
    """Return the config of a recipe.

    Raises:
        ConfigError: If there is none of that name, with the closest.
    """
    body: dict[str, Any] = json.loads(recipe_text(name))
    return body


def recipe_text(name: str) -> str:
    """Return the text of a recipe's file.

    Raises:
        ConfigError: If there is none of that name, with the closest.
    """
    find_recipe(name)
    return _folder().joinpath(f"{name}.json").read_text(encoding="utf-8")


def _folder() -> Traversable:
    return files("otpilot").joinpath("recipes")


def _unknown(name: str, known: Iterable[str]) -> str:
    names = list(known)
    return f"There is no recipe {name!r}; `otpilot recipes list` shows all {len(names)}.{closest(name, names)}"
