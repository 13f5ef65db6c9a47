"""Two alarms over the figures of a run: a transport that is dead, and one that eats the policy; a state machine."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from otpilot.config.ot import HealthConfig, LossConfig

HEALTHY_SHARE = 0.1
"""Share of the encoder gradient that a proposed weight aims at."""
HEALTHY_MASS = 0.7
"""Mass that proposed strengths aim at."""

Kind = Literal["dead", "eating"]


@dataclass(frozen=True, kw_only=True)
class HealthFigures:
    """What one check sees; None where a figure was not measured.

    `grad_share` is the norm of the weighted transport part of the encoder gradient over that of the whole, `term_costs`
    each term's mean part of the cost as the solver sees it, `weight` the weight of the loss at this step.
    """

    step: int
    grad_share: float | None
    mass: float | None
    feature_variance: float | None
    term_costs: Mapping[str, float]
    reg: float
    weight: float

    @classmethod
    def from_result(
        cls, figures: Mapping[str, Any], *, step: int, grad_share: float | None, reg: float, weight: float
    ) -> "HealthFigures":
        """Return the check's figures out of those of a TransportResult (waits for the device)."""

        def number(name: str) -> float | None:
            return float(figures[name]) if name in figures else None

        mean = number("ot_cost_mean") or 0.0
        prefix = "ot_cost_share/"
        shares = {name.removeprefix(prefix): float(x) for name, x in figures.items() if name.startswith(prefix)}
        return cls(
            step=step,
            grad_share=grad_share,
            mass=number("ot_pi_sum"),
            feature_variance=number("ot_feature_var"),
            term_costs={name: share * mean for name, share in shares.items()},
            reg=reg,
            weight=weight,
        )


@dataclass(frozen=True, kw_only=True)
class HealthEvent:
    """One alarm: its kind, the step, a message with cause and fix, and the figures it rests on."""

    kind: Kind
    step: int
    message: str
    evidence: dict[str, Any]


class HealthMonitor:
    """Feed it one check after the other; it answers with alarms, each once.

    An alarm needs `window` checks in a row. It sounds again only after `window` good checks in a row. Nothing counts
    before `warmup_steps`; the variance of the first check after that is the one to compare with. A mass under the limit
    counts for the objectives `plan_cost` and `uot`, whose gradient it scales, and not for `energy`, whose gradient has
    unit mass at any scale. Checks with weight 0 do not count as dead.
    """

    def __init__(self, config: HealthConfig, loss: LossConfig) -> None:
        """Start with no history."""
        self.config = config
        self.loss = loss
        self._bad: dict[Kind, int] = {"dead": 0, "eating": 0}
        self._good: dict[Kind, int] = {"dead": 0, "eating": 0}
        self._sounded: dict[Kind, bool] = {"dead": False, "eating": False}
        self._variance_then: float | None = None

    def check(self, figures: HealthFigures) -> list[HealthEvent]:
        """Return the alarms that this check sets off, mostly none."""
        if figures.step < self.config.warmup_steps:
            return []
        if self._variance_then is None:
            self._variance_then = figures.feature_variance
        events = []
        for kind, reasons in (("dead", self._dead(figures)), ("eating", self._eating(figures))):
            if self._count(kind, bool(reasons)):  # type: ignore[arg-type]
                events.append(self._event(kind, figures, reasons))  # type: ignore[arg-type]
        return events

    def state_dict(self) -> dict[str, Any]:
        """Return the counters."""
        return {
            "bad": dict(self._bad),
            "good": dict(self._good),
            "sounded": dict(self._sounded),
            "variance_then": self._variance_then,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`."""
        self._bad, self._good = dict(state["bad"]), dict(state["good"])
        self._sounded, self._variance_then = dict(state["sounded"]), state["variance_then"]

    def _count(self, kind: Kind, bad: bool) -> bool:
        """Count a check; return whether the alarm sounds now."""
        self._bad[kind] = self._bad[kind] + 1 if bad else 0
        self._good[kind] = 0 if bad else self._good[kind] + 1
        if self._good[kind] >= self.config.window:
            self._sounded[kind] = False
        if self._bad[kind] < self.config.window or self._sounded[kind]:
            return False
        self._sounded[kind] = True
        return True

    def _dead(self, figures: HealthFigures) -> list[str]:
        """Return the signs of a dead transport."""
        signs: list[str] = []
        config = self.config
        if figures.weight <= 0.0:
            return signs
        if figures.grad_share is not None and figures.grad_share < config.dead_grad_share:
            signs.append(
                f"its share of the encoder gradient is {figures.grad_share:.2g} (under {config.dead_grad_share:g})"
            )
        if self.loss.objective != "energy" and figures.mass is not None and figures.mass < config.dead_mass:
            signs.append(f"the transported mass ot_pi_sum is {figures.mass:.2g} (under {config.dead_mass:g})")
        return signs

    def _eating(self, figures: HealthFigures) -> list[str]:
        """Return the signs of a transport that eats the policy."""
        signs: list[str] = []
        config = self.config
        if figures.grad_share is not None and figures.grad_share > config.eating_grad_share:
            signs.append(
                f"its share of the encoder gradient is {figures.grad_share:.2g} (over {config.eating_grad_share:g})"
            )
        then, now = self._variance_then, figures.feature_variance
        if then is not None and now is not None and now < config.eating_variance_ratio * then:
            signs.append(f"the variance of the encodings fell from {then:.2g} after warm-up to {now:.2g}")
        return signs

    def _event(self, kind: Kind, figures: HealthFigures, signs: list[str]) -> HealthEvent:
        """Return the alarm with its cause and fix."""
        dead = kind == "dead"
        cause, fix = (dead_cause if dead else eating_cause)(figures, self.loss)
        head = "The transport is dead" if dead else "The transport is eating the policy"
        message = (
            f"{head}: {' and '.join(signs)} for {self.config.window} checks up to step {figures.step}. "
            f"Cause: {cause} Fix: {fix}"
        )
        strengths = {"tau_src": self.loss.tau_src, "tau_tgt": self.loss.tau_tgt, "variance_then": self._variance_then}
        return HealthEvent(kind=kind, step=figures.step, message=message, evidence={**asdict(figures), **strengths})


def dead_cause(figures: HealthFigures, loss: LossConfig) -> tuple[str, str]:
    """Return why the transport is dead, with the term, strengths and weight, and the settings that revive it."""
    strength = figures.reg + sum(math.inf if tau is None else tau for tau in (loss.tau_src, loss.tau_tgt))
    name, cost = max(figures.term_costs.items(), key=lambda item: item[1], default=("", 0.0))
    collapsed = loss.objective != "energy" and figures.mass is not None and figures.mass < 0.05
    if collapsed and math.isfinite(strength):
        cause = (
            f"term {name!r} costs {cost:.3g} on average, {cost / strength:.3g} times reg + tau_src + tau_tgt = "
            f"{figures.reg:g} + {loss.tau_src:g} + {loss.tau_tgt:g}, so the mass exp(-E/S) and the gradient with it "
            f"vanish (lambda_ot {figures.weight:g} cannot help)."
        )
        tau = 0.5 * sum(figures.term_costs.values()) / -math.log(HEALTHY_MASS)
        normalise = "" if loss.cost_normalization == "ema" else "ot.loss_config.cost_normalization = ema and "
        return cause, f"{normalise}ot.loss_config.objective = energy; or tau_src = tau_tgt = {tau:.3g}."
    learned = [term.name for term in loss.features if term.weight_embed > 0.0 and not term.detach_cost_grad]
    if not learned:
        cause = "no term has a learned encoding with gradient (weight_embed is 0 or detach_cost_grad is set)."
        return cause, "give one term use_learned_embed = true and weight_embed > 0."
    part = sum(figures.term_costs.get(term, 0.0) for term in learned)
    cause = (
        f"lambda_ot {figures.weight:.3g} is too small for the terms with gradient ({', '.join(learned)}), which cost "
        f"{part:.3g} on average against reg {figures.reg:g}, tau_src {loss.tau_src}, tau_tgt {loss.tau_tgt}."
    )
    return cause, f"ot.lambda_ot = {proposed_weight(figures)}."


def eating_cause(figures: HealthFigures, loss: LossConfig) -> tuple[str, str]:
    """Return why the transport eats the policy, and the settings that tame it."""
    name, cost = max(figures.term_costs.items(), key=lambda item: item[1], default=("", 0.0))
    cause = (
        f"lambda_ot {figures.weight:.3g} on a cost whose largest term {name!r} is {cost:.3g} on average (reg "
        f"{figures.reg:g}, tau_src {loss.tau_src}, tau_tgt {loss.tau_tgt}) outweighs behaviour cloning"
    )
    fix = f"ot.lambda_ot = {proposed_weight(figures)}"
    if loss.embed_normalization == "none":
        cause += "; and without embed_normalization the cost falls by shrinking the encodings alone"
        fix = f"ot.loss_config.embed_normalization = batch, {fix}"
    return f"{cause}.", f"{fix}."


def proposed_weight(figures: HealthFigures) -> str:
    """Return the weight that would bring the gradient share to HEALTHY_SHARE, or auto where that is unknown."""
    share = figures.grad_share
    if share is None or not 0.0 < share < 1.0 or figures.weight <= 0.0:
        return "auto"
    factor = HEALTHY_SHARE / (1.0 - HEALTHY_SHARE) * (1.0 - share) / share
    return f"{figures.weight * factor:.2g} (or auto)"
