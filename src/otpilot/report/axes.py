"""Axes of charts: ranges, round tick values and their labels, for any finite numbers."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_LARGEST = sys.float_info.max
_LOG_LARGEST = math.log10(_LARGEST)
_MARGIN = 0.05  # of the range, above and below the values


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A range and its labelled ticks; `low` and `high` are decimal logarithms where `log_scale` is set."""

    low: float
    high: float
    log_scale: bool
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: float) -> float:
        """Return where `value` lies: 0 at the low end, 1 at the high end."""
        at = math.log10(value) if self.log_scale else value
        # Halved, because the distance of two huge numbers of opposite sign overflows.
        return (at / 2 - self.low / 2) / (self.high / 2 - self.low / 2)


def drawable(value: float, *, log_scale: bool) -> bool:
    """Return whether a value has a place on the axis: finite, and above 0 on a logarithmic one."""
    return math.isfinite(value) and (value > 0 or not log_scale)


def step_axis(steps: Sequence[int]) -> Axis:
    """Return the axis of training steps, from the first to the last, with whole ticks; from 0 where there is one."""
    low, high = float(min(steps)), float(max(steps))
    if low == high:
        low, high = min(0.0, low), max(1.0, high)
    ticks = nice_ticks(low, high, whole=True)
    return Axis(low=low, high=high, log_scale=False, ticks=tuple(zip(ticks, tick_labels(ticks), strict=True)))


def value_axis(values: Sequence[float], *, log_scale: bool, is_rate: bool = False) -> Axis:
    """Return an axis a little wider than the values, all of which must be drawable; at least one is needed.

    With `is_rate` it does not leave 0 to 1, unless a value does; where all values are equal it is the whole of that.
    """
    low, high = min(values), max(values)
    is_rate = is_rate and low >= 0.0 and high <= 1.0
    if log_scale:
        return _log_axis(math.log10(low), math.log10(high))
    if is_rate and low == high:
        low, high, pad = 0.0, 1.0, 0.0
    elif _span(low, high) <= 1e-9 * max(abs(low), abs(high)) or _span(low, high) < 1e-290:
        pad = 0.1 * max(abs(low), abs(high)) or 1.0
    else:
        pad = _MARGIN * _span(low, high)
    least, most = (0.0, 1.0) if is_rate else (-_LARGEST, _LARGEST)
    low, high = max(low - pad, least), min(high + pad, most)
    ticks = nice_ticks(low, high)
    return Axis(low=low, high=high, log_scale=False, ticks=tuple(zip(ticks, tick_labels(ticks), strict=True)))


def _span(low: float, high: float) -> float:
    return min(high - low, _LARGEST)


def _log_axis(low: float, high: float) -> Axis:
    pad = max(_MARGIN * (high - low), 0.1)
    low, high = max(low - pad, -324.0), min(high + pad, _LOG_LARGEST)
    decades = range(math.ceil(low), math.floor(high) + 1)
    if len(decades) >= 3:
        ticks = [10.0**power for power in decades[:: math.ceil(len(decades) / 5)]]
    else:
        powers = range(math.floor(low), math.floor(high) + 1)
        ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        ticks = [tick for tick in ticks if 0 < tick <= _LARGEST and low <= math.log10(tick) <= high]
    if len(ticks) < 2:
        # Next to the ends of the floating-point range there is no room for round numbers.
        inside = low > -300 and high < 308
        ticks = nice_ticks(10.0**low, 10.0**high) if inside else [10.0 ** (low / 2 + high / 2)]
    labels = [short(tick) for tick in ticks]
    return Axis(low=low, high=high, log_scale=True, ticks=tuple(zip(ticks, labels, strict=True)))


def nice_ticks(low: float, high: float, *, count: int = 5, whole: bool = False) -> list[float]:
    """Return about `count` multiples of 1, 2, 2.5 or 5 times a power of ten within [low, high], where low < high.

    With `whole`, every tick is a whole number.
    """
    rough = high / count - low / count
    power = 10.0 ** math.floor(math.log10(rough))
    digits = (1.0, 2.0, 5.0, 10.0) if whole else (1.0, 2.0, 2.5, 5.0, 10.0)
    step = next(digit * power for digit in digits if digit * power >= rough * (1 - 1e-12))
    if whole:
        step = max(1.0, step)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def tick_labels(ticks: Sequence[float]) -> list[str]:
    """Return labels with as many digits as tell neighbouring ticks apart; thousands as "2k" when all are whole ones."""
    largest = max(map(abs, ticks), default=0.0)
    step = min((later / 2 - earlier / 2) * 2 for earlier, later in pairwise(ticks)) if len(ticks) > 1 else largest
    if not 1e-4 <= largest < 1e6 or step < 1e-6:
        return [short(tick) for tick in ticks]
    if step >= 500 and all(tick % 500 == 0 for tick in ticks):
        return [f"{tick / 1000:g}k" if tick else "0" for tick in ticks]
    decimals = next((places for places in range(8) if _whole(step * 10**places)), 8)
    return [f"{tick:.{decimals}f}" for tick in ticks]


def _whole(number: float) -> bool:
    return abs(number - round(number)) < 1e-6 * max(1.0, abs(number))


def short(value: float, digits: int = 4) -> str:
    """Return a number with `digits` significant digits, e.g. "0.0123", "12300", "1.2e-7", "nan", "inf"."""
    if math.isfinite(value) and 1e4 <= abs(value) < 1e6:
        return f"{value:.0f}"
    mantissa, mark, exponent = f"{value:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa
