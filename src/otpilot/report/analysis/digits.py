"""Figures as the reports print them: four significant digits, "nan" for what is not there."""

import math


def figure(value: float | None, *, missing: str = "nan", digits: int = 4) -> str:
    """Return a number with `digits` significant digits, as printf's %.4g: 15.15, 0.0004007, 2.333e-05."""
    return missing if value is None else f"{value:.{digits}g}"


def padded(value: float | None) -> str:
    """Return four significant digits with trailing zeros, as comparisons print them: 0.4130."""
    return "nan" if value is None else f"{value:#.4g}".rstrip(".")


def percent(value: float | None, *, missing: str = "nan") -> str:
    """Return a percentage with its sign where negative: -90.37%."""
    return missing if value is None else f"{value:.2f}%"


def signed(value: float | None) -> str:
    """Return a percent difference with its sign, one decimal: +4.7%."""
    return "nan" if value is None or not math.isfinite(value) else f"{value:+.1f}%"
