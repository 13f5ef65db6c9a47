"""What needs no simulator: places, configs, the look's tables. Runs without Meta-World."""

from pathlib import Path

import pytest

from benchmarks.transfer.metaworld import METAWORLD
from benchmarks.transfer.metaworld_config import MetaworldTransferConfig
from benchmarks.transfer.metaworld_look import REGIONS, Tiles, region_box
from benchmarks.transfer.metaworld_place import Place, parse_place
from benchmarks.transfer.suite import CELLS, Data
from otpilot.errors import ConfigError


def test_a_cell_names_domain_region_and_token():
    assert parse_place("target_ood=target:right") == Place(name="target_ood", domain="target", region="right")
    assert parse_place("source:full").name == "source_full"
    with_token = parse_place("a=target+token:left")
    assert (with_token.domain, with_token.indicator) == ("target", (1.0,))
    assert parse_place("a=source+token:left").indicator == (0.0,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("target", "NAME=DOMAIN:REGION"),
        ("=target:left", "NAME=DOMAIN:REGION"),
        ("a=targt:left", "Did you mean 'target'"),
        ("a=target:lef", "Did you mean 'left'"),
    ],
)
def test_a_malformed_cell_is_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        parse_place(text)


def test_the_env_section_declares_what_the_policy_sees():
    plain = MetaworldTransferConfig(cells=["a=source:full"])
    token = MetaworldTransferConfig(cells=["a=source+token:full", "b=target+token:left"])
    assert plain.type == "metaworld_transfer"
    assert plain.features["agent_pos"].shape == (4,)
    assert token.features["agent_pos"].shape == (5,)
    assert plain.features_map["pixels/top"] == "observation.images.top"
    with pytest.raises(ConfigError, match="all or none"):
        MetaworldTransferConfig(cells=["a=source+token:full", "b=target:left"])
    with pytest.raises(ConfigError, match="1 or more"):
        MetaworldTransferConfig(picture_every=0)


def test_target_demonstrations_and_the_far_side_do_not_overlap():
    assert REGIONS["left"][1] < REGIONS["right"][0]
    low, high = region_box("full")
    assert low.tolist() == [-0.1, 0.8, 0.115]  # SawyerButtonPressTopdownEnvV3.obj_low of metaworld 3.0.0
    assert high.tolist() == [0.1, 0.9, 0.115]


def test_tiles_alternate():
    drawn = Tiles(colours=((0, 0, 0), (255, 0, 0)), count=2).draw(4, 6)
    assert drawn.shape == (4, 6, 3)
    assert drawn[:, :, 0].tolist() == [[0] * 3 + [255] * 3] * 2 + [[255] * 3 + [0] * 3] * 2


@pytest.mark.parametrize("policy", ["act", "diffusion"])
def test_the_base_config_looks_at_pictures_as_often_as_the_policy(policy):
    config = METAWORLD.base_config(Path("data"), Data(targets=10, token=True), policy=policy, steps=100)
    env = config["env"]
    assert [text.partition("=")[0] for text in env["cells"]] == list(CELLS)
    assert all("+token:" in text for text in env["cells"])
    assert env["picture_every"] == config["policy"]["n_action_steps"]
    assert config["policy"].get("n_obs_steps", 1) == 1
    assert config["scheduler"]["num_decay_steps"] == 100
    assert Path(config["ot"]["src_root"]) != Path(config["dataset"]["root"])


def test_oracle_pairs_and_unknown_policies_are_refused():
    with pytest.raises(ConfigError, match="oracle"):
        METAWORLD.base_config(Path("data"), Data(targets=10, pairs="oracle"), policy="act", steps=10)
    with pytest.raises(ConfigError, match="allowed: act, diffusion"):
        METAWORLD.base_config(Path("data"), Data(targets=10), policy="acd", steps=10)


def test_training_makes_the_env_type_known_first():
    assert METAWORLD.command(Path("a.json"))[1:] == [
        "-m",
        "benchmarks.transfer.metaworld_train",
        "--config_path=a.json",
    ]
