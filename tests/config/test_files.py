import json

import pytest

from otpilot.config.files import parse_yaml, read_config_file, to_json
from otpilot.errors import ConfigError, MissingFileError


@pytest.mark.parametrize("text", ["5e-5", "1e-3", "2.0e-4", "-3E+2", "1_0e1", ".5e1"])
def test_numbers_with_an_exponent_are_numbers(text):
    assert parse_yaml(text) == float(text.replace("_", ""))


@pytest.mark.parametrize("text", ["e5", "1e", "5e5x", "auto", "e-5"])
def test_words_stay_words(text):
    assert parse_yaml(text) == text


def test_yaml_and_json_hold_the_same(tmp_path):
    body = {"steps": 5, "optimizer": {"lr": 5e-5}, "ot": {"loss_config": {"features": [{"src_key": "action"}]}}}
    (tmp_path / "a.json").write_text(to_json(body))
    (tmp_path / "a.yaml").write_text(
        "steps: 5\noptimizer: {lr: 5e-5}\not:\n  loss_config:\n    features:\n      - src_key: action  # one term\n"
    )
    assert read_config_file(tmp_path / "a.json") == read_config_file(tmp_path / "a.yaml") == body


def test_a_checkpoints_folder_means_its_config(tmp_path):
    (tmp_path / "train_config.json").write_text(json.dumps({"steps": 3}))
    assert read_config_file(tmp_path) == {"steps": 3}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.json", '{"steps": 1', r"a\.json is not valid JSON"),
        ("a.yaml", "a: [1", r"a\.yaml is not valid YAML"),
        ("a.json", "[1]", "holds a list"),
        ("a.yaml", "", "holds a NoneType"),
    ],
)
def test_broken_files(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        read_config_file(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(MissingFileError, match=r"nowhere\.json"):
        read_config_file(tmp_path / "nowhere.json")
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config_file(tmp_path / "latin.json")
