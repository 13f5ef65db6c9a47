"""How often the pilot's decisions are wrong and how often they find what is there: synthetic trials, real decisions.

    python benchmarks/decisions.py                 # prints; about three minutes
    python benchmarks/decisions.py --write         # also puts the tables into docs/pilot-statistics.md
    python benchmarks/decisions.py --campaigns 500 # a quick look

A campaign is played as pilot/campaign does it (screen, confirm on fresh seeds, promote, stop) with the functions of
pilot/decisions.py, on scores drawn from a `World`: noise as measured in the seed project's logs (0.6 % between
launches of one configuration, 12 % over seeds), or success rates over 100 episodes. Null: every variant equals the
baseline. Planted: one variant of the first round is better. Intervals are 95 % Monte-Carlo intervals; rounds of one
campaign share their incumbent, so shares of rounds are ratios of sums over campaigns.
"""

import argparse
import math
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from otpilot.pilot import decisions
from otpilot.pilot.decisions import Arm, Review, RoundOutcome, Yardstick

DOCS = Path(__file__).parent.parent / "docs" / "pilot-statistics.md"
REPEAT, SEEDS = 0.006, 0.12
PROBLEM = "a tag"


@dataclass(frozen=True, kw_only=True)
class World:
    """How scores come about.

    `own`: standard deviation (of logarithms, or points of a rate) that no two runs share; `shared`: what all configs
    share on a seed. `gain`: how much better the planted variant is, relative for losses,
    points for rates. `flapping`: chance that a run shows a problem, whatever its config. `sick`: every run has a
    problem but those of the planted variant.
    """

    name: str
    own: float
    shared: float = 0.0
    gain: float = 0.0
    rate: float | None = None
    episodes: int = 100
    flapping: float = 0.0
    sick: bool = False


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """The settings of a campaign that decisions depend on, with the pilot's defaults."""

    variants: int = 3
    seeds: int = 3
    confirm_seeds: int = 5
    candidates: int = 1
    rounds: int = 5
    patience: int = 2
    promotions: int = 1


@dataclass(kw_only=True)
class Played:
    """What happened in one campaign. `confirmations` are (variant is the planted one, was accepted)."""

    rounds: int = 0
    with_candidate: int = 0
    confirmations: list[tuple[bool, bool]] = field(default_factory=list)
    by_score: int = 0
    by_health: int = 0
    promotions: int = 0
    rolled_back: int = 0
    planted_screened: bool = False
    planted_confirmed: bool = False
    planted_kept: bool = False

    @property
    def accepted(self) -> int:
        """Acceptances, of whatever ground."""
        return self.by_score + self.by_health

    @property
    def kept(self) -> int:
        """Acceptances that promotion did not take back."""
        return self.accepted - self.rolled_back


class Trials:
    """Synthetic trials, each drawn once; arm 0 is the baseline, `planted` the better one (-1: none)."""

    def __init__(self, world: World, numbers: np.random.Generator, *, planted: int = -1) -> None:
        self.world, self.numbers, self.planted = world, numbers, planted
        self.drawn: dict[tuple[int, int, int], tuple[float, bool]] = {}
        self.common: dict[tuple[int, int], float] = {}

    def arm(self, which: int, seeds: Sequence[int], rung: int = 0) -> Arm:
        """Return a config's runs on some seeds; a higher rung means more steps, which draws anew."""
        runs = {seed: self._trial(which, seed, rung) for seed in seeds}
        tags = [[PROBLEM] if tagged else [] for _, tagged in runs.values()]
        return make_arm(str(which), {seed: score for seed, (score, _) in runs.items()}, tags)

    def _trial(self, which: int, seed: int, rung: int) -> tuple[float, bool]:
        key = (which, seed, rung)
        if key not in self.drawn:
            shared = self.common.setdefault((seed, rung), self.world.shared * self.numbers.standard_normal())
            noise = shared + self.world.own * self.numbers.standard_normal()
            gain = self.world.gain if which == self.planted else 0.0
            has = self.numbers.random() < self.world.flapping or (self.world.sick and which != self.planted)
            self.drawn[key] = self._score(gain, noise), bool(has)
        return self.drawn[key]

    def _score(self, gain: float, noise: float) -> float:
        if self.world.rate is None:
            return math.exp(math.log1p(-gain) + noise)
        chance = min(1.0, max(0.0, self.world.rate + gain + noise))
        return self.numbers.binomial(self.world.episodes, chance) / self.world.episodes


def make_arm(name: str, scores: dict[int, float], tags: Sequence[Sequence[str]]) -> Arm:
    return Arm(
        name=name,
        scores=scores,
        problems=decisions.common_problems(tags),
        tagged=decisions.tag_counts(tags),
        looked=len(tags),
    )


def play(world: World, protocol: Protocol, seed: int) -> Played:
    """Return one campaign; with a gain, or something to cure, the first variant of the first round does it."""
    trials = Trials(world, np.random.default_rng(seed), planted=1 if world.gain or world.sick else -1)
    played, seeds = Played(), tuple(range(1000, 1000 + protocol.seeds))
    rates = world.rate is not None
    noise = decisions.measure_noise(list(trials.arm(0, seeds).scores.values()), rates=rates)
    yardstick = Yardstick(direction="max" if rates else "min", rates=rates, noise=noise)
    incumbent, era, variant, outcomes, used = 0, 0, 0, [], set(seeds)
    fresh = decisions.fresh_seeds(seed, era, protocol.confirm_seeds, used)
    while True:
        ours = trials.arm(incumbent, seeds)
        if decisions.judge_stop(
            outcomes,
            problems=ours.problems,
            patience=protocol.patience,
            rounds=protocol.rounds,
            noise=noise,
            pairs=protocol.confirm_seeds,
        ):
            break
        new = range(variant + 1, variant + 1 + protocol.variants)
        variant = new[-1]
        reviews = [decisions.review(trials.arm(which, seeds), ours, yardstick) for which in new]
        candidates = decisions.choose_candidates(reviews, protocol.candidates)
        played.rounds += 1
        played.with_candidate += bool(candidates)
        played.planted_screened |= any(int(one.variant) == trials.planted for one in candidates)
        successor = _first_kept(candidates, trials, incumbent, fresh, yardstick, protocol, played)
        if successor is not None:
            incumbent, era = successor, era + 1
            used |= set(fresh)
            fresh = decisions.fresh_seeds(seed, era, protocol.confirm_seeds, used)
        gains = [one.gain for one in reviews if one.gain is not None]
        outcomes.append(
            RoundOutcome(
                number=played.rounds,
                variants=len(reviews),
                accepted=successor is not None,
                largest_gain=max(gains, default=None),
            )
        )
    played.planted_kept = incumbent == trials.planted
    return played


def _first_kept(
    candidates: Sequence[Review],
    trials: Trials,
    incumbent: int,
    fresh: Sequence[int],
    yardstick: Yardstick,
    protocol: Protocol,
    played: Played,
) -> int | None:
    for candidate in candidates:
        which = int(candidate.variant)
        made = decisions.review(trials.arm(which, fresh), trials.arm(incumbent, fresh), yardstick)
        verdict = decisions.confirm(candidate, made)
        played.confirmations.append((which == trials.planted, verdict.accepted))
        if not verdict.accepted:
            continue
        played.by_score += verdict.ground == "score"
        played.by_health += verdict.ground == "health"
        played.planted_confirmed |= which == trials.planted
        if _survives(which, incumbent, trials, fresh, yardstick, protocol, played, verdict.ground):
            return which
        played.rolled_back += 1
    return None


def _survives(
    which: int,
    incumbent: int,
    trials: Trials,
    fresh: Sequence[int],
    yardstick: Yardstick,
    protocol: Protocol,
    played: Played,
    ground: str,
) -> bool:
    for rung in range(1, protocol.promotions + 1):
        played.promotions += 1
        made = decisions.review(trials.arm(which, fresh, rung), trials.arm(incumbent, fresh, rung), yardstick)
        if not decisions.keep_after_promotion(made, ground).accepted:
            return False
    return True


def play_many(world: World, protocol: Protocol, campaigns: int) -> list[Played]:
    """Return independent campaigns; other worlds and protocols draw other numbers."""
    first = zlib.crc32(repr((world, protocol)).encode())
    return [play(world, protocol, first + number) for number in range(campaigns)]


# Shares with intervals


@dataclass(frozen=True, kw_only=True)
class Share:
    """A share with its 95 % Monte-Carlo interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "never happened"
        return f"{_percent(self.value)} ({_percent(self.low)} to {_percent(self.high)})"


def _percent(value: float) -> str:
    shown = 100 * value
    return f"{shown:.2f} %" if 0 < shown < 1 or 99 < shown < 100 else f"{shown:.1f} %"


def share(counts: Sequence[float], of: Sequence[float]) -> Share:
    """Return sum(counts) / sum(of) over independent campaigns; Wilson's interval where all `of` are 0 or 1."""
    top, base = np.asarray(counts, float), np.asarray(of, float)
    total = base.sum()
    if not total:
        return Share(value=math.nan, low=math.nan, high=math.nan)
    value, z = top.sum() / total, 1.959964
    if set(base) <= {0.0, 1.0} or value in (0.0, 1.0):
        middle = (value + z * z / (2 * total)) / (1 + z * z / total)
        half = z / (1 + z * z / total) * math.sqrt(value * (1 - value) / total + z * z / (4 * total * total))
        return Share(value=value, low=max(0.0, middle - half), high=min(1.0, middle + half))
    half = z * math.sqrt(((top - value * base) ** 2).sum()) / total
    return Share(value=value, low=max(0.0, value - half), high=min(1.0, value + half))


def of_campaigns(played: Sequence[Played], count: Callable[[Played], float]) -> Share:
    return share([count(one) for one in played], [1] * len(played))


def of_rounds(played: Sequence[Played], count: Callable[[Played], float]) -> Share:
    return share([count(one) for one in played], [one.rounds for one in played])


def of_confirmations(played: Sequence[Played]) -> Share:
    accepted = [sum(yes for _, yes in one.confirmations) for one in played]
    return share(accepted, [len(one.confirmations) for one in played])


# What is played

PAIRED = World(name="losses; seeds vary by 12 %, all of it shared; 0.6 % between equal runs", own=REPEAT, shared=SEEDS)
HALF = World(
    name="losses; seeds vary by 12 %, half of the variance shared",
    own=SEEDS * math.sqrt(0.5),
    shared=SEEDS * math.sqrt(0.5),
)
UNPAIRED = World(name="losses; seeds vary by 12 %, nothing shared", own=SEEDS)
REPEATS = World(name="losses; 0.6 % between equal runs, no effect of seeds", own=REPEAT)
RATE_50 = World(name="success near 50 % over 100 episodes", own=0.0, rate=0.5)
RATE_50_SEEDS = World(name="success near 50 %, seeds vary by 6 points, nothing shared", own=0.06, rate=0.5)
RATE_90 = World(name="success near 90 % over 100 episodes", own=0.0, rate=0.9)
RATE_98 = World(name="success near 98 % over 100 episodes", own=0.0, rate=0.98)
NULLS = (REPEATS, PAIRED, HALF, UNPAIRED, RATE_50, RATE_50_SEEDS, RATE_90, RATE_98)
FLAPPING = (0.2, 0.5, 0.8)
PLANTED = (
    (REPEATS, 0.05),
    (PAIRED, 0.05),
    (HALF, 0.05),
    (UNPAIRED, 0.05),
    (UNPAIRED, 0.2),
    (UNPAIRED, 0.4),
    (RATE_50, 0.05),
    (RATE_50, 0.1),
    (RATE_50, 0.2),
    (RATE_50_SEEDS, 0.1),
    (RATE_50_SEEDS, 0.2),
    (RATE_90, 0.05),
)
PRICES = (0.0, 0.05, 0.1, 0.2, 0.3)
PRICED = ("a candidate", "accepted")
CONFIRM_SEEDS = (3, 5, 8, 12, 20, 50, 100)


def null_table(campaigns: int) -> list[str]:
    rows = []
    for world in NULLS:
        played = play_many(world, Protocol(), campaigns)
        rows.append(
            f"| {world.name} | {of_rounds(played, lambda p: p.with_candidate)} | {of_confirmations(played)} "
            f"| {of_rounds(played, lambda p: p.accepted)} | {of_campaigns(played, lambda p: p.accepted > 0)} "
            f"| {of_campaigns(played, lambda p: p.kept > 0)} |"
        )
    head = _head(
        "noise",
        "rounds with a candidate",
        "confirmations that accept",
        "rounds that accept",
        "campaigns that accept",
        "campaigns that keep it when promoted",
    )
    return [*head, *rows]


def health_table(campaigns: int) -> list[str]:
    head = _head(
        "chance of the problem in a run",
        "rounds with a candidate",
        "rounds that accept for health",
        "campaigns that do",
        "rounds that accept for the score",
    )
    rows = []
    for chance in FLAPPING:
        played = play_many(replace(UNPAIRED, flapping=chance), Protocol(), campaigns)
        rows.append(
            f"| {100 * chance:.0f} % | {of_rounds(played, lambda p: p.with_candidate)} "
            f"| {of_rounds(played, lambda p: p.by_health)} | {of_campaigns(played, lambda p: p.by_health > 0)} "
            f"| {of_rounds(played, lambda p: p.by_score)} |"
        )
    return [*head, *rows]


def price_table(campaigns: int) -> list[str]:
    head = _head("price of the cure", *(f"{what}, {s} + {c} seeds" for s, c in ((2, 3), (3, 5)) for what in PRICED))
    rows = []
    for price in PRICES:
        shares: list[Share] = []
        for seeds, fresh in ((2, 3), (3, 5)):
            protocol = Protocol(seeds=seeds, confirm_seeds=fresh, rounds=1)
            played = play_many(replace(RATE_50_SEEDS, gain=-price, sick=True), protocol, campaigns)
            shares += [
                of_campaigns(played, lambda p: p.planted_screened),
                of_campaigns(played, lambda p: p.planted_confirmed),
            ]
        rows.append(f"| {100 * price:.0f} points | {' | '.join(map(str, shares))} |")
    return [*head, *rows]


def power_table(campaigns: int) -> list[str]:
    head = _head(
        "noise",
        "planted",
        "a candidate after screening",
        "accepted on fresh seeds",
        "incumbent at the end",
    )
    rows = []
    for world, gain in PLANTED:
        played = play_many(replace(world, gain=gain), Protocol(), campaigns)
        unit = "%" if world.rate is None else "points"
        rows.append(
            f"| {world.name} | {100 * gain:.0f} {unit} | {of_campaigns(played, lambda p: p.planted_screened)} "
            f"| {of_campaigns(played, lambda p: p.planted_confirmed)} "
            f"| {of_campaigns(played, lambda p: p.planted_kept)} |"
        )
    return [*head, *rows]


def seeds_table(campaigns: int) -> list[str]:
    head = _head(
        "seeds of a screening",
        "seeds of a confirmation",
        "found, nothing shared",
        "found, half shared",
        "found, all shared",
    )
    rows = []
    for count in CONFIRM_SEEDS:
        screening = max(3, count // 2)
        protocol = Protocol(seeds=screening, confirm_seeds=count, rounds=1)
        found = [
            of_campaigns(play_many(replace(world, gain=0.05), protocol, campaigns), lambda p: p.planted_confirmed)
            for world in (UNPAIRED, HALF, PAIRED)
        ]
        rows.append(f"| {screening} | {count} | {' | '.join(map(str, found))} |")
    return [*head, *rows]


def _head(*cells: str) -> list[str]:
    return [f"| {' | '.join(cells)} |", "|" + "---|" * len(cells)]


TABLES = {"null": null_table, "health": health_table, "price": price_table, "power": power_table, "seeds": seeds_table}


def write_tables(text: str, tables: dict[str, list[str]], campaigns: int) -> str:
    """Return the document with the tables between their marks."""
    for name, lines in tables.items():
        marks = f"<!-- {name}: by benchmarks/decisions.py -->", f"<!-- end of {name} -->"
        body = "\n".join([marks[0], "", *lines, "", f"{campaigns:,} campaigns a row.", "", marks[1]])
        text, found = re.subn(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", lambda _: body, text, flags=re.DOTALL)  # noqa: B023
        assert found == 1, f"{DOCS} has no place for the table {name}"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description="False acceptance and power of the pilot's decisions.")
    parser.add_argument("--campaigns", type=int, default=4000)
    parser.add_argument("--only", choices=TABLES, nargs="*", default=list(TABLES))
    parser.add_argument("--write", action="store_true", help="put the tables into docs/pilot-statistics.md")
    given = parser.parse_args()
    tables = {}
    for name in given.only:
        # Many seeds take long, and a power wants fewer digits.
        campaigns = given.campaigns if name != "seeds" else max(1, given.campaigns // 4)
        tables[name] = TABLES[name](campaigns)
        print(name, *tables[name], "", sep="\n", flush=True)
        if given.write:
            text = write_tables(DOCS.read_text(encoding="utf-8"), {name: tables[name]}, campaigns)
            DOCS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
