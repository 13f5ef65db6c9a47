"""A campaign's ledger told as the result that reports show."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from otpilot.analysis.verdict import common_scale
from otpilot.analysis.view import is_success
from otpilot.pilot.campaign.advice import next_steps
from otpilot.pilot.campaign.answers import Ended
from otpilot.pilot.campaign.arms import arm_of
from otpilot.pilot.campaign.base import acceptable_metrics
from otpilot.pilot.campaign.books import worked_seconds
from otpilot.pilot.campaign.opening import Opened
from otpilot.pilot.campaign.round_story import RoundStory, by_seed, edit_words
from otpilot.pilot.campaign.stages import BASELINE, Campaign
from otpilot.pilot.campaign.status import read_status
from otpilot.pilot.decisions import resolvable
from otpilot.pilot.ledger import Ledger, Trial
from otpilot.report.campaign.result import (
    CampaignResult,
    Comparison,
    Edge,
    Incumbent,
    Node,
    Noise,
    RoundResult,
    Standing,
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
        basis = next((decision for decision in self.decisions if decision.key == "r0/baseline"), None)
        self.basis: Mapping[str, Any] = basis.evidence if basis is not None else {}
        self.metric = str(self.basis.get("metric") or acceptable_metrics(opened.base, opened.settings)[0])
        self.told = RoundStory(
            decisions=self.decisions, trials=self.trials, seeds=campaign.seeds, steps=campaign.steps, metric=self.metric
        )

    def tell(self) -> CampaignResult:
        """Return the campaign as reports show it."""
        incumbents = self._incumbents()
        final, final_why = self._final(incumbents)
        rounds = tuple(self.told.round(round) for round in self.rounds)
        phase, over = self._phase()
        nodes = self._nodes(rounds, incumbents, over=bool(over))
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
            trials=tuple(self.told.trial(trial) for trial in self.trials),
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
            scores=by_seed(self.basis["scores"]),
            resolvable=resolvable(deviation, confirm),
            confirm_seeds=confirm,
            why="" if deviation is not None else "Too few baseline runs have a score.",
        )

    def _incumbents(self) -> tuple[Incumbent, ...]:
        line: list[Incumbent] = []
        if self.basis:
            reason = self.told.decision("r0/baseline")
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
            accepted = self.told.decision(f"r{round.number}/confirm/{found['name']}")
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
        decision = self.told.decision(f"final/{last.name}")
        if decision is None and len(incumbents) == 2:
            decision = self.told.decision(f"r{last.round}/confirm/{last.name}")
        if decision is None:
            return None, "The incumbent and the baseline have not yet run on common fresh seeds."
        return self.told.comparison(decision, steps=self.campaign.steps, fresh=True), ""

    # Configs and trials

    def _nodes(self, rounds: Sequence[RoundResult], incumbents: Sequence[Incumbent], *, over: bool) -> tuple[Node, ...]:
        names = [incumbent.name for incumbent in incumbents]
        nodes = [self._node(BASELINE, self.campaign.baseline.hash, 0, "baseline")]
        for round, told in zip(self.rounds[1:], rounds[1:], strict=True):
            for item, variant in zip(round.plan["variants"], told.variants, strict=True):
                standing = _standing(variant, told, names, over=over)
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
            Edge(parent=item["parent"], child=item["name"], edits=edit_words(item), rule=item["rule"])
            for round in self.rounds[1:]
            for item in round.plan["variants"]
        )

    def _on_seeds(self, config_hash: str) -> list[Trial]:
        steps, seeds = self.campaign.steps, self.campaign.seeds
        return [t for t in self.trials if t.config_hash == config_hash and t.budget == steps and t.seed in seeds]

    def _mean(self, config_hash: str) -> float | None:
        return arm_of("", self._on_seeds(config_hash), self.metric).mean


def _standing(variant: VariantResult, round: RoundResult, incumbents: Sequence[str], *, over: bool) -> Standing:
    """Return what became of a variant, by its review and the contests of its round."""
    contests = [contest for contest in round.contests if contest.compared.ours == variant.name]
    if any(contest.kind == "promotion" and not contest.accepted for contest in contests):
        return "rolled back"
    if variant.name in incumbents:
        return "former"
    if any(not contest.accepted for contest in contests):
        return "not confirmed"
    if variant.review is None or round.finished is None:
        return "not decided" if over else "running"
    return "broken" if not variant.review.scores else "rejected"


def _why(trials: Sequence[Trial]) -> str:
    ends = [f"seed {t.seed}: {t.state}" + (f" ({t.end_reason})" if t.end_reason else "") for t in trials]
    return "; ".join(ends) or "its trials have not begun"
