"""Two arms on fresh seeds: a candidate against the incumbent, both on more steps, and the last against the baseline."""

from collections.abc import Sequence

from otpilot.pilot import decisions
from otpilot.pilot.campaign.answers import FINAL_ERA, Basis
from otpilot.pilot.campaign.arms import ENDED_WELL, Identity, Known
from otpilot.pilot.campaign.desk import Desk, review_evidence
from otpilot.pilot.campaign.outage import settle_crashes
from otpilot.pilot.decisions import Review
from otpilot.pilot.ledger import Round


class Contests:
    """The contests of one campaign.

    Args:
        desk: The campaign's ledger.
        basis: What its baseline settled.
        baseline: The baseline itself.
    """

    def __init__(self, desk: Desk, basis: Basis, baseline: Identity) -> None:
        self.desk = desk
        self.basis = basis
        self.baseline = baseline

    def confirm(
        self, candidate: Review, round: Round, incumbent: Identity, earlier: Sequence[Round]
    ) -> Identity | None:
        """Confirm a candidate on fresh seeds and promote it; returns it as the new incumbent, or None."""
        item = next(item for item in round.plan["variants"] if item["name"] == candidate.variant)
        fresh = self.desk.fresh_seeds(incumbent.era)
        both = (Identity(name=item["name"], hash=item["hash"]), incumbent)
        new = [
            self.desk.trial(
                identity,
                self.desk.ledger.config(identity.hash),
                seed,
                kind="confirmation",
                round=round.number,
                priority=1,
            )
            for seed in fresh
            for identity in both
        ]
        what = f"round {round.number}: {candidate.variant} and {incumbent.name} on {len(fresh)} fresh seeds"
        settle_crashes(self.desk, self.desk.complete(new, what), incumbent, what)
        ours = self.desk.arm(incumbent, self.basis, fresh)
        arm = self.desk.arm(both[0], self.basis, fresh)
        made = decisions.review(arm, ours, self.basis.yardstick)
        verdict = decisions.confirm(candidate, made)
        decision = self.desk.decide(
            "accept" if verdict.accepted else "reject",
            f"{candidate.variant}: {verdict.reason}",
            key=f"r{round.number}/confirm/{candidate.variant}",
            round=round.number,
            trial=self.desk.first(item["hash"]),
            evidence={
                **review_evidence(made, arm, ours, item),
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
        return self._promote(successor, incumbent, round, fresh)

    def _promote(self, successor: Identity, incumbent: Identity, round: Round, fresh: Sequence[int]) -> Identity | None:
        """Let both go on to more steps, rung by rung; returns the successor as it stands, or None if it is undone."""
        before = self.desk.steps
        for steps in self.desk.settings.promotion:
            known = Known.of(self.desk.ledger.trials())
            # By seed: the incumbent may have gone on already beside another candidate, on seeds that this one lacks.
            both = [{trial.seed: trial for trial in known.on(i.hash, before, fresh)} for i in (successor, incumbent)]
            new = [
                self.desk.trial(
                    identity, self.desk.ledger.config(identity.hash), trial.seed, kind="promotion", round=round.number,
                    priority=2, budget=steps, continues=trial.id,
                )
                for seed in fresh
                if all(seed in arm and arm[seed].state in ENDED_WELL for arm in both)  # half a pair tells nothing more
                for identity, trial in zip((successor, incumbent), (arm[seed] for arm in both), strict=True)
            ]  # fmt: skip
            what = f"round {round.number}: {successor.name} and {incumbent.name} go on to {steps} steps"
            settle_crashes(self.desk, self.desk.complete(new, what), incumbent, what)
            ours = self.desk.arm(incumbent, self.basis, fresh, steps)
            arm = self.desk.arm(successor, self.basis, fresh, steps)
            made = decisions.review(arm, ours, self.basis.yardstick)
            verdict = decisions.keep_after_promotion(made, successor.ground)
            decision = self.desk.decide(
                "keep" if verdict.accepted else "rollback",
                f"{successor.name}: {verdict.reason}"
                + ("" if verdict.accepted else f" {incumbent.name} is the incumbent again."),
                key=f"r{round.number}/promotion/{successor.name}/{steps}",
                round=round.number,
                trial=self.desk.first(successor.hash),
                evidence={
                    **review_evidence(made, arm, ours, {}),
                    "accepted": verdict.accepted,
                    "ground": verdict.ground,
                    "steps": steps,
                },
            )
            if not decision.evidence["accepted"]:
                return None
            before = steps
        return successor

    def compare_with_baseline(self, incumbent: Identity, earlier: Sequence[Round]) -> None:
        """Run the last incumbent and the baseline on seeds of their own, where no confirmation has compared the two.

        Gains of several acceptances in a row may not be added up: each was accepted because it looked good.
        """
        accepted = [round for round in earlier[1:] if round.summary["accepted"]]
        if not accepted or Identity(**accepted[-1].plan["incumbent"]).hash == self.baseline.hash:
            return
        fresh = self.desk.fresh_seeds(FINAL_ERA + incumbent.era)
        new = [
            self.desk.trial(
                identity, self.desk.ledger.config(identity.hash), seed, kind="final", round=earlier[-1].number
            )
            for seed in fresh
            for identity in (incumbent, self.baseline)
        ]
        room = self.desk.room()
        if room is not None and len(self.desk.missing(new)) > room:
            return  # the report says that there was no room for it
        what = f"the end: {incumbent.name} and the baseline on {len(fresh)} fresh seeds"
        settle_crashes(self.desk, self.desk.complete(new, what), incumbent, what)
        ours, arm = self.desk.arm(self.baseline, self.basis, fresh), self.desk.arm(incumbent, self.basis, fresh)
        made = decisions.review(arm, ours, self.basis.yardstick)
        self.desk.decide(
            "final",
            f"{incumbent.name} beside the baseline on fresh seeds: {made.reason}.",
            key=f"final/{incumbent.name}",
            round=earlier[-1].number,
            trial=self.desk.first(incumbent.hash),
            evidence=review_evidence(made, arm, ours, {}),
        )
