import warnings

import numpy as np
import pytest

from otpilot.errors import ConfigError, DatasetError, OtpilotError
from otpilot.sim.record import SETTLE_STEPS, default_repo_id, demonstrations, record
from otpilot.sim.region import get_region
from otpilot.sim.world import GRASP_RADIUS

TINY = {"domain": "target", "region": "left", "episodes": 2, "seed": 4, "image_size": 32}


def reload(root):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # third-party imports of lerobot
        from lerobot.datasets import LeRobotDataset
    return LeRobotDataset(default_repo_id("target", "left"), root=root)


def test_round_trip_holds_what_the_simulator_showed(tmp_path):
    calls = []
    root = record(tmp_path / "demos", **TINY, cameras=("top", "wrist"), progress=lambda *done: calls.append(done))
    made = list(demonstrations(**TINY, cameras=("top", "wrist")))
    dataset = reload(root)
    assert calls == [(1, 2), (2, 2)]
    assert [path.name for path in tmp_path.iterdir()] == ["demos"]
    assert dataset.num_episodes == 2
    assert len(dataset) == sum(len(episode.action) for episode in made)
    assert dataset.meta.fps == 10
    assert list(dataset.meta.tasks.index) == ["Put the block on the goal."]
    assert dataset.meta.features["observation.images.top"]["names"] == ["height", "width", "channels"]
    assert list(dataset.meta.features["action"]["names"]) == ["x", "y", "gripper"]
    index = 0
    for number, episode in enumerate(made):
        for step, action in enumerate(episode.action):
            item = dataset[index]
            assert item["episode_index"] == number
            assert item["frame_index"] == step
            np.testing.assert_array_equal(item["action"], action)
            np.testing.assert_array_equal(item["observation.state"], episode.observation["observation.state"][step])
            for camera in ("top", "wrist"):
                key = f"observation.images.{camera}"
                stored = np.rint(item[key].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
                np.testing.assert_array_equal(stored, episode.observation[key][step])
            index += 1
    actions = np.concatenate([episode.action for episode in made])
    np.testing.assert_allclose(dataset.meta.stats["action"]["mean"], actions.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(dataset.meta.stats["action"]["max"], actions.max(axis=0), rtol=1e-5)
    assert dataset.meta.stats["observation.images.top"]["mean"].shape == (3, 1, 1)


def test_demonstrations_end_behind_success_in_their_region():
    box = get_region("left").box
    for episode in demonstrations(**{**TINY, "episodes": 20}):
        gripper = episode.observation["observation.state"][:, 2]
        assert (episode.action[-SETTLE_STEPS - 1 :, 2] == 0).all()
        assert gripper[-SETTLE_STEPS - 1] >= 0.5  # the last frame that still holds
        assert gripper[-SETTLE_STEPS] < 0.5
        # block and goal lie in the box, so the way from one to the other does, up to the grasp's reach
        carrying = episode.observation["observation.state"][episode.action[:, 2] == 1]
        assert (carrying[:, 0] >= box[0] - GRASP_RADIUS).all()
        assert (carrying[:, 0] <= box[1] + GRASP_RADIUS).all()


def test_demonstrations_do_not_depend_on_how_many_are_made():
    few, many = (list(demonstrations(**{**TINY, "episodes": count})) for count in (2, 19))
    np.testing.assert_array_equal(few[1].action, many[1].action)
    assert len(many) == 19


def test_existing_folder_is_refused_and_left_alone(tmp_path):
    root = tmp_path / "demos"
    root.mkdir()
    (root / "mine.txt").write_text("keep")
    with pytest.raises(DatasetError, match="exists; give another folder"):
        record(root, **TINY)
    assert [path.name for path in root.iterdir()] == ["mine.txt"]


def test_failure_leaves_nothing(tmp_path):
    def stop(done, episodes):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(tmp_path / "demos", **TINY, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_bad_settings_write_nothing(tmp_path):
    with pytest.raises(ConfigError):
        record(tmp_path / "new" / "demos", **{**TINY, "domain": "tarket"})
    with pytest.raises(ConfigError):
        record(tmp_path / "new" / "demos", **{**TINY, "episodes": 0})
    assert list(tmp_path.iterdir()) == []


def test_noise_that_defeats_the_expert_is_named(tmp_path):
    with pytest.raises(OtpilotError, match=r"expert failed in episode \d+ of seed 4.*noise_std 0.3"):
        list(demonstrations(**TINY, noise_std=0.3))


@pytest.mark.slow
def test_videos_show_nearly_the_same(tmp_path):
    root = record(tmp_path / "demos", **{**TINY, "episodes": 1, "image_size": 64}, use_videos=True)
    dataset = reload(root)
    assert dataset.meta.video_keys == ["observation.images.top"]
    episode = next(iter(demonstrations(**{**TINY, "episodes": 1, "image_size": 64})))
    stored = dataset[5]["observation.images.top"].numpy().transpose(1, 2, 0) * 255
    clean = episode.observation["observation.images.top"][5].astype(float)
    assert len(dataset) == len(episode.action)
    assert np.abs(stored - clean).mean() < 10.0  # sensor noise is what the codec drops
