"""Calibration: any unit of cost ends in the wanted mass, the seeds' configs are found dead, nothing else is written."""

import json
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from otpilot import cli
from otpilot.config.schema import load_config
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics
from otpilot.training.calibrate import calibrate
from otpilot.training.session import train

CONFIGS = Path(__file__).parents[1] / "data" / "configs"
CAMERAS = ("third_person_cam_color", "ee_cam_color", "side_cam_color")
JOINTS = 8


def run(monkeypatch, capsys, *args):
    """Run `otpilot calibrate` in this process; return exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["otpilot", "calibrate", *map(str, args)])
    monkeypatch.setattr(cli, "console", cli.Console(highlight=False, width=100))
    monkeypatch.setattr(cli, "errors", cli.Console(stderr=True, highlight=False, width=200))
    with pytest.raises(SystemExit) as end:
        cli.main()
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


def as_joints(vectors):
    """Return 8 joint values that depend smoothly on the simulator's 3: a redundant arm."""
    mix = np.random.default_rng(0).normal(size=(vectors.shape[-1], JOINTS))
    return np.tanh(vectors @ mix).astype(np.float32)


def record_as_fr3(root, *, domain, region, episodes, seed):
    """Record the simulator with the cameras and the 8 joint values of the arm that the seeds' configs were made for."""
    import datasets
    from lerobot.datasets import LeRobotDataset

    from otpilot.sim.record import demonstrations

    datasets.disable_progress_bars()
    image = {"dtype": "image", "shape": (32, 32, 3), "names": ["height", "width", "channels"]}
    vector = {"dtype": "float32", "shape": (JOINTS,), "names": [f"joint_{i}" for i in range(JOINTS)]}
    keys = [f"observation.images.{camera}" for camera in CAMERAS]
    features = {**dict.fromkeys(keys, image), "observation.state": vector, "action": vector}
    dataset = LeRobotDataset.create("test/fr3", fps=10, features=features, root=root, use_videos=False)
    made = demonstrations(
        domain=domain, region=region, episodes=episodes, seed=seed, cameras=("top", "wrist"), image_size=32
    )
    for episode in made:
        seen = episode.observation
        views = [seen["observation.images.top"], seen["observation.images.wrist"], seen["observation.images.top"]]
        states, actions = as_joints(seen["observation.state"]), as_joints(episode.action)
        for t, (state, action) in enumerate(zip(states, actions, strict=True)):
            frame = {key: view[t] for key, view in zip(keys, views, strict=True)}
            dataset.add_frame({**frame, "observation.state": state, "action": action, "task": "pick"})
        dataset.save_episode()
    dataset.finalize()


@pytest.fixture(scope="module")
def fr3(tmp_path_factory):
    """Return overrides that put simulated data, and a policy of a CPU's size, under a seed config."""
    from otpilot.data.pairs import make_table
    from otpilot.pairing.storage import save_table

    root = tmp_path_factory.mktemp("fr3")
    record_as_fr3(root / "source", domain="source", region="full", episodes=6, seed=0)
    record_as_fr3(root / "target", domain="target", region="left", episodes=4, seed=1)
    save_table(make_table(root / "source", root / "target"), root / "pairs.npz")
    settings = {
        "dataset.root": root / "target",
        "dataset.image_transforms.enable": "false",
        "ot.src_root": root / "source",
        "ot.pair_info_path": root / "pairs.npz",
        "policy.device": "cpu",
        "policy.use_amp": "false",
        "policy.pretrained_backbone_weights": "null",
        "policy.dim_model": 64,
        "policy.n_heads": 2,
        "policy.dim_feedforward": 64,
        "policy.n_encoder_layers": 1,
        "policy.n_vae_encoder_layers": 1,
        "output_dir": root / "run",
    }
    return root, [f"--{key}={value}" for key, value in settings.items()]


@pytest.mark.parametrize(
    ("name", "worst"), [("act_fr3_ot", "observation.state"), ("act_fr3_ot_99_20_baseline", "action_lbl")]
)
def test_the_seeds_configs_are_dead_and_a_living_setting_is_proposed(fr3, tmp_path, monkeypatch, capsys, name, worst):
    root, overrides = fr3
    new = tmp_path / "new.json"
    args = [f"--config_path={CONFIGS / name}.json", *overrides]
    code, out, _ = run(monkeypatch, capsys, *args, f"--write={new}")
    told = " ".join(out.replace("│", " ").split())
    assert code == 0
    assert "DEAD: as it stands, this is plain co-training" in out
    assert re.search(r"The median mass is 1e-\d", told)
    assert f"term '{worst}' costs" in told
    assert "forbids all matches but the given pairs" in told
    assert re.search(r"lambda_ot\s+0\.1\s+auto", out)
    assert re.search(r"objective\s+plan_cost\s+energy", out)
    loss = json.loads(new.read_text())["ot"]["loss_config"]
    assert (loss["objective"], loss["prior"], loss["embed_normalization"]) == ("energy", "mixed", "batch")
    again = calibrate([f"--config_path={new}"]).report
    assert again.state == "alive"
    assert 0.6 <= again.mass <= 0.8
    assert not (root / "run").exists()


def terms(unit):
    return [
        {"src_key": "observation.images", "use_learned_embed": True, "weight_embed": unit, "term_name": "images"},
        {"src_key": "action", "weight_label": unit, "term_weight": 0.1, "term_name": "action_lbl"},
    ]


@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_any_unit_of_cost_ends_in_the_wanted_mass(world, tmp_path, monkeypatch, capsys, unit):
    loss = {"features": terms(unit), "cost_normalization": "none", "embed_normalization": "none"}
    path = world.write(tmp_path / "cfg.json", **{"ot.loss_config": loss, "output_dir": str(tmp_path / "run")})
    new = tmp_path / "new.json"
    code, _, _ = run(monkeypatch, capsys, f"--config_path={path}", "--target-mass", "0.7", f"--write={new}")
    assert code == 0
    again = calibrate([f"--config_path={new}"]).report
    assert 0.6 <= again.mass <= 0.8
    assert again.proposed_mass == pytest.approx(again.mass, abs=0.02)  # calibrated is a fixed point
    assert sorted(tmp_path.iterdir()) == [path, new]


def test_the_written_config_is_the_given_one_with_the_proposal(world, tmp_path, monkeypatch, capsys):
    path, new = world.write(tmp_path / "cfg.json", **{"ot.lambda_ot": 1e-9}), tmp_path / "new.json"
    code, _, _ = run(monkeypatch, capsys, f"--config_path={path}", "--batches=1", "--steps=9", f"--write={new}")
    assert code == 0
    given, written = world.config(**{"ot.lambda_ot": 1e-9}), json.loads(new.read_text())
    assert written.pop("steps") == 9
    ot = written.pop("ot")
    assert {**written, "steps": 4} == {key: value for key, value in given.items() if key != "ot"} | {"steps": 4}
    assert (ot["lambda_ot"], ot["target_grad_share"]) == ("auto", 0.1)
    assert {key: value for key, value in ot.items() if key in given["ot"]} == given["ot"] | {"lambda_ot": "auto"}


@pytest.mark.parametrize(("weight", "state"), [(1e-9, "dead"), (1e9, "eating"), ("auto", "alive")])
def test_the_share_of_the_gradient_decides_too(world, tmp_path, weight, state):
    path = world.write(tmp_path / "cfg.json", **{"ot.lambda_ot": weight})
    report = calibrate([f"--config_path={path}"], batches=2).report
    assert report.state == state
    proposed = {change.setting: change.after for change in report.changes}
    assert proposed.get("ot.lambda_ot") == (None if weight == "auto" else "auto")
    if weight == "auto":
        assert report.gradient.share == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("views", [{}, {"ot.view_share": 0.8, "ot.bc_src_weight": "auto"}], ids=["plain", "views"])
def test_the_measured_share_is_that_of_training(world, tmp_path, views):
    settings = {"ot.health.check_every_n_steps": 1, "steps": 1, "save_freq": 100, "batch_size": 12}
    path = world.write(tmp_path / "cfg.json", **settings, **views)
    args = [f"--config_path={path}", f"--output_dir={tmp_path / 'run'}"]
    report = calibrate(args, batches=1).report
    train(load_config(args).config)
    (values,) = [record.values for record in read_metrics(RunPaths(tmp_path / "run").metrics).records]
    assert report.gradient.cloning == pytest.approx(values["bc_grad_norm"], rel=1e-4)
    assert report.gradient.share == pytest.approx(values["ot_grad_share"], rel=1e-4)
    assert report.mass == pytest.approx(values["ot_pi_sum"], rel=1e-3)
    assert {term.name: term.mean for term in report.terms} == pytest.approx(
        {name: values[f"ot_cost/{name}"] for name in ("images", "action_lbl")}, rel=1e-4
    )


def test_a_given_policy_is_measured_and_left_alone(world, tmp_path):
    settings = {"policy.optimizer_lr": 1e-2, "policy.optimizer_lr_backbone": 1e-2, "save_checkpoint": True}
    path = world.write(tmp_path / "cfg.json", steps=2, **settings)
    untrained = calibrate([f"--config_path={path}"], batches=2).report
    train(load_config([f"--config_path={path}", f"--output_dir={tmp_path / 'run'}"]).config)
    model = RunPaths(tmp_path / "run").last_checkpoint / "pretrained_model"
    before = {file: file.read_bytes() for file in model.iterdir()}
    result = calibrate([f"--config_path={path}", f"--policy.path={model}"], batches=2)
    assert str(model) in result.report.about
    assert result.report.gradient.cloning != pytest.approx(untrained.gradient.cloning, rel=0.01)
    assert {file: file.read_bytes() for file in model.iterdir()} == before
    assert result.config["policy"]["path"] == str(model)


def test_few_rows_are_noted_as_they_were_measured(world, tmp_path):
    config = world.write(tmp_path / "cfg.json")
    few, enough = (
        calibrate([f"--config_path={config}", f"--batch_size={size}", "--ot.bc_src_weight=0.5"], batches=1).report
        for size in (6, 16)
    )
    assert any("batch_size is 6" in note and "about 3 target rows" in note for note in few.notes)
    assert not any("target rows" in note for note in enough.notes)


def test_what_would_overrule_the_proposal_is_cleared(world, tmp_path):
    ramp = {"type": "linear", "end_value": 0.1, "end_step": 4}
    changes = {
        "ot.lambda_ot": 0.01,
        "ot.lambda_ot_schedule": ramp | {"start_value": 1e8},
        "ot.loss_config": {"reg_schedule": ramp | {"start_value": 1.0}, "target_mass": 0.3},
    }
    path, new = world.write(tmp_path / "cfg.json", **changes), tmp_path / "new.json"
    result = calibrate([f"--config_path={path}"], batches=2)
    assert result.report.state == "eating"  # the weight counts where its schedule is highest
    assert result.report.mass == pytest.approx(0.3, abs=0.05)  # target_mass counts as the strengths it amounts to
    assert result.config["ot"]["lambda_ot_schedule"] is None
    assert result.config["ot"]["loss_config"]["reg_schedule"] is None
    assert result.config["ot"]["loss_config"]["target_mass"] is None
    new.write_text(json.dumps(result.config))
    assert 0.6 <= calibrate([f"--config_path={new}"], batches=2).report.mass <= 0.8


def test_the_heat_map_is_a_picture_with_both_grids(world, tmp_path, monkeypatch, capsys):
    path, out = world.write(tmp_path / "cfg.json"), tmp_path / "heat.png"
    code, text, _ = run(monkeypatch, capsys, f"--config_path={path}", "--batches=1", f"--out={out}", "--details")
    assert code == 0
    picture = cv2.imread(str(out))
    assert picture.shape[0] > 500
    assert picture.shape[1] > 1000
    assert picture.std() > 20
    for name in ("Mass", "Plan entropy", "Diagonal share", "Unmatched source", "As configured", "As proposed"):
        assert name in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("args", "match"),
    [
        (["--write={old}"], r"cfg\.json exists already; give another --write"),
        (["--write={new}/a.json"], "There is no folder"),
        (["--out={old}"], r"a name that ends in \.png, \.svg or \.pdf"),
        (["--targt-mass=0.7"], "Unknown config key 'targt-mass'"),
        (["--target-mass=1.5"], r"--target-mass is 1\.5; allowed: a number between 0 and 1"),
        (["--ot.method=mmd"], r"no transport to calibrate.*'mmd'"),
        (["--ot.pair_info_path=null"], "make a pair table with `otpilot pair`"),
        (["--resume=true"], "calibrate does not resume|config_path"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(world, tmp_path, monkeypatch, capsys, args, match):
    old = world.write(tmp_path / "cfg.json")
    before = old.read_bytes()
    filled = [arg.format(old=old, new=tmp_path / "new") for arg in args]
    code, out, err = run(monkeypatch, capsys, f"--config_path={old}", *filled)
    assert code == 2
    assert re.search(match, err)
    assert "Traceback" not in out + err
    assert list(tmp_path.iterdir()) == [old]
    assert old.read_bytes() == before
