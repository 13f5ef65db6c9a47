"""A resolved config trains what the file would, and says where each value comes from."""

from pathlib import Path

import pytest

from otpilot.config.canonical import canonical
from otpilot.config.compat import translate
from otpilot.config.files import read_config_file
from otpilot.config.schema import TrainConfig, check_keys, decode
from otpilot.config.show import differences, resolve

CONFIGS = sorted((Path(__file__).parents[1] / "data" / "configs").glob("*.json"))


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_a_resolved_config_is_a_config_of_the_same_experiment(file):
    resolved = resolve(str(file))
    check_keys(resolved.body, TrainConfig)
    decode(resolved.body)
    assert translate(resolved.body).config == resolved.body
    assert resolved.body["policy"]["device"] == "cuda"  # as the file says, whatever this machine has
    ours = canonical(read_config_file(file))["ot"]
    assert canonical(resolved.body)["ot"] == ours


def test_where_values_come_from():
    resolved = resolve(str(CONFIGS[0]), ["--steps=5", "--ot.lambda_ot=0.3"])
    origins = resolved.origins
    assert resolved.body["steps"] == 5
    assert (origins["steps"], origins["ot.lambda_ot"]) == ("override", "override")
    assert origins["batch_size"] == "file"
    assert origins["ot.loss_config.prior"] == "translated"
    assert origins["ema_decay"] == "default"
    assert any("heuristic" in note for note in resolved.notes)


def test_nothing_of_the_clock_or_the_machine_is_in_it(capfd):
    resolved = resolve("recipe:iter1")
    assert (resolved.body["output_dir"], resolved.body["policy"]["device"]) == (None, None)
    out = capfd.readouterr()
    assert (out.out, out.err) == ("", "")


def test_differences_are_those_of_the_resolved_configs(tmp_path):
    found = {one.path: (one.left, one.right) for one in differences("recipe:iter4a", "recipe:iter4c")}
    assert found == {"job_name": ("iter4a", "iter4c"), "steps": (50000, 100000), "batch_size": (16, 20)}
    assert differences("recipe:iter4a", "recipe:iter4a") == ()


def test_a_default_that_is_spelled_out_is_no_difference(world, tmp_path):
    one = world.write(tmp_path / "one.json")
    other = world.write(tmp_path / "other.json", ema_decay=None, grad_accum_steps=1, **{"ot.src_weight": 1.0})
    assert differences(str(one), str(other)) == ()
