"""Records as rows of tables: means over seeds with intervals, and differences paired by seed. Product's statistics."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from benchmarks.transfer.cells import Cell, Recipe
from benchmarks.transfer.grids import GRIDS
from benchmarks.transfer.results import FINISHED, Record
from benchmarks.transfer.suites import SUITES
from otpilot.analysis.verdict import Verdict, critical, judge_pairs
from otpilot.errors import OtpilotError
from otpilot.report.result import SuccessRate, compare

SHARED_AXES = ("targets", "demos", "rate", "batch", "src_share", "stats", "images")
"""Axes that change every method alike, so that a row is compared with the baseline under the same word."""
FIRST_REPORTED_SEED = 100


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A success rate with its 95 % interval: Student's t over seeds, or exact over the episodes of all seeds."""

    mean: float
    low: float
    high: float
    seeds: int
    episodes: int
    basis: Literal["t over seeds", "exact over episodes"]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Ours minus a baseline: word and interval; with one common seed the interval covers its episodes alone.

    Differences that are equal in all seeds have no interval; the noise of a rate says whether they are one.
    """

    word: str
    mean: float
    low: float | None
    high: float | None
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One recipe with its newest finished record of each seed."""

    recipe: Recipe
    records: Mapping[int, Record]

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the closed-loop questions."""
        return tuple(next(iter(self.records.values())).success)

    def estimate(self, cell: str) -> Estimate:
        """Return the mean success over seeds; exact over episodes where seeds are one, or do not differ."""
        found = [record.rate(cell) for record in self.records.values()]
        pooled = SuccessRate(
            successes=sum(rate.successes for rate in found), episodes=sum(rate.episodes for rate in found)
        )
        rates = [rate.rate for rate in found]
        n = len(rates)
        mean = sum(rates) / n
        if len(set(rates)) == 1:  # their mean may be another float, and their deviation from it not 0
            low, high = pooled.interval
            basis: Literal["t over seeds", "exact over episodes"] = "exact over episodes"
        else:
            spread = math.sqrt(sum((rate - mean) ** 2 for rate in rates) / (n - 1))
            half = critical(n - 1) * spread / math.sqrt(n)
            low, high, basis = max(0.0, mean - half), min(1.0, mean + half), "t over seeds"
        return Estimate(mean=mean, low=low, high=high, seeds=n, episodes=pooled.episodes, basis=basis)

    def minus(self, baseline: "Row", cell: str) -> Difference | None:
        """Return the difference to a baseline over their common seeds, or None where there is none."""
        seeds = sorted(self.records.keys() & baseline.records.keys())
        if not seeds:
            return None
        pairs = [(self.records[seed].rate(cell), baseline.records[seed].rate(cell)) for seed in seeds]
        if len(pairs) == 1:
            found = compare(*pairs[0])
            return Difference(word=found.verdict, mean=found.difference, low=found.low, high=found.high, seeds=1)
        rates = [(ours.rate, theirs.rate) for ours, theirs in pairs]
        verdict: Verdict = judge_pairs(rates, scale="difference", direction="max", rates=True)
        low, high = (verdict.low, verdict.high) if verdict.basis == "t-interval" else (None, None)
        return Difference(word=verdict.word, mean=verdict.mean or 0.0, low=low, high=high, seeds=len(seeds))


@dataclass(frozen=True, kw_only=True)
class Section:
    """All rows of one suite, policy and length of training, on one kind of seeds."""

    suite: str
    policy: str
    steps: int
    reported: bool
    rows: tuple[Row, ...]

    @property
    def records(self) -> list[Record]:
        """Every record once, by date."""
        found = {id(record): record for row in self.rows for record in row.records.values()}
        return sorted(found.values(), key=lambda record: record.date)

    def row(self, method: str, words: Sequence[str] = ()) -> Row | None:
        """Return the row of a method with ablation words, or None."""
        return next(
            (row for row in self.rows if row.recipe.method == method and row.recipe.ablations == tuple(words)), None
        )

    def baseline(self, row: Row, method: str) -> Row | None:
        """Return the row of a baseline under the words that change every method alike, or None."""
        kept = [word for word in row.recipe.ablations if word.partition("=")[0] in SHARED_AXES]
        return self.row(method, kept)

    def distinct(self) -> list[Row]:
        """Return the rows that train different things: words that say a default are left out."""
        first: dict[str, Row] = {}
        for row in self.rows:
            first.setdefault(row.recipe.hash, row)
        return list(first.values())

    def plain(self) -> list[Row]:
        """Return the rows without ablation."""
        return [row for row in self.rows if not row.recipe.ablations]


def _place(validation: bool, suite: str, policy: str, steps: int) -> tuple[bool, int, str, int]:
    """Return the order of sections: reported seeds first, suites as in their table."""
    return (validation, list(SUITES).index(suite), policy, steps)


def make_sections(records: Iterable[Record]) -> tuple[list[Section], list[Record]]:
    """Return the sections, reported seeds first, and the records that no longer fit what their cells mean today.

    A record belongs to every recipe whose hash it has, whatever it was run under: when a default changes, the runs of
    the old default stay as the ablation that they now are, and the runs of the new one become the default's.
    """
    finished = [record for record in records if record.state == FINISHED]
    recipes = _recipes(finished)
    by_key: dict[tuple[str, int, bool], dict[int, Record]] = {}
    for record in sorted(finished, key=lambda record: record.date):
        key = (record.hash, record.steps, record.seed >= FIRST_REPORTED_SEED)
        by_key.setdefault(key, {})[record.seed] = record
    groups: dict[tuple[bool, str, str, int], list[Row]] = {}
    used = set()
    for recipe in recipes:
        for reported in (True, False):
            key = (recipe.hash, recipe.steps, reported)
            if key in by_key:
                used.add(key)
                row = Row(recipe=recipe, records=dict(sorted(by_key[key].items())))
                groups.setdefault((not reported, recipe.suite, recipe.policy, recipe.steps), []).append(row)
    sections = [
        Section(suite=suite, policy=policy, steps=steps, reported=not validation, rows=tuple(rows))
        for (validation, suite, policy, steps), rows in sorted(groups.items(), key=lambda item: _place(*item[0]))
    ]
    stale = [r for r in finished if (r.hash, r.steps, r.seed >= FIRST_REPORTED_SEED) not in used]
    return sections, stale


def _recipes(records: Sequence[Record]) -> list[Recipe]:
    """Return every recipe that may have records, those of the grids first, each once."""
    named: dict[Recipe, None] = {}
    own: dict[Recipe, None] = {}
    for record in records:
        try:
            own[Cell.parse(record.cell).recipe] = None
        except OtpilotError:  # a suite or axis that is gone; the record is then told as stale
            continue
    for suite, policy, steps in dict.fromkeys((r.suite, r.policy, r.steps) for r in own):
        for grid in GRIDS.values():
            named |= dict.fromkeys(grid.recipes(suite, policy, steps=steps))
    return list(named | own)
