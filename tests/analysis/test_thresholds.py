"""Limits: documented, overridable, and clear about what is wrong in a file."""

import dataclasses

import pytest

from otpilot.analysis.thresholds import Thresholds, load_thresholds
from otpilot.errors import ConfigError, MissingFileError


def test_every_limit_says_where_it_comes_from():
    limits = Thresholds()
    for item in dataclasses.fields(limits):
        assert limits.origin(item.name).startswith(("report 00", "docs/", "otpilot: "))


@pytest.mark.parametrize("text", ["plateau_fall = 0.05", "[thresholds]\nplateau_fall = 0.05"])
def test_a_file_overrides_a_limit_and_that_is_told(tmp_path, text):
    path = tmp_path / "limits.toml"
    path.write_text(text)
    limit = load_thresholds(path).limit("plateau_fall")
    assert (limit.value, limit.origin) == (0.05, "set by the user (default 0.02)")
    assert load_thresholds(path).limit("mass_low") == Thresholds().limit("mass_low")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("plateu_fall = 0.05", "unknown threshold 'plateu_fall'. Did you mean 'plateau_fall'?"),
        ("zzz = 1", "Allowed: min_points"),
        ("plateau_fall = 'much'", "plateau_fall is 'much'; allowed: a finite number"),
        ("plateau_fall = true", "plateau_fall is True"),
        ("plateau_fall = -1", "plateau_fall is -1"),
        ("plateau_fall = nan", "plateau_fall is nan"),
        ("plateau_fall = ", "not valid TOML"),
        ("thresholds = 3", "[thresholds] is 3"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, text, message):
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_thresholds(path)
    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match="No thresholds file at"):
        load_thresholds(tmp_path / "none.toml")
