"""The array type under jaxtyping's shapes: plain np.ndarray at run time, with its type arguments for mypy."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]
else:
    Array = np.ndarray
