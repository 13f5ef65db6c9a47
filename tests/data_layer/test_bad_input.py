"""Each wrong input is one clear error, before anything is written."""

import json
import shutil

import numpy as np
import pytest

from otpilot.data.domains import open_domains
from otpilot.data.pairs import make_samplers, make_table
from otpilot.errors import DatasetError, MissingFileError, PairingError
from otpilot.pairing.storage import load_table, save_table


@pytest.fixture
def copy(world, tmp_path):
    """Return a function that copies the target dataset and edits its info.json."""

    def make(edit):
        folder = tmp_path / "copy"
        shutil.copytree(world.target, folder)
        path = folder / "meta" / "info.json"
        info = json.loads(path.read_text())
        edit(info)
        path.write_text(json.dumps(info))
        return folder

    return make


def fails(load, match, error=DatasetError, **changes):
    config = load(**changes)
    with pytest.raises(error, match=match):
        open_domains(config)
    assert not config.output_dir.exists()


def test_missing_folder(load):
    fails(load, r"No dataset folder at /nowhere; set dataset\.root", **{"dataset.root": "/nowhere"})
    fails(load, r"No dataset folder at /nowhere; set ot\.src_root", name="b", **{"ot.src_root": "/nowhere"})


def test_no_dataset(load, tmp_path):
    fails(load, "not a LeRobot dataset: it has no meta/info.json", **{"dataset.root": str(tmp_path)})


def test_old_version(load, copy):
    folder = copy(lambda info: info.update(codebase_version="v2.1"))
    fails(load, r"version v2\.1; v3\.x is needed.*convert", **{"dataset.root": str(folder)})


def test_no_episodes(load, copy):
    folder = copy(lambda info: info.update(total_episodes=0))
    fails(load, "holds no episodes", **{"dataset.root": str(folder)})


def test_episode_out_of_range(load):
    fails(load, r"dataset\.episodes names episode 9, but .* has 3", **{"dataset.episodes": [0, 9]})
    fails(load, r"ot\.src_episodes names episode 6", name="b", **{"ot.src_episodes": [6]})


def test_cameras_differ(load, copy):
    def rename(info):
        info["features"]["observation.images.side"] = info["features"].pop("observation.images.top")

    fails(load, r"observation\.images\.side", **{"dataset.root": str(copy(rename))})


def test_image_sizes_differ(load, copy):
    folder = copy(lambda info: info["features"]["observation.images.top"].update(shape=[48, 48, 3]))
    fails(load, r"\[48, 48, 3\].*\[32, 32, 3\].*same sizes", **{"dataset.root": str(folder)})


def test_dims_differ(load, copy):
    folder = copy(lambda info: info["features"]["action"].update(shape=[4]))
    fails(load, r"'action' is \[4\]", **{"dataset.root": str(folder)})


def test_frame_rates_differ(load, copy):
    fails(load, r"20 frames/s.*resample", **{"dataset.root": str(copy(lambda info: info.update(fps=20)))})


def test_eval_split_leaves_nothing(load):
    fails(load, r"eval_split = 0\.9 leaves no episode", **{"dataset.eval_split": 0.9})


def test_a_single_episode_cannot_be_split_and_is_told_so(load):
    changes = {"dataset.eval_split": 0.1, "dataset.episodes": [1]}
    fails(load, r"eval_split = 0\.1 leaves no episode .*\(1 in all\); set it and eval_steps to 0", **changes)


def test_table_of_other_data(load, world):
    config = load(**{"ot.src_root": str(world.target)})
    domains = open_domains(config)
    with pytest.raises(PairingError, match=r"pairs\.npz was made for another source dataset"):
        make_samplers(config, domains)


def test_missing_table(load):
    config = load(**{"ot.pair_info_path": "/nowhere.npz"})
    with pytest.raises(MissingFileError, match=r"/nowhere\.npz"):
        make_samplers(config, open_domains(config))


def test_json_table_with_frames_beyond_the_episode(load, tmp_path):
    pairing = {"episode_0000": [{"demo_name": "episode_0001", "raw_dtw_dist": 1.0, "pairing": {"0": [5000]}}]}
    (tmp_path / "pairs.json").write_text(json.dumps(pairing))
    config = load(**{"ot.pair_info_path": str(tmp_path / "pairs.json")})
    with pytest.raises(PairingError, match=r"pairs\.json.*5000"):
        make_samplers(config, open_domains(config))


def test_unknown_key_to_align(world):
    with pytest.raises(DatasetError, match=r"no vector 'observation\.stat'.*Did you mean 'observation\.state'"):
        make_table(world.source, world.target, keys=["observation.stat"])


def test_a_made_table_survives_its_file(world, tmp_path):
    table = make_table(world.source, world.target, keys=["observation.state", "action"], workers=2)
    save_table(table, tmp_path / "t.npz")
    again = load_table(tmp_path / "t.npz")
    np.testing.assert_array_equal(again.match_source, table.match_source)
    assert table.pairs == 6 * 3
