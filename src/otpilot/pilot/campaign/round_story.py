"""The rounds of a campaign as reports show them: variants, contests, comparisons, trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from otpilot.analysis.verdict import Verdict
from otpilot.config.edits import Edit
from otpilot.pilot.ledger import Decision, Round, Trial
from otpilot.report.campaign.result import (
    Comparison,
    Contest,
    DecisionLine,
    RoundResult,
    TrialResult,
    VariantResult,
)


@dataclass(frozen=True, kw_only=True)
class RoundStory:
    """Tells the rounds of one campaign from what its ledger holds."""

    decisions: Sequence[Decision]
    trials: Sequence[Trial]
    seeds: Sequence[int]
    steps: int
    metric: str

    def round(self, round: Round) -> RoundResult:
        """Return a round: what was tried and why, and what was decided."""
        plan, number = round.plan, round.number
        before = plan.get("incumbent", plan.get("baseline"))["name"]
        after = round.summary.get("incumbent", {"name": before})["name"]
        decisions = [d for d in self.decisions if d.round == number]
        return RoundResult(
            number=number,
            started=round.started,
            finished=round.finished,
            incumbent_before=before,
            incumbent_after=after,
            parents=tuple((p["name"], p["reason"]) for p in plan.get("parents", ())),
            variants=tuple(self._variant(item, number) for item in plan.get("variants", ())),
            refused=tuple(f"{r['rule'] or r['parent']}: {r['reason']}" for r in plan.get("refused", ())),
            advice=tuple(f"{a['rule']}: {'; '.join(a['edits'])}. {a['reason']}" for a in plan.get("advice", ())),
            contests=tuple(contest for d in decisions if (contest := self._contest(d)) is not None),
            decisions=tuple(DecisionLine(kind=d.kind, reason=d.reason, time=d.time) for d in decisions),
        )

    def _variant(self, item: Mapping[str, Any], number: int) -> VariantResult:
        review = self.decision(f"r{number}/review/{item['name']}")
        candidate = self.decision(f"r{number}/candidate")
        trials = [t for t in self.trials if t.config_hash == item["hash"] and t.budget == self.steps]
        return VariantResult(
            name=item["name"],
            parent=item["parent"],
            edits=edit_words(item),
            reason=item["reason"],
            rule=item["rule"],
            source=item["source"],
            evidence={key: value for key, value in item["evidence"].items() if value is not None},
            expected=item["expected"],
            failed_if=item["failed_if"],
            remedy_failed=None if review is None else review.evidence.get("remedy_failed"),
            candidate=candidate is not None and item["name"] in candidate.evidence["candidates"],
            review=None if review is None else self.comparison(review, steps=self.steps, fresh=False),
            trials=tuple(self.trial(t) for t in trials if t.seed in self.seeds),
        )

    def _contest(self, decision: Decision) -> Contest | None:
        kinds: dict[str, Literal["confirmation", "promotion"]] = {
            "accept": "confirmation",
            "reject": "confirmation",
            "keep": "promotion",
            "rollback": "promotion",
        }
        if decision.kind not in kinds:
            return None
        found = decision.evidence
        return Contest(
            kind=kinds[decision.kind],
            compared=self.comparison(decision, steps=int(found.get("steps", self.steps)), fresh=True),
            accepted=bool(found["accepted"]),
            ground=found["ground"],
            reason=decision.reason,
        )

    def comparison(self, decision: Decision, *, steps: int, fresh: bool) -> Comparison:
        """Return what a decision compared."""
        found = decision.evidence
        return Comparison(
            ours=found["variant"],
            other=found["incumbent"],
            steps=steps,
            verdict=Verdict(**found["verdict"]),
            scores=by_seed(found["scores"]),
            other_scores=by_seed(found["incumbent_scores"]),
            ends={int(seed): state for seed, state in found["failed"].items()},
            cured=tuple(found["cured"]),
            caught=tuple(found["caught"]),
            fresh=fresh,
            reason=found["reason"],
        )

    def trial(self, trial: Trial) -> TrialResult:
        """Return a trial."""
        points = trial.metrics.get("curves", {}).get(self.metric, ())
        score = trial.metrics.get("scores", {}).get(self.metric) if trial.score is not None else None
        return TrialResult(
            name=trial.folder_name,
            arm=trial.name,
            kind=trial.kind,
            seed=trial.seed,
            steps=trial.budget,
            state=trial.state,
            round=trial.round or 0,
            score=score,
            why=trial.end_reason or ("" if score is not None else f"it is {trial.state}"),
            last_step=trial.last_step,
            seconds=trial.seconds,
            attempts=trial.attempts,
            curve=tuple((int(step), float(value)) for step, value in points),
        )

    def decision(self, key: str) -> Decision | None:
        """Return the decision with a key, or None."""
        return next((decision for decision in self.decisions if decision.key == key), None)


def edit_words(item: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the edits of a variant in its round's plan, as words."""
    return tuple(str(Edit(**edit)) for edit in item["edits"])


def by_seed(scores: Mapping[str, float]) -> dict[int, float]:
    """Return scores by seed; JSON makes their keys words."""
    return {int(seed): float(score) for seed, score in scores.items()}
