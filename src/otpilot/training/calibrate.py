"""Calibration of a config: draw batches without training, measure the transport, propose settings."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from lerobot.utils.import_utils import register_third_party_plugins
from torch import Tensor

import otpilot.sim.env_config  # noqa: F401 - its import registers the env type
from otpilot.config.hygiene import few_rows_told
from otpilot.config.ot import HealthConfig, LossConfig, OTConfig
from otpilot.config.schema import LoadedConfig, TrainConfig, load_config, read_arguments
from otpilot.errors import ConfigError, TransportError
from otpilot.report.calibration import Calibration, Change, GradientShares, Grid, GridPoint, State, TermRow, percent
from otpilot.training.measurement import Measurement, Progress
from otpilot.training.process import set_threads
from otpilot.transport.calibrate import DEAD_MASS, combine_terms, describe_terms, judge, propose, sweep
from otpilot.transport.mass import scale_for_mass

DEAD_SHARE, EATING_SHARE = HealthConfig().dead_grad_share, HealthConfig().eating_grad_share
"""Share of the encoder gradient under which the transport is dead, and over which it eats the policy."""
TARGET_GRAD_SHARE = OTConfig().target_grad_share
"""Share that a proposed automatic weight keeps."""

REASONS = {
    "lambda_ot": f"keeps its gradient share at {TARGET_GRAD_SHARE:g}",
    "target_grad_share": "felt, but not drowning the cloning",
    "cost_normalization": "term over its mean: units cancel",
    "objective": "unit gradient mass: cannot vanish",
    "prior": "any rows may match, pairs preferred",
    "embed_normalization": "shrinking features gains nothing",
    "reg": "softness of the plan",
    "tau_src": "price of an unmatched source row",
    "tau_tgt": "price of an unmatched target row",
    "lambda_ot_schedule": "would overrule the automatic weight",
    "reg_schedule": "would overrule reg",
    "target_mass": "the strengths give the mass",
}
"""What each proposed setting is for, in a few words."""


@dataclass(frozen=True, kw_only=True)
class CalibrationResult:
    """What was found, in plain numbers, and the config (today's schema) with the proposed settings applied."""

    report: Calibration
    config: dict[str, Any]


def calibrate(
    args: Sequence[str], *, target_mass: float = 0.7, batches: int = 8, progress: Progress = lambda _: None
) -> CalibrationResult:
    """Measure a config's transport on a few batches without training, and propose settings that live.

    Args:
        args: `--config_path=FILE` and `--dotted.key=value` overrides, as for training.
        target_mass: Mass that the proposal shall transport, between 0 and 1.
        batches: Number of batches, each through one forward pass.
        progress: Told what is being done.

    Raises:
        OtpilotError: If the config or its data are wrong, or it has no transport to measure.
    """
    if not 0.0 < target_mass < 1.0:
        raise ConfigError(f"--target-mass is {target_mass}; allowed: a number between 0 and 1.")
    register_third_party_plugins()
    loaded = load_config(args, check_output=False)
    set_threads(loaded.config.threads)
    found = Measurement(loaded.config, target_mass=target_mass, batches=batches, progress=progress)
    progress("Solving the grid ...")
    present, raw, raw_proposed = found.effective(), found.stacked(found.raw), found.stacked(found.raw_proposed)
    proposal = propose(found.proposed, raw_proposed, target_mass=target_mass)
    settings: dict[str, Any] = {**proposal.settings, "embed_normalization": found.proposed.embed_normalization}
    living = replace(found.proposed, target_mass=None, **settings)
    gradient = found.gradient()
    proposed_share = median(norm.proposed_share for norm in found.norms)
    state, mass, reason = _verdict(present, raw, gradient)
    new = _ot_settings(gradient, proposed_share)
    new |= {f"loss_config.{key}": value for key, value in settings.items()}
    new |= _cleared(loaded.config.ot, automatic="lambda_ot" in new)
    changes = _changes(loaded.config.ot, new)
    automatic = new.get("lambda_ot", loaded.config.ot.lambda_ot) == "auto"
    rows = next(iter(raw.values())).shape
    report = Calibration(
        about=_about(loaded, found, rows),
        notes=(*loaded.notes, *_few_rows(loaded.config, rows[1])),
        terms=tuple(TermRow(**asdict(term)) for term in describe_terms(present, raw)),
        gradient=gradient,
        state=state,
        mass=mass,
        reason=reason,
        present=_grid("As configured", present, combine_terms(present, raw), target_mass),
        proposed=_grid("As proposed", living, combine_terms(living, raw_proposed), target_mass),
        changes=changes,
        target_mass=target_mass,
        proposed_mass=judge(living, raw_proposed).mass,
        proposed_share=None if automatic else proposed_share,
    )
    return CalibrationResult(report=report, config=_applied(args, new))


def _few_rows(config: TrainConfig, measured: int) -> Iterator[str]:
    """Yield a note if a step compares few rows; `measured` are those of one batch."""
    batches = config.grad_accum_steps if config.ot.scope == "global" else 1
    yield from few_rows_told(config, measured * batches)


def _verdict(config: LossConfig, raw: Mapping[str, Tensor], gradient: GradientShares) -> tuple[State, float, str]:
    """Return state, mean mass and reason: by mass, then by the share of the encoder gradient."""
    verdict = judge(config, raw)
    name = "the automatic lambda_ot" if gradient.automatic else f"lambda_ot = {gradient.weight:g}"
    told = f"At {name} the transport makes {percent(gradient.share)} of the encoder gradient"
    typical = config.objective != "energy" and verdict.log_mass < math.log(DEAD_MASS)
    reason = verdict.reason
    if typical and verdict.state == "alive":  # a few pairs that cost nothing make the mean, not the typical batch
        reason = f"{_typical(config, raw, verdict.log_mass)} {reason}"
    if not any(term.weight_embed * term.term_weight > 0.0 and not term.detach_cost_grad for term in config.features):
        useless = "No term compares learned encodings with a gradient (weight_embed), so the encoder learns nothing."
        return "dead", verdict.mass, f"{useless} {reason}"
    if typical or verdict.state == "dead":
        return "dead", verdict.mass, f"{reason} {told}."
    if gradient.share < DEAD_SHARE:
        return "dead", verdict.mass, f"{told}, under {DEAD_SHARE:.0%}: training does not feel it. {reason}"
    if gradient.share > EATING_SHARE:
        return "eating", verdict.mass, f"{told}, over {EATING_SHARE:.0%}: it drowns the cloning. {reason}"
    return "alive", verdict.mass, f"{told}. {reason}"


def _typical(config: LossConfig, raw: Mapping[str, Tensor], log_mass: float) -> str:
    """Return why the median batch transports nothing although the mean over batches is larger."""
    worst = max(describe_terms(config, raw), key=lambda term: term.share)
    part = worst.share * float(combine_terms(config, raw).mean())
    strength = config.reg + (config.tau_src or math.inf) + (config.tau_tgt or math.inf)
    return (
        f"The median mass is 1e{log_mass / math.log(10.0):.1f}: term {worst.name!r} costs {part:.3g} on average, "
        f"{part / strength:.3g} times reg + tau_src + tau_tgt; only a few pairs that happen to cost almost nothing "
        "are transported."
    )


def _ot_settings(gradient: GradientShares, proposed_share: float) -> dict[str, Any]:
    """Return an automatic weight where the configured one is out of bounds, now or with the proposed settings."""
    if gradient.automatic or all(DEAD_SHARE <= share <= EATING_SHARE for share in (gradient.share, proposed_share)):
        return {}
    return {"lambda_ot": "auto", "target_grad_share": TARGET_GRAD_SHARE}


def _cleared(ot: OTConfig, *, automatic: bool) -> dict[str, Any]:
    """Return what must go because it would overrule the proposal: fixed schedules and a target mass."""
    cleared: dict[str, Any] = {}
    if automatic and ot.lambda_ot_schedule is not None:
        cleared["lambda_ot_schedule"] = None
    if ot.loss_config.reg_schedule is not None:
        cleared["loss_config.reg_schedule"] = None
    if ot.loss_config.target_mass is not None:
        cleared["loss_config.target_mass"] = None
    return cleared


def _changes(ot: OTConfig, new: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return each proposed setting with its present value, those that stay left out."""
    changes = []
    for key, value in new.items():
        section, _, name = key.rpartition(".")
        before = getattr(ot.loss_config if section else ot, name)
        if before != value:
            shown = "a schedule" if key.endswith("_schedule") else before
            changes.append(Change(setting=f"ot.{key}", before=str(shown), after=str(value), why=REASONS[name]))
    return tuple(changes)


def _about(loaded: LoadedConfig, found: Measurement, rows: Sequence[int]) -> str:
    """Return one line on what was measured."""
    policy = loaded.config.policy
    weights = f"from {policy.pretrained_path}" if policy.pretrained_path else "untrained"
    used = "" if rows[0] == len(found.norms) else f" ({rows[0]} with the usual number of pairs)"
    return f"{len(found.norms)} batches{used}, {rows[1]} pairs in each; policy {policy.type}, {weights}."


def _grid(title: str, config: LossConfig, cost: Tensor, target_mass: float) -> Grid:
    """Return the grid of strengths around the config's own and those at which it would transport the wanted mass."""
    tau = math.sqrt((config.tau_src or 1.0) * (config.tau_tgt or 1.0))
    alike = config.tau_src == config.tau_tgt is not None
    try:
        factors, _ = scale_for_mass(
            cost,
            target_mass,
            reg=config.reg,
            tau_src=tau,
            tau_tgt=tau,
            prior=config.prior,
            prior_kappa=config.prior_kappa,
        )
        alive = float(factors.log().mean().neg().exp())
    except TransportError:
        alive = 1.0
    cells = sweep(config, cost, regs=_axis(config.reg, alive), taus=_axis(tau, alive))
    unit = "cost over its mean" if config.cost_normalization == "ema" else "raw cost"
    return Grid(
        title=f"{title} ({unit}, {config.prior} prior)",
        points=tuple(GridPoint(**asdict(cell)) for cell in cells),
        own=(config.reg, tau) if alike else None,
    )


def _axis(own: float, alive: float) -> list[float]:
    """Return `own` times powers of ten, to two decades below and above, and one beyond `alive` times it."""
    reach = round(math.log10(alive), 1)
    low, high = min(-2, math.floor(reach) - 1), max(2, math.ceil(reach) + 1)
    stride = math.ceil((high - low) / 7)
    return [own * 10.0**k for k in range(-stride * math.ceil(-low / stride), high + stride, stride)]


def _applied(args: Sequence[str], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config as given, overrides included, in today's schema with some `ot` settings replaced."""
    body = read_arguments(args).translation.config
    for key, value in new.items():
        place = body.setdefault("ot", {})
        section, _, name = key.rpartition(".")
        if section:
            place = place.setdefault(section, {})
        place[name] = value
    return body
