"""The array types of this package's signatures."""

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from jaxtyping import Integer

Array = npt.NDArray[Any]
"""What jaxtyping shapes are written on."""

Integers = Sequence[int] | Integer[Array, "_"]
"""Whole numbers as callers have them: a list, a range, an array."""
