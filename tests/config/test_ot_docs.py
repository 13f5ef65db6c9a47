"""docs/ot.md names every key of the `ot` section with its default, and every word that a key allows."""

import json
import re
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path

import pytest

from otpilot.config.ot import CHOICES, HealthConfig, LossConfig, OTConfig, TermConfig

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "ot.md").read_text(encoding="utf-8")
ROWS = {key: (default, about) for key, default, about in re.findall(r"^\| `([\w.]+)` \| (.+?) \| (.+) \|$", TEXT, re.M)}


def keys(schema, prefix):
    """Return every key of a section with its default as JSON; sections within are listed by their own keys."""
    found = {}
    for field in fields(schema):
        if field.default is MISSING and field.default_factory is MISSING:
            found[prefix + field.name] = "required"
            continue
        default = field.default if field.default_factory is MISSING else field.default_factory()
        if not is_dataclass(default):
            found[prefix + field.name] = json.dumps(default)
    return found


WANTED = {
    **keys(OTConfig, "ot."),
    **keys(LossConfig, "ot.loss_config."),
    **keys(HealthConfig, "ot.health."),
    **keys(TermConfig, ""),
}


def test_every_key_is_listed_with_its_default_and_nothing_else():
    assert {key: default for key, (default, _) in ROWS.items()} == WANTED


@pytest.mark.parametrize(("name", "words"), CHOICES.items())
def test_every_word_is_named(name, words):
    key = next((key for key in ROWS if key.rsplit(".", 1)[-1] == name), "ot.lambda_ot_schedule")
    default, about = ROWS[key]
    assert all(f"`{word}`" in about or json.dumps(word) == default for word in words)
