"""A run as the rules see it: curves by ascending step, finite rows only, levels and falls over windows of steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from otpilot.analysis.findings import Finding
from otpilot.analysis.settings import KeySettings, key_settings
from otpilot.analysis.statistics import FiniteRows, finite_rows, median, tail_points
from otpilot.analysis.thresholds import Thresholds
from otpilot.runs.history import Curve, RunHistory
from otpilot.runs.metric_names import metric_info

EvaluationState = Literal["improving", "stalled", "worsening", "unknown"]

TRAINING_LOSSES = ("train/l1_loss", "train/loss")
EVALUATION_LOSSES = ("eval/offline_eval/avg_l1", "eval/offline_eval/avg_loss")
PROGRESS = (*TRAINING_LOSSES, *EVALUATION_LOSSES)
SUCCESS = "sim/success"
SUCCESS_MEAN = "sim/success_mean"
COST = "train/ot_cost/"
MASS = "train/ot_pi_sum"
MAX_PAIRS = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Window:
    """A stretch of finite rows."""

    steps: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def span(self) -> tuple[int, int]:
        """First and last step."""
        return int(self.steps[0]), int(self.steps[-1])

    @property
    def level(self) -> float:
        """Median: one spike does not move it."""
        return median(self.values)

    def last(self, count: int) -> "Window":
        """Return its last rows."""
        return Window(steps=self.steps[-count:], values=self.values[-count:])

    def first(self, count: int) -> "Window":
        """Return its first rows."""
        return Window(steps=self.steps[:count], values=self.values[:count])

    def between(self, low: float, high: float) -> "Window":
        """Return the rows with low < step <= high."""
        first, last = np.searchsorted(self.steps, [low, high], side="right")
        return Window(steps=self.steps[first:last], values=self.values[first:last])

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.values)


class RunView:
    """One history with its settings and limits; what rules ask for is worked out once."""

    def __init__(self, history: RunHistory, thresholds: Thresholds) -> None:
        self.history = history
        self.limits = thresholds
        self._rows: dict[str, FiniteRows | None] = {}
        self._curves: dict[str, Curve | None] = {}
        self._answers: dict[Callable[[RunView], Finding | None], Finding | None] = {}

    def once(self, rule: Callable[["RunView"], Finding | None]) -> Finding | None:
        """Return what a rule says; it is asked the first time only, because other rules want to know too."""
        if rule not in self._answers:
            self._answers[rule] = rule(self)
        return self._answers[rule]

    @cached_property
    def settings(self) -> KeySettings:
        """The settings that rules read."""
        return key_settings(self.history.config)

    @cached_property
    def label_terms(self) -> frozenset[str]:
        """Terms of the cost without a learned encoding, by the config."""
        return frozenset(self.settings.label_terms)

    def rows(self, name: str) -> FiniteRows | None:
        """Return the finite rows of a metric by ascending step, or None where it was not logged."""
        if name not in self._rows:
            curve = self.curve(name)
            self._rows[name] = None if curve is None else finite_rows(curve.steps, curve.values)
        return self._rows[name]

    def curve(self, name: str) -> Curve | None:
        """Return a metric by ascending step, NaN and infinities kept, or None where it was not logged."""
        if name not in self._curves:
            curve = self.history.curves.get(name)
            self._curves[name] = None if curve is None else curve.ordered()
        return self._curves[name]

    def window(self, name: str, *, at_least: int = 1) -> Window | None:
        """Return all finite rows of a metric, or None where there are fewer than `at_least`."""
        rows = self.rows(name)
        if rows is None or len(rows.values) < max(1, at_least):
            return None
        return Window(steps=rows.steps, values=rows.values)

    def tail(self, name: str) -> Window | None:
        """Return the last tenth of a metric, at least `min_points` rows, or None where there are fewer."""
        points = int(self.limits.min_points)
        whole = self.window(name, at_least=points)
        return None if whole is None else whole.last(max(points, tail_points(len(whole))))

    def depends_on_model(self, name: str) -> bool:
        """Whether training can move a metric at all: not the cost of labels."""
        return metric_info(name).depends_on_model and name.removeprefix(COST) not in self.label_terms

    def first_of(self, names: tuple[str, ...], *, at_least: int = 1) -> str | None:
        """Return the first metric that has rows and depends on the model."""
        return next((n for n in names if self.depends_on_model(n) and self.window(n, at_least=at_least)), None)

    @cached_property
    def progress(self) -> str | None:
        """The metric by which training progress is judged."""
        return self.first_of(PROGRESS, at_least=int(self.limits.min_points))

    @cached_property
    def success_metrics(self) -> tuple[str, ...]:
        """Closed-loop success rates, without their intervals; their mean first."""
        names = [name for name in sorted(self.history.curves) if is_success(name) and self.window(name)]
        return tuple(sorted(names, key=lambda name: name != SUCCESS_MEAN))

    @cached_property
    def costs(self) -> tuple[str, ...]:
        """The logged terms of the transport cost."""
        return tuple(name for name in self.history.curves if name.startswith(COST))

    @cached_property
    def transport_on(self) -> bool:
        """Whether the run transports at all, as far as its config says."""
        off = self.settings.method not in (None, "ot") or self.settings.lambda_ot == 0
        return not off

    @cached_property
    def evaluation_metric(self) -> str | None:
        """The best evaluation there is: closed-loop success, else the loss on held-out episodes."""
        return self.success_metrics[0] if self.success_metrics else self.first_of(EVALUATION_LOSSES)

    @cached_property
    def evaluation_levels(self) -> tuple[float, float]:
        """Levels of the evaluation over its second and its last third; NaN where there are fewer than three rows."""
        name = self.evaluation_metric
        whole = None if name is None else self.window(name, at_least=3)
        if whole is None:
            return math.nan, math.nan
        third = max(1, len(whole) // 3)
        return whole.first(len(whole) - third).last(max(third, 2)).level, whole.last(third).level

    @cached_property
    def evaluation(self) -> EvaluationState:
        """How the evaluation does in its last third: what a look at the mass must not overrule."""
        before, now = self.evaluation_levels
        if not math.isfinite(before - now):
            return "unknown"
        unit = 1.0 if self.success_metrics else abs(before) or 1.0
        gain = (now - before if self.success_metrics else before - now) / unit
        chance = 2 * self.evaluation_error / unit
        if gain > max(0.0 if self.success_metrics else self.limits.plateau_fall, chance):
            return "improving"
        worse = self.limits.drift_success if self.success_metrics else self.limits.drift_rise
        return "worsening" if gain < -max(worse, chance) else "stalled"

    @property
    def evaluation_error(self) -> float:
        """Standard error of the difference of the two `evaluation_levels`, by the noise of single evaluations.

        A median of k values has a standard error of 1.25 / sqrt(k) of theirs. The noise is that of second differences,
        where there are enough: a steep beginning is no noise.
        """
        name = self.evaluation_metric
        whole = None if name is None else self.window(name, at_least=3)
        if whole is None:
            return math.nan
        third = max(1, len(whole) // 3)
        noise = single_noise(whole, order=2 if len(whole) > 4 else 1)
        return 1.25 * noise * math.sqrt(1 / third + 1 / max(third, 2))


def single_noise(window: Window, *, order: Literal[1, 2] = 1) -> float:
    """Return the noise of single values: the robust scale of their first or second differences, over its own."""
    changes = np.diff(window.values, n=order)
    return 1.4826 * median(np.abs(changes - median(changes))) / math.sqrt(2.0 if order == 1 else 6.0)


def is_success(name: str) -> bool:
    """Whether a metric is a closed-loop success rate and not one end of its interval."""
    return name.startswith((SUCCESS, "eval/pc_success")) and not name.endswith(("_low", "_high"))


def relative_fall(first: float, last: float) -> float | None:
    """Return (first - last) / |first|, or None where that is undefined or does not fit into a float."""
    if first == 0:
        return None
    fall = (first - last) / abs(first)
    return fall if math.isfinite(fall) else None


def robust_slope(window: Window) -> tuple[float, float]:
    """Return the Theil-Sen slope per step and the standard error of the fitted line's slope, spikes not counted.

    The error is that of least squares with a robust scale (1.4826 times the median absolute residual).
    """
    steps, values = window.steps, window.values
    if len(values) > MAX_PAIRS:
        keep = np.linspace(0, len(values) - 1, MAX_PAIRS).astype(np.int64)
        steps, values = steps[keep], values[keep]
    upper = _pairs(len(values))
    slope = median((values[None, :] - values[:, None])[upper] / (steps[None, :] - steps[:, None])[upper])
    residual = values - slope * steps
    scale = 1.4826 * median(np.abs(residual - median(residual)))
    spread = float(((steps - steps.mean()) ** 2).sum()) * len(window) / len(values)
    return slope, scale / math.sqrt(spread)


@lru_cache(maxsize=MAX_PAIRS)
def _pairs(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return np.triu_indices(n, 1)


def chunk_levels(window: Window, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the last step and the median of consecutive chunks of `size` rows, the last chunk ending at the end."""
    count = max(1, len(window) // size)
    used = window.last(count * size)
    values = np.median(used.values.reshape(count, -1), axis=1)
    return used.steps.reshape(count, -1)[:, -1], values
