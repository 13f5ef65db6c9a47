"""Named lists of cells, ordered seed by seed, so that whoever stops early has complete seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.transfer.cells import Cell, Recipe, usual_steps
from benchmarks.transfer.methods import METHODS, get_method
from benchmarks.transfer.suites import get_suite
from otpilot.errors import ConfigError, closest

TUNING_SEEDS = (0, 1, 2)
"""Settings are chosen on these,"""
REPORTED_SEEDS = (100, 101, 102, 103, 104)
"""and reported on these."""
CORE = ("source-only", "target-only", "co-training", "paired", "ot-encodings", "ot-views", "ot")
BASELINES = ("source-only", "co-training")
Row = tuple[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Rows (a method, and the words of its ablation) times seeds; `steps` replaces the suite's own."""

    name: str
    about: str
    rows: tuple[Row, ...]
    seeds: tuple[int, ...] = REPORTED_SEEDS
    steps: int | None = None

    def recipes(self, suite: str, policy: str, *, steps: int | None = None) -> list[Recipe]:
        """Return the recipes on a suite, leaving out those whose data it cannot make."""
        home = get_suite(suite)
        count = steps or self.steps or usual_steps(home, policy)
        return [
            Recipe(suite=suite, policy=policy, method=method, ablations=words, steps=count)
            for method, words in self.rows
            if not (get_method(method).token and not home.tokens) and not ("pairs=oracle" in words and not home.oracle)
        ]

    def cells(self, suite: str, policy: str, *, seeds: Sequence[int] = (), steps: int | None = None) -> list[Cell]:
        """Return all cells: every row of the first seed, then of the second, and so on."""
        recipes = self.recipes(suite, policy, steps=steps)
        return [Cell(recipe=recipe, seed=seed) for seed in seeds or self.seeds for recipe in recipes]


def _plain(*methods: str) -> tuple[Row, ...]:
    return tuple((method, ()) for method in methods)


def _ablate(*words: str, method: str = "ot") -> tuple[Row, ...]:
    return tuple((method, (word,)) for word in words)


_TABLE = (
    Grid(name="main", about="every method", rows=_plain(*METHODS)),
    Grid(name="core", about="those that matter most", rows=_plain(*CORE)),
    Grid(name="smoke", about="whether everything runs", rows=_plain("co-training", "ot"), seeds=(0,), steps=20),
    Grid(
        name="views",
        about="what the target's view of source pictures is worth, and how often to show it",
        rows=(
            *_plain("co-training", "ot-encodings", "ot-views", "ot"),
            *_ablate("view=0.25", "view=0.75", "jitter=0", "jitter=0.15", "src_share=0.625"),
        ),
    ),
    Grid(
        name="sampler",
        about="how pairs are drawn",
        rows=(
            *_plain("co-training", "ot"),
            *_ablate("window=0", "window=10", "window=none", "sharpness=0", "sharpness=4", "topk=5", "pairs=oracle"),
            *_ablate("pairs=oracle", method="paired"),
        ),
    ),
    Grid(
        name="weight",
        about="how strong the transport is",
        rows=(*_plain("co-training"), *_ablate("share=0.03", "share=0.1", "share=0.3", "lambda=0.01", "warmup=1.0")),
    ),
    Grid(
        name="mass",
        about="how much is transported",
        rows=(*_plain("co-training", "ot"), *_ablate("mass=0.3", "mass=0.5", "mass=0.7", "mass=0.9", "tau=null")),
    ),
    Grid(
        name="layer",
        about="which encodings are compared, and on which rows",
        rows=(
            *_plain("co-training", "ot"),
            *_ablate("embed=fused", "embed=image+fused", "embed=image+state", "norm=layer", "norm=cosine"),
            *_ablate("rows=separate", "label=0", "label=4"),
        ),
    ),
    Grid(
        name="targets",
        about="how many target demonstrations there are",
        rows=tuple(
            (method, (f"targets={count}",))
            for count in (1, 3, 10, 30)
            for method in ("target-only", "co-training", "ot")
        ),
    ),
    Grid(
        name="tuning",
        about="the same three learning rates for every method of the core, on validation seeds",
        rows=tuple((method, (f"rate={rate}",)) for rate in ("1e-4", "2e-4", "3e-4") for method in CORE),
        seeds=TUNING_SEEDS,
    ),
)
GRIDS: Mapping[str, Grid] = {grid.name: grid for grid in _TABLE}


def get_grid(name: str) -> Grid:
    """Return the grid of a name.

    Raises:
        ConfigError: If it is unknown.
    """
    if name not in GRIDS:
        raise ConfigError(f"Unknown grid {name!r}; allowed: {', '.join(GRIDS)}.{closest(name, GRIDS)}")
    return GRIDS[name]
