"""What experiments measured, in plain numbers: the objects that every rendering shows."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.stats import binomtest

from otpilot.errors import OtpilotError


@dataclass(frozen=True, kw_only=True)
class SuccessRate:
    """Successes of independent episodes, with the exact (Clopper-Pearson) 95 % interval of the rate."""

    successes: int
    episodes: int

    def __post_init__(self) -> None:
        """Check that there were episodes, and no more successes than episodes."""
        if not 0 <= self.successes <= self.episodes or self.episodes == 0:
            raise OtpilotError(
                f"{self.successes} successes of {self.episodes} episodes; allowed: 0 to all of 1 or more."
            )

    @property
    def rate(self) -> float:
        """Share of successful episodes, 0 to 1."""
        return self.successes / self.episodes

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper end of the 95 % interval, 0 to 1."""
        found = binomtest(self.successes, self.episodes).proportion_ci(confidence_level=0.95, method="exact")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        """Return e.g. '.68 [.58, .77]'."""
        low, high = self.interval
        return f"{_short(self.rate)} [{_short(low)}, {_short(high)}]"


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Difference of two success rates with its 95 % interval, and one of three verdicts."""

    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """better, worse or not distinguishable: whether the interval excludes zero."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "not distinguishable"


def compare(ours: SuccessRate, baseline: SuccessRate) -> Comparison:
    """Return ours - baseline with Newcombe's hybrid score interval (Statistics in Medicine 17, 1998, method 10)."""
    low_1, high_1 = _wilson(ours)
    low_2, high_2 = _wilson(baseline)
    difference = ours.rate - baseline.rate
    return Comparison(
        difference=difference,
        low=difference - math.hypot(ours.rate - low_1, high_2 - baseline.rate),
        high=difference + math.hypot(high_1 - ours.rate, baseline.rate - low_2),
    )


def _wilson(success: SuccessRate) -> tuple[float, float]:
    found = binomtest(success.successes, success.episodes).proportion_ci(confidence_level=0.95, method="wilson")
    return float(found.low), float(found.high)


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """One way of training: its name, what it is, and its success in each cell."""

    name: str
    about: str
    success: Mapping[str, SuccessRate]


def _short(share: float) -> str:
    text = f"{share:.2f}"
    return text[1:] if text.startswith("0") else text


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One metric of one run: values at training steps; NaN and infinities are kept."""

    run: str
    steps: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Curves of one metric, one per run; `is_rate` keeps its axis between 0 and 1."""

    metric: str
    about: str
    curves: tuple[Curve, ...]
    log_scale: bool = False
    is_rate: bool = False


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A PNG with what it shows."""

    title: str
    caption: str
    png: bytes


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a report says; each rendering shows all of it.

    `facts` are (label, value) lines at the top; `findings` are sentences derived from the numbers.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    methods: tuple[MethodResult, ...]
    findings: tuple[str, ...]
    charts: tuple[Chart, ...]
    pictures: tuple[Picture, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """Names of the evaluations that any method has, in order of first appearance."""
        return tuple(dict.fromkeys(cell for method in self.methods for cell in method.success))

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of methods, then of further runs in the charts; the order gives each its colour."""
        drawn = [curve.run for chart in self.charts for curve in chart.curves]
        return tuple(dict.fromkeys([method.name for method in self.methods] + drawn))
