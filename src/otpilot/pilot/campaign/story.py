"""A campaign's ledger told as the result that reports show, and the reports written."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from otpilot.analysis.verdict import Verdict, common_scale
from otpilot.analysis.view import is_success
from otpilot.config.edits import Edit
from otpilot.pilot.campaign.advice import next_steps
from otpilot.pilot.campaign.arms import arm_of
from otpilot.pilot.campaign.base import acceptable_metrics
from otpilot.pilot.campaign.books import worked_seconds
from otpilot.pilot.campaign.opening import Opened
from otpilot.pilot.campaign.stages import BASELINE, Campaign, Ended
from otpilot.pilot.campaign.status import read_status
from otpilot.pilot.decisions import resolvable
from otpilot.pilot.ledger import Decision, Ledger, Round, Trial
from otpilot.report.campaign.result import (
    CampaignResult,
    Comparison,
    Contest,
    DecisionLine,
    Edge,
    Incumbent,
    Node,
    Noise,
    RoundResult,
    Standing,
    TrialResult,
    Use,
    VariantResult,
)
from otpilot.runs.metric_names import metric_info

NO_BASIS = "The baseline is not yet measured."


class Story:
    """Tells one campaign from its ledger.

    Args:
        opened: The campaign's folder.
        campaign: Its decisions.
        ended: Why it ended just now; None asks the ledger.
    """

    def __init__(self, opened: Opened, campaign: Campaign, ended: Ended | None = None) -> None:
        self.opened = opened
        self.campaign = campaign
        self.ended = ended
        self.ledger: Ledger = campaign.ledger
        self.rounds = self.ledger.rounds()
        self.decisions = self.ledger.decisions()
        self.trials = self.ledger.trials()
        basis = self._decision("r0/baseline")
        self.basis: Mapping[str, Any] = basis.evidence if basis is not None else {}
        self.metric = str(self.basis.get("metric") or acceptable_metrics(opened.base, opened.settings)[0])

    def tell(self) -> CampaignResult:
        """Return the campaign as reports show it."""
        incumbents = self._incumbents()
        final, final_why = self._final(incumbents)
        rounds = tuple(self._round(round) for round in self.rounds)
        nodes = self._nodes(rounds, incumbents)
        phase, over = self._phase()
        settings = self.opened.settings
        result = CampaignResult(
            name=self.opened.name,
            question=f"What should change in {settings.base}, so that {self.metric} gets better beyond noise?",
            base=settings.base,
            metric=self.metric,
            metric_reason=self._metric_reason(),
            direction="max" if metric_info(self.metric).direction == "max" else "min",
            is_rate=is_success(self.metric),
            generated=time.time(),
            seeds=self.campaign.seeds,
            steps=self.campaign.steps,
            proposer=settings.proposer,
            budget=self._budget(),
            phase=phase,
            over=over,
            noise=self._noise(),
            incumbents=incumbents,
            rounds=rounds,
            nodes=nodes,
            edges=self._edges(),
            trials=tuple(self._trial(trial) for trial in self.trials),
            final=final,
            final_why=final_why,
            next_steps=next_steps(self.opened, self.decisions, nodes, incumbents, over=over),
            notes=self.opened.notes,
            folder=str(self.opened.paths.root),
        )
        return result

    # The whole

    def _metric_reason(self) -> str:
        chosen = "campaign.toml asks for it" if self.opened.settings.metric != "auto" else ""
        if is_success(self.metric):
            return chosen or "the base config has an environment and is evaluated in it while training"
        told = chosen or "the base config has no environment that is evaluated while training"
        return f"{told}; a loss on held-out episodes can rank methods backwards, so confirm success in closed loop"

    def _phase(self) -> tuple[str, str]:
        if self.ended is not None:
            return "over", self.ended.reason
        found = read_status(self.ledger, self.opened.paths, self.opened.settings)
        return found.phase, found.stopped or ""

    def _budget(self) -> tuple[Use, ...]:
        budget, status = self.opened.settings.budget, self.ledger.status()
        return (
            Use(what="hours", used=worked_seconds(self.ledger) / 3600, allowed=budget.hours),
            Use(what="trials", used=status.trials, allowed=budget.trials),
            Use(what="GPU-hours", used=status.gpu_seconds / 3600, allowed=budget.gpu_hours),
        )

    def _noise(self) -> Noise:
        confirm = self.opened.settings.confirm_seeds
        if not self.basis:
            scale = common_scale([1.0], rates=is_success(self.metric))
            return Noise(scale=scale, deviation=None, confirm_seeds=confirm, why=NO_BASIS)
        deviation = self.basis["noise"]
        return Noise(
            scale=self.basis["scale"],
            deviation=deviation,
            scores=_by_seed(self.basis["scores"]),
            resolvable=resolvable(deviation, confirm),
            confirm_seeds=confirm,
            why="" if deviation is not None else "Too few baseline runs have a score.",
        )

    def _incumbents(self) -> tuple[Incumbent, ...]:
        line: list[Incumbent] = []
        if self.basis:
            reason = self._decision("r0/baseline")
            line.append(
                Incumbent(
                    name=BASELINE,
                    round=0,
                    ground="baseline",
                    reason=reason.reason if reason else NO_BASIS,
                    score=self._mean(self.campaign.baseline.hash),
                )
            )
        for round in self.rounds[1:]:
            if not round.summary.get("accepted"):
                continue
            found = round.summary["incumbent"]
            accepted = self._decision(f"r{round.number}/confirm/{found['name']}")
            line.append(
                Incumbent(
                    name=found["name"],
                    round=round.number,
                    ground=found["ground"],
                    reason=accepted.reason if accepted else f"accepted in round {round.number}",
                    score=self._mean(found["hash"]),
                )
            )
        return tuple(line)

    def _final(self, incumbents: Sequence[Incumbent]) -> tuple[Comparison | None, str]:
        """Return the last incumbent beside the baseline on fresh seeds, or why there is no such comparison."""
        if len(incumbents) < 2:
            return None, "The baseline is still the incumbent." if incumbents else NO_BASIS
        last = incumbents[-1]
        decision = self._decision(f"final/{last.name}")
        if decision is None and len(incumbents) == 2:
            decision = self._decision(f"r{last.round}/confirm/{last.name}")
        if decision is None:
            return None, "The incumbent and the baseline have not yet run on common fresh seeds."
        return self._comparison(decision, steps=self.campaign.steps, fresh=True), ""

    # Rounds

    def _round(self, round: Round) -> RoundResult:
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
        review = self._decision(f"r{number}/review/{item['name']}")
        candidate = self._decision(f"r{number}/candidate")
        trials = [t for t in self.trials if t.config_hash == item["hash"] and t.budget == self.campaign.steps]
        return VariantResult(
            name=item["name"],
            parent=item["parent"],
            edits=_edit_words(item),
            reason=item["reason"],
            rule=item["rule"],
            source=item["source"],
            evidence={key: value for key, value in item["evidence"].items() if value is not None},
            expected=item["expected"],
            failed_if=item["failed_if"],
            remedy_failed=None if review is None else review.evidence.get("remedy_failed"),
            candidate=candidate is not None and item["name"] in candidate.evidence["candidates"],
            review=None if review is None else self._comparison(review, steps=self.campaign.steps, fresh=False),
            trials=tuple(self._trial(t) for t in trials if t.seed in self.campaign.seeds),
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
            compared=self._comparison(decision, steps=int(found.get("steps", self.campaign.steps)), fresh=True),
            accepted=bool(found["accepted"]),
            ground=found["ground"],
            reason=decision.reason,
        )

    def _comparison(self, decision: Decision, *, steps: int, fresh: bool) -> Comparison:
        found = decision.evidence
        return Comparison(
            ours=found["variant"],
            other=found["incumbent"],
            steps=steps,
            verdict=Verdict(**found["verdict"]),
            scores=_by_seed(found["scores"]),
            other_scores=_by_seed(found["incumbent_scores"]),
            ends={int(seed): state for seed, state in found["failed"].items()},
            cured=tuple(found["cured"]),
            caught=tuple(found["caught"]),
            fresh=fresh,
            reason=found["reason"],
        )

    # Configs and trials

    def _nodes(self, rounds: Sequence[RoundResult], incumbents: Sequence[Incumbent]) -> tuple[Node, ...]:
        names = [incumbent.name for incumbent in incumbents]
        nodes = [self._node(BASELINE, self.campaign.baseline.hash, 0, "baseline")]
        for round, told in zip(self.rounds[1:], rounds[1:], strict=True):
            for item, variant in zip(round.plan["variants"], told.variants, strict=True):
                standing = _standing(variant, told, names)
                nodes.append(self._node(item["name"], item["hash"], round.number, standing))
        last = names[-1] if names else BASELINE
        return tuple(
            Node(**{**vars(node), "standing": "incumbent"}) if node.name == last and last != BASELINE else node
            for node in nodes
        )

    def _node(self, name: str, config_hash: str, number: int, standing: Standing) -> Node:
        trials = self._on_seeds(config_hash)
        arm = arm_of(name, trials, self.metric)
        why = "" if arm.mean is not None else _why(trials)
        return Node(
            name=name, standing=standing, round=number, score=arm.mean, why=why, problems=tuple(sorted(arm.problems))
        )

    def _edges(self) -> tuple[Edge, ...]:
        return tuple(
            Edge(parent=item["parent"], child=item["name"], edits=_edit_words(item), rule=item["rule"])
            for round in self.rounds[1:]
            for item in round.plan["variants"]
        )

    def _trial(self, trial: Trial) -> TrialResult:
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

    def _on_seeds(self, config_hash: str) -> list[Trial]:
        steps, seeds = self.campaign.steps, self.campaign.seeds
        return [t for t in self.trials if t.config_hash == config_hash and t.budget == steps and t.seed in seeds]

    def _mean(self, config_hash: str) -> float | None:
        return arm_of("", self._on_seeds(config_hash), self.metric).mean

    def _decision(self, key: str) -> Decision | None:
        return next((decision for decision in self.decisions if decision.key == key), None)


def write_reports(
    opened: Opened, campaign: Campaign, ended: Ended | None = None, *, console: Console | None = None
) -> list[Path]:
    """Write the campaign's reports as it stands and return their paths; with a console, show its essence there."""
    from otpilot.report.campaign.html import write_html
    from otpilot.report.campaign.markdown import write_markdown
    from otpilot.report.campaign.terminal import render

    result = Story(opened, campaign, ended).tell()
    folder = opened.paths.reports
    last = max((round.number for round in result.rounds if round.finished is not None), default=0)
    written = [folder / "report.md", folder / "report.html"]
    write_markdown(result, written[0])
    write_html(result, written[1])
    if result.rounds:
        kept = folder / f"round_{last}.md"
        write_markdown(result, kept)
        written.append(kept)
    if console is not None:
        console.print(render(result))
    return written


def _standing(variant: VariantResult, round: RoundResult, incumbents: Sequence[str]) -> Standing:
    """Return what became of a variant, by its review and the contests of its round."""
    contests = [contest for contest in round.contests if contest.compared.ours == variant.name]
    if any(contest.kind == "promotion" and not contest.accepted for contest in contests):
        return "rolled back"
    if variant.name in incumbents:
        return "former"
    if any(not contest.accepted for contest in contests):
        return "not confirmed"
    if variant.review is None or round.finished is None:
        return "running"
    return "broken" if not variant.review.scores else "rejected"


def _edit_words(item: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(Edit(**edit)) for edit in item["edits"])


def _by_seed(scores: Mapping[str, float]) -> dict[int, float]:
    return {int(seed): float(score) for seed, score in scores.items()}


def _why(trials: Sequence[Trial]) -> str:
    ends = [f"seed {t.seed}: {t.state}" + (f" ({t.end_reason})" if t.end_reason else "") for t in trials]
    return "; ".join(ends) or "its trials have not begun"
