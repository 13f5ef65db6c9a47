"""One round's proposals: who is derived from, what is asked, and the plan that the ledger keeps of the answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otpilot.config.plain import plain
from otpilot.pilot.campaign.arms import Identity, Known, parent_of
from otpilot.pilot.campaign.settings import CampaignSettings
from otpilot.pilot.ledger import Trial
from otpilot.pilot.parents import ChosenParent, Parent, choose_parents
from otpilot.pilot.proposers import LEARNING, Request, observe, propose
from otpilot.pilot.rules import Rule
from otpilot.pilot.variants import Batch, TrialKey, Variant, lineage
from otpilot.runs.metric_names import Direction


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known when a round is planned: all arms that were screened, by identity, with their configs.

    `former` names the incumbents before this one.
    """

    incumbent: Identity
    arms: Sequence[Identity]
    configs: Mapping[str, Mapping[str, Any]]
    trials: Sequence[Trial]
    seeds: tuple[int, ...]
    steps: int
    metric: str
    direction: Direction
    former: frozenset[str] = frozenset()
    folder: Path | None = None


def choose(situation: Situation, settings: CampaignSettings) -> tuple[ChosenParent, ...]:
    """Return whom to derive from: the incumbent; where it has no problem left, also the run whose problems tell most.

    With fewer than three variants in a round there is room for the incumbent only, and what learns from the scores of
    all runs has no use for a second one.
    """
    parents = _parents(situation)
    ours = next(parent for parent in parents if parent.id == situation.incumbent.name)
    chosen = ChosenParent(parent=ours, reason=_why_incumbent(ours, situation))
    if settings.variants < 3 or settings.proposer in LEARNING or _problems(ours):
        return (chosen,)
    # What former incumbents suffered from is cured, or it would be the incumbent's problem still.
    cured = frozenset(tag for parent in parents if parent.id in situation.former for tag in _problems(parent))
    others = [parent for parent in parents if parent.id != ours.id and _problems(parent) - cured]
    return (chosen, *choose_parents(others, how=("problem",), limit=1))


def plan_round(
    situation: Situation, settings: CampaignSettings, rules: Sequence[Rule], *, limit: int
) -> dict[str, Any]:
    """Return the plan of a round as plain data: parents with reasons, variants with lineage, what was refused."""
    chosen = choose(situation, settings)
    batch = propose(
        Request(
            parents=tuple(item.parent for item in chosen),
            limit=limit,
            seeds=situation.seeds,
            budget=situation.steps,
            known=frozenset(TrialKey(t.config_hash, t.seed, t.budget) for t in situation.trials),
            only="ot" if settings.only == "ot" else "bc" if settings.only == "bc" else None,
            rules=rules,
            observations=observe(_parents(situation)),
            sampler_seed=settings.seed,
            carry=False,  # scores are means over evaluations, so all trials are evaluated as campaign.toml says
        ),
        settings.proposer,
    )
    taken = {trial.name: trial.config_hash for trial in situation.trials}
    variants = [_variant_plan(group, situation, taken) for group in _by_config(batch)]
    return {
        "incumbent": situation.incumbent.plain(),
        "proposer": settings.proposer,
        "seeds": list(situation.seeds),
        "steps": situation.steps,
        "parents": [{"name": item.parent.id, "reason": item.reason} for item in chosen],
        "variants": variants,
        "refused": [{"parent": r.parent, "rule": r.rule, "reason": r.reason} for r in batch.refused],
        "advice": [{"rule": a.rule, "reason": a.reason, "edits": [str(e) for e in a.edits]} for a in batch.advice],
        "notes": list(batch.notes),
    }


def _parents(situation: Situation) -> list[Parent]:
    known = Known.of(situation.trials)
    return [
        parent_of(
            identity,
            known.on(identity.hash, situation.steps, situation.seeds),
            situation.configs[identity.hash],
            metric=situation.metric,
            direction=situation.direction,
            folder=situation.folder,
        )
        for identity in situation.arms
    ]


def _problems(parent: Parent) -> frozenset[str]:
    return frozenset(finding.tag for finding in parent.findings if finding.severity == "problem")


def _why_incumbent(parent: Parent, situation: Situation) -> str:
    tags = [f.tag for f in parent.findings if f.severity == "problem"]
    tags = tags or [f.tag for f in parent.findings if f.severity == "warning"]
    score = "" if parent.score is None else f", {situation.metric} {parent.score:.4g}"
    return f"the incumbent{score}; " + (f"it has {', '.join(tags)}" if tags else "nothing is found wrong with it")


def _by_config(batch: Batch) -> list[list[Variant]]:
    groups: dict[str, list[Variant]] = {}
    for variant in batch.variants:
        groups.setdefault(variant.key.config_hash, []).append(variant)
    return list(groups.values())


def _variant_plan(group: Sequence[Variant], situation: Situation, taken: Mapping[str, str]) -> dict[str, Any]:
    """Return one variant with its lineage; a name that another config has got is told apart by the variant's id."""
    first = group[0]
    name = first.name
    if taken.get(name, first.key.config_hash) != first.key.config_hash:
        name = f"{name}_{first.id}"
    told = lineage(first)
    del told["seed"], told["budget"], told["config_hash"]
    parents = {identity.name: identity.hash for identity in situation.arms}
    return {
        **told,
        "name": name,
        "hash": first.key.config_hash,
        "parent_hash": parents[first.parent],
        "seeds": [variant.key.seed for variant in group],
        "config": plain({**first.config, "job_name": name}),
    }
