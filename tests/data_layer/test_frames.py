import numpy as np
import pytest
import torch
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from torch.utils.data import default_collate

from otpilot.data.domains import open_domains
from otpilot.data.frames import FrameReader
from otpilot.errors import ConfigError
from otpilot.sim.record import record

CAMERA = "observation.images.top"


def check_equal(reader, dataset, places):
    theirs = default_collate([dataset[place] for place in places])
    ours = reader.rows(np.asarray(places))
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        if isinstance(value, list):
            assert ours[key] == value
            continue
        as_stored = (value * 255).round().to(torch.uint8) if key == CAMERA and value.dtype != torch.uint8 else value
        assert torch.equal(ours[key].reshape(value.shape), as_stored), key


@pytest.mark.parametrize("cache_bytes", [0, 2**30])
@pytest.mark.parametrize("observation_deltas", [None, [-1, 0]])
def test_rows_equal_lerobots_own_items(world, cache_bytes, observation_deltas):
    action_deltas = [0, 1, 2, 3, 4]
    deltas = {"action": [delta / 10 for delta in action_deltas]}
    if observation_deltas:
        deltas |= {key: [d / 10 for d in observation_deltas] for key in (CAMERA, "observation.state")}
    dataset = LeRobotDataset("s", root=world.source, delta_timestamps=deltas, return_uint8=True)
    reader = FrameReader(
        LeRobotDataset("s", root=world.source, return_uint8=True),
        observation_deltas=observation_deltas,
        action_deltas=action_deltas,
        cache_bytes=cache_bytes,
    )
    ends = [stop - 1 for stop in dataset.meta.episodes["dataset_to_index"]]
    places = [0, 1, 7, ends[0], ends[0] + 1, ends[-1]]
    check_equal(reader, dataset, places)
    check_equal(reader, dataset, places)  # now out of the cache


def test_video_datasets_read_the_same(tmp_path):
    root = record(tmp_path / "v", domain="source", region="full", episodes=2, seed=3, image_size=32, use_videos=True)
    dataset = LeRobotDataset("v", root=root, delta_timestamps={"action": [0.0, 0.1]}, return_uint8=True)
    reader = FrameReader(
        LeRobotDataset("v", root=root, return_uint8=True), observation_deltas=None, action_deltas=[0, 1]
    )
    check_equal(reader, dataset, [0, 5, len(dataset) - 1])


@pytest.mark.parametrize(("cache_bytes", "again"), [(0, 3), (2**30, 0)])
def test_a_frame_is_decoded_once_for_all_cameras(tmp_path, monkeypatch, cache_bytes, again):
    cameras = ("top", "wrist")
    root = record(tmp_path / "c", domain="source", region="full", episodes=1, seed=3, image_size=32, cameras=cameras)
    dataset = LeRobotDataset("c", root=root, return_uint8=True)
    reader = FrameReader(dataset, observation_deltas=[-1, 0], action_deltas=None, cache_bytes=cache_bytes)
    decoded = []
    item = LeRobotDataset.__getitem__
    monkeypatch.setattr(LeRobotDataset, "__getitem__", lambda self, index: decoded.append(index) or item(self, index))
    first = reader.rows(np.asarray([4, 5, 4]))
    assert decoded == [3, 4, 5]
    second = reader.rows(np.asarray([4, 5, 4]))
    assert len(decoded) == 3 + again
    for camera in cameras:
        key = f"observation.images.{camera}"
        assert first[key].shape == (3, 2, 3, 32, 32)
        assert torch.equal(first[key], second[key])
        assert torch.equal(first[key][0], first[key][2])
        assert not torch.equal(first[key][0], first[key][1])


@pytest.mark.parametrize(("size", "decodes"), [(0, 2), (1.0, 1)])
def test_the_config_sizes_the_cache(load, monkeypatch, size, decodes):
    reader = open_domains(load(frame_cache_gb=size)).target.reader
    decoded = []
    item = LeRobotDataset.__getitem__
    monkeypatch.setattr(LeRobotDataset, "__getitem__", lambda self, index: decoded.append(index) or item(self, index))
    reader.rows(np.asarray([2]))
    reader.rows(np.asarray([2]))
    assert decoded == [2] * decodes


@pytest.mark.parametrize("size", [-1, float("inf"), float("nan")])
def test_impossible_cache_sizes_are_refused(load, size):
    with pytest.raises(ConfigError, match="frame_cache_gb is"):
        load(frame_cache_gb=size)
