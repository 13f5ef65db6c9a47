"""What every stage of a campaign does with the ledger: add trials, wait for them, compare arms, decide."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from otpilot.config.plain import plain
from otpilot.pilot import decisions
from otpilot.pilot.campaign.answers import FINAL_ERA, OVER, Basis, Ended, Pause, Waiting
from otpilot.pilot.campaign.arms import Identity, Known, arm_of, failure_occurred
from otpilot.pilot.campaign.settings import CampaignSettings
from otpilot.pilot.decisions import Arm, Review
from otpilot.pilot.ledger import Decision, Ledger, NewTrial, Trial
from otpilot.pilot.proposal import Failure
from otpilot.pilot.variants import for_trial


class Desk:
    """The ledger as the stages use it.

    Args:
        ledger: Where everything is read from and written to.
        settings: What campaign.toml says.
        seeds: The common seeds of every variant.
        tell: Told each decision once, in a line.
    """

    def __init__(
        self, ledger: Ledger, settings: CampaignSettings, *, seeds: Sequence[int], tell: Callable[[str], None]
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self.seeds = seeds
        self.steps = settings.trial.steps
        self.tell = tell

    def trial(
        self,
        identity: Identity,
        config: Mapping[str, Any],
        seed: int,
        *,
        kind: str,
        round: int,
        priority: int = 0,
        budget: int | None = None,
        continues: int | None = None,
        plan: Mapping[str, Any] | None = None,
    ) -> NewTrial:
        """Return a trial of an arm; `plan` is the variant in the plan of its round, `continues` what it resumes."""
        plan = plan or {}
        steps = budget or self.steps
        return NewTrial(
            name=identity.name,
            config_hash=identity.hash,
            seed=seed,
            budget=steps,
            config=plain(for_trial(config, seed=seed, budget=steps)),
            kind=kind,
            round=round,
            priority=priority,
            parent=self.first(plan["parent_hash"]) if plan else None,
            continues=continues,
            rule=plan.get("rule"),
            edits=plan.get("edits", ()),
            reason=plan.get("reason", ""),
            evidence=plan.get("evidence", {}),
        )

    def complete(self, new: Sequence[NewTrial], what: str) -> list[Trial]:
        """Return the trials, all of them over; while they are not, pause."""
        missing = self.missing(new)
        room = self.room()
        if room is not None and len(missing) > room:
            last = max(item.round or 0 for item in new)
            raise Pause(self.end_of_trials(f"{what}: {len(missing)} more are needed, {room} are left", last))
        if missing:
            self.tell(f"Now {what} ({len(missing)} new trials).")
        trials = self.ledger.add_trials(new)
        waiting = [trial for trial in trials if trial.state not in OVER]
        if waiting:
            raise Pause(Waiting(what=what, trials=tuple(trial.id for trial in waiting)))
        return trials

    def missing(self, new: Sequence[NewTrial]) -> list[NewTrial]:
        """Return those trials that the ledger does not hold yet."""
        return [item for item in new if self.ledger.find(item.config_hash, item.seed, item.budget) is None]

    def room(self) -> int | None:
        """Return how many more trials the budget allows, or None for any number."""
        allowed = self.settings.budget.trials
        return None if allowed is None else max(0, allowed - self.ledger.status().trials)

    def arm(self, identity: Identity, basis: Basis, seeds: Sequence[int], steps: int | None = None) -> Arm:
        """Return what an arm's trials on these seeds came to."""
        known = Known.of(self.ledger.trials(config_hash=identity.hash))
        return arm_of(identity.name, known.on(identity.hash, steps or self.steps, seeds), basis.metric)

    def failure(self, item: Mapping[str, Any]) -> bool | None:
        """Return whether the sign is there by which the rule said that its remedy failed; None: it cannot be told."""
        ours, parents = (
            Known.of(self.ledger.trials(config_hash=key)).on(key, self.steps, self.seeds)
            for key in (item["hash"], item["parent_hash"])
        )
        return failure_occurred(Failure(**item["failure"]), ours, parents)

    def first(self, config_hash: str) -> int | None:
        """Return the id of the first trial of a config, which stands for it."""
        trials = self.ledger.trials(config_hash=config_hash)
        return trials[0].id if trials else None

    def fresh_seeds(self, era: int) -> tuple[int, ...]:
        """Return the fresh seeds of an incumbent, which are those of no incumbent before it."""
        used = set(self.seeds)
        count = self.settings.confirm_seeds
        for earlier in range(era % FINAL_ERA + era // FINAL_ERA):
            used |= set(decisions.fresh_seeds(self.settings.seed, earlier, count, used))
        return decisions.fresh_seeds(self.settings.seed, era, count, used)

    def end(self, kind: str, reason: str, round: int) -> Ended:
        """Write down that the campaign is over, and return it."""
        key = f"stop/{kind}/r{round}/{self.settings.rounds}/{self.settings.proposer}/{self.settings.budget.trials}"
        self.decide("stop", reason, key=key, round=round, evidence={"kind": kind})
        return Ended(kind=kind, reason=reason)

    def end_of_trials(self, why: str, round: int) -> Ended:
        """End the campaign, because the budget of trials does not reach on."""
        total = self.settings.budget.trials
        return self.end("budget", f"The budget of {total} trials does not reach on: {why}.", round)

    def decide(
        self,
        kind: str,
        reason: str,
        *,
        key: str,
        round: int,
        evidence: Mapping[str, Any],
        trial: int | None = None,
    ) -> Decision:
        """Write a decision down once and tell it once; the first one stays, whoever wrote it."""
        known = any(decision.key == key for decision in self.ledger.decisions(kind=kind, round=round))
        made = self.ledger.decide(kind, reason, round=round, trial=trial, evidence=plain(evidence), key=key)
        if not known:
            self.tell(f"{made.kind}: {made.reason}")
        return made


def review_evidence(made: Review, arm: Arm, ours: Arm, item: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a decision keeps of a comparison; `item` is the variant in the round's plan, if it is one."""
    body: dict[str, Any] = plain(made)
    body["scores"] = {str(seed): score for seed, score in sorted(arm.scores.items())}
    body["incumbent_scores"] = {str(seed): score for seed, score in sorted(ours.scores.items())}
    body["failed"] = {str(seed): state for seed, state in sorted(arm.failed.items())}
    body["problems"] = sorted(arm.problems)
    if item:
        body |= {"rule": item["rule"], "failed_if": item["failed_if"]}
    return body
