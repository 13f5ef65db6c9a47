"""A cell: one training of one method on one suite, and the config that it means."""

import copy
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.transfer.methods import Method, get_method, parse_ablation
from benchmarks.transfer.suite import Data, Suite
from benchmarks.transfer.suites import get_suite
from otpilot.config.canonical import config_hash
from otpilot.config.edits import apply
from otpilot.errors import ConfigError

NOWHERE = Path("data")
"""The folder under which hashes think the data lie, so that they are the same on every machine."""
_NAME = re.compile(r"(?P<suite>[^/]+)/(?P<policy>[^/]+)/(?P<recipe>[^/]+)/(?P<steps>\d+)/(?P<seed>\d+)")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A cell without its seed: rows of a table. `ablations` are words such as "window=5", in order."""

    suite: str
    policy: str
    method: str
    ablations: tuple[str, ...] = ()
    steps: int

    def __post_init__(self) -> None:
        """Check every name."""
        suite, method = get_suite(self.suite), get_method(self.method)
        if self.policy not in suite.steps:
            raise ConfigError(f"{self.suite} trains no {self.policy!r}; allowed: {', '.join(suite.steps)}.")
        if self.steps < 1:
            raise ConfigError(f"{self.steps} steps; allowed: 1 or more.")
        data = self.data
        if (method.token and not suite.tokens) or (data.pairs == "oracle" and not suite.oracle):
            raise ConfigError(f"{self.suite} has no {'domain token' if method.token else 'oracle pairs'}.")

    @property
    def label(self) -> str:
        """The method and what is changed about it, e.g. "ot window=5"."""
        return " ".join((self.method, *self.ablations))

    @property
    def data(self) -> Data:
        """Which data the cell is trained on."""
        data = Data(targets=get_suite(self.suite).targets, token=get_method(self.method).token)
        for word in self.ablations:
            data = parse_ablation(word).data(data)
        return data

    @property
    def hash(self) -> str:
        """Sixteen digits, equal for what trains the same thing, whatever it is called and wherever the data lie."""
        return _hash(self)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One training: a recipe and a seed."""

    recipe: Recipe
    seed: int

    @property
    def name(self) -> str:
        """What the command line calls it: SUITE/POLICY/METHOD[+AXIS=VALUE...]/STEPS/SEED."""
        words = "+".join((self.recipe.method, *self.recipe.ablations))
        return f"{self.recipe.suite}/{self.recipe.policy}/{words}/{self.recipe.steps}/{self.seed}"

    @property
    def slug(self) -> str:
        """Name of its run folder."""
        return self.name.replace("/", "__")

    @classmethod
    def parse(cls, name: str) -> "Cell":
        """Return the cell of a name.

        Raises:
            ConfigError: If it is malformed, or names something unknown.
        """
        found = _NAME.fullmatch(name)
        if found is None:
            raise ConfigError(f"{name!r} is no cell; write SUITE/POLICY/METHOD[+AXIS=VALUE...]/STEPS/SEED.")
        method, *ablations = found["recipe"].split("+")
        ablations = _rejoin(ablations)
        recipe = Recipe(
            suite=found["suite"],
            policy=found["policy"],
            method=method,
            ablations=tuple(ablations),
            steps=int(found["steps"]),
        )
        return cls(recipe=recipe, seed=int(found["seed"]))


def recipe_config(recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Return the training config of a recipe on the data under `folder`, without seed, steps and output.

    Raises:
        ConfigError: If an edit is refused.
    """
    suite, method = get_suite(recipe.suite), get_method(recipe.method)
    found = [parse_ablation(word) for word in recipe.ablations]
    config = suite.base_config(folder, recipe.data, policy=recipe.policy, steps=recipe.steps)
    for ablation in found:
        if ablation.embed:
            config = _compare_encodings(config, ablation.embed)
    edits = [*method.edits, *(edit for ablation in found for edit in ablation.edits)]
    config, _ = apply(config, edits)
    return _restrict(config, method)


def cell_config(cell: Cell, folder: Path, *, run: Path, episodes: int, device: str) -> dict[str, Any]:
    """Return what `otpilot train` is given for a cell."""
    config = recipe_config(cell.recipe, folder)
    config["policy"]["device"] = device
    return config | {
        "steps": cell.recipe.steps,
        "seed": cell.seed,
        "eval": {**config.get("eval", {}), "n_episodes": episodes},
        "env_eval_freq": 0,  # once, at the end
        "output_dir": str(run),
        "job_name": cell.slug,
        "log_freq": min(50, max(1, cell.recipe.steps // 4)),
        "save_freq": 0,
        "num_workers": 0,
        "threads": 1,
    }


def _compare_encodings(config: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the config with other encodings in its cost; * keeps those of the base config."""
    loss = config["ot"]["loss_config"]
    learned = [term for term in loss["features"] if term.get("use_learned_embed")]
    others = [term for term in loss["features"] if not term.get("use_learned_embed")]
    terms = []
    for key in keys:
        plain = {"src_key": key, "use_learned_embed": True, "weight_embed": 1.0, "term_name": key.rpartition(".")[2]}
        terms += learned if key == "*" else [plain]
    changed = copy.deepcopy(config)
    changed["ot"]["loss_config"]["features"] = [*terms, *others]
    return changed


def _restrict(config: dict[str, Any], method: Method) -> dict[str, Any]:
    """Return the config of a method that sees one domain only: no ot section, one dataset."""
    if method.uses == "both":
        return config
    alone = {key: value for key, value in config.items() if key != "ot"}
    if method.uses == "source":
        ot = config["ot"]
        kept = {key: value for key, value in config["dataset"].items() if key != "episodes"}
        alone["dataset"] = {**kept, "repo_id": ot["src_repo_id"], "root": ot["src_root"]}
    return alone


def _rejoin(words: list[str]) -> list[str]:
    """Return ablation words whose value had a + of its own ("embed=image+fused") in one piece."""
    joined: list[str] = []
    for word in words:
        if "=" in word or not joined:
            joined.append(word)
        else:
            joined[-1] += f"+{word}"
    return joined


@lru_cache(maxsize=4096)
def _hash(recipe: Recipe) -> str:
    config = recipe_config(recipe, NOWHERE / recipe.suite)
    return config_hash({key: value for key, value in config.items() if key != "eval"})


def usual_steps(suite: Suite, policy: str) -> int:
    """Return the steps that a suite gives a policy.

    Raises:
        ConfigError: If it trains no such policy.
    """
    if policy not in suite.steps:
        raise ConfigError(f"{suite.name} trains no {policy!r}; allowed: {', '.join(suite.steps)}.")
    return suite.steps[policy]
