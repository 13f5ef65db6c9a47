"""The table of rules, most urgent first, and how a run is judged by them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from otpilot.analysis.findings import Finding
from otpilot.config.canonical import config_hash
from otpilot.config.compat import translate
from otpilot.config.edits import Direction, apply, policy_type
from otpilot.errors import ConfigError
from otpilot.pilot.proposal import Group, Proposal
from otpilot.pilot.rules import (
    act,
    diffusion,
    drift,
    pairing,
    plateau,
    running,
    stability,
    steady,
    strong,
    views,
    weak,
)  # fmt: skip
from otpilot.pilot.rules.base import Config, RuleContext, RuleFunction, concerns, transports, turns


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule: its function, where it comes from, and for which policies it holds (all if None).

    `group` "ot" leaves the rule out where the config has no transport. A `sweep` has no finding to answer: it tries
    another value of a knob because nothing is wrong, or because nothing is left to try for what is.
    """

    function: RuleFunction
    source: str
    group: Group | None = None
    policies: tuple[str, ...] | None = None
    sweep: bool = False

    @property
    def name(self) -> str:
        """Name under which the rule appears in reports: that of its function."""
        return getattr(self.function, "__name__", type(self.function).__name__)


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What the rules propose for one run, most urgent first, and what went wrong with which rule."""

    proposals: tuple[Proposal, ...]
    notes: tuple[str, ...] = ()


def _ot(function: RuleFunction, source: str, *policies: str) -> Rule:
    return Rule(function=function, source=source, group="ot", policies=policies or None)


def _sweep(function: RuleFunction, source: str, group: Group) -> Rule:
    return Rule(function=function, source=source, group=group, sweep=True)


def _bc(function: RuleFunction, source: str, *policies: str) -> Rule:
    return Rule(function=function, source=source, group="bc", policies=policies or None)


OURS = "docs/transport.md"
RULES: tuple[Rule, ...] = (
    # training breaks
    _bc(diffusion.lower_learning_rate_to_5e5, "report 001, rollback triggers", "diffusion"),
    _bc(stability.lower_learning_rate, "report 000, recipe 1; report 001, rollback triggers"),
    _bc(act.revert_optimiser, "report 002, post-mortem, recommendations 1 and 4", "act"),
    _bc(stability.longer_warmup, "report 000, likely causes; report 001, iter 1; report 002, jitter fixes"),
    _bc(stability.clip_gradient, "report 000, recipes; not for ACT (report 002, post-mortem)", "diffusion"),
    _ot(stability.lower_weight_at_high_gradient, "report 004, stability criterion"),
    # the transport eats the policy
    _ot(strong.lower_share_when_eating, f"{OURS}, the opposite death"),
    _ot(strong.normalize_embedding, f"{OURS}, embed_normalization"),
    # no alignment of encodings helped where the target was not demonstrated, a living one neither; this did
    Rule(function=views.show_target_view, source="docs/views.md and docs/results.md"),
    # the transport is dead or weak
    _ot(weak.attach_gradient, "transport/health.py, causes of a dead transport"),
    _ot(weak.normalize_cost, f"{OURS}, cost_normalization"),
    _ot(weak.energy_objective, f"{OURS}, objective"),
    _ot(weak.raise_reg, "report 004, decision rule 1"),
    _ot(weak.raise_tau, "report 004, decision rule 1"),
    _ot(weak.target_mass, f"{OURS}, target_mass"),
    _ot(weak.auto_weight, f"{OURS}, lambda_ot: auto"),
    _ot(weak.raise_grad_share, f"{OURS}, target_grad_share"),
    _ot(weak.raise_reg_to_3, "report 003, next steps 1"),
    _ot(weak.raise_tau_to_20, "report 003, next steps 1"),
    _ot(diffusion.retain_mass, "report 001, iter 2", "diffusion"),
    _ot(weak.widen_window, "report 004, decision rule 1"),
    # strong, stuck, or ruled by labels
    _ot(strong.relieve_label_dominance, "report 001, iter 1 and iter5a"),
    _ot(strong.strengthen_embedding, "report 001, iter5c"),
    _ot(strong.lower_label_when_stalled, "report 004, decision rule 2; report 003, next steps 2"),
    _ot(strong.lower_weight_when_stalled, "report 004, decision rule 2"),
    _ot(strong.lower_reg_when_stalled, "report 003, next steps 2"),
    _ot(diffusion.weaken_strong_diagonal, "report 001, monitors and rollback", "diffusion"),
    _ot(diffusion.smooth_strong_diagonal, "report 001, monitors and rollback", "diffusion"),
    _ot(diffusion.lower_tau_when_diagonal, "report 001, iter5b", "diffusion"),
    _ot(strong.free_prior, f"{OURS}, prior; report 001, iter5b"),
    _ot(pairing.sharpen_pairs, "report 004, configs 1 and 4"),
    _ot(pairing.filter_source_episodes, "report 004, config 6"),
    _ot(pairing.drop_window, "report 004, config 3"),
    # an early optimum that is lost again
    _bc(drift.stop_early, "report 000, recipe 2; report 002, takeaways"),
    _ot(drift.down_weight_on_drift, "report 000, recipes 1 and 2"),
    _ot(drift.smooth_on_drift, "report 000, recipe 1"),
    _bc(drift.lower_learning_rate_on_drift, "report 000, recipe 1; report 002, takeaways"),
    _bc(act.more_dropout, "report 000, recipe 2", "act"),
    _bc(diffusion.more_weight_decay, "report 000, recipes 1 and 2", "diffusion"),
    _bc(drift.add_noise, "report 000, recipe 2"),
    _bc(drift.smooth_labels, "report 000, recipe 2; report 002, recipe C"),
    _ot(drift.stage_weight, "report 000, recipe 3"),
    _ot(drift.stage_reg, "report 000, recipe 3"),
    _ot(drift.add_small_label, "report 002, update of 2025-12-29"),
    # a plateau, or a learning rate that does nothing
    _bc(diffusion.raise_low_learning_rate, "report 001, iter 1", "diffusion"),
    _bc(diffusion.explicit_adamw, "report 001, iter 3 and iter4a", "diffusion"),
    _bc(plateau.larger_batch, "report 004, decision rule 3; report 001, iter4c"),
    _bc(plateau.raise_learning_rate, "report 004, decision rule 3; limits of reports 001 and 002"),
    _bc(plateau.halve_learning_rate, "report 004, decision rule 3"),
    # jitter
    _ot(stability.reg_into_band, "report 002, jitter fixes"),
    _ot(stability.raise_reg_on_jitter, "report 004, decision rule 4; report 000, recipe 1"),
    _ot(stability.compute_less_often, "report 002, jitter fixes"),
    _ot(stability.widen_window_on_jitter, "report 004, decision rule 4"),
    _ot(stability.more_iterations, "report 000, recipes; report 002, jitter fixes"),
    _ot(stability.lower_weight_on_jitter, "report 000, likely causes; report 004, stability criterion"),
    _bc(stability.larger_batch_on_jitter, "report 000, recipe 1; report 002, jitter fixes"),
    _bc(stability.average_weights, "report 000, recipes; report 002, jitter fixes"),
    _bc(stability.lower_learning_rate_on_jitter, "report 000, recipe 1; report 002, jitter fixes"),
    # nothing is wrong
    _ot(diffusion.strengthen_weak_coupling, "report 001, iter 2", "diffusion"),
    _ot(diffusion.sharpen_weak_coupling, "report 001, iter 2", "diffusion"),
    Rule(function=views.draw_target_background, source="docs/views.md and docs/results.md", sweep=True),
    _sweep(steady.raise_weight_when_stable, "report 003, next steps 3", "ot"),
    _sweep(steady.sweep_reg, "report 002, recommendation 2, sweep A; reports 001 and 004", "ot"),
    _sweep(steady.sweep_weight, "report 002, recommendation 2, sweep B; report 001, rollback triggers", "ot"),
    _sweep(steady.sweep_label, "report 002, recommendation 2, sweep C; report 001, iter5a", "ot"),
    _sweep(steady.sweep_rate, "report 004, step 3 and decision rule 3", "bc"),
    _sweep(steady.sweep_batch, "report 004, step 3 and decision rule 3", "bc"),
    # how a run is watched and fed
    Rule(function=running.evaluate_less_often, source="report 001, iter 1", group="run"),
    Rule(function=running.more_workers, source="otpilot: training that waits for its data", group="run"),
)


def sweeps(rules: Sequence[Rule] = RULES) -> frozenset[str]:
    """Return the names of the rules that sweep."""
    return frozenset(rule.name for rule in rules if rule.sweep)


def judge(
    findings: Sequence[Finding],
    config: Config,
    context: RuleContext,
    *,
    rules: Sequence[Rule] = RULES,
    one_knob: bool = True,
) -> Judgement:
    """Return what the rules propose for a run; proposals that lead to the same config come once.

    Args:
        findings: What diagnosis says about the run.
        config: Its config; a seed-era one is translated first.
        context: What else rules may know.
        rules: Table to go through, in order of urgency; users' rules come behind ours.
        one_knob: Leave out proposals that turn several knobs, unless they make sense only together.

    Raises:
        ConfigError: If the config itself does not hold together.
    """
    config = translate(config).config
    notes: list[str] = []
    proposals = _ask_all(rules, findings, config, context, notes, one_knob=one_knob)
    if not any(proposal.group != "run" for proposal in proposals) and concerns(findings):
        answered = [rule for rule in rules if not rule.sweep]
        fresh = replace(context, tried=frozenset())
        remedies = _ask_all(answered, findings, config, fresh, [], one_knob=one_knob)
        spite = in_spite(findings, context, [proposal for proposal in remedies if proposal.group != "run"])
        swept = [rule for rule in rules if rule.sweep] if spite.set_aside else []
        again = _ask_all(swept, findings, config, spite, notes, one_knob=one_knob)
        proposals += again
        if not again:
            notes.append(_silence(findings))
    return Judgement(proposals=tuple(proposals), notes=tuple(dict.fromkeys(notes)))


def in_spite(findings: Sequence[Finding], context: RuleContext, remedies: Sequence[Proposal]) -> RuleContext:
    """Return the context in which knobs are swept in spite of warnings; without `set_aside` where they are not.

    A warning whose remedies were all tried must not end the search, and a plateau that still falls by 2 % over 2,000
    steps asks for none yet (report 004). A warning that never had a remedy is left to a person. No knob is turned
    against what a remedy did, unless remedies turn it both ways.

    Args:
        findings: What diagnosis says about the run, for which no rule has anything new.
        context: What else rules may know.
        remedies: What rules would propose if nothing had been tried.
    """
    warnings = frozenset(finding.tag for finding in concerns(findings) if finding.severity == "warning")
    if not remedies and not (warnings == {"plateau"} and plateau.flat(findings) is None):
        return context
    turned = turns([edit for proposal in remedies for edit in proposal.edits])
    opposite: dict[Direction, Direction] = {"raise": "lower", "lower": "raise"}
    undone = {(knob, opposite[way]) for knob, way in turned}
    return replace(context, set_aside=warnings, against=frozenset(undone - turned))


def _silence(findings: Sequence[Finding]) -> str:
    """Return why nothing is proposed though something was found."""
    tags = ", ".join(dict.fromkeys(finding.tag for finding in concerns(findings)))
    return f"No rule has anything new for {tags}, and no knob is swept while that stands."


def _ask_all(
    rules: Sequence[Rule],
    findings: Sequence[Finding],
    config: Config,
    context: RuleContext,
    notes: list[str],
    *,
    one_knob: bool,
) -> list[Proposal]:
    """Return what every rule that holds for the config says, in their order, each resulting config once."""
    before = config_hash(config)
    active = transports(config)
    proposals: list[Proposal] = []
    seen: set[str] = set()
    for rule in rules:
        if rule.policies is not None and policy_type(config) not in rule.policies:
            continue
        if rule.group == "ot" and not active:
            continue
        proposal = _ask(rule, findings, config, context, notes)
        if proposal is None:
            continue
        if one_knob and len(proposal.knobs) > 1 and not proposal.together:
            notes.append(f"Rule {rule.name} turns several knobs ({', '.join(sorted(proposal.knobs))}); left out.")
            continue
        try:
            after = config_hash(apply(config, proposal.edits)[0])
        except ConfigError as error:
            notes.append(f"Rule {rule.name} proposes what cannot be applied: {error}")
            continue
        if after == before and proposal.group != "run":
            notes.append(f"Rule {rule.name} changes nothing that is learned; left out.")
            continue
        key = proposal.rule if after == before else after
        if key not in seen:
            seen.add(key)
            proposals.append(proposal)
    return proposals


def _ask(
    rule: Rule, findings: Sequence[Finding], config: Config, context: RuleContext, notes: list[str]
) -> Proposal | None:
    """Return what the rule says; whatever a broken rule raises becomes a note, so that it cannot end a round."""
    try:
        proposal: object = rule.function(findings, config, context)
    except Exception as error:
        notes.append(f"Rule {rule.name} failed and is skipped: {type(error).__name__}: {error}")
        return None
    if proposal is None:
        return None
    if not isinstance(proposal, Proposal):
        notes.append(f"Rule {rule.name} returned {type(proposal).__name__}; allowed: a Proposal or None.")
        return None
    return replace(proposal, rule=proposal.rule or rule.name, source=proposal.source or rule.source)
