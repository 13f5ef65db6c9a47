"""The array type that jaxtyping shapes are written on in this package."""

from typing import Any

import numpy.typing as npt

Array = npt.NDArray[Any]
