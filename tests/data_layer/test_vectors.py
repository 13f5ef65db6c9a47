import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from otpilot.data.pairs import make_table
from otpilot.data.vectors import VectorSlice, first_quaternions, read_episodes
from otpilot.errors import DatasetError

POSE = "observation.pose"


@pytest.fixture(scope="module")
def flipping(tmp_path_factory):
    """Two datasets of one motion whose quaternion changes its sign now and then, differently in each."""
    folders = []
    for name, signs in (("a", [1, 1, -1, -1, 1, -1, 1, 1]), ("b", [-1, 1, 1, -1, 1, 1, -1, 1])):
        root = tmp_path_factory.mktemp("flips") / name
        features = {
            POSE: {"dtype": "float32", "shape": (7,), "names": list("xyzabcd")},
            "action": {"dtype": "float32", "shape": (2,), "names": ["u", "v"]},
        }
        dataset = LeRobotDataset.create("test/" + name, fps=10, features=features, root=root, use_videos=False)
        for _ in range(2):
            for step, sign in enumerate(signs):
                quaternion = sign * np.array([np.cos(step / 20), np.sin(step / 20), 0, 0])
                pose = np.concatenate([[step, 0, 0], quaternion]).astype(np.float32)
                dataset.add_frame({POSE: pose, "action": np.array([step, 1], np.float32), "task": "t"})
            dataset.save_episode()
        dataset.finalize()
        folders.append(root)
    return folders


def open_(root):
    return LeRobotDataset(root.name, root=root)


def test_slices_and_concatenation(flipping):
    dataset = open_(flipping[0])
    episodes = read_episodes(dataset, [f"{POSE}[0:2]", "action[1:2]", "action"], [], [])
    assert [episode.shape for episode in episodes] == [(8, 5), (8, 5)]
    np.testing.assert_allclose(episodes[0][:, 0], np.arange(8))
    np.testing.assert_allclose(episodes[1][:, 2:], np.stack([np.ones(8), np.arange(8), np.ones(8)], 1))


def test_quaternions_become_one_motion_in_both_datasets(flipping):
    a, b = map(open_, flipping)
    spelled = [f"{POSE}[3:7]"]
    references = first_quaternions(a, spelled)
    ours, theirs = (read_episodes(dataset, [POSE], spelled, references) for dataset in (a, b))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other)
        assert np.abs(np.diff(one[:, 3:7], axis=0)).max() < 0.1
    keys = [f"{POSE}[3:7]"]
    assert make_table(*flipping, keys=keys, quaternions=spelled).distance.max() < 1e-9
    assert make_table(*flipping, keys=keys).distance.min() > 0.1  # what the flips would have cost


@pytest.mark.parametrize(
    ("key", "match"),
    [
        (f"{POSE}[3:9]", "has 7 columns"),
        (f"{POSE}[3:3]", "lies outside"),
        (f"{POSE}[x:3]", r"KEY\[START:STOP\]"),
        ("observation.poes", "Did you mean 'observation.pose'"),
    ],
)
def test_wrong_keys_say_what_is_allowed(flipping, key, match):
    with pytest.raises(DatasetError, match=match):
        make_table(*flipping, keys=[key])


def test_a_quaternion_has_four_columns(flipping):
    with pytest.raises(DatasetError, match="has 3 columns"):
        make_table(*flipping, keys=[POSE], quaternions=[f"{POSE}[3:6]"])


def test_parsing():
    assert VectorSlice.parse("a.b") == VectorSlice(key="a.b")
    assert VectorSlice.parse("a.b[2:5]") == VectorSlice(key="a.b", start=2, stop=5)
