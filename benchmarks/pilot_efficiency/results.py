"""Plays all searches and keeps them as JSON lines; reads them back as paired figures with intervals."""

import hashlib
import importlib.metadata
import json
import math
import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pilot_efficiency.curves import Noise
from benchmarks.pilot_efficiency.recorded import FILE, load
from benchmarks.pilot_efficiency.search import FALLBACK, PROPOSERS, Search
from benchmarks.pilot_efficiency.starts import BY_NAME, STARTS, config_of, healthy
from benchmarks.pilot_efficiency.surface import truth_of
from otpilot.analysis.verdict import critical
from otpilot.config.canonical import config_hash
from otpilot.pilot import rules
from otpilot.pilot.proposers import by_optuna

FOLDER = Path(__file__).with_name("results")
NOISES: tuple[Noise, ...] = ("quiet", "loud")
BUDGET, REPETITIONS, FIRST = 40, 10, 20
"""Repetitions from 20 on are reported: rules were mended and `mixed` was designed looking at 0 to 9 and 100 to 104."""
WITHIN = 0.02
DRAWS = 4000
PACKAGES = ("otpilot", "optuna", "numpy")


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One search that was played."""

    start: str
    proposer: str
    noise: Noise
    repetition: int


def play(cell: Cell, budget: int) -> dict[str, Any]:
    """Return one search as a JSON line."""
    # TPE's spare asks are for variants that were tried already, which do not occur here; they are most of its time.
    by_optuna.ASKS = 1
    recorded, start = load(), BY_NAME[cell.start]
    began = time.process_time()
    search = Search(
        start=start, proposer=cell.proposer, repetition=cell.repetition, noise=cell.noise, recorded=recorded
    ).run(budget)
    return {
        **asdict(cell),
        "budget": budget,
        "config_hash": config_hash(config_of(start)),
        "seed": cell.repetition,
        "healthy": truth_of(healthy(), search.world, recorded).score,
        "scores": [float(f"{step.score:.6g}") for step in search.steps],
        "incumbents": [float(f"{step.incumbent:.6g}") for step in search.steps],
        "rules": [step.rule for step in search.steps],
        "edits": [list(step.edits) for step in search.steps],
        "dry_after": search.dry_after,
        "cpu_s": round(time.process_time() - began, 2),
        "rules_hash": RULES_HASH,
        "recorded_hash": hashlib.sha256(FILE.read_bytes()).hexdigest()[:12],
        "versions": versions(),
        "date": time.strftime("%Y-%m-%d"),
    }


def rules_hash() -> str:
    """Return what tells one state of the rules from another: a hash over their sources."""
    files = sorted(Path(rules.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


RULES_HASH = rules_hash()
"""Of the rules that this process has imported, whatever happens to the files while it runs."""


def versions() -> dict[str, str]:
    """Return the versions that the figures may depend on."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}


def cells(
    *,
    repetitions: int,
    noises: Sequence[Noise],
    proposers: Sequence[str],
    starts: Sequence[str] = (),
    first: int = FIRST,
) -> list[Cell]:
    """Return the searches to play, paired: a repetition has the same world for every proposer."""
    return [
        Cell(start=start.name, proposer=proposer, noise=noise, repetition=repetition)
        for noise in noises
        for start in STARTS
        if not starts or start.name in starts
        for repetition in range(first, first + repetitions)
        for proposer in proposers
        if not (proposer == FALLBACK and noise == "loud")  # it answers one question, and once is enough
    ]


def play_all(wanted: Sequence[Cell], path: Path, *, budget: int, jobs: int) -> None:
    """Write a line for each search as soon as it is played, in order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as out:
        if jobs == 1:
            lines: Iterable[dict[str, Any]] = (play(cell, budget) for cell in wanted)
            _write(lines, out, len(wanted))
            return
        with ProcessPoolExecutor(jobs) as pool:
            _write(pool.map(play, wanted, [budget] * len(wanted)), out, len(wanted))


def _write(lines: Iterable[dict[str, Any]], out: Any, count: int) -> None:
    for number, line in enumerate(lines, start=1):
        out.write(json.dumps(line) + "\n")
        out.flush()
        if number % 20 == 0 or number == count:
            print(f"{number} of {count} searches", flush=True)


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a result file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


# Figures


def best_known(lines: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int, str], float]:
    """Return the best known true score for each start, repetition and noise.

    It is that of any proposer's trial, or of the start without its fault.
    """
    found: dict[tuple[str, int, str], float] = {}
    for line in lines:
        key = (line["start"], line["repetition"], line["noise"])
        # The healthy config overfits just so where the world does; there it is no better than the start.
        found[key] = min(found.get(key, float("inf")), line["healthy"], *line["scores"])
    return found


def trials_until(line: Mapping[str, Any], best: float, within: float = WITHIN) -> int | None:
    """Return after how many trials the incumbent was for good within a share of the best known; None: not at all.

    For good: an incumbent that was there and was exchanged for a worse one, which noise favoured, does not count.
    """
    reached = None
    for number, score in enumerate(line["incumbents"], start=1):
        if score > best * (1 + within):
            reached = None
        elif reached is None:
            reached = number
    return reached


def gap_curve(line: Mapping[str, Any], best: float, budget: int) -> list[float]:
    """Return by how much the incumbent is worse than the best known after each trial; the last stays when it ends."""
    gaps = [score / best - 1 for score in line["incumbents"]]
    return gaps + [gaps[-1]] * (budget - len(gaps))


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one proposer came to from one start.

    Searches that got there, median trials (None: beyond the budget) with a 95 % bootstrap interval over repetitions,
    the mean gap at the end with one, and the median number of trials after which it had nothing new.
    """

    reached: int
    searches: int
    median: float | None
    median_low: float | None
    median_high: float | None
    gap: float
    gap_low: float
    gap_high: float
    dry: float | None


def figures(lines: Sequence[Mapping[str, Any]], best: Mapping[tuple[str, int, str], float]) -> Figures:
    """Return the figures of the lines of one start, proposer and noise."""
    keys = [(line["start"], line["repetition"], line["noise"]) for line in lines]
    trials = np.array([trials_until(line, best[key]) or np.inf for line, key in zip(lines, keys, strict=True)])
    gaps = np.array([gap_curve(line, best[key], line["budget"])[-1] for line, key in zip(lines, keys, strict=True)])
    draws = np.random.default_rng(0).integers(0, len(lines), (DRAWS, len(lines)))
    # inverted_cdf: the median of censored numbers is one of them, never between a number and infinity
    medians = np.quantile(trials[draws], 0.5, axis=1, method="inverted_cdf")
    low, high = np.quantile(medians, [0.025, 0.975], method="inverted_cdf")
    ends = np.quantile(gaps[draws].mean(axis=1), [0.025, 0.975])
    dry = [line["dry_after"] for line in lines if line["dry_after"] is not None]
    return Figures(
        reached=int(np.isfinite(trials).sum()),
        searches=len(lines),
        median=_finite(np.quantile(trials, 0.5, method="inverted_cdf")),
        median_low=_finite(low),
        median_high=_finite(high),
        gap=float(gaps.mean()),
        gap_low=float(ends[0]),
        gap_high=float(ends[1]),
        dry=float(np.median(dry)) if dry else None,
    )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Rules minus another proposer over common repetitions: mean difference of the end gaps, its 95 % t-interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, logs: Sequence[float]) -> "Paired":
        """Return the mean ratio less one of paired log ratios, with the 95 % t-interval."""
        values = np.asarray(logs, float)
        half = critical(len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
        mean, low, high = (float(np.expm1(values.mean() + shift)) for shift in (0.0, -half, half))
        return cls(mean=mean, low=low, high=high)

    @property
    def word(self) -> str:
        """better, worse or not distinguishable, of the rules; a smaller gap is better."""
        return "better" if self.high < 0 else "worse" if self.low > 0 else "not distinguishable"


def paired(
    ours: Sequence[Mapping[str, Any]],
    theirs: Sequence[Mapping[str, Any]],
) -> Paired:
    """Return the paired difference of logarithms of the final true scores, ours over theirs."""
    other = {line["repetition"]: line for line in theirs}
    common = [line for line in ours if line["repetition"] in other]
    return Paired.of(
        [math.log(line["incumbents"][-1] / other[line["repetition"]]["incumbents"][-1]) for line in common]
    )


__all__ = ["BUDGET", "FOLDER", "NOISES", "PROPOSERS", "REPETITIONS"]
