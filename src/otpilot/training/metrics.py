"""Means of what each step reports, between two log lines."""

from collections.abc import Mapping

import torch
from torch import Tensor

Number = float | int | Tensor


class Window:
    """Collects named numbers and returns their means; tensors stay on their device until then."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor | float] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Number]) -> None:
        """Add one step's numbers; a name may be missing in some steps."""
        for name, value in values.items():
            number = value.detach().double() if isinstance(value, Tensor) else float(value)
            self._sums[name] = self._sums.get(name, 0.0) + number
            self._counts[name] = self._counts.get(name, 0) + 1

    def means(self) -> dict[str, float]:
        """Return the mean of each name over the steps that had it, and start anew."""
        names = list(self._sums)
        if not names:
            return {}
        sums = torch.stack([torch.as_tensor(self._sums[name], dtype=torch.float64).cpu() for name in names]).tolist()
        result = {name: total / self._counts[name] for name, total in zip(names, sums, strict=True)}
        self._sums, self._counts = {}, {}
        return result

    def state_dict(self) -> dict[str, dict[str, float]]:
        """Return what was collected since the last log line."""
        return {"sums": {name: float(total) for name, total in self._sums.items()}, "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Continue from `state`."""
        self._sums = dict(state["sums"])
        self._counts = {name: int(count) for name, count in state["counts"].items()}
