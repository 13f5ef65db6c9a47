"""The page on the analysis names every tag and every limit as they are."""

import dataclasses
from pathlib import Path

from otpilot.analysis.diagnosis import TAGS
from otpilot.analysis.thresholds import Thresholds

PAGE = (Path(__file__).parents[2] / "docs" / "analysis.md").read_text(encoding="utf-8")


def test_every_tag_and_every_limit_is_on_the_page():
    assert all(f"`{tag}`" in PAGE for tag in TAGS)
    for item in dataclasses.fields(Thresholds):
        assert f"| `{item.name}` | {item.default:g} | {item.metadata['origin']} |" in PAGE
