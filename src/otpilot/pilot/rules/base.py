"""What every rule shares: its context, how it finds its evidence, and how it makes a proposal that can be applied."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from otpilot.analysis.findings import Finding, Number
from otpilot.analysis.result import RunReport
from otpilot.config.canonical import same_effect
from otpilot.config.edits import Direction, Edit, apply, config_hash, value_at, values_at
from otpilot.errors import ConfigError
from otpilot.pilot.knobs import knobs_of
from otpilot.pilot.proposal import Failure, Group, Proposal, Risk

Config = Mapping[str, Any]
Option = tuple[Edit, ...]

REG = "ot.loss_config.reg"
TAU_SRC = "ot.loss_config.tau_src"
TAU_TGT = "ot.loss_config.tau_tgt"
WEIGHT = "ot.lambda_ot"
WINDOW = "ot.window_size"
LABELS = "ot.loss_config.features.*.weight_label"
EMBEDS = "ot.loss_config.features.*.weight_embed"
MASS = "train/ot_pi_sum"
DIAGONAL = "train/ot_pi_diag"
GRAD_SHARE = "train/ot_grad_share"
ABOUT_THE_LOG = frozenset({"data_loading_bottleneck", "stale_metric"})
"""Tags that say nothing about what was learned."""
EVALUATIONS = ("sim/success_mean", "eval/offline_eval/avg_l1", "eval/offline_eval/avg_loss")
"""Metrics that judge a policy, the one that counts most first."""


@dataclass(frozen=True, kw_only=True)
class RuleContext:
    """What a rule may know besides findings and config.

    `recent` holds the level of each metric over the tail of its curve (mean of the last tenth), by canonical name.
    `tried` holds the hashes of configs that were run already: rules with several values to offer take the first one
    that is new.
    `set_aside` names the warnings in spite of which knobs are swept, because no remedy is left for them; `against` has
    the knobs and directions that would undo what their remedies did.
    """

    run: str = ""
    last_step: int = 0
    recent: Mapping[str, float] = field(default_factory=dict)
    tried: frozenset[str] = frozenset()
    set_aside: frozenset[str] = frozenset()
    against: frozenset[tuple[str, Direction]] = frozenset()


RuleFunction = Callable[[Sequence[Finding], Config, RuleContext], Proposal | None]


def context_of(report: RunReport, *, tried: frozenset[str] = frozenset()) -> RuleContext:
    """Return the context of a run that was analysed."""
    recent: dict[str, float] = {}
    last_step = 0
    for name, statistics in report.statistics.items():
        level = statistics.tail.last_mean if statistics.tail.last_mean is not None else statistics.endpoint.last
        if level is not None:
            recent[name] = level
        last_step = max(last_step, statistics.endpoint.last_step or 0)
    return RuleContext(run=report.id, last_step=last_step, recent=recent, tried=tried)


def found(findings: Sequence[Finding], *tags: str) -> Finding | None:
    """Return the first finding with one of the tags, in the order of the tags."""
    return next((finding for tag in tags for finding in findings if finding.tag == tag), None)


def alarming(findings: Sequence[Finding], *tags: str) -> Finding | None:
    """Return the first such finding that diagnosis holds for more than information (it weighs evaluation in)."""
    return found([finding for finding in findings if finding.severity != "info"], *tags)


def evaluation_trend(findings: Sequence[Finding]) -> str | None:
    """Return what evaluation does, as findings have it (improving, worsening, ...), or None where none says."""
    if alarming(findings, "early_optimum_then_drift") is not None:
        return "worsening"
    told = (finding.evidence.get("evaluation") for finding in findings)
    return next((str(word) for word in told if word is not None), None)


def evaluation_improves(findings: Sequence[Finding]) -> bool:
    """Whether evaluation still gets better; then nothing is done about a trace or a mass that is merely high."""
    return evaluation_trend(findings) == "improving"


def level(findings: Sequence[Finding], context: RuleContext, metric: str) -> float | None:
    """Return the recent level of a metric, or None where the run is too short for it to mean anything."""
    return None if found(findings, "too_short") is not None else context.recent.get(metric)


def concerns(findings: Sequence[Finding]) -> list[Finding]:
    """Return what is wrong with what was learned: problems and warnings, not those about the log."""
    return [finding for finding in findings if finding.severity != "info" and finding.tag not in ABOUT_THE_LOG]


def transports(config: Config) -> bool:
    """Whether the config solves a transport problem that weighs anything."""
    ot = config.get("ot")
    if not isinstance(ot, Mapping):
        return False
    return bool(ot.get("enable", True)) and ot.get("method", "ot") == "ot" and value_at(config, WEIGHT) != 0


def number_at(config: Config, path: str) -> float | None:
    """Return the number that training would use for a key, or None where it is null or a word."""
    value = value_at(config, path)
    return None if isinstance(value, bool) or not isinstance(value, int | float) else float(value)


def largest(config: Config, path: str) -> float:
    """Return the largest number that a key with wildcards names, 0 where there is none."""
    return max((float(x) for x in values_at(config, path).values() if isinstance(x, int | float)), default=0.0)


def set_to(path: str, value: Any, direction: Direction | None = None) -> Edit:
    """Return the edit that puts a value in."""
    return Edit(path=path, op="set", value=value, direction=direction)


def times(path: str, factor: float) -> Edit:
    """Return the edit that multiplies, meant to raise above 1 and to lower below."""
    return Edit(path=path, op="mul", value=factor, direction="raise" if factor > 1 else "lower")


def at_least(path: str, value: float) -> Edit:
    """Return the edit that raises to a value; refused where the value is there already."""
    return Edit(path=path, op="max", value=value, direction="raise")


def at_most(path: str, value: float) -> Edit:
    """Return the edit that lowers to a value; refused where the value is there already."""
    return Edit(path=path, op="min", value=value, direction="lower")


def both_tau(make: Callable[[str], Edit]) -> Option:
    """Return one edit for each marginal strength."""
    return make(TAU_SRC), make(TAU_TGT)


def turns(edits: Sequence[Edit]) -> set[tuple[str, Direction]]:
    """Return which knobs the edits turn, and which way, as far as they say it."""
    return {(knob, edit.direction) for edit in edits if edit.direction for knob in knobs_of([edit.path])}


def first_new(
    config: Config, context: RuleContext, options: Sequence[Option], group: Group | None = None
) -> Option | None:
    """Return the first option that applies, changes what is trained and was not tried; None if there is none.

    What only says how a run is watched and fed (group "run") leaves the config's hash as it is, which was tried, as the
    run is there; it is new as long as it changes a value.
    """
    own = config_hash(config)
    for option in options:
        if context.against & turns(option):
            continue
        try:
            edited, changes = apply(config, option)
            after = config_hash(edited)
            if not changes or (after in context.tried and not (group == "run" and after == own)):
                continue
            if after == own or not same_effect(edited, config):
                return option
        except ConfigError:
            continue
    return None


def propose(
    because: Finding | Mapping[str, Number],
    config: Config,
    context: RuleContext,
    *options: Option,
    reason: str,
    expected: str,
    failure: Failure,
    group: Group,
    risk: Risk = "low",
    together: bool = False,
) -> Proposal | None:
    """Return the proposal with the first of the options that is new and can be applied, or None.

    `because` is the finding, or the figures, that the rule rests on; the numbers are put in front of the reason.
    """
    option = first_new(config, context, options, group)
    if option is None:
        return None
    return Proposal(
        edits=option,
        reason=f"{_told(because)} {reason}",
        expected=expected,
        failure=failure,
        group=group,
        evidence=_evidence(because),
        risk=risk,
        together=together,
    )


def evaluation_worse(context: RuleContext) -> Failure:
    """Return the sign that evaluation got worse by a tenth (report 001's trigger), on the metric that counts most."""
    metric = next((name for name in EVALUATIONS if name in context.recent), EVALUATIONS[1])
    if metric.startswith("sim/"):
        return Failure(metric=metric, relation="below", threshold=0.9, relative=True)
    return Failure(metric=metric, relation="above", threshold=1.1, relative=True)


def mass_still_low(threshold: float = 0.01) -> Failure:
    """Return the sign that a dead transport stayed dead."""
    return Failure(metric=MASS, relation="below", threshold=threshold)


def _evidence(because: Finding | Mapping[str, Number]) -> dict[str, Number]:
    if not isinstance(because, Finding):
        return dict(because)
    return {**{limit.name: limit.value for limit in because.thresholds}, **because.evidence}


def _told(because: Finding | Mapping[str, Number]) -> str:
    """Return the evidence in brackets: where, when, the numbers, and the limits that they crossed."""
    if not isinstance(because, Finding):
        return f"[{_listed(because)}]"
    where = f" on {because.metric}" if because.metric else ""
    when = f", steps {because.window[0]} to {because.window[1]}" if because.window else ""
    parts = [_listed(because.evidence), _listed({f"limit {limit.name}": limit.value for limit in because.thresholds})]
    numbers = "; ".join(part for part in parts if part)
    return f"[{because.tag}{where}{when}{': ' if numbers else ''}{numbers}]"


def _listed(numbers: Mapping[str, Number]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in numbers.items()
        if value is not None
    )
