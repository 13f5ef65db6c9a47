"""The space that random, grid and optuna search: one documented table, within the limits of config/bounds.py.

| knob | range | scale | source |
|---|---|---|---|
| weight | lambda_ot 0.01 to 0.5, or target_grad_share 0.02 to 0.3 where it is automatic | log | seeds; transport.md |
| reg | 0.02 to 3 | log | reports 001 and 003 |
| tau | 0.01 to 20, both sides alike; not where a side is hard | log | reports 001 and 003 |
| label weight | 0.0001 to 0.1 for each term that has one; not where it cancels out | log | reports 001 and 003 |
| term weight | 0.1 to 10 for a label by itself, divided by its own mean, beside other terms | log | docs/ot.md |
| window | 0 to 30 frames; not where there is none | linear | seeds |
| sharpness | 0 to 2 | linear | report 004 |
| source episodes | 5 to 50, where a number is set | log | report 004 |
| view | 0 to 0.75 of the source rows, where it is a number and source rows are cloned | linear | docs/views.md |
| compute every | 1 to 4 steps | linear | report 002 |
| learning rate | ACT 3e-6 to 3e-5, Diffusion 3e-5 to 3e-4, others 1e-5 to 1e-4 | log | reports 001 and 002 |
| batch | 8 to 64 rows | log | seeds |
| dropout | 0 to 0.3, ACT only | linear | report 000 |
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otpilot.config.bounds import Kind
from otpilot.config.canonical import same_effect
from otpilot.config.edits import Edit, apply, learning_rate_path, policy_type, value_at, values_at
from otpilot.pilot.proposal import Group
from otpilot.pilot.rules.base import EMBEDS, LABELS, REG, TAU_SRC, TAU_TGT, WEIGHT, WINDOW, transports

RATES = {"act": (3e-6, 3e-5), "diffusion": (3e-5, 3e-4)}
RATES_ELSEWHERE = (1e-5, 1e-4)
DIGITS = 3


@dataclass(frozen=True, kw_only=True)
class Dimension:
    """One knob: the keys that it sets alike, and its range; `log` spreads values evenly by ratio."""

    paths: tuple[str, ...]
    low: float
    high: float
    log: bool
    group: Group
    kind: Kind = "float"

    @property
    def name(self) -> str:
        """Name of the dimension: its first key."""
        return self.paths[0]

    def at(self, share: float) -> float:
        """Return the value at a share of the range, rounded to three digits or to a whole number.

        Shares are 0 to 1; one below or above lies as far beyond the range, for configs that are there already.
        """
        if self.log:
            value = math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + share * (self.high - self.low)
        return self.rounded(value) if 0.0 <= share <= 1.0 else self._short(value)

    def share(self, value: float) -> float:
        """Return where in the range a value lies: 0 at its low end, 1 at its high one, beyond them outside."""
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        return math.log(max(value, 1e-12) / self.low) / math.log(self.high / self.low)

    def rounded(self, value: float) -> float:
        """Return a value as it is put into a config."""
        return min(max(self._short(value), self.low), self.high)

    def _short(self, value: float) -> float:
        return round(value) if self.kind == "int" else float(f"{value:.{DIGITS}g}")

    def edits(self, value: float) -> tuple[Edit, ...]:
        """Return the edits that set the knob."""
        return tuple(Edit(path=path, op="set", value=value) for path in self.paths)


def dimensions(config: Mapping[str, Any], only: Group | None = None) -> tuple[Dimension, ...]:
    """Return the knobs that this config has, transport first; `only` keeps one group."""
    found = (*_transport(config), *_cloning(config))
    return tuple(dimension for dimension in found if only in (None, dimension.group))


def _transport(config: Mapping[str, Any]) -> list[Dimension]:
    if not transports(config):
        return []
    auto = value_at(config, WEIGHT) == "auto"
    weight = ("ot.target_grad_share", 0.02, 0.3) if auto else (WEIGHT, 0.01, 0.5)
    found = [_ot(weight[0], low=weight[1], high=weight[2]), _ot(REG, low=0.02, high=3.0)]
    found = [dimension for dimension in found if _counts(config, dimension)]
    if None not in (value_at(config, TAU_SRC), value_at(config, TAU_TGT)):
        found.append(_ot(TAU_SRC, TAU_TGT, low=0.01, high=20.0))
    found += _labels(config)
    if not value_at(config, "ot.no_window"):
        found.append(_ot(WINDOW, low=0, high=30, log=False, kind="int"))
        found.append(_ot("ot.sharpness", low=0.0, high=2.0, log=False))
    if value_at(config, "ot.topk_src_episodes") is not None:
        found.append(_ot("ot.topk_src_episodes", low=5, high=50, kind="int"))
    numbered = isinstance(value_at(config, "ot.view_share"), int | float)
    if numbered and value_at(config, "ot.pair_info_path") and value_at(config, "ot.bc_src_weight"):
        found.append(_ot("ot.view_share", low=0.0, high=0.75, log=False))
    found.append(_ot("ot.compute_every_n_steps", low=1, high=4, log=False, kind="int"))
    return found


def _labels(config: Mapping[str, Any]) -> list[Dimension]:
    """Return what sets how much each label counts: its weight, or its term's where the weight cancels out.

    A term that is all the cost has neither: it would do what reg, tau and the transport's weight do.
    """
    terms = sum(bool(weight) for path in (LABELS, EMBEDS) for weight in values_at(config, path).values())
    found = []
    for path, weight in values_at(config, LABELS).items():
        label = _ot(path, low=1e-4, high=0.1)
        if weight and _counts(config, label):
            found.append(label)
        elif weight and terms > 1:
            found.append(_ot(f"{path.removesuffix('weight_label')}term_weight", low=0.1, high=10.0))
    return found


def _counts(config: Mapping[str, Any], dimension: Dimension) -> bool:
    """Whether training sees the knob at all, rather than a schedule that names every value."""
    low, high = (apply(config, dimension.edits(value))[0] for value in (dimension.low, dimension.high))
    return not same_effect(low, high)


def _cloning(config: Mapping[str, Any]) -> list[Dimension]:
    policy = policy_type(config)
    low, high = RATES.get(policy or "", RATES_ELSEWHERE)
    rate = learning_rate_path(config)
    found = [Dimension(paths=("batch_size",), low=8, high=64, log=True, group="bc", kind="int")]
    if value_at(config, rate) is not None:
        found.insert(0, Dimension(paths=(rate,), low=low, high=high, log=True, group="bc"))
    if policy == "act":
        found.append(Dimension(paths=("policy.dropout",), low=0.0, high=0.3, log=False, group="bc"))
    return found


def _ot(*paths: str, low: float, high: float, log: bool = True, kind: Kind = "float") -> Dimension:
    return Dimension(paths=paths, low=low, high=high, log=log, group="ot", kind=kind)
