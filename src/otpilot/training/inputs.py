"""From collated rows to what the policy takes: onto the device as uint8, scaled there, normalised per domain."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from otpilot.data.mixing import RowMap
from otpilot.training.parts import Processor
from otpilot.training.views import SourceViews


class InputPipeline:
    """LeRobot's preprocessor, and another one for source rows where each domain has its own statistics.

    Args:
        device: Where the policy lives.
        target: The policy's own preprocessor, which checkpoints carry.
        source: The same with the sources' statistics; None where one set of statistics serves all rows.

    Attributes:
        views: What is done to the pictures of source rows that are trained on; None for nothing.
    """

    def __init__(self, device: torch.device, target: Processor, source: Processor | None = None) -> None:
        self.device = device
        self.target = target
        self.source = source
        self.views: SourceViews | None = None

    def for_training(self, rows: Mapping[str, Any], rows_of: RowMap) -> dict[str, Any]:
        """Return the rows of a training batch: as by a call, some source rows in the target's view.

        Their pictures then are the target's, so its statistics normalise them.
        """
        if self.views is None:
            return self(rows, rows_of.is_source)
        seen = self.views({key: self._move(value) for key, value in rows.items()}, rows_of)
        found = self(seen, rows_of.is_source)
        if self.source is None:
            return found
        for number, cameras in self.views.views.items():
            places = np.flatnonzero(rows_of.viewed & (rows_of.domain == number))
            if len(places):
                theirs, there = dict(self.target(pick_rows(seen, places))), torch.as_tensor(places, device=self.device)
                found |= {camera: found[camera].index_copy(0, there, theirs[camera]) for camera in cameras}
        return found

    def __call__(self, rows: Mapping[str, Any], is_source: NDArray[np.bool_] | None = None) -> dict[str, Any]:
        """Return the rows normalised, on the device; rows keep their order.

        Args:
            rows: Collated rows; images uint8, or float in [0, 1].
            is_source: Which rows come from a source domain, (rows,); None for none.
        """
        moved = {key: self._move(value) for key, value in rows.items()}
        if self.source is None or is_source is None or not is_source.any():
            return dict(self.target(moved))
        if is_source.all():
            return dict(self.source(moved))
        ours, theirs = np.flatnonzero(~is_source), np.flatnonzero(is_source)
        order = torch.as_tensor(np.argsort(np.concatenate([ours, theirs])), device=self.device)
        parts = [dict(self.target(pick_rows(moved, ours))), dict(self.source(pick_rows(moved, theirs)))]
        return {key: _merge(value, parts[1][key], order) for key, value in parts[0].items()}

    def _move(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        there = value.to(self.device, non_blocking=True)
        return there.float() / 255.0 if there.dtype == torch.uint8 else there


def pick_rows(rows: Mapping[str, Any], places: NDArray[np.int64]) -> dict[str, Any]:
    """Return some rows of a batch; values that are not one per row stay."""
    picked: dict[str, Any] = {}
    for key, value in rows.items():
        if isinstance(value, Tensor) and value.ndim:
            picked[key] = value[torch.as_tensor(places, device=value.device)]
        else:
            picked[key] = [value[place] for place in places] if isinstance(value, list) else value
    return picked


def _merge(ours: Any, theirs: Any, order: Tensor) -> Any:
    """Return the rows of two parts in the order they had."""
    if isinstance(ours, Tensor) and ours.ndim:
        return torch.cat([ours, theirs])[order]
    if isinstance(ours, list):
        both = ours + theirs
        return [both[place] for place in order.tolist()]
    return ours
