"""What `otpilot pair inspect` reads of the two datasets: their fingerprints, and the frames that are matched."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from lerobot.datasets.dataset_metadata import LeRobotDatasetMetadata
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from otpilot.data.domains import check_compatible, check_dataset_folder
from otpilot.data.pairs import load_pairs
from otpilot.errors import DatasetError, closest
from otpilot.pairing.arrays import Array
from otpilot.pairing.table import PairTable


@dataclass(frozen=True, kw_only=True)
class DatasetFolders:
    """The folders of a source and a target dataset that fit each other."""

    source: Path
    target: Path

    def __post_init__(self) -> None:
        """Check both folders.

        Raises:
            DatasetError: One is no dataset, or the two do not fit.
        """
        check_dataset_folder("--source", self.source, "")
        check_dataset_folder("--target", self.target, "")
        check_compatible(self.target, self.source)


def open_table(path: Path, folders: DatasetFolders, *, base_index_src: int = 0, base_index_tgt: int = 0) -> PairTable:
    """Return the table in a file, ours or pair_info (.json, .json.gz), checked against its datasets.

    Raises:
        MissingFileError: There is no such file.
        PairingError: It is damaged, or was made for other datasets.
    """
    source, target = _metadata(folders.source), _metadata(folders.target)
    return load_pairs(path, source, target, base_index_src=base_index_src, base_index_tgt=base_index_tgt)


def pick_camera(folders: DatasetFolders, wanted: str | None = None) -> str:
    """Return the key of the camera to show: the wanted one, else the first.

    Raises:
        DatasetError: The datasets have no camera, or none of that name.
    """
    cameras = list(_metadata(folders.target).camera_keys)
    if not cameras:
        raise DatasetError(
            f"{folders.target} has no camera, so there are no frames to show; leave --source and --target out."
        )
    if wanted is not None and wanted not in cameras:
        raise DatasetError(
            f"{folders.target} has no camera {wanted!r}; allowed: {', '.join(cameras)}.{closest(wanted, cameras)}"
        )
    return wanted or cameras[0]


def read_frames(root: Path, rows: Int64[Array, " n"], *, camera: str) -> UInt8[Array, "n h w 3"]:
    """Return the pictures of one camera at rows counted over the whole dataset; each row is decoded once."""
    dataset = LeRobotDataset(root.name, root=root, return_uint8=True)
    unique, places = np.unique(rows, return_inverse=True)
    images = np.stack([np.asarray(dataset[row][camera]) for row in unique.tolist()])
    if images.dtype != np.uint8:  # image storage comes as float in [0, 1]
        images = (images * 255.0).round().astype(np.uint8)
    frames: Array = np.ascontiguousarray(images.transpose(0, 2, 3, 1)[places])
    return frames


def _metadata(root: Path) -> LeRobotDatasetMetadata:
    return LeRobotDatasetMetadata(root.name, root=root)
