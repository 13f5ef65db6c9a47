"""Better, worse or not distinguishable: what several seeds, or one seed and a noise floor, allow to say."""

from dataclasses import dataclass
from typing import Literal

Word = Literal["better", "worse", "not distinguishable"]
Scale = Literal["log", "difference"]
Basis = Literal["t-interval", "noise floor", "no seeds", "no scores"]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One of three words, and what it rests on.

    `mean`, `low`, `high`: on scale "log" relative differences ours / baseline - 1 (-0.05: five percent lower); on scale
    "difference" plain differences ours - baseline. `pairs` counts the seeds compared. `noise` is the standard deviation of repeated baseline
    runs on the same scale (None: not known). `basis` says which rule spoke: the t-interval over seeds, the
    noise floor of one seed, or nothing that could.
    """

    word: Word
    basis: Basis
    scale: Scale
    pairs: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    noise: float | None = None
