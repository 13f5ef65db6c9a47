"""A campaign as a walk through stages, each derived from the ledger alone.

`advance` does everything that can be done now and says what is waited for. Killed between any two statements and
called again, by this pilot or another, it comes to the same: rounds, trials and decisions have keys, the first one
written stays, and what is read back counts, not what would be worked out today.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from otpilot.analysis.verdict import common_scale
from otpilot.analysis.view import is_success
from otpilot.config.plain import plain
from otpilot.pilot import decisions
from otpilot.pilot.campaign.answers import Basis, Ended, Pause, Waiting
from otpilot.pilot.campaign.arms import Identity, arm_of
from otpilot.pilot.campaign.base import acceptable_metrics, trial_hash, trial_seeds
from otpilot.pilot.campaign.contests import Contests
from otpilot.pilot.campaign.desk import Desk, review_evidence
from otpilot.pilot.campaign.outage import BASELINE_FAILED, settle_crashes
from otpilot.pilot.campaign.proposing import Situation, plan_round
from otpilot.pilot.campaign.settings import CampaignSettings
from otpilot.pilot.decisions import Review, RoundOutcome
from otpilot.pilot.ledger import Ledger, Round, Trial
from otpilot.pilot.rules import RULES, Rule
from otpilot.runs.counting import counted
from otpilot.runs.metric_names import metric_info

BASELINE = "baseline"


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
        self.desk = Desk(ledger, settings, seeds=self.seeds, tell=tell)
        self.baseline = Identity(name=BASELINE, hash=trial_hash(base, seed=self.seeds[0], budget=self.steps))

    def advance(self) -> Waiting | Ended:
        """Do what can be done now, and return what is waited for, or why it is over."""
        try:
            basis = self._baseline_round()
            number = 1
            while True:
                self._round(number, basis)
                number += 1
        except Pause as pause:
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
        new = [self.desk.trial(self.baseline, self.base, seed, kind="baseline", round=0) for seed in self.seeds]
        trials = self.desk.complete(new, "the baseline, repeated on every seed to know the noise")
        metric = next((name for name in plan["metrics"] if self._all_have(trials, name)), plan["metrics"][0])
        arm = arm_of(BASELINE, trials, metric)
        if len(arm.scores) < 2:
            ends = "; ".join(f"seed {t.seed}: {t.state} ({t.end_reason})" for t in trials if t.seed in arm.failed)
            raise Pause(
                self.desk.end(BASELINE_FAILED, f"The baseline has {len(arm.scores)} scores, two are needed. {ends}", 0)
            )
        rates = is_success(metric)
        noise = decisions.measure_noise(list(arm.scores.values()), rates=rates)
        scale = common_scale(list(arm.scores.values()), rates=rates)
        told = ", ".join(f"{score:.4g} (seed {seed})" for seed, score in sorted(arm.scores.items()))
        unit = "of the score" if scale == "log" else "points"
        shown = "not known" if noise is None else f"{100 * noise:.2g} {'% ' if scale == 'log' else ''}{unit}"
        decision = self.desk.decide(
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
            kept = self._contests(basis).confirm(candidate, found, incumbent, earlier)
            if kept is not None:
                summary |= {"incumbent": kept.plain(), "accepted": True}
                break
        self.ledger.finish_round(number, summary)
        self.tell(f"Round {number} is over; the incumbent is {summary['incumbent']['name']}.")

    def _stop_if_done(self, number: int, basis: Basis, earlier: Sequence[Round]) -> None:
        """End the campaign if there is a reason to, before a new round begins."""
        incumbent = Identity(**earlier[-1].summary["incumbent"])
        arm = self.desk.arm(incumbent, basis, self.seeds)
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
            self._contests(basis).compare_with_baseline(incumbent, earlier)
            raise Pause(self.desk.end(stop.kind, stop.reason, number - 1))

    def _begin(self, number: int, basis: Basis, earlier: Sequence[Round]) -> Round:
        """Return the round, begun with a plan; nothing new to propose ends the campaign."""
        limit = self.settings.variants
        room = self.desk.room()
        if room is not None:
            limit = min(limit, room // len(self.seeds))
            if limit < 1:
                raise Pause(self.desk.end_of_trials(f"no variant of round {number} fits in it", number - 1))
        situation = self._situation(basis, earlier)
        plan = plan_round(situation, self.settings, self.rules, limit=limit)
        if not plan["variants"]:
            refused = "; ".join(item["reason"] for item in plan["refused"][:3])
            why = f" Refused: {refused}" if refused else ""
            reason = f"The proposer {self.settings.proposer} has nothing new for {situation.incumbent.name}.{why}"
            self._contests(basis).compare_with_baseline(situation.incumbent, earlier)
            raise Pause(self.desk.end("exhausted", reason, number - 1))
        begun = self.ledger.begin_round(number, plan)
        names = ", ".join(item["name"] for item in begun.plan["variants"])
        self.desk.decide(
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
            self.desk.trial(
                Identity(name=item["name"], hash=item["hash"]), item["config"], seed, kind="variant",
                round=round.number, plan=item,
            )
            for seed in self.seeds
            for item in round.plan["variants"]
        ]  # fmt: skip
        count = len(round.plan["variants"])
        what = f"round {round.number}: {counted(count, 'variant')} on {len(self.seeds)} seeds"
        settle_crashes(self.desk, self.desk.complete(new, what), incumbent, what)
        ours = self.desk.arm(incumbent, basis, self.seeds)
        reviews = []
        for item in round.plan["variants"]:
            arm = self.desk.arm(Identity(name=item["name"], hash=item["hash"]), basis, self.seeds)
            made = decisions.review(arm, ours, basis.yardstick)
            failed = self.desk.failure(item)
            sign = f" Its sign of failure is there: {item['failed_if']}." if failed else ""
            self.desk.decide(
                "review",
                f"{item['name']} beside {incumbent.name}: {made.reason}.{sign}",
                key=f"r{round.number}/review/{item['name']}",
                round=round.number,
                trial=self.desk.first(item["hash"]),
                evidence={**review_evidence(made, arm, ours, item), "remedy_failed": failed},
            )
            reviews.append(made)
        return reviews

    def _candidates(self, round: Round, reviews: Sequence[Review]) -> list[Review]:
        """Return the candidates of a round, in the order in which they are confirmed, as first decided."""
        chosen = decisions.choose_candidates(reviews, self.settings.candidates)
        names = ", ".join(review.variant for review in chosen)
        decision = self.desk.decide(
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

    def _contests(self, basis: Basis) -> Contests:
        return Contests(self.desk, basis, self.baseline)
