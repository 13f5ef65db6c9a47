"""One line style per run name, the same in every chart and in the success table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Okabe and Ito, "Color Universal Design" (2008): told apart with any common colour vision. Its black and yellow are
# left out, because one of them vanishes on a dark page and the other on a white one.
OKABE_ITO: tuple[str, ...] = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES: tuple[str, ...] = ("", "6 3", "2 3", "9 3 2 3")


@dataclass(frozen=True, kw_only=True)
class LineStyle:
    """How one run is drawn: a colour "#rrggbb" and an SVG dash pattern (empty for a solid line)."""

    colour: str
    dash: str


def line_styles(runs: Iterable[str]) -> Mapping[str, LineStyle]:
    """Return a style for every name in order of first appearance; 24 names differ in colour or dash."""
    styles: dict[str, LineStyle] = {}
    for run in runs:
        if run not in styles:
            turn, place = divmod(len(styles), len(OKABE_ITO))
            styles[run] = LineStyle(colour=OKABE_ITO[place], dash=_DASHES[turn % len(_DASHES)])
    return styles
