import json

import pytest
import yaml

from otpilot.config.notation import DEEPEST, parse, parse_json, parse_yaml
from otpilot.errors import ConfigError


@pytest.mark.parametrize("text", ["5e-5", "1e-3", "2.0e-4", "-3E+2", "1_0e1", ".5e1", "1.5", "-.25", "+2."])
def test_numbers_with_a_point_or_an_exponent_are_numbers(text):
    value = parse_yaml(text)
    assert isinstance(value, float)
    assert value == float(text.replace("_", ""))


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("-12", -12), ("1_000", 1000), ("0x1F", 31), ("+7", 7)])
def test_whole_numbers(text, value):
    assert parse_yaml(text) == value
    assert isinstance(parse_yaml(text), int)


@pytest.mark.parametrize(
    "text", ["e5", "1e", "5e5x", "auto", "e-5", "010", "-007", "12:30:15", "1:30", "2025-12-29", "2025-12-29 10:00:00"]
)
def test_words_stay_words(text):
    """What YAML 1.1 reads as octal, base 60 or a day is what was written."""
    assert parse_yaml(text) == text


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('{"steps": 1, "steps": 2}', "steps"),
        ('{"ot": {"lambda_ot": 1, "reg": 2, "lambda_ot": 1}}', "ot.lambda_ot"),
        ('{"features": [{"a": 1}, {"b": 1, "b": 1}]}', "features.1.b"),
    ],
)
@pytest.mark.parametrize("notation", ["JSON", "YAML"])
def test_a_key_that_stands_twice_is_refused_in_either_notation(text, place, notation):
    with pytest.raises(ConfigError, match=f"^{place} stands twice"):
        parse(text, notation)


def test_one_key_in_two_sections_stands_once_in_each():
    text = '{"a": {"lr": 1}, "b": {"lr": 1}, "c": [{"lr": 1}, {"lr": 1}]}'
    assert parse(text, "YAML") == parse(text, "JSON") == json.loads(text)
    merged = "base: &base {lr: 1, steps: 2}\nown:\n  <<: *base\n  lr: 3\n"
    assert parse_yaml(merged)["own"] == {"lr": 3, "steps": 2}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ot: {lambda_ot: .inf}", r"ot\.lambda_ot is inf; allowed: a finite number"),
        ("a: [1, .nan]", r"a\.1 is nan"),
        ("ot: {1: 2}", r"ot\.1: the key 1 is no word"),
        ("true: 2", "the key True is no word"),
        ("day: !!timestamp 2025-12-29", "day is a date"),
        ("raw: !!binary aGk=", "raw is a bytes"),
    ],
)
def test_yaml_that_no_config_can_hold(text, words):
    with pytest.raises(ConfigError, match=words):
        parse_yaml(text)


@pytest.mark.parametrize("text", ['{"a": {"b": Infinity}}', '{"a": {"b": NaN}}', '{"a": {"b": 1e999}}'])
def test_json_numbers_that_are_not_finite_are_refused(text):
    with pytest.raises(ConfigError, match=r"a\.b is .*allowed: a finite number"):
        parse_json(text)


@pytest.mark.parametrize("depth", [DEEPEST + 2, 5000, 200_000])
@pytest.mark.parametrize("notation", ["JSON", "YAML"])
def test_what_is_nested_too_deeply_is_refused(depth, notation):
    depth = min(depth, 5000) if notation == "YAML" else depth
    with pytest.raises(ConfigError, match="nested too deeply"):
        parse("[" * depth + "]" * depth, notation)
    with pytest.raises(ConfigError, match="nested too deeply"):
        parse('{"a":' * depth + "1" + "}" * depth, notation)


def test_a_yaml_text_that_holds_itself_is_refused():
    with pytest.raises(ConfigError, match="nested too deeply"):
        parse_yaml("&a [*a]")


@pytest.mark.parametrize(
    "text", ["a: [1", "a: !!bool maybe", "a: !!timestamp soon", "a: !unknown 1", "? [1]\n: 2", "\x07"]
)
def test_broken_yaml_is_a_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind
        parse_yaml(text)


def test_what_pyyaml_writes_is_read_back():
    body = {"a": "2025-12-29", "b": "010", "c": "1:30", "d": 5e-5, "e": None, "f": True, "g": "yes", "h": [1, "x #3"]}
    assert parse_yaml(yaml.safe_dump(body)) == body
