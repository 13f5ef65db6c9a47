"""campaign.toml: what it may say, what is refused and how, and which hours a window means."""

import dataclasses
from datetime import datetime
from pathlib import Path

import pytest

from otpilot.errors import ConfigError, MissingFileError
from otpilot.pilot.campaign.settings import (
    MAY_CHANGE,
    CampaignSettings,
    changed_keys,
    find_file,
    read_settings,
    settings_of,
)
from otpilot.pilot.campaign.window import DailyWindow

LEAST = {"base": "base.json"}


def test_only_the_base_config_is_needed_and_the_defaults_are_seed_004s():
    made = settings_of(LEAST)
    assert (made.trial.steps, made.trial.eval_steps, made.trial.log_freq) == (2000, 200, 50)
    assert (made.variants, made.proposer, made.metric, made.death) == (3, "mixed", "auto", "kill")
    assert made.window.is_open(datetime(2026, 1, 1, 12, 0))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"roundz": 3}, r"Unknown key 'roundz'.*'rounds'"),
        ({"trial": {"stepz": 3}}, r"campaign\.trial\.stepz.*'steps'"),
        ({"guard": {"hang": 3}}, r"campaign\.guard\.hang"),
        ({"variants": 4}, "variants is 4; allowed: 1 to 3"),
        ({"rounds": 0}, "rounds is 0; allowed: 1 or more"),
        ({"rounds": "many"}, r"campaign\.rounds is 'many'"),
        ({"confirm_seeds": 2}, "confirm_seeds is 2; allowed: 3"),
        ({"proposer": "rule"}, r"proposer is 'rule'.*'rules'"),
        ({"metric": "loss"}, r"metric is 'loss'; allowed: auto"),
        ({"promotion": [1000]}, r"promotion is \[1000\].*above trial\.steps \(2000\)"),
        ({"promotion": [8000, 4000]}, "rising numbers"),
        ({"trial": {"seeds": 1}}, r"trial\.seeds is 1"),
        ({"trial": {"seeds": [3, 3]}}, "different"),
        ({"budget": {"hours": 0}}, r"budget\.hours is 0"),
        ({"allowed_hours": "nights"}, 'allowed_hours is .*"22:00-06:00"'),
        ({"on_pilot_death": "cry"}, "on_pilot_death is 'cry'; allowed: kill, adopt"),
        ({"overrides": 3}, "overrides is 3"),
    ],
)
def test_what_is_not_allowed_is_refused_with_what_is(body, words):
    with pytest.raises(ConfigError, match=words):
        settings_of({**LEAST, **body})


def test_without_a_base_config_it_says_so():
    with pytest.raises(ConfigError, match=r"base is missing"):
        settings_of({})


def test_overrides_may_be_dotted_keys_or_tables():
    made = settings_of({**LEAST, "overrides": {"ot.src_root": "a", "dataset": {"root": "b", "x": {"y": 1}}}})
    assert made.overrides == {"ot.src_root": "a", "dataset.root": "b", "dataset.x.y": 1}


def test_files_that_are_missing_or_broken_are_named(tmp_path):
    with pytest.raises(MissingFileError, match="no file or folder"):
        read_settings(tmp_path / "x.toml")
    with pytest.raises(MissingFileError, match=r"has no campaign\.toml"):
        find_file(tmp_path)


def test_a_training_config_is_told_where_it_belongs(tmp_path):
    (tmp_path / "base.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"base\.json is no campaign\.toml.*`base` names the training config"):
        read_settings(tmp_path / "base.json")
    (tmp_path / "campaign.toml").write_text("base = ")
    with pytest.raises(ConfigError, match=r"campaign\.toml cannot be read"):
        read_settings(tmp_path)
    (tmp_path / "campaign.toml").write_text('base = "b"\nrounds = 0')
    with pytest.raises(ConfigError, match=r"campaign\.toml: rounds is 0"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"budget": 5}, r"campaign\.budget is 5; allowed: a section .* a table \[budget\] in TOML"),
        ({"promotion": 100}, r"campaign\.promotion is 100; allowed: a list of whole numbers\."),
        ({"rules": "a"}, r"campaign\.rules is 'a'; allowed: a list of words\."),
        (
            {"trial": {"seeds": "a"}},
            r"campaign\.trial\.seeds is 'a'; allowed: a whole number or a list of whole numbers",
        ),
    ],
)
def test_a_value_of_the_wrong_kind_says_which_in_words(body, words):
    with pytest.raises(ConfigError, match=words):
        settings_of({"base": "base.json", **body})


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "campaign.toml").write_bytes(b'\xef\xbb\xbfbase = "base.json"\n')
    assert read_settings(tmp_path).base == "base.json"


def test_changed_keys_names_what_may_not_change_only():
    before = settings_of(LEAST).plain()
    now = settings_of(
        {**LEAST, "rounds": 9, "seed": 3, "trial": {"steps": 1500, "retries": 5}, "budget": {"hours": 1}}
    ).plain()
    assert changed_keys(before, now) == ("seed", "trial.steps")
    names = {f.name for f in dataclasses.fields(CampaignSettings)}
    assert {name.partition(".")[0] for name in MAY_CHANGE} <= names


def at(hour, minute=0):
    return datetime(2026, 1, 1, hour, minute)


def test_a_window_may_cross_midnight():
    window = DailyWindow.parse("22:00-06:30")
    assert [window.is_open(at(h)) for h in (21, 22, 23, 0, 6, 7)] == [False, True, True, True, True, False]
    assert not window.is_open(at(6, 30))
    assert window.opens(at(23)) is None
    assert window.opens(at(12)) == at(22)
    assert window.opens(datetime(2026, 1, 1, 21, 59, 30)) == at(22)


def test_a_window_may_have_several_spans_and_the_next_one_counts():
    window = DailyWindow.parse("12:00-13:00, 20:00 to 24:00")
    assert [window.is_open(at(h)) for h in (11, 12, 13, 20, 23, 0)] == [False, True, False, True, True, False]
    assert window.opens(at(13)) == at(20)
    assert window.opens(at(0)) == at(12)


@pytest.mark.parametrize("text", ["22-06", "25:00-06:00", "22:61-06:00", "06:00-06:00", "24:30-06:00"])
def test_a_window_that_makes_no_sense_is_refused(text):
    with pytest.raises(ConfigError, match="allowed_hours"):
        DailyWindow.parse(text)


def test_names_that_are_spelled_out_for_speed_are_those_that_exist():
    from otpilot.analysis import view
    from otpilot.pilot import proposers
    from otpilot.pilot.campaign import settings

    assert set(settings.PROPOSERS) == set(proposers.PROPOSERS)
    assert settings.EVALUATION_LOSSES == view.EVALUATION_LOSSES
    assert settings.SUCCESS == view.SUCCESS


def test_every_key_is_documented():
    text = (Path(__file__).parents[3] / "docs" / "pilot.md").read_text()
    sections = (CampaignSettings, settings_of(LEAST).trial, settings_of(LEAST).budget, settings_of(LEAST).guard)
    names = [f.name for section in sections for f in dataclasses.fields(section)]
    assert [name for name in names if f"`{name}`" not in text and f"`[{name}]`" not in text] == []
    for name in MAY_CHANGE:
        key = name.rpartition(".")[2]
        assert f"`{key}` *" in text or f"`[{key}]` *" in text, name
