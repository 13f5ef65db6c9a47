"""What a campaign decides, as pure functions: numbers in, decision and reason out. No files, no clock, no ledger.

The protocol, and why it is so (docs/pilot.md has the figures):

1. Screening. Every variant runs on the seeds of the incumbent. One that is better than noise would make it (by one
   standard error at least), or that cures a problem of the incumbent at no evident price, is a candidate. Of many
   variants the best looks good by luck: so nothing is accepted here.
2. Confirmation. The first candidate and the incumbent run on fresh seeds, which nothing was chosen by. Only their
   verdict counts: the 95 % t-interval over paired seeds. A variant that is equal to the incumbent is accepted for its
   score in at most 2.5 % of its confirmations, however many variants were screened.
3. Health. A candidate that cured a problem, caught none and paid no evident price becomes the incumbent for its
   health, which claims nothing about its score. "Not distinguishable" is no such proof: three seeds cannot tell 20
   points from noise. So a loss of two standard errors rules it out, here and in the screening. A problem near its limit
   comes and goes between equal runs, so the cure must be proven on the fresh seeds: fewer runs have the problem than
   chance would give in 2.5 % of confirmations.
4. Promotion. The accepted one and its predecessor go on to more steps on the fresh seeds. Only a verdict "worse", a
   price of what was accepted for its health, or training that breaks where the predecessor's did not, takes the
   acceptance back.
5. Stop. When in `patience` rounds in a row nothing was accepted and the incumbent has no problem left, what could
   still be gained is smaller than what this many seeds can tell from noise.
"""

import math
import random
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from otpilot.analysis.verdict import RATE_NOISE, Scale, Verdict, common_scale, critical, judge_pairs, noise_floor
from otpilot.runs.metric_names import Direction

Ground = Literal["score", "health", "none"]
StopKind = Literal["nothing to gain", "at the ceiling", "exhausted", "rounds"]

FALSE_ACCEPTANCE = 0.025
"""Share of confirmations in which a variant that is equal to the incumbent is accepted for its score, at most."""
PROMISE = 1.0
"""A variant is promising when its mean gain exceeds so many standard errors."""
PRICE = 2.0
"""A cure that costs so many standard errors of the score is none."""
FREQUENCIES = 200
"""Steps in which the frequency of a problem is gone through."""
DIVERGED = "diverged"
"""The end of a trial, and the problem of one that ended so."""
BREAKING = (DIVERGED, "invalid")
"""Ends that tell about the config; crashed and killed tell about the machine."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One config over its seeds: scores of the trials that have one, ends of those that have none, problem tags.

    `problems` are the tags of severity "problem" that most of its runs have (see `common_problems`); `tagged` says how
    many runs have each, `looked` how many runs were looked at.
    """

    name: str
    scores: Mapping[int, float]
    failed: Mapping[int, str] = field(default_factory=dict)
    problems: frozenset[str] = frozenset()
    tagged: Mapping[str, int] = field(default_factory=dict)
    looked: int = 0

    def breaks(self) -> frozenset[int]:
        """Return the seeds on which training broke: the config's fault, not the machine's."""
        return frozenset(seed for seed, state in self.failed.items() if state in BREAKING)

    @property
    def mean(self) -> float | None:
        """Mean score, or None without any."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else None


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """How scores are compared: which way is better, whether they are success rates, and the noise of equal runs.

    `noise` is the standard deviation of repeated baseline runs on the scale of the comparison; None if not known.
    """

    direction: Direction
    rates: bool
    noise: float | None = None


@dataclass(frozen=True, kw_only=True)
class Review:
    """A variant beside the incumbent on common seeds.

    `gain` is the mean improvement on the verdict's scale (differences of logarithms for losses), above 0 is better;
    `error` its standard error (None: not known): by the noise of equal runs, or by the spread of the paired differences
    where that is smaller, because what a seed does to both cancels. `cured` and `caught` are problems that only the
    incumbent, only the variant has; `proven` those cured in more runs than chance explains. `promising` and `heals`
    are the two ways to become a candidate; `costly` says that the score fell by more than PRICE standard errors, the
    larger one counting: what hinders a cure must be there by either.
    """

    variant: str
    incumbent: str
    verdict: Verdict
    gain: float | None
    error: float | None
    cured: tuple[str, ...] = ()
    caught: tuple[str, ...] = ()
    proven: tuple[str, ...] = ()
    broken: bool = False
    costly: bool = False
    promising: bool = False
    heals: bool = False
    reason: str = ""

    @property
    def is_candidate(self) -> bool:
        """Whether a confirmation is worth its trials."""
        return self.promising or self.heals


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """Whether a candidate becomes the incumbent, on what ground, and why."""

    accepted: bool
    ground: Ground
    reason: str


@dataclass(frozen=True, kw_only=True)
class RoundOutcome:
    """What a round came to, as far as the stop asks: was anything accepted and kept, and the largest gain seen."""

    number: int
    variants: int
    accepted: bool
    largest_gain: float | None = None


@dataclass(frozen=True, kw_only=True)
class Stop:
    """Why a campaign ends by itself."""

    kind: StopKind
    reason: str


def common_problems(runs: Sequence[Iterable[str]]) -> frozenset[str]:
    """Return the tags that more than half of the runs have."""
    counts = Counter(tag for tags in runs for tag in set(tags))
    return frozenset(tag for tag, count in counts.items() if 2 * count > len(runs))


def tag_counts(runs: Sequence[Iterable[str]]) -> dict[str, int]:
    """Return how many of the runs have each tag."""
    return dict(Counter(tag for tags in runs for tag in set(tags)))


def is_proven_cure(tag: str, variant: Arm, incumbent: Arm) -> bool:
    """Return whether chance would let a problem go in so many runs in at most 2.5 % of comparisons of equal configs.

    The chance is the largest over all frequencies of the problem. With as many runs of both, runs with it in the
    incumbent plus runs without it in the variant are then like heads of a fair coin: at five seeds each, nine of ten
    must agree; at three, all six. Where runs were lost, another frequency makes agreement likelier.
    """
    agree = incumbent.tagged.get(tag, 0) + variant.looked - variant.tagged.get(tag, 0)
    return _largest_chance(agree, incumbent.looked, variant.looked) <= FALSE_ACCEPTANCE


@lru_cache(maxsize=1024)
def _largest_chance(agree: int, before: int, after: int) -> float:
    """Return how likely so many runs agree by chance that a problem went, at the frequency where that is likeliest."""
    return max(_chance(agree, before, after, place / FREQUENCIES) for place in range(FREQUENCIES + 1))


def _chance(agree: int, before: int, after: int, frequency: float) -> float:
    """Return the chance that runs with a problem before, and without it after, come to `agree` or more."""
    had, lost = _binomial(before, frequency), _binomial(after, 1 - frequency)
    return sum(p * q for i, p in enumerate(had) for j, q in enumerate(lost) if i + j >= agree)


def _binomial(runs: int, chance: float) -> list[float]:
    return [math.comb(runs, k) * chance**k * (1 - chance) ** (runs - k) for k in range(runs + 1)]


def measure_noise(scores: Sequence[float], *, rates: bool) -> float | None:
    """Return the noise floor: standard deviation of equal runs' scores (of their logarithms for positive losses)."""
    return noise_floor(scores, common_scale(scores, rates=rates))


def resolvable(noise: float | None, pairs: int) -> float | None:
    """Return the difference that so many paired seeds can tell from noise: the t-interval's expected half width.

    Repeated runs that agree exactly say nothing of it.
    """
    if not noise or pairs < 2:
        return None
    return critical(pairs - 1) * noise * math.sqrt(2 / pairs)


def review(variant: Arm, incumbent: Arm, yardstick: Yardstick) -> Review:
    """Return how a variant did beside the incumbent, paired by seed; at least two common seeds for a verdict."""
    seeds = sorted(variant.scores.keys() & incumbent.scores.keys())
    pairs = [(variant.scores[seed], incumbent.scores[seed]) for seed in seeds]
    verdict, gain, errors = _compare(pairs, yardstick)
    error = min(errors, default=None)
    cured = tuple(sorted(incumbent.problems - variant.problems)) if variant.scores else ()
    caught = tuple(sorted(variant.problems - incumbent.problems))
    proven = tuple(tag for tag in cured if is_proven_cure(tag, variant, incumbent))
    # One that breaks on some seeds must not win by those that are left.
    broken = bool(variant.breaks() - incumbent.breaks())
    sound = not broken and len(pairs) >= 2 and verdict.word != "worse"
    costly = gain is not None and bool(errors) and gain < -PRICE * max(errors)
    promising = sound and gain is not None and gain > 0 and gain > PROMISE * (error or 0.0)
    made = Review(
        variant=variant.name,
        incumbent=incumbent.name,
        verdict=verdict,
        gain=gain,
        error=error,
        cured=cured,
        caught=caught,
        proven=proven,
        broken=broken,
        costly=costly,
        promising=promising,
        heals=bool((sound or (DIVERGED in cured and not broken)) and cured and not caught and not costly),
    )
    return _with_reason(made, variant, pairs=len(pairs))


def choose_candidates(reviews: Sequence[Review], limit: int = 1) -> tuple[Review, ...]:
    """Return the candidates to confirm: most problems cured first, then the largest gain, then by name."""
    candidates = [item for item in reviews if item.is_candidate]
    ranked = sorted(
        candidates, key=lambda r: (-len(r.cured) if r.heals else 0, -(r.gain if r.gain is not None else 0.0), r.variant)
    )
    return tuple(ranked[:limit])


def confirm(screened: Review, fresh: Review) -> Acceptance:
    """Return whether a candidate is accepted, by its review on fresh seeds; the screening counts for its cure only."""
    cured = sorted(set(screened.cured) & set(fresh.cured))
    if fresh.verdict.pairs < 2 and not fresh.broken and DIVERGED in set(screened.cured) & set(fresh.proven):
        why = "For its health: it trains where the incumbent diverges; on too few common seeds to compare the score."
        return Acceptance(accepted=True, ground="health", reason=why)
    against = _against(cured, fresh)
    if against:
        return Acceptance(accepted=False, ground="none", reason=f"On fresh seeds {against}.")
    if fresh.verdict.word == "better":
        told = describe_verdict(fresh.verdict)
        also = f" It also cures {', '.join(cured)}." if cured else ""
        caught = f" It has a new problem: {', '.join(fresh.caught)}." if fresh.caught else ""
        return Acceptance(
            accepted=True, ground="score", reason=f"On fresh seeds it is better beyond noise: {told}.{also}{caught}"
        )
    return _by_health(cured if screened.heals and fresh.heals else [], fresh)


def _against(cured: Sequence[str], fresh: Review) -> str:
    """Return what rules an acceptance out, whatever else there is; empty for nothing."""
    told = describe_verdict(fresh.verdict)
    if fresh.broken:
        return f"training broke: {fresh.reason}"
    if fresh.verdict.pairs < 2:
        return f"it cannot be judged: {fresh.reason}"
    if fresh.verdict.word == "worse":
        return f"it is worse: {told}"
    if cured and fresh.costly:
        return f"it cures {', '.join(cured)}, but at a price: {told}, a loss of more than {PRICE:g} standard errors"
    return ""


def _by_health(cured: Sequence[str], fresh: Review) -> Acceptance:
    """Return whether a candidate whose score is not distinguishable is accepted for what it cured."""
    told = describe_verdict(fresh.verdict)
    proven = [tag for tag in cured if tag in fresh.proven]
    if proven:
        return Acceptance(
            accepted=True,
            ground="health",
            reason=f"For its health: it cures {', '.join(proven)} and is not worse beyond noise. Its score is not "
            f"distinguishable from the incumbent's ({told}), so nothing is claimed about it.{_doubt(fresh)}",
        )
    fewer = ""
    if cured:
        fewer = f" It has {', '.join(cured)} in fewer runs, but not in so few that chance is ruled out."
    return Acceptance(
        accepted=False,
        ground="none",
        reason=f"On fresh seeds it is not distinguishable from the incumbent: {told}.{fewer}",
    )


def _doubt(fresh: Review) -> str:
    """Return a warning if the score of what is accepted for its health fell by more than a standard error."""
    if fresh.gain is None or fresh.error is None or fresh.gain >= -PROMISE * fresh.error:
        return ""
    return " It may well have got worse: it lost more than its standard error; more seeds would tell."


def keep_after_promotion(promoted: Review, ground: str = "score") -> Acceptance:
    """Return whether an accepted variant stays after it and its predecessor went on to more steps; `ground`: why.

    Args:
        promoted: Both with more steps.
        ground: What it was accepted for: a cure must not cost score here either.
    """
    told = describe_verdict(promoted.verdict)
    if promoted.broken:
        why = f"With more steps training broke where the predecessor's did not: {promoted.reason}."
        return Acceptance(accepted=False, ground="none", reason=why)
    if promoted.verdict.word == "worse":
        return Acceptance(accepted=False, ground="none", reason=f"With more steps it is worse beyond noise: {told}.")
    if ground == "health" and promoted.costly:
        why = f"It was accepted for its health, and with more steps that has a price: {told}, a loss of more than "
        return Acceptance(accepted=False, ground="none", reason=f"{why}{PRICE:g} standard errors.")
    if promoted.verdict.word == "better":
        return Acceptance(accepted=True, ground="score", reason=f"With more steps it is better beyond noise: {told}.")
    return Acceptance(
        accepted=True, ground="none", reason=f"With more steps nothing speaks against it beyond noise: {told}."
    )


def judge_stop(
    outcomes: Sequence[RoundOutcome],
    *,
    problems: Collection[str],
    patience: int,
    rounds: int,
    noise: float | None,
    pairs: int,
    scale: Scale = "log",
    best_possible: bool = False,
) -> Stop | None:
    """Return why the campaign ends after these rounds, or None.

    Args:
        outcomes: The rounds that ended, in order.
        problems: Problems that the incumbent still has: as long as there is one, there is something to cure.
        patience: So many rounds in a row without an acceptance mean that nothing distinguishable is left to gain;
            rounds in which no variant could be judged do not count.
        rounds: How many rounds were asked for.
        noise: The noise floor.
        pairs: Seeds of a confirmation.
        scale: On which scale gains and noise are.
        best_possible: The incumbent's score is the best there is on every seed (a success rate of 1).
    """
    if best_possible and not problems:
        return Stop(kind="at the ceiling", reason="The incumbent's score is the best possible on every seed.")
    if len(outcomes) >= rounds:
        return Stop(kind="rounds", reason=f"All {rounds} rounds are done.")
    # A round in which nothing could be judged (a full disk, a driver that is gone) says nothing about what is left.
    last = [outcome for outcome in outcomes if outcome.accepted or outcome.largest_gain is not None][-patience:]
    if len(last) < patience or problems or any(outcome.accepted for outcome in last):
        return None
    gains = [outcome.largest_gain for outcome in last if outcome.largest_gain is not None]
    seen = f"; the largest gain seen in screening was {_amount(max(gains), scale)}" if gains else ""
    limit = resolvable(noise, pairs)
    told = ""
    if limit is not None:
        told = f"; {pairs} fresh seeds tell {_amount(limit, scale)} from noise, or less where it cancels in pairs"
    return Stop(
        kind="nothing to gain",
        reason=f"In {patience} rounds in a row nothing was accepted, and the incumbent has no problem left"
        f"{seen}{told}.",
    )


def fresh_seeds(campaign_seed: int, era: int, count: int, used: Collection[int]) -> tuple[int, ...]:
    """Return the confirmation seeds of the `era`-th incumbent, none of them in `used`; the same for the same input.

    Each incumbent has seeds of its own, so that those by which it was accepted do not speak for it again.
    """
    numbers = random.Random(f"{campaign_seed}/confirmation/{era}")
    found: list[int] = []
    while len(found) < count:
        seed = numbers.randrange(10_000, 1_000_000)
        if seed not in used and seed not in found:
            found.append(seed)
    return tuple(found)


def describe_verdict(verdict: Verdict) -> str:
    """Return a verdict's numbers in words: `-5.1 % (95 %: -7.0 to -3.2 %, 5 paired seeds)`."""
    if verdict.mean is None:
        return f"{verdict.pairs} paired seeds, no verdict"
    seeds = f"{verdict.pairs} paired seeds"
    if verdict.low is None or verdict.high is None:
        why = "all differences equal" if verdict.basis == "no spread" else "too few for an interval"
        return f"{_shown(verdict.mean, verdict.scale)} ({seeds}, {why})"
    low, high = _number(verdict.low), _shown(verdict.high, verdict.scale)
    return f"{_shown(verdict.mean, verdict.scale)} (95 %: {low} to {high}, {seeds})"


def _compare(pairs: Sequence[tuple[float, float]], yardstick: Yardstick) -> tuple[Verdict, float | None, list[float]]:
    """Return the verdict, the mean gain and its standard errors: by the noise of equal runs, and by the pairs' spread.

    The noise over seeds holds what a seed does to every config. Pairing takes that out, and only the spread shows it;
    differences that are equal by chance, as those of rates can be, show nothing, so such a spread is left out. Rates
    that agree exactly in repeated runs still have the noise of a rate.
    """
    scale = common_scale([score for pair in pairs for score in pair], rates=yardstick.rates)
    if len(pairs) < 2:
        basis: Literal["no scores", "no seeds"] = "no seeds" if pairs else "no scores"
        return Verdict(word="not distinguishable", basis=basis, scale=scale, pairs=len(pairs)), None, []
    noise = yardstick.noise or (RATE_NOISE if yardstick.rates else yardstick.noise)
    verdict = judge_pairs(pairs, scale=scale, direction=yardstick.direction, noise=noise, rates=yardstick.rates)
    place = math.log if scale == "log" else float
    differences = [place(ours) - place(its) for ours, its in pairs]
    mean = sum(differences) / len(differences)
    gain = mean if yardstick.direction == "max" else -mean
    spread = math.sqrt(sum((d - mean) ** 2 for d in differences) / (len(differences) - 1))
    errors = [] if noise is None else [noise * math.sqrt(2 / len(pairs))]
    if not errors or verdict.basis == "t-interval":
        errors.append(spread / math.sqrt(len(differences)))
    return verdict, gain, errors


def _with_reason(made: Review, variant: Arm, *, pairs: int) -> Review:
    failed = Counter(variant.failed.values())
    ends = ", ".join(f"{count} {state}" for state, count in sorted(failed.items()))
    parts = []
    if pairs < 2:
        parts.append(f"only {pairs} common seeds have scores" + (f" ({ends})" if ends else ""))
    else:
        parts.append(f"{made.verdict.word}: {describe_verdict(made.verdict)}")
        if ends:
            parts.append(f"without a score: {ends}")
    if made.broken:
        parts.append("training broke")
    if made.cured:
        price = f", at a price of more than {PRICE:g} standard errors" if made.costly else ""
        parts.append(f"cures {', '.join(made.cured)}{price}")
    if made.caught:
        parts.append(f"has a new problem: {', '.join(made.caught)}")
    if made.promising:
        parts.append("promising: its gain is larger than its standard error")
    return replace(made, reason="; ".join(parts))


def _number(value: float) -> str:
    """Return a difference without its unit: percent on the log scale, percentage points for rates."""
    return f"{100 * value:+.1f}"


def _shown(value: float, scale: Scale) -> str:
    return f"{_number(value)} {'%' if scale == 'log' else 'points'}"


def _amount(gain: float, scale: Scale) -> str:
    return f"{100 * gain:.1f} {'%' if scale == 'log' else 'points'}"
