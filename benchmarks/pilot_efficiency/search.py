"""One search: the product's own planning of rounds, played on the surrogate until a budget of trials is spent.

A round is planned by `plan_round`, as in a campaign: parents, proposer, candidate space, refusals. Trials are those of
the surrogate. What a campaign does besides (several seeds, confirmation on fresh seeds) is left out: it is the same for
every proposer and would spend most of the budget. The incumbent is the config with the best measured score.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from benchmarks.pilot_efficiency.curves import Noise, play_trial
from benchmarks.pilot_efficiency.recorded import EVALUATION, Recorded
from benchmarks.pilot_efficiency.starts import Start, config_of
from benchmarks.pilot_efficiency.surface import EVAL_STEPS, LOG_FREQ, STEPS, Truth, World, truth_of
from otpilot.pilot.campaign.arms import Identity
from otpilot.pilot.campaign.base import trial_hash
from otpilot.pilot.campaign.proposing import Situation, plan_round
from otpilot.pilot.campaign.scoring import assess_history
from otpilot.pilot.campaign.settings import CampaignSettings, TrialSettings
from otpilot.pilot.ledger import Trial
from otpilot.pilot.rules import RULES

SEED = 1000
VARIANTS = 3
FALLBACK = "rules, then optuna"
"""Rules as long as they have something new to say, then TPE with what was observed; not a proposer of the product."""
PROPOSERS = ("rules", "mixed", "bayes", "optuna", "random", "grid", FALLBACK)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One trial: which rule or method asked for it, what it changed, its true score, and the incumbent's after it."""

    rule: str
    edits: tuple[str, ...]
    score: float
    incumbent: float


@dataclass(kw_only=True)
class Search:
    """A search that is under way."""

    start: Start
    proposer: str
    repetition: int
    noise: Noise
    recorded: Recorded
    world: World = field(init=False)
    steps: list[Step] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    arms: list[Identity] = field(default_factory=list)
    configs: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    truths: dict[str, Truth] = field(default_factory=dict)
    former: set[str] = field(default_factory=set)
    dry_after: int | None = None

    def __post_init__(self) -> None:
        """Draw the world."""
        self.world = World.draw(self.repetition, overfits=self.start.overfits)

    def run(self, budget: int) -> "Search":
        """Play trials until the budget is spent or the proposer has nothing new; returns itself."""
        base = config_of(self.start)
        self._play("baseline", trial_hash(base, seed=SEED, budget=STEPS), base, rule="baseline", edits=())
        while len(self.trials) < budget:
            variants = self._plan(budget - len(self.trials))
            if not variants:
                break
            for item in variants:
                self._play(item["name"], item["hash"], item["config"], rule=item["rule"], edits=item["edits"])
        return self

    @property
    def incumbent(self) -> Identity:
        """The config with the best measured score."""
        return min(self.arms, key=lambda arm: self.measured[arm.hash])

    def _plan(self, room: int) -> list[dict[str, Any]]:
        wanted = "rules" if self.proposer == FALLBACK else self.proposer
        if wanted != self.proposer and self.dry_after is not None:
            wanted = "optuna"
        found = self._ask(wanted, room)
        if not found and self.dry_after is None:
            self.dry_after = len(self.trials)
            if wanted != self.proposer:
                found = self._ask("optuna", room)
        return found

    def _ask(self, proposer: str, room: int) -> list[dict[str, Any]]:
        # A campaign wants two seeds or more; the situation names the one that is played.
        settings = CampaignSettings(
            base="base.json",
            seed=self.repetition,
            variants=VARIANTS,
            promotion=(),
            proposer=proposer,
            metric=EVALUATION,
            trial=TrialSettings(seeds=2, steps=STEPS, eval_steps=EVAL_STEPS, log_freq=LOG_FREQ),
        )
        incumbent = self.incumbent
        situation = Situation(
            incumbent=incumbent,
            arms=tuple(self.arms),
            configs=self.configs,
            trials=self.trials,
            seeds=(SEED,),
            steps=STEPS,
            metric=EVALUATION,
            direction="min",
            former=frozenset(self.former - {incumbent.name}),
        )
        plan = plan_round(situation, settings, RULES, limit=min(VARIANTS, room))
        variants: list[dict[str, Any]] = plan["variants"]
        return variants

    def _play(self, name: str, hashed: str, config: Mapping[str, Any], *, rule: str, edits: Any) -> None:
        truth = truth_of(config, self.world, self.recorded)
        key = f"{self.repetition}/{hashed}/{self.noise}"
        history = play_trial(config, truth, self.world, self.recorded, key=key, seed=self.repetition, noise=self.noise)
        metrics = assess_history(history, budget=STEPS)
        score = metrics["scores"][EVALUATION]
        if not math.isfinite(score):
            raise ValueError(f"{name} has the score {score}.")
        self.trials.append(_trial(len(self.trials) + 1, name, hashed, history.state, score, metrics))
        self.arms.append(Identity(name=name, hash=hashed))
        self.configs[hashed], self.measured[hashed], self.truths[hashed] = config, score, truth
        best = self.incumbent
        self.former.add(best.name)
        told = tuple(f"{edit['path']} {edit['op']} {edit['value']}" for edit in edits)
        self.steps.append(Step(rule=rule, edits=told, score=truth.score, incumbent=self.truths[best.hash].score))


def _trial(number: int, name: str, hashed: str, state: Any, score: float, metrics: Mapping[str, Any]) -> Trial:
    """Return a trial as the ledger would give it back."""
    return Trial(
        id=number, name=name, config_hash=hashed, seed=SEED, budget=STEPS, state=state, kind="variant", round=None,
        priority=0, parent=None, continues=None, rule=None, edits=(), reason="", evidence={}, attempts=1, retries=0,
        lost=0, owner=None, lease_until=None, process=None, end_reason="", exit_code=0, last_step=STEPS, score=score,
        metrics=metrics, seconds=0.0, created=0.0, started=0.0, finished=0.0,
    )  # fmt: skip
