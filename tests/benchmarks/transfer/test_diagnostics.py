import json

import numpy as np
import pytest

from benchmarks.transfer.diagnostics import (
    FILE,
    FUSED,
    IMAGES,
    Diagnosis,
    diagnose,
    read_diagnoses,
)
from benchmarks.transfer.diagnostics_report import diagnostics_section
from benchmarks.transfer.diagnostics_twins import REGIONS, make_twins
from otpilot.errors import ConfigError, MissingFileError, RunError
from otpilot.training.session import train


@pytest.fixture(scope="module")
def twins():
    return make_twins("tabletop", image_size=32, token=False, episodes=5, frames=3)


def test_twins_are_the_same_states_in_two_looks(twins):
    assert len(twins) == 2 * 5 * 3
    np.testing.assert_array_equal(twins.source["observation.state"], twins.target["observation.state"])
    difference = twins.source["observation.images.top"].astype(float) - twins.target["observation.images.top"]
    assert np.abs(difference).mean(axis=(1, 2, 3)).min() > 10
    assert set(twins.region) == set(REGIONS)
    assert set(twins.mark) == {"reaching", "carrying"}
    assert len(np.unique(twins.episode)) == 10
    # the hand goes where the task lies: left of the middle or right of it while it carries
    hand = twins.source["observation.state"][:, 0]
    carrying = twins.mark == "carrying"
    assert (hand[carrying & (twins.region == "left")] < 0.5).all()
    assert (hand[carrying & (twins.region == "right")] > 0.5).all()


def test_a_token_tells_the_domains_apart():
    made = make_twins("tabletop_far", image_size=32, token=True, episodes=1, frames=2)
    assert (made.source["observation.state"][:, 3] == 0).all()
    assert (made.target["observation.state"][:, 3] == 1).all()


def test_a_suite_without_twins_is_refused():
    with pytest.raises(ConfigError, match="Did you mean 'tabletop'"):
        make_twins("tabeltop", image_size=32, token=False)


def test_a_run_is_diagnosed(load, tmp_path, twins):
    config = load(
        "suite__act__ot__2__7",
        steps=2,
        save_checkpoint=True,
        **{
            "ot.loss_config.features": [
                {"src_key": "observation.images.top", "use_learned_embed": True, "weight_embed": 1.0}
            ]
        },
    )
    train(config)
    folder = tmp_path / "found"
    found = diagnose(config.output_dir, "tabletop", folder=folder, twins=twins)
    assert (found.run, found.step, found.policy, found.twins) == ("suite/act/ot/2/7", 2, "act", 30)
    assert set(found.encodings) == {IMAGES, FUSED}
    for encoding in found.encodings.values():
        assert 0.0 <= encoding.separation.accuracy <= 1.0
        assert {region: twin.n for region, twin in encoding.match.items()} == dict.fromkeys(REGIONS, 15)
    assert 0.0 <= found.transport["mass"] <= 1.0
    assert 0.0 <= found.transport["plan_diag_share"] <= 1.0
    picture = (folder / found.picture).read_bytes()
    assert picture.startswith(b"<?xml")

    again = diagnose(config.output_dir, "tabletop", folder=folder, twins=twins)
    assert again.encodings == found.encodings
    assert (folder / found.picture).read_bytes() == picture
    lines = (folder / FILE).read_text().splitlines()
    assert [Diagnosis.from_line(line) for line in lines] == [found, again]
    assert read_diagnoses(folder) == [again]
    assert str(tmp_path) not in "".join(lines)

    section = diagnostics_section(lines, pictures="pictures/")
    assert section.count("| suite/act/ot/2/7 |") == 2  # one row per encoding, of the newest line
    assert f"](pictures/{found.picture})" in section
    widths = {line.count("|") for line in section.splitlines() if line.startswith("|")}
    assert len(widths) == 1
    assert "![" not in diagnostics_section(lines)


def test_nothing_to_show_is_no_section_and_a_torn_line_is_an_error(tmp_path):
    assert diagnostics_section([]) == ""
    assert read_diagnoses(tmp_path) == []
    (tmp_path / FILE).write_text(json.dumps({"run": "x"}) + "\n")
    with pytest.raises(RunError, match="line 1"):
        read_diagnoses(tmp_path)


def test_a_run_without_checkpoint_is_refused(tmp_path):
    with pytest.raises(MissingFileError, match="checkpoint"):
        diagnose(tmp_path, "tabletop", folder=tmp_path / "found")
