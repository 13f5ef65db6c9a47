"""What the ledger takes and gives: plain data, detached from the database."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otpilot.errors import LedgerError
from otpilot.pilot.states import EndState, TrialState


@dataclass(frozen=True, kw_only=True)
class NewTrial:
    """A trial to be written down; (config_hash, seed, budget) is what makes it the same trial.

    `config` is the full config as nested plain data; `config_hash` its canonical hash; `budget` its training steps.
    `kind` says what it is for (baseline, variant, confirmation, promotion ...). A higher `priority` is taken first.
    `parent` is the id of the trial that `edits` were applied to, `continues` of the shorter one that this one resumes.
    """

    name: str
    config_hash: str
    seed: int
    budget: int
    config: Mapping[str, Any]
    kind: str = "variant"
    round: int | None = None
    priority: int = 0
    parent: int | None = None
    continues: int | None = None
    rule: str | None = None
    edits: Sequence[Any] = ()
    reason: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)
    queue: bool = True

    def __post_init__(self) -> None:
        """Check what a folder name and the unique key need."""
        if not self.name or self.name.startswith(".") or set(self.name) & set("/\\\0"):
            raise LedgerError(f"Trial name {self.name!r} cannot name a folder; allowed: no slash, no dot in front.")
        if not self.config_hash:
            raise LedgerError(f"Trial {self.name!r} has an empty config hash.")
        if self.budget < 1:
            raise LedgerError(f"Trial {self.name!r} has a budget of {self.budget} steps; allowed: 1 or more.")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A trial as the ledger knows it. Times are seconds since the epoch by the ledger's clock.

    `attempts` counts leases, `retries` how often it was queued again after an end, `lost` how often its owner was lost.
    `seconds` is the time that its ended attempts took together.
    """

    id: int
    name: str
    config_hash: str
    seed: int
    budget: int
    state: TrialState
    kind: str
    round: int | None
    priority: int
    parent: int | None
    continues: int | None
    rule: str | None
    edits: Sequence[Any]
    reason: str
    evidence: Mapping[str, Any]
    attempts: int
    retries: int
    lost: int
    owner: str | None
    lease_until: float | None
    process: Mapping[str, Any] | None
    end_reason: str
    exit_code: int | None
    last_step: int | None
    score: float | None
    metrics: Mapping[str, Any]
    seconds: float
    created: float
    started: float | None
    finished: float | None

    @property
    def folder_name(self) -> str:
        """Name of its run folder, unique in the ledger."""
        return f"{self.name}_s{self.seed}_b{self.budget}"


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to work on a trial until `until`; `token` proves it."""

    trial: Trial
    token: str
    owner: str
    until: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """How an attempt ended: state, why, and what it is worth (None and empty where it has no score)."""

    state: EndState
    reason: str
    exit_code: int | None = None
    last_step: int | None = None
    score: float | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One lease of a trial: who had it, on what, from when to when (None: still), and how it ended."""

    trial: int
    number: int
    owner: str
    device: str | None
    started: float
    ended: float | None
    outcome: str | None
    reason: str


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Something the pilot decided, and why."""

    id: int
    kind: str
    reason: str
    round: int | None
    trial: int | None
    evidence: Mapping[str, Any]
    time: float
    key: str | None


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of a campaign; `finished` is None while it runs."""

    number: int
    plan: Mapping[str, Any]
    summary: Mapping[str, Any]
    started: float
    finished: float | None


@dataclass(frozen=True, kw_only=True)
class Status:
    """Counts and sums over the whole ledger. `gpu_seconds` counts attempts on a GPU, `seconds` all of them."""

    trials: int
    by_state: Mapping[TrialState, int]
    attempts: int
    expired: int
    seconds: float
    gpu_seconds: float
    decisions: int
    rounds: int
    now: float

    @property
    def open(self) -> int:
        """Trials that wait or run."""
        return sum(self.by_state.get(state, 0) for state in ("queued", "leased", "running"))
