"""A campaign as a walk through stages, each derived from the ledger alone.

`advance` does everything that can be done now and says what is waited for. Killed between any two statements and
called again, by this pilot or another, it comes to the same: rounds, trials and decisions have keys, the first one
written stays, and what is read back counts, not what would be worked out today.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otpilot.analysis.verdict import common_scale
from otpilot.analysis.view import is_success
from otpilot.config.plain import plain
from otpilot.pilot import decisions
from otpilot.pilot.campaign.arms import ENDED_WELL, Identity, Known, arm_of, failure_occurred
from otpilot.pilot.campaign.base import acceptable_metrics, trial_hash, trial_seeds
from otpilot.pilot.campaign.proposing import Situation, plan_round
from otpilot.pilot.campaign.settings import CampaignSettings
from otpilot.pilot.decisions import Arm, Review, RoundOutcome, Yardstick
from otpilot.pilot.ledger import ENDS, Decision, Ledger, NewTrial, Round, Trial
from otpilot.pilot.proposal import Failure
from otpilot.pilot.rules import RULES, Rule
from otpilot.pilot.variants import for_trial
from otpilot.runs.metric_names import Direction, metric_info

BASELINE = "baseline"
FINAL_ERA = 1_000_000
"""The seeds of the final comparison are drawn as those of an incumbent that there will never be."""
OVER = (*ENDS, "cancelled")
"""Ends of a trial. One that will be tried again is queued in the same transaction, so it is never seen in its end."""


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Trials must end before anything can be decided."""

    what: str
    trials: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The campaign is over, and why."""

    kind: str
    reason: str


class _Pause(Exception):  # no error: it carries the answer of `advance` out of a stage
    def __init__(self, answer: Waiting | Ended) -> None:
        super().__init__()
        self.answer = answer


@dataclass(frozen=True, kw_only=True)
class Basis:
    """What the baseline settled: how runs are ranked, and the noise of equal runs."""

    metric: str
    direction: Direction
    noise: float | None

    @property
    def yardstick(self) -> Yardstick:
        """How scores are compared."""
        return Yardstick(direction=self.direction, rates=is_success(self.metric), noise=self.noise)


class Campaign:
    """One campaign's decisions, on a ledger.

    Args:
        ledger: Where everything is read from and written to.
        settings: What campaign.toml says.
        base: The base config, ready for trials (see base.read_base).
        rules: The table of rules.
        runs: Folder of run folders, where trials that ended without a score are looked into; None for not at all.
        tell: Told each decision once, in a line.
    """

    def __init__(
        self,
        ledger: Ledger,
        settings: CampaignSettings,
        base: Mapping[str, Any],
        *,
        rules: Sequence[Rule] = RULES,
        runs: Path | None = None,
        tell: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self.base = base
        self.rules = rules
        self.runs = runs
        self.tell = tell
        self.seeds = trial_seeds(base, settings)
        self.steps = settings.trial.steps
        self.baseline = Identity(name=BASELINE, hash=trial_hash(base, seed=self.seeds[0], budget=self.steps))

    def advance(self) -> Waiting | Ended:
        """Do what can be done now, and return what is waited for, or why it is over."""
        try:
            basis = self._baseline_round()
            number = 1
            while True:
                self._round(number, basis)
                number += 1
        except _Pause as pause:
            return pause.answer

    # Round 0

    def zero_plan(self) -> dict[str, Any]:
        """Return the plan of round 0: settings, base config and seeds, by which a campaign is known again."""
        return {
            "settings": self.settings.plain(),
            "baseline": self.baseline.plain(),
            "config": plain(self.base),
            "seeds": list(self.seeds),
            "steps": self.steps,
            "metrics": list(acceptable_metrics(self.base, self.settings)),
        }

    def _baseline_round(self) -> Basis:
        plan = self.ledger.begin_round(0, self.zero_plan()).plan
        new = [self._trial(self.baseline, self.base, seed, kind="baseline", round=0) for seed in self.seeds]
        trials = self._complete(new, "the baseline, repeated on every seed to know the noise")
        metric = next((name for name in plan["metrics"] if self._all_have(trials, name)), plan["metrics"][0])
        arm = arm_of(BASELINE, trials, metric)
        if len(arm.scores) < 2:
            ends = "; ".join(f"seed {t.seed}: {t.state} ({t.end_reason})" for t in trials if t.seed in arm.failed)
            raise _Pause(
                self._end("baseline failed", f"The baseline has {len(arm.scores)} scores, two are needed. {ends}", 0)
            )
        rates = is_success(metric)
        noise = decisions.measure_noise(list(arm.scores.values()), rates=rates)
        scale = common_scale(list(arm.scores.values()), rates=rates)
        told = ", ".join(f"{score:.4g} (seed {seed})" for seed, score in sorted(arm.scores.items()))
        unit = "of the score" if scale == "log" else "points"
        shown = "not known" if noise is None else f"{100 * noise:.2g} {'% ' if scale == 'log' else ''}{unit}"
        decision = self._decide(
            "baseline",
            f"The baseline's {metric} is {told}. The noise of equal runs (standard deviation over seeds) is {shown}."
            + (f" Its problems: {', '.join(sorted(arm.problems))}." if arm.problems else " It has no problem."),
            key="r0/baseline",
            round=0,
            evidence={
                "metric": metric,
                "direction": "max" if metric_info(metric).direction == "max" else "min",
                "noise": noise,
                "scale": scale,
                "scores": {str(seed): score for seed, score in sorted(arm.scores.items())},
                "problems": sorted(arm.problems),
            },
        )
        self.ledger.finish_round(0, {"incumbent": self.baseline.plain()})
        found = decision.evidence
        return Basis(metric=found["metric"], direction=found["direction"], noise=found["noise"])

    @staticmethod
    def _all_have(trials: Sequence[Trial], metric: str) -> bool:
        return all(metric in trial.metrics.get("scores", {}) for trial in trials if trial.score is not None)

    # Rounds

    def _round(self, number: int, basis: Basis) -> None:
        rounds = {round.number: round for round in self.ledger.rounds()}
        found = rounds.get(number)
        if found is not None and found.finished is not None:
            return
        earlier = [rounds[n] for n in range(number)]
        if found is None:
            self._stop_if_done(number, basis, earlier)
            found = self._begin(number, basis, earlier)
        incumbent = Identity(**found.plan["incumbent"])
        reviews = self._screen(found, basis, incumbent)
        summary: dict[str, Any] = {
            "incumbent": incumbent.plain(),
            "accepted": False,
            "variants": len(found.plan["variants"]),
            "largest_gain": max((r.gain for r in reviews if r.gain is not None), default=None),
        }
        for candidate in self._candidates(found, reviews):
            kept = self._try(candidate, found, basis, incumbent, earlier)
            if kept is not None:
                summary |= {"incumbent": kept.plain(), "accepted": True}
                break
        self.ledger.finish_round(number, summary)
        self.tell(f"Round {number} is over; the incumbent is {summary['incumbent']['name']}.")

    def _stop_if_done(self, number: int, basis: Basis, earlier: Sequence[Round]) -> None:
        """End the campaign if there is a reason to, before a new round begins."""
        incumbent = Identity(**earlier[-1].summary["incumbent"])
        arm = self._arm(incumbent, basis, self.seeds)
        outcomes = [
            RoundOutcome(
                number=round.number,
                variants=round.summary["variants"],
                accepted=round.summary["accepted"],
                largest_gain=round.summary["largest_gain"],
            )
            for round in earlier[1:]
        ]
        rates = is_success(basis.metric)
        stop = decisions.judge_stop(
            outcomes,
            problems=arm.problems,
            patience=self.settings.patience,
            rounds=self.settings.rounds,
            noise=basis.noise,
            pairs=self.settings.confirm_seeds,
            scale=common_scale(list(arm.scores.values()), rates=rates),
            best_possible=rates and bool(arm.scores) and min(arm.scores.values()) >= 1.0,
        )
        if stop is not None:
            self._compare_with_baseline(basis, incumbent, earlier)
            raise _Pause(self._end(stop.kind, stop.reason, number - 1))

    def _begin(self, number: int, basis: Basis, earlier: Sequence[Round]) -> Round:
        """Return the round, begun with a plan; nothing new to propose ends the campaign."""
        limit = self.settings.variants
        room = self._room()
        if room is not None:
            limit = min(limit, room // len(self.seeds))
            if limit < 1:
                raise _Pause(self._end_of_trials(f"no variant of round {number} fits in it", number - 1))
        situation = self._situation(basis, earlier)
        plan = plan_round(situation, self.settings, self.rules, limit=limit)
        if not plan["variants"]:
            refused = "; ".join(item["reason"] for item in plan["refused"][:3])
            why = f" Refused: {refused}" if refused else ""
            reason = f"The proposer {self.settings.proposer} has nothing new for {situation.incumbent.name}.{why}"
            self._compare_with_baseline(basis, situation.incumbent, earlier)
            raise _Pause(self._end("exhausted", reason, number - 1))
        begun = self.ledger.begin_round(number, plan)
        names = ", ".join(item["name"] for item in begun.plan["variants"])
        self._decide(
            "propose",
            f"Round {number} derives from {', '.join(p['name'] for p in begun.plan['parents'])}: {names}.",
            key=f"r{number}/propose",
            round=number,
            evidence={"parents": begun.plan["parents"], "refused": begun.plan["refused"]},
        )
        return begun

    def situation(self) -> Situation | None:
        """Return what the next round would be planned from, or None while a round runs or before the first."""
        rounds = self.ledger.rounds()
        if not rounds or any(round.finished is None for round in rounds):
            return None
        found = self.ledger.decisions(kind="baseline")[0].evidence
        basis = Basis(metric=found["metric"], direction=found["direction"], noise=found["noise"])
        return self._situation(basis, rounds)

    def _situation(self, basis: Basis, earlier: Sequence[Round]) -> Situation:
        arms = {self.baseline.hash: self.baseline}
        configs: dict[str, Mapping[str, Any]] = {self.baseline.hash: self.base}
        for round in earlier[1:]:
            for item in round.plan["variants"]:
                arms.setdefault(item["hash"], Identity(name=item["name"], hash=item["hash"], ground="none"))
                configs.setdefault(item["hash"], item["config"])
        incumbent = Identity(**earlier[-1].summary["incumbent"])
        former = {round.summary["incumbent"]["name"] for round in earlier} - {incumbent.name}
        return Situation(
            incumbent=incumbent,
            former=frozenset(former),
            arms=tuple(arms.values()),
            configs=configs,
            trials=self.ledger.trials(),
            seeds=self.seeds,
            steps=self.steps,
            metric=basis.metric,
            direction=basis.direction,
            folder=self.runs,
        )

    # Screening, confirmation, promotion

    def _screen(self, round: Round, basis: Basis, incumbent: Identity) -> list[Review]:
        """Run every variant on the common seeds and return their reviews beside the incumbent."""
        new = [
            self._trial(
                Identity(name=item["name"], hash=item["hash"]), item["config"], seed, kind="variant",
                round=round.number, plan=item,
            )
            for seed in self.seeds
            for item in round.plan["variants"]
        ]  # fmt: skip
        count = len(round.plan["variants"])
        self._complete(new, f"round {round.number}: {count} variant{'s' * (count != 1)} on {len(self.seeds)} seeds")
        ours = self._arm(incumbent, basis, self.seeds)
        reviews = []
        for item in round.plan["variants"]:
            arm = self._arm(Identity(name=item["name"], hash=item["hash"]), basis, self.seeds)
            made = decisions.review(arm, ours, basis.yardstick)
            failed = self._failure(item)
            sign = f" Its sign of failure is there: {item['failed_if']}." if failed else ""
            self._decide(
                "review",
                f"{item['name']} beside {incumbent.name}: {made.reason}.{sign}",
                key=f"r{round.number}/review/{item['name']}",
                round=round.number,
                trial=self._first(item["hash"]),
                evidence={**self._review_evidence(made, arm, ours, item), "remedy_failed": failed},
            )
            reviews.append(made)
        return reviews

    def _candidates(self, round: Round, reviews: Sequence[Review]) -> list[Review]:
        """Return the candidates of a round, in the order in which they are confirmed, as first decided."""
        chosen = decisions.choose_candidates(reviews, self.settings.candidates)
        names = ", ".join(review.variant for review in chosen)
        decision = self._decide(
            "candidate",
            f"To be confirmed on fresh seeds: {names}."
            if chosen
            else "No variant cures a problem or gains more than a standard error of equal runs; nothing is confirmed.",
            key=f"r{round.number}/candidate",
            round=round.number,
            evidence={"candidates": [review.variant for review in chosen]},
        )
        by_name = {review.variant: review for review in reviews}
        return [by_name[name] for name in decision.evidence["candidates"]]

    def _try(
        self, candidate: Review, round: Round, basis: Basis, incumbent: Identity, earlier: Sequence[Round]
    ) -> Identity | None:
        """Confirm a candidate on fresh seeds and promote it; returns it as the new incumbent, or None."""
        item = next(item for item in round.plan["variants"] if item["name"] == candidate.variant)
        fresh = self._fresh_seeds(incumbent.era)
        both = (Identity(name=item["name"], hash=item["hash"]), incumbent)
        new = [
            self._trial(
                identity, self.ledger.config(identity.hash), seed, kind="confirmation", round=round.number, priority=1
            )
            for seed in fresh
            for identity in both
        ]
        self._complete(
            new, f"round {round.number}: {candidate.variant} and {incumbent.name} on {len(fresh)} fresh seeds"
        )
        ours = self._arm(incumbent, basis, fresh)
        arm = self._arm(both[0], basis, fresh)
        made = decisions.review(arm, ours, basis.yardstick)
        verdict = decisions.confirm(candidate, made)
        decision = self._decide(
            "accept" if verdict.accepted else "reject",
            f"{candidate.variant}: {verdict.reason}",
            key=f"r{round.number}/confirm/{candidate.variant}",
            round=round.number,
            trial=self._first(item["hash"]),
            evidence={
                **self._review_evidence(made, arm, ours, item),
                "accepted": verdict.accepted,
                "ground": verdict.ground,
            },
        )
        if not decision.evidence["accepted"]:
            return None
        eras = [Identity(**past.summary["incumbent"]).era for past in earlier]
        successor = Identity(
            name=item["name"], hash=item["hash"], era=1 + max(eras), ground=decision.evidence["ground"]
        )
        return self._promote(successor, incumbent, round, basis, fresh)

    def _promote(
        self, successor: Identity, incumbent: Identity, round: Round, basis: Basis, fresh: Sequence[int]
    ) -> Identity | None:
        """Let both go on to more steps, rung by rung; returns the successor as it stands, or None if it is undone."""
        before = self.steps
        for steps in self.settings.promotion:
            known = Known.of(self.ledger.trials())
            new = [
                self._trial(
                    identity, self.ledger.config(identity.hash), trial.seed, kind="promotion", round=round.number,
                    priority=2, budget=steps, continues=trial.id,
                )
                for pair in zip(*(known.on(i.hash, before, fresh) for i in (successor, incumbent)), strict=True)
                if all(trial.state in ENDED_WELL for trial in pair)  # a pair of which one broke tells nothing more
                for identity, trial in zip((successor, incumbent), pair, strict=True)
            ]  # fmt: skip
            self._complete(new, f"round {round.number}: {successor.name} and {incumbent.name} go on to {steps} steps")
            ours = self._arm(incumbent, basis, fresh, steps)
            arm = self._arm(successor, basis, fresh, steps)
            made = decisions.review(arm, ours, basis.yardstick)
            verdict = decisions.keep_after_promotion(made)
            decision = self._decide(
                "keep" if verdict.accepted else "rollback",
                f"{successor.name}: {verdict.reason}"
                + ("" if verdict.accepted else f" {incumbent.name} is the incumbent again."),
                key=f"r{round.number}/promotion/{successor.name}/{steps}",
                round=round.number,
                trial=self._first(successor.hash),
                evidence={
                    **self._review_evidence(made, arm, ours, {}),
                    "accepted": verdict.accepted,
                    "ground": verdict.ground,
                    "steps": steps,
                },
            )
            if not decision.evidence["accepted"]:
                return None
            before = steps
        return successor

    def _compare_with_baseline(self, basis: Basis, incumbent: Identity, earlier: Sequence[Round]) -> None:
        """Run the last incumbent and the baseline on seeds of their own, where no confirmation has compared the two.

        Gains of several acceptances in a row may not be added up: each was accepted because it looked good.
        """
        accepted = [round for round in earlier[1:] if round.summary["accepted"]]
        if not accepted or Identity(**accepted[-1].plan["incumbent"]).hash == self.baseline.hash:
            return
        fresh = self._fresh_seeds(FINAL_ERA + incumbent.era)
        new = [
            self._trial(identity, self.ledger.config(identity.hash), seed, kind="final", round=earlier[-1].number)
            for seed in fresh
            for identity in (incumbent, self.baseline)
        ]
        room = self._room()
        if room is not None and len(self._missing(new)) > room:
            return  # the report says that there was no room for it
        self._complete(new, f"the end: {incumbent.name} and the baseline on {len(fresh)} fresh seeds")
        ours, arm = self._arm(self.baseline, basis, fresh), self._arm(incumbent, basis, fresh)
        made = decisions.review(arm, ours, basis.yardstick)
        self._decide(
            "final",
            f"{incumbent.name} beside the baseline on fresh seeds: {made.reason}.",
            key=f"final/{incumbent.name}",
            round=earlier[-1].number,
            trial=self._first(incumbent.hash),
            evidence=self._review_evidence(made, arm, ours, {}),
        )

    # Parts

    def _trial(
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
            parent=self._first(plan["parent_hash"]) if plan else None,
            continues=continues,
            rule=plan.get("rule"),
            edits=plan.get("edits", ()),
            reason=plan.get("reason", ""),
            evidence=plan.get("evidence", {}),
        )

    def _complete(self, new: Sequence[NewTrial], what: str) -> list[Trial]:
        """Return the trials, all of them over; while they are not, pause."""
        missing = self._missing(new)
        room = self._room()
        if room is not None and len(missing) > room:
            last = max(item.round or 0 for item in new)
            raise _Pause(self._end_of_trials(f"{what}: {len(missing)} more are needed, {room} are left", last))
        if missing:
            self.tell(f"Now {what} ({len(missing)} new trials).")
        trials = self.ledger.add_trials(new)
        waiting = [trial for trial in trials if trial.state not in OVER]
        if waiting:
            raise _Pause(Waiting(what=what, trials=tuple(trial.id for trial in waiting)))
        return trials

    def _missing(self, new: Sequence[NewTrial]) -> list[NewTrial]:
        return [item for item in new if self.ledger.find(item.config_hash, item.seed, item.budget) is None]

    def _room(self) -> int | None:
        """Return how many more trials the budget allows, or None for any number."""
        allowed = self.settings.budget.trials
        return None if allowed is None else max(0, allowed - self.ledger.status().trials)

    def _arm(self, identity: Identity, basis: Basis, seeds: Sequence[int], steps: int | None = None) -> Arm:
        known = Known.of(self.ledger.trials(config_hash=identity.hash))
        return arm_of(identity.name, known.on(identity.hash, steps or self.steps, seeds), basis.metric)

    def _failure(self, item: Mapping[str, Any]) -> bool | None:
        """Return whether the sign is there by which the rule said that its remedy failed; None: it cannot be told."""
        ours, parents = (
            Known.of(self.ledger.trials(config_hash=key)).on(key, self.steps, self.seeds)
            for key in (item["hash"], item["parent_hash"])
        )
        return failure_occurred(Failure(**item["failure"]), ours, parents)

    def _first(self, config_hash: str) -> int | None:
        """Return the id of the first trial of a config, which stands for it."""
        trials = self.ledger.trials(config_hash=config_hash)
        return trials[0].id if trials else None

    def _fresh_seeds(self, era: int) -> tuple[int, ...]:
        """Return the fresh seeds of an incumbent, which are those of no incumbent before it."""
        used = set(self.seeds)
        count = self.settings.confirm_seeds
        for earlier in range(era % FINAL_ERA + era // FINAL_ERA):
            used |= set(decisions.fresh_seeds(self.settings.seed, earlier, count, used))
        return decisions.fresh_seeds(self.settings.seed, era, count, used)

    @staticmethod
    def _review_evidence(made: Review, arm: Arm, ours: Arm, item: Mapping[str, Any]) -> dict[str, Any]:
        body: dict[str, Any] = plain(made)
        body["scores"] = {str(seed): score for seed, score in sorted(arm.scores.items())}
        body["incumbent_scores"] = {str(seed): score for seed, score in sorted(ours.scores.items())}
        body["failed"] = {str(seed): state for seed, state in sorted(arm.failed.items())}
        body["problems"] = sorted(arm.problems)
        if item:
            body |= {"rule": item["rule"], "failed_if": item["failed_if"]}
        return body

    def _end(self, kind: str, reason: str, round: int) -> Ended:
        key = f"stop/{kind}/r{round}/{self.settings.rounds}/{self.settings.proposer}/{self.settings.budget.trials}"
        self._decide("stop", reason, key=key, round=round, evidence={"kind": kind})
        return Ended(kind=kind, reason=reason)

    def _end_of_trials(self, why: str, round: int) -> Ended:
        total = self.settings.budget.trials
        return self._end("budget", f"The budget of {total} trials does not reach on: {why}.", round)

    def _decide(
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
