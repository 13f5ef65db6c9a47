"""Resuming by the config alone: which checkpoint is meant, whose folder, what may not change, what is recorded."""

import json
from pathlib import Path

import pytest

from otpilot.config.canonical import config_hash
from otpilot.config.resuming import find_checkpoint_config, run_folder
from otpilot.config.schema import encode, load_config, read_arguments
from otpilot.errors import ConfigError

LAST = Path("checkpoints", "last", "pretrained_model", "train_config.json")


@pytest.fixture
def run(world, tmp_path) -> Path:
    """A run folder with one checkpoint, as far as configs go."""
    made = tmp_path / "run"
    config = encode(load_config([f"--config_path={world.write(tmp_path / 'cfg.json')}", f"--output_dir={made}"]).config)
    policy = made / "checkpoints" / "000002" / "pretrained_model"
    policy.mkdir(parents=True)
    (policy / "train_config.json").write_text(json.dumps(config))
    (policy / "model.safetensors").write_bytes(b"")
    (made / "checkpoints" / "last").symlink_to("000002")
    (made / "config.json").write_text(json.dumps(config))
    return made


def resumed(name, *more):
    return load_config(["--resume=true", f"--config_path={name}", *more])


@pytest.mark.parametrize(
    "place", ["", "config.json", "checkpoints", "checkpoints/last", "checkpoints/last/pretrained_model", str(LAST)]
)
def test_a_run_is_resumed_by_any_of_its_names(run, place):
    loaded = resumed(run / place)
    assert loaded.config.checkpoint_path.resolve() == (run / "checkpoints" / "000002").resolve()
    assert loaded.config.output_dir == run
    assert loaded.notes == ()


@pytest.mark.parametrize("place", ["nowhere", "cfg.json", "run/checkpoints/000009"])
def test_what_is_no_checkpoint_is_refused_with_the_way_to_name_one(run, place):
    with pytest.raises(ConfigError, match=r"No checkpoint at .*give --config_path=RUN"):
        find_checkpoint_config(str(run.parent / place))


def test_a_run_that_was_moved_goes_on_where_it_lies(run, tmp_path):
    moved = tmp_path / "elsewhere" / "run"
    moved.parent.mkdir()
    run.rename(moved)
    loaded = resumed(moved)
    assert loaded.config.output_dir == moved
    assert any("goes on in" in note for note in loaded.notes)


def test_a_checkpoint_without_a_run_needs_a_folder_of_its_own(run, tmp_path):
    alone = tmp_path / "alone"
    (run / "checkpoints" / "000002").rename(alone)
    with pytest.raises(ConfigError, match=r"no run's checkpoints folder.*--output_dir"):
        resumed(alone)
    assert resumed(alone, f"--output_dir={tmp_path / 'new'}").config.output_dir == tmp_path / "new"


def test_another_runs_log_is_not_cut(run, tmp_path):
    other = tmp_path / "other"
    (other / "checkpoints" / "000004").mkdir(parents=True)
    with pytest.raises(ConfigError, match="does not belong to the run"):
        resumed(run, f"--output_dir={other}")
    assert run_folder(run / LAST, run, told=True) == (run, None)


@pytest.mark.parametrize("key", ["policy.optimizer_lr", "optimizer.lr", "use_policy_training_preset"])
def test_a_rate_that_would_not_be_used_is_refused(run, key):
    value = "false" if key.startswith("use") else "0.123"
    with pytest.raises(ConfigError, match=rf"--{key}=.*--policy.path=RUN"):
        resumed(run, f"--{key}={value}")
    before = json.loads((run / "config.json").read_text())["policy"]["optimizer_lr"]
    assert resumed(run, f"--policy.optimizer_lr={before}", "--steps=9").config.steps == 9


def test_what_is_recorded_is_what_was_trained_and_not_the_resumption(run):
    first = json.loads((run / "config.json").read_text())
    config = resumed(run).config
    assert config.policy.pretrained_path is not None, "from there LeRobot loads the weights"
    assert encode(config) == first
    assert config_hash(encode(config)) == config_hash(first)


def test_weights_that_a_run_began_from_stay_recorded(run):
    body = json.loads((run / "config.json").read_text())
    body["policy"]["pretrained_path"] = "some/weights"
    (run / LAST).write_text(json.dumps(body))
    assert encode(resumed(run).config)["policy"]["pretrained_path"] == "some/weights"


def test_runs_that_were_resumed_by_earlier_versions_count_as_what_they_trained(run):
    body = json.loads((run / "config.json").read_text())
    old = {**body, "resume": True, "policy": {**body["policy"], "pretrained_path": str(run / LAST.parent)}}
    assert config_hash(old) == config_hash(body)
    path = run / "old.json"
    path.write_text(json.dumps(old))
    given = read_arguments([f"--config_path={path}"]).translation.config
    assert (given["resume"], given["policy"]["pretrained_path"]) == (False, None)
