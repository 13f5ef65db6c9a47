import json

import pytest

from otpilot.config.files import read_config_file, to_json
from otpilot.errors import ConfigError, MissingFileError


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
        ("a.json", '{"ot": {"reg": 1, "reg": 2}}', r"a\.json: ot\.reg stands twice"),
        ("a.yaml", "ot: {reg: 1, reg: 2}", r"a\.yaml: ot\.reg stands twice"),
        ("a.json", "[" * 5000 + "]" * 5000, r"a\.json: .*nested too deeply"),  # parsed by some Pythons, not by others
        ("a.json", "[" * 200_000, r"a\.json: .*nested too deeply"),
        ("a.yaml", "a: .inf", r"a\.yaml: a is inf"),
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


@pytest.mark.parametrize(("name", "text"), [("a.json", '{"steps": 3}'), ("a.yaml", "steps: 3")])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, name, text):
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_config_file(tmp_path / name) == {"steps": 3}
