"""Reads rows of one LeRobot dataset fast: action and state from cached columns, each image decoded once.

LeRobot's own item access decodes every image of an action chunk (its issue 4392); rows here hold the same values.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from lerobot.utils.constants import ACTION
from numpy.typing import NDArray
from torch import Tensor


class FrameReader:
    """Rows of one dataset, by absolute frame index.

    Args:
        dataset: A whole dataset (no episode subset), opened without delta timestamps.
        observation_deltas: Frame offsets of each observation, e.g. [-1, 0]; None for the current frame, no time axis.
        action_deltas: Frame offsets of the action chunk; None for the current action, no time axis.
        cache_bytes: Images are kept in memory, as uint8, if all of them fit in this many bytes.
        image_transforms: Applied to the float images of each row, ([time,] C, H, W), after decoding; None for none.
    """

    def __init__(
        self,
        dataset: LeRobotDataset,
        *,
        observation_deltas: Sequence[int] | None,
        action_deltas: Sequence[int] | None,
        cache_bytes: int = 4 * 2**30,
        image_transforms: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.dataset = dataset
        self.meta = dataset.meta
        self.episode_starts = np.asarray(self.meta.episodes["dataset_from_index"], dtype=np.int64)
        self.episode_stops = np.asarray(self.meta.episodes["dataset_to_index"], dtype=np.int64)
        self._observation_deltas = observation_deltas
        self._action_deltas = action_deltas
        self._transforms = image_transforms
        self._cameras = list(self.meta.camera_keys)
        self._columns = {
            key: torch.from_numpy(read_column(dataset, key))
            for key, feature in self.meta.features.items()
            if key == ACTION or (key.startswith("observation.") and feature["dtype"] not in ("image", "video"))
        }
        self._episode_of = read_column(dataset, "episode_index").astype(np.int64)
        self._task_of = read_column(dataset, "task_index").astype(np.int64)
        self._timestamps = torch.from_numpy(read_column(dataset, "timestamp").astype(np.float32))
        self._tasks = [str(name) for name in self.meta.tasks.sort_values("task_index").index]
        self._cache = self._make_cache(cache_bytes)

    def __len__(self) -> int:
        """Return the number of frames in the dataset."""
        return len(self._episode_of)

    @property
    def transforms(self) -> Callable[[Tensor], Tensor] | None:
        """What is done to the images of a row that is augmented, ([time,] C, H, W); None for nothing."""
        return self._transforms

    def column(self, key: str) -> Tensor:
        """Return a whole vector column, (frames, dims)."""
        return self._columns[key]

    def rows(self, indices: NDArray[np.int64], *, augment: bool | NDArray[np.bool_] = True) -> dict[str, Any]:
        """Return the rows at absolute frame indices, collated as LeRobot's DataLoader does.

        Images are uint8 (n, [time,] C, H, W) unless image transforms are set, then float32 in [0, 1]. `augment` lets
        the image transforms act, on some rows (n,) or on all; held-out rows are read without, as uint8. As in LeRobot,
        the observations of one row are transformed alike.
        """
        indices = np.asarray(indices, dtype=np.int64)
        batch: dict[str, Any] = {}
        now = torch.from_numpy(indices)
        for key, column in self._columns.items():
            deltas = self._action_deltas if key == ACTION else self._observation_deltas
            if deltas is None:
                batch[key] = column[now]
            else:
                places, is_pad = self._window(indices, deltas)
                batch[key] = column[places]
                batch[f"{key}_is_pad"] = is_pad
        seen = now
        if self._observation_deltas is not None:
            seen, is_pad = self._window(indices, self._observation_deltas)
            batch |= {f"{camera}_is_pad": is_pad for camera in self._cameras}
        batch |= self._images(seen, augment=augment)
        batch["index"] = now
        batch["frame_index"] = torch.from_numpy(indices - self.episode_starts[self._episode_of[indices]])
        batch["episode_index"] = torch.from_numpy(self._episode_of[indices])
        batch["timestamp"] = self._timestamps[now]
        batch["task_index"] = torch.from_numpy(self._task_of[indices])
        batch["task"] = [self._tasks[task] for task in self._task_of[indices]]
        return batch

    def _window(self, indices: NDArray[np.int64], deltas: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return frame indices (n, deltas) clamped to the episode, and which of them were clamped."""
        episodes = self._episode_of[indices]
        first = self.episode_starts[episodes][:, None]
        last = self.episode_stops[episodes][:, None] - 1
        wanted = indices[:, None] + np.asarray(deltas, dtype=np.int64)[None, :]
        return torch.from_numpy(np.clip(wanted, first, last)), torch.from_numpy((wanted < first) | (wanted > last))

    def _images(self, places: Tensor, *, augment: bool | NDArray[np.bool_]) -> dict[str, Tensor]:
        """Return each camera's images at frame indices, (*places, C, H, W)."""
        flat = self._raw_images(places.reshape(-1)) if self._cameras else {}
        images = {camera: frames.reshape(*places.shape, *frames.shape[1:]) for camera, frames in flat.items()}
        if self._transforms is None or augment is False:
            return images
        chosen = np.broadcast_to(augment, len(places)).tolist()
        return {
            camera: torch.stack(
                [self._transforms(row) if act else row for row, act in zip(frames.float() / 255.0, chosen, strict=True)]
            )
            for camera, frames in images.items()
        }

    def _raw_images(self, places: Tensor) -> dict[str, Tensor]:
        """Return each camera's uint8 images at flat frame indices; a frame is decoded once, for all cameras."""
        unique, back = torch.unique(places, return_inverse=True)
        if self._cache is None:
            items = [self.dataset[index] for index in unique.tolist()]
            return {camera: torch.stack([_as_uint8(item[camera]) for item in items])[back] for camera in self._cameras}
        frames, filled = self._cache
        for index in unique[~filled[unique]].tolist():
            item = self.dataset[index]
            for camera in self._cameras:
                frames[camera][index] = _as_uint8(item[camera])
            filled[index] = True
        return {camera: frames[camera][places] for camera in self._cameras}

    def _make_cache(self, cache_bytes: int) -> tuple[dict[str, Tensor], Tensor] | None:
        shapes = {camera: _channels_first(self.meta.features[camera]) for camera in self._cameras}
        if not shapes or sum(len(self) * int(np.prod(shape)) for shape in shapes.values()) > cache_bytes:
            return None
        # Shared memory, so that forked and spawned loader workers fill one cache.
        frames = {camera: _shared((len(self), *shape), torch.uint8) for camera, shape in shapes.items()}
        return frames, _shared((len(self),), torch.bool)


def read_column(dataset: LeRobotDataset, key: str) -> NDArray[Any]:
    """Return one column of a dataset as an array, (frames,) or (frames, dims), without decoding images."""
    table = dataset.hf_dataset.select_columns(key).with_format("numpy")
    values = np.asarray(table[:][key])
    return values.astype(np.float32) if values.dtype == np.float64 else values


def _channels_first(feature: dict[str, Any]) -> tuple[int, int, int]:
    shape = tuple(feature["shape"])
    if (feature.get("names") or ["", "", ""])[0] not in ("channels", "channel"):
        shape = (shape[2], shape[0], shape[1])
    return shape


def _shared(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    zeros = torch.zeros(shape, dtype=dtype)
    zeros.share_memory_()  # type: ignore[no-untyped-call]
    return zeros


def _as_uint8(image: Tensor) -> Tensor:
    return image if image.dtype == torch.uint8 else (image * 255.0).round().to(torch.uint8)
