import pytest

from benchmarks.transfer.cells import Cell, Recipe, cell_config, recipe_config
from benchmarks.transfer.grids import CORE, GRIDS, get_grid
from benchmarks.transfer.methods import METHODS, parse_ablation
from benchmarks.transfer.suites import SUITES
from otpilot.config.canonical import config_hash
from otpilot.errors import ConfigError


def recipe(method="ot", *words, suite="tabletop"):
    return Recipe(suite=suite, policy="act", method=method, ablations=words, steps=2000)


@pytest.mark.parametrize("suite", SUITES)
@pytest.mark.parametrize("grid", GRIDS)
def test_every_cell_of_every_grid_has_a_config_and_a_name_that_means_it(suite, grid):
    for policy in SUITES[suite].steps:
        for cell in get_grid(grid).cells(suite, policy):
            assert Cell.parse(cell.name) == cell
            assert len(cell.recipe.hash) == 16


def test_methods_differ_in_what_they_train():
    hashes = {name: recipe(name).hash for name in METHODS}
    assert len(set(hashes.values())) == len(METHODS)


def test_the_hash_knows_no_folder_but_the_data(tmp_path):
    here, there = (config_hash(recipe_config(recipe(), tmp_path / name)) for name in ("a", "b"))
    assert here != there  # the paths are in a config's own hash,
    one, other = recipe("ot"), recipe("ot", "targets=10")
    assert one.hash != other.hash
    assert recipe("ot", "pairs=oracle").hash not in (one.hash, other.hash)
    assert recipe("ot", "share=0.1").hash == one.hash  # a word that says the default changes nothing
    assert recipe(suite="tabletop_far").hash != one.hash


def test_methods_see_the_data_they_say(tmp_path):
    def config(method):
        cell = Cell(recipe=recipe(method), seed=3)
        return cell_config(cell, tmp_path, run=tmp_path / "run", episodes=7, device="cpu")

    source, target, both = config("source-only"), config("target-only"), config("co-training")
    assert "ot" not in source
    assert "ot" not in target
    assert both["ot"]["lambda_ot"] == 0.0
    assert source["dataset"]["root"] == both["ot"]["src_root"]
    assert target["dataset"]["root"] == both["dataset"]["root"]
    assert both["seed"] == 3
    assert both["eval"]["n_episodes"] == 7
    for section in ("policy", "optimizer", "scheduler", "batch_size", "env"):
        assert source[section] == target[section] == both[section] == config("ot")[section]


def test_the_token_stands_in_data_and_environment(tmp_path):
    config = recipe_config(recipe("co-training-token"), tmp_path)
    assert all("+token:" in cell for cell in config["env"]["cells"])
    assert config["dataset"]["root"] != recipe_config(recipe("co-training"), tmp_path)["dataset"]["root"]


def test_other_encodings_replace_or_join_those_of_the_base(tmp_path):
    def keys(word):
        terms = recipe_config(recipe("ot", word), tmp_path)["ot"]["loss_config"]["features"]
        return [term["src_key"] for term in terms]

    assert keys("embed=fused") == ["fused", "action"]
    assert keys("embed=image+fused") == ["observation.images.top", "fused", "action"]


def test_grids_go_seed_by_seed():
    cells = get_grid("core").cells("tabletop", "act")
    assert [cell.seed for cell in cells] == [seed for seed in range(100, 105) for _ in CORE]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tabletop/act/ot/2000", "is no cell"),
        ("table/act/ot/2000/1", "Did you mean 'tabletop'"),
        ("tabletop/act/co-trainin/2000/1", "Did you mean 'co-training'"),
        ("tabletop/vqbet/ot/2000/1", "trains no 'vqbet'"),
        ("tabletop/act/ot+windw=5/2000/1", "Did you mean 'window'"),
        ("tabletop/act/ot+targets=0/2000/1", "targets is '0'"),
        ("tabletop/act/ot+pairs=true/2000/1", "pairs is 'true'"),
        ("tabletop/act/ot+demos=5-3/2000/1", "demos is '5-3'"),
        ("tabletop/act/ot+demos=3/2000/1", "demos is '3'"),
    ],
)
def test_wrong_names_are_told(name, message):
    with pytest.raises(ConfigError, match=message):
        Cell.parse(name)


def test_a_word_reaches_its_key(tmp_path):
    config = recipe_config(recipe("ot", "window=none", "share=0.03", "tau=null", "demos=3-5"), tmp_path)
    assert config["dataset"]["episodes"] == [3, 4, 5]
    assert "episodes" not in recipe_config(recipe("source-only", "demos=3-5"), tmp_path)["dataset"]
    assert config["ot"]["no_window"] is True
    assert config["ot"]["target_grad_share"] == 0.03
    assert config["ot"]["loss_config"]["tau_src"] is None
    assert parse_ablation("targets=3").edits == ()
