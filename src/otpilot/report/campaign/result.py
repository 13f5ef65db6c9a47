"""What the report of a campaign shows, as plain data. The pilot fills it in; nothing here knows the pilot.

Whatever is missing is said in words: a trial without a score has `why`, a comparison that cannot be made has `why`.
Texts (reasons, evidence, edits) are ready to print; names are printed as they are and escaped by each rendering.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from otpilot.analysis.verdict import Scale, Verdict
from otpilot.runs.metric_names import Direction

Ground = Literal["baseline", "score", "health", "none"]
Standing = Literal[
    "baseline", "incumbent", "former", "rolled back", "rejected", "not confirmed", "not decided", "broken", "running"
]
"""What became of a config. `former`: it was the incumbent until a better one came. `broken`: it has no usable score."""


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """One trial. `why`: how it ended, always given where there is no score; `curve`: (step, value) of the metric."""

    name: str
    arm: str
    kind: str
    seed: int
    steps: int
    state: str
    round: int = 0
    score: float | None = None
    why: str = ""
    last_step: int | None = None
    seconds: float = 0.0
    attempts: int = 1
    curve: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two configs beside each other on the same seeds: ours and the one it is measured by.

    `scores` and `other_scores` by seed; `ends` are the ends of trials of ours without a score, by seed. `word` says in
    a sentence what came of it. `fresh`: these seeds are not those of the screening. Nothing was chosen by them before a
    confirmation; a promotion goes on with those by which its candidate was accepted, which flatters it.
    """

    ours: str
    other: str
    steps: int
    verdict: Verdict
    scores: Mapping[int, float] = field(default_factory=dict)
    other_scores: Mapping[int, float] = field(default_factory=dict)
    ends: Mapping[int, str] = field(default_factory=dict)
    cured: tuple[str, ...] = ()
    caught: tuple[str, ...] = ()
    fresh: bool = False
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class VariantResult:
    """One variant of a round: where it comes from, why it was tried, how to tell that it failed, and how it did.

    `edits` are texts such as `ot.loss_config.reg *= 2`; `evidence` the numbers that the rule named. `remedy_failed`
    says whether the sign of failure was there (None: it could not be told). `review` is None until its trials are over.
    """

    name: str
    parent: str
    edits: tuple[str, ...]
    reason: str
    rule: str = ""
    source: str = ""
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)
    expected: str = ""
    failed_if: str = ""
    remedy_failed: bool | None = None
    candidate: bool = False
    review: Comparison | None = None
    trials: tuple[TrialResult, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Contest:
    """A candidate's confirmation on fresh seeds, or a promotion to more steps: what was compared and decided."""

    kind: Literal["confirmation", "promotion"]
    compared: Comparison
    accepted: bool
    ground: Ground
    reason: str


@dataclass(frozen=True, kw_only=True)
class DecisionLine:
    """A decision as the ledger keeps it; `time` in seconds since the epoch."""

    kind: str
    reason: str
    time: float


@dataclass(frozen=True, kw_only=True)
class RoundResult:
    """One round; number 0 is the baseline. Times in seconds since the epoch, `finished` is None while it runs."""

    number: int
    started: float
    finished: float | None
    incumbent_before: str
    incumbent_after: str
    parents: tuple[tuple[str, str], ...] = ()
    variants: tuple[VariantResult, ...] = ()
    refused: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()
    contests: tuple[Contest, ...] = ()
    decisions: tuple[DecisionLine, ...] = ()

    @property
    def accepted(self) -> bool:
        """Whether the incumbent changed."""
        return self.finished is not None and self.incumbent_after != self.incumbent_before


@dataclass(frozen=True, kw_only=True)
class Incumbent:
    """One in the line of incumbents: since which round, on what ground, why. The baseline is the first."""

    name: str
    round: int
    ground: Ground
    reason: str
    score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """A config in the lineage: what became of it, its mean score on the common seeds, and why there is none."""

    name: str
    standing: Standing
    round: int
    score: float | None = None
    why: str = ""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A derivation: parent, child, the edits between, the rule that made them."""

    parent: str
    child: str
    edits: tuple[str, ...]
    rule: str = ""


@dataclass(frozen=True, kw_only=True)
class Use:
    """How much of a budget is used: `what` as "hours", "trials", "GPU-hours"; `allowed` is None for no limit."""

    what: str
    used: float
    allowed: float | None = None

    @property
    def left(self) -> float | None:
        """What is left, never below 0; None for no limit."""
        return None if self.allowed is None else max(0.0, self.allowed - self.used)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The noise of equal runs: standard deviation over the baseline's seeds, on the scale of comparisons.

    `resolvable` is the difference that a confirmation can tell from it. Both are relative on scale "log". `why` says
    why there is no number.
    """

    scale: Scale
    deviation: float | None
    scores: Mapping[int, float] = field(default_factory=dict)
    resolvable: float | None = None
    confirm_seeds: int = 0
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class CampaignResult:
    """A campaign as its report shows it.

    `metric` is what trials are ranked by, `metric_reason` why this one; `over` why the campaign ended (empty: it goes
    on, and `phase` says what it does). `final` compares the incumbent with the baseline, `final_why` says why not.
    `trials` are all trials in order, `invalid` those that ended without a usable score. `next_steps` are sentences.
    """

    name: str
    question: str
    base: str
    metric: str
    metric_reason: str
    direction: Direction
    is_rate: bool
    generated: float
    seeds: tuple[int, ...]
    steps: int
    proposer: str
    budget: tuple[Use, ...]
    phase: str
    over: str
    noise: Noise
    incumbents: tuple[Incumbent, ...]
    rounds: tuple[RoundResult, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    trials: tuple[TrialResult, ...]
    final: Comparison | None = None
    final_why: str = ""
    next_steps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    folder: str = ""

    @property
    def incumbent(self) -> str:
        """Name of the last incumbent."""
        return self.incumbents[-1].name if self.incumbents else ""

    @property
    def invalid(self) -> tuple[TrialResult, ...]:
        """Trials that are over and have no score."""
        return tuple(trial for trial in self.trials if trial.score is None and trial.state not in OPEN)


OPEN = ("planned", "queued", "leased", "running")
"""States of a trial that is not over."""
