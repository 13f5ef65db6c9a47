"""Variants: proposals applied to parents, named, checked against what is known, written with their lineage."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from otpilot.config.compat import translate
from otpilot.config.edits import Change, Edit, apply, config_hash
from otpilot.config.plain import plain
from otpilot.errors import ConfigError
from otpilot.pilot.naming import short_id, variant_name
from otpilot.pilot.parents import Parent
from otpilot.pilot.proposal import Failure, Group, Proposal
from otpilot.runs.writer import write_json_atomically

LINEAGE_SUFFIX = ".lineage.json"
DEFAULT_SEED = 1000
DEFAULT_STEPS = 100_000
"""LeRobot's defaults, of the seed and of the steps."""
OWN_NAMES = ("output_dir", "job_name", "resume", "checkpoint_path")
"""Keys of a parent that a variant must not take over: its folder, its name, its resuming."""


class TrialKey(NamedTuple):
    """What makes two trials one: canonical hash of the config, seed, and steps (None: not decided yet)."""

    config_hash: str
    seed: int
    budget: int | None = None


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A config to try: where it comes from, what was changed and why. `config` is in today's form, with its seed."""

    name: str
    config: Mapping[str, Any]
    key: TrialKey
    parent: str
    proposal: Proposal
    changes: tuple[Change, ...]
    carried: tuple[Edit, ...] = ()

    @property
    def id(self) -> str:
        """Four characters that tell it from others."""
        return short_id("/".join(map(str, self.key)))


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A proposal of which no variant was made, and why."""

    parent: str
    rule: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What came of some proposals. `advice` holds those that change nothing that is learned; variants carry them."""

    variants: tuple[Variant, ...] = ()
    refused: tuple[Refusal, ...] = ()
    advice: tuple[Proposal, ...] = ()
    notes: tuple[str, ...] = field(default=())


def derive(
    parent: Parent, proposal: Proposal, *, seed: int, budget: int | None = None, carried: Sequence[Edit] = ()
) -> Variant:
    """Return the parent's config with the proposal's edits, a seed and, if given, a number of steps.

    With `budget` the schedules keep the parent's horizon, so that a short trial is the beginning of the long run.
    `carried` edits change nothing that is learned; those that do not apply are left out.

    Raises:
        ConfigError: If an edit is refused.
    """
    config = translate(parent.config).config
    applied: list[Edit] = []
    for edit in carried:
        try:
            config, _ = apply(config, [edit])
        except ConfigError:
            continue
        applied.append(edit)
    config, changes = apply(config, proposal.edits)
    config = for_trial(config, seed=seed, budget=budget)
    name = variant_name(changes, parent.id)
    return Variant(
        name=name,
        config={**config, "job_name": name},
        key=TrialKey(config_hash(config), seed, budget),
        parent=parent.id,
        proposal=proposal,
        changes=changes,
        carried=tuple(applied),
    )


def for_trial(config: Mapping[str, Any], *, seed: int, budget: int | None = None) -> dict[str, Any]:
    """Return the config as a trial of its own: without the parent's folder and names, with a seed and maybe steps."""
    body = {key: value for key, value in config.items() if key not in OWN_NAMES}
    wandb = body.get("wandb")
    if isinstance(wandb, Mapping):
        body["wandb"] = {key: value for key, value in wandb.items() if key != "run_id"}
    body["seed"] = seed
    if budget is not None:
        body["schedule_horizon"] = max(budget, body.get("schedule_horizon") or body.get("steps") or DEFAULT_STEPS)
        body["steps"] = budget
    return body


def make_variants(
    parent: Parent,
    proposals: Sequence[Proposal],
    *,
    seeds: Sequence[int] = (),
    budget: int | None = None,
    known: Collection[TrialKey] = (),
    limit: int = 3,
    only: Group | None = None,
    carry: bool = True,
) -> Batch:
    """Return up to `limit` variants of a parent, each on every seed; what exists already is refused.

    The most urgent proposal comes first, then the most urgent of the other group (report 004 derives variants that
    touch the transport only, and such that touch cloning only), then the rest. `only` keeps one of the two. Without
    `carry` the variants are watched and fed as their parent was, and advice on that is told only.
    """
    seeds = tuple(seeds) or (own_seed(parent.config),)
    advice = tuple(proposal for proposal in proposals if proposal.group == "run")
    carried = [edit for proposal in advice for edit in proposal.edits] if carry else []
    taken = set(known)
    own = config_hash(for_trial(translate(parent.config).config, seed=seeds[0], budget=budget))
    variants: list[Variant] = []
    refused: list[Refusal] = []
    made = 0
    for proposal in _in_turn([p for p in proposals if p.group != "run" and only in (None, p.group)]):
        if made == limit:
            break
        fresh: list[Variant] = []
        for seed in seeds:
            try:
                variant = derive(parent, proposal, seed=seed, budget=budget, carried=carried)
            except ConfigError as error:
                refused.append(Refusal(parent=parent.id, rule=proposal.rule, reason=str(error)))
                break
            reason = _duplicate(variant, taken, own)
            if reason is not None:
                refused.append(Refusal(parent=parent.id, rule=proposal.rule, reason=reason))
                continue
            taken.add(variant.key)
            fresh.append(_named_apart(variant, variants))
        variants += fresh
        made += bool(fresh)
    return Batch(variants=tuple(variants), refused=tuple(refused), advice=advice)


def own_seed(config: Mapping[str, Any]) -> int:
    """Return the seed that a config says, or LeRobot's default."""
    seed = config.get("seed")
    return seed if isinstance(seed, int) and not isinstance(seed, bool) else DEFAULT_SEED


def join(batches: Iterable[Batch]) -> Batch:
    """Return several batches as one."""
    every = list(batches)
    return Batch(
        variants=tuple(v for batch in every for v in batch.variants),
        refused=tuple(r for batch in every for r in batch.refused),
        advice=tuple({(a.rule, *map(str, a.edits)): a for batch in every for a in batch.advice}.values()),
        notes=tuple(n for batch in every for n in batch.notes),
    )


def lineage(variant: Variant) -> dict[str, Any]:
    """Return where a variant comes from, as plain JSON data: parent, rule, reason, evidence, edits, sign of failure."""
    proposal = variant.proposal
    return {
        "name": variant.name,
        "id": variant.id,
        "parent": variant.parent,
        "config_hash": variant.key.config_hash,
        "seed": variant.key.seed,
        "budget": variant.key.budget,
        "rule": proposal.rule,
        "source": proposal.source,
        "group": proposal.group,
        "risk": proposal.risk,
        "reason": proposal.reason,
        "evidence": plain(proposal.evidence),
        "edits": plain(proposal.edits),
        "changes": plain(variant.changes),
        "carried": plain(variant.carried),
        "expected": proposal.expected,
        "failure": plain(proposal.failure),
        "failed_if": str(proposal.failure),
    }


def write_variant(variant: Variant, folder: Path) -> Path:
    """Write `<name>.json` and `<name>.lineage.json` into a folder that exists; return the path of the config.

    A second seed of the same config is told apart by its name.

    Raises:
        ConfigError: If a file of that name is there with another content.
    """
    for stem in (variant.name, f"{variant.name}_s{variant.key.seed}"):
        path = folder / f"{stem}.json"
        if not path.exists() or json.loads(path.read_text(encoding="utf-8")) == plain(variant.config):
            write_json_atomically(path, plain(variant.config))
            write_json_atomically(folder / f"{stem}{LINEAGE_SUFFIX}", lineage(variant))
            return path
    raise ConfigError(f"{path} exists already and holds something else; give another folder, or remove it.")


def read_lineage(config_path: Path) -> dict[str, Any] | None:
    """Return the lineage that lies beside a config file, or None if there is none.

    Raises:
        ConfigError: If it is damaged.
    """
    path = config_path.with_name(config_path.name.removesuffix(".json") + LINEAGE_SUFFIX)
    if not path.is_file():
        return None
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        body["edits"] = [Edit(**edit) for edit in body["edits"]]
        body["failure"] = Failure(**body["failure"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged: {error}.") from error
    found: dict[str, Any] = body
    return found


def _in_turn(proposals: Sequence[Proposal]) -> list[Proposal]:
    """Return the proposals with the first of each group in front."""
    firsts = [next((p for p in proposals if p.group == group), None) for group in ("ot", "bc")]
    front = sorted((p for p in firsts if p is not None), key=proposals.index)
    return [*front, *(p for p in proposals if not any(p is f for f in front))]


def _duplicate(variant: Variant, taken: Collection[TrialKey], own: str) -> str | None:
    """Return why a variant is one that exists already, or None."""
    key = variant.key
    if key.config_hash == own:
        return f"{variant.name} is the same as its parent."
    same = [k for k in taken if k[:2] == key[:2] and (None in (k.budget, key.budget) or k.budget == key.budget)]
    if same:
        steps = "" if key.budget is None else f" over {key.budget} steps"
        return f"{variant.name} was there already: config {key.config_hash}, seed {key.seed}{steps}."
    return None


def _named_apart(variant: Variant, others: Iterable[Variant]) -> Variant:
    """Return the variant under a name that no other config has."""
    if any(o.name == variant.name and o.key.config_hash != variant.key.config_hash for o in others):
        name = f"{variant.name}_{variant.id}"
        return replace(variant, name=name, config={**variant.config, "job_name": name})
    return variant
