import json
from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from otpilot.config.ot import OTConfig
from otpilot.config.schema import load_config
from otpilot.data.mixing import RowMap
from otpilot.errors import ConfigError
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics
from otpilot.training.inputs import InputPipeline
from otpilot.training.parts import make_accelerator
from otpilot.training.progress import Silence
from otpilot.training.session import assemble, train
from otpilot.training.views import SourceViews
from otpilot.transport.backgrounds import Background
from otpilot.transport.views import View
from tests.training.test_evaluate import TINY_DIFFUSION

IS_SOURCE = np.array([True, False, True, False, True, True])
SOURCE = torch.as_tensor(IS_SOURCE)
TOP, WRIST = "observation.images.top", "observation.images.wrist"


@pytest.fixture(autouse=True)
def quick_fit(monkeypatch):
    """Search the pose in a few steps; tests/transport has the fit itself."""
    monkeypatch.setattr("otpilot.transport.views.STARTS", ())
    monkeypatch.setattr("otpilot.transport.views.LEVELS", ((16, 30),))
    monkeypatch.setattr("otpilot.training.views.PAIRS", 48)


def night(**pose):
    """A view in which light things are dark, and everything is a quarter of the picture further right."""
    place = torch.zeros(8)
    place[4] = pose.get("right", 0.25)
    return View(
        pose=place,
        palette=torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.9, 0.9]]),
        colours=torch.tensor([[0.6, 0.6, 0.6], [0.2, 0.2, 0.2]]),
        light=torch.zeros(2),
    )


def rows(shape=(6, 3, 8, 8)):
    picture = torch.full(shape, 0.9)
    picture[..., 2] = 0.1
    return {
        TOP: picture.clone(),
        WRIST: picture.clone(),
        "observation.state": torch.rand(6, 3),
        "action": torch.rand(6, 4, 3),
        "task": list("abcdef"),
    }


def both(**settings):
    return SourceViews(views={1: {TOP: night(), WRIST: night(right=0.0)}}, share=1.0, **settings)


def places(viewed=IS_SOURCE, domain=None):
    nothing = np.empty(0, dtype=np.int64)
    numbers = IS_SOURCE.astype(np.int64) if domain is None else np.asarray(domain)
    return RowMap(cloning=6, pair_src=nothing, pair_tgt=nothing, domain=numbers, viewed=np.asarray(viewed))


@pytest.mark.parametrize("shape", [(6, 3, 8, 8), (6, 2, 3, 8, 8)])
def test_source_rows_are_seen_by_the_target_and_nothing_else_changes(shape):
    given = rows(shape)
    kept = given[TOP].clone()
    found = both()(given, places())
    assert torch.equal(given[TOP], kept)
    for camera, column in ((TOP, 4), (WRIST, 2)):
        assert torch.equal(found[camera][~SOURCE], given[camera][~SOURCE])
        assert found[camera].shape == shape
        torch.testing.assert_close(found[camera][SOURCE][..., column], torch.full_like(kept[SOURCE][..., 0], 0.6))
        torch.testing.assert_close(found[camera][SOURCE][..., 6], torch.full_like(kept[SOURCE][..., 0], 0.2))
    for key in ("observation.state", "action", "task"):
        assert found[key] is given[key]


def test_jitter_moves_the_camera_of_every_row_by_itself_but_not_of_its_steps():
    torch.manual_seed(0)
    found = both(jitter=0.3)(rows((6, 2, 3, 8, 8)), places())[TOP][SOURCE]
    assert torch.equal(found[:, 0], found[:, 1])
    assert len({tuple(row.flatten().tolist()) for row in found}) == len(found)


def test_rows_before_a_background_are_as_noisy_as_the_targets_pictures():
    grey = torch.full((3, 8, 8), 0.5)
    still = Background(source=grey, steady=torch.ones(1, 8, 8), target=grey, tolerance=0.1, noise=0.05)
    views = SourceViews(views={1: {TOP: replace(night(), background=still)}}, share=1.0)
    given = rows((6, 2, 3, 8, 8)) | {TOP: grey.expand(6, 2, -1, -1, -1).clone()}
    torch.manual_seed(0)
    found = views(given, places())[TOP]
    assert torch.equal(found[~SOURCE], given[TOP][~SOURCE])
    spread = found[SOURCE] - 0.5
    assert float(spread.std()) == pytest.approx(0.05, rel=0.1)
    assert float((spread[:, 0] - spread[:, 1]).abs().mean()) > 0.03, "each picture has its own"


def test_only_the_marked_rows_are_changed_with_all_their_cameras():
    marked = IS_SOURCE & np.array([True, True, False, True, True, False])
    given = rows()
    found = both()(given, places(marked))
    for camera in (TOP, WRIST):
        changed = (found[camera] != given[camera]).flatten(1).any(1)
        assert changed.tolist() == (marked & IS_SOURCE).tolist()


def test_each_source_has_its_own_view():
    views = SourceViews(views={1: {TOP: night()}, 3: {TOP: night(right=0.0)}}, share=1.0)
    given = rows()
    found = views(given, places(np.ones(6, bool), domain=[1, 0, 2, 0, 3, 1]))[TOP]
    assert torch.equal(found[[1, 2, 3]], given[TOP][[1, 2, 3]]), "the target's, and those of a source without a view"
    assert not torch.equal(found[0], found[4])
    assert torch.equal(found[0], found[5])


def test_augmentation_comes_behind_the_view_and_is_one_for_all_steps_of_a_row():
    """Before the view it would make other colours of the palette's."""
    factors = iter(range(1, 100))
    views = both(transforms=lambda row: row * (1.0 - 0.01 * next(factors)))
    plain, found = both()(rows((6, 2, 3, 8, 8)), places()), views(rows((6, 2, 3, 8, 8)), places())
    assert torch.equal(found[TOP][~SOURCE], plain[TOP][~SOURCE]), "augmented when they were read"
    ratio = found[TOP][SOURCE] / plain[TOP][SOURCE]
    torch.testing.assert_close(ratio, ratio[:, :1, :1, :1, :1].expand_as(ratio))
    assert len(set(ratio[:, 0, 0, 0, 0].tolist())) == 4


def test_what_looks_like_the_target_is_normalised_like_the_target():
    inputs = InputPipeline(torch.device("cpu"), lambda batch: batch, lambda batch: {**batch, TOP: batch[TOP] - 9.0})
    inputs.views = both()
    marked = IS_SOURCE & np.array([True, True, False, True, True, True])
    found = inputs.for_training(rows(), places(marked))[TOP]
    assert (found.flatten(1).min(1).values < 0).tolist() == (IS_SOURCE & ~marked).tolist()


def test_a_batch_of_the_target_alone_stays():
    given = rows()
    found = both()(given, places(domain=np.zeros(6, int), viewed=np.zeros(6, bool)))
    assert all(found[key] is given[key] for key in given)


def test_evaluation_sees_the_pictures_as_they_are():
    inputs = InputPipeline(torch.device("cpu"), lambda batch: batch)
    inputs.views = both()
    given = rows()
    assert torch.equal(inputs(given, IS_SOURCE)[TOP], given[TOP])
    assert not torch.equal(inputs.for_training(given, places())[TOP], given[TOP])


def test_pictures_of_bytes_are_scaled_once():
    inputs = InputPipeline(torch.device("cpu"), lambda batch: batch)
    inputs.views = both()
    given = {key: (255 * rows()[key]).to(torch.uint8) for key in (TOP, WRIST)}
    found = inputs.for_training(given, places())[TOP]
    torch.testing.assert_close(found[~SOURCE], given[TOP][~SOURCE].float() / 255)


def test_words_and_ranges_are_checked():
    assert OTConfig().view_share == "auto"
    with pytest.raises(ConfigError, match="view_share is 'half'; allowed: a number from 0 to 1, or 'auto'"):
        OTConfig(view_share="half")
    with pytest.raises(ConfigError, match=r"view_share is 1\.5"):
        OTConfig(view_share=1.5)
    with pytest.raises(ConfigError, match=r"view_jitter is 0\.7"):
        OTConfig(view_jitter=0.7)


def test_a_share_without_pairs_says_what_to_set_and_auto_does_without(load, tmp_path):
    alone = {"ot.method": "none", "ot.pair_info_path": None, "steps": 1}
    with pytest.raises(ConfigError, match=r"view_share is 0.4, but there are no pairs.*ot.view_share = 0"):
        train(load("asked", **alone, **{"ot.view_share": 0.4}))
    train(load("auto", **alone, **{"ot.view_share": "auto"}))
    train(load("none", **alone))
    assert losses(tmp_path / "auto") == losses(tmp_path / "none")


@pytest.mark.usefixtures("one_thread")
def test_views_reach_training_and_resume_to_the_bit(load, tmp_path):
    settings = {"save_checkpoint": True, "ot.view_share": 0.7}
    train(load("plain"))
    train(load("whole", **settings))
    assert losses(tmp_path / "plain")[0] != losses(tmp_path / "whole")[0]
    half = load("half", **settings, steps=2)
    train(half)
    saved = half.output_dir / "checkpoints" / "last" / "pretrained_model" / "train_config.json"
    train(load_config(["--resume=true", f"--config_path={saved}", "--steps=4"]).config)
    assert losses(tmp_path / "half") == losses(tmp_path / "whole")


@pytest.mark.parametrize(
    ("settings", "share"), [({}, 0.75), ({"ot.view_share": 0.0}, 0.5), ({"ot.bc_src_weight": 0.25}, 0.25)]
)
def test_the_sources_share_of_the_rows_follows_the_views(load, tmp_path, settings, share):
    config = load(batch_size=8, **{"ot.view_share": 0.5, "ot.bc_src_weight": "auto", **settings})
    trainer = assemble(config, make_accelerator(config), Silence())
    assert np.mean(trainer.stream[0].map.is_source) == share


def test_pictures_of_the_view_lie_in_the_run_folder_and_it_is_told(load, tmp_path):
    told = []
    config = load("shown", steps=1, **{"ot.view_share": "auto"})
    train(config, progress=SimpleNamespace(start=ignore, step=ignore, note=told.append))
    drawn = cv2.imread(str(tmp_path / "shown" / "artifacts" / "view_top.png"))
    assert drawn.shape[1] > 400
    assert any(line.startswith("Target's view of top: turned by") for line in told)


def test_auto_leaves_pictures_alone_that_come_no_nearer(load, world, tmp_path):
    """The source paired with itself: no view can bring equal pictures nearer."""
    told = []
    same = {
        "dataset.root": str(world.source),
        "dataset.repo_id": "test/source",
        "ot.pair_info_path": self_paired(world, tmp_path),
    }
    train(
        load("auto", **same, **{"ot.view_share": "auto"}),
        progress=SimpleNamespace(start=ignore, step=ignore, note=told.append),
    )
    train(load("none", **same))
    assert losses(tmp_path / "auto") == losses(tmp_path / "none")
    assert any("source pictures of top stay as they are" in line for line in told)
    assert not (tmp_path / "auto" / "artifacts" / "view_top.png").exists()


def self_paired(world, tmp_path):
    from otpilot.data.pairs import make_table
    from otpilot.pairing.storage import save_table

    save_table(make_table(world.source, world.source), tmp_path / "same.npz")
    return str(tmp_path / "same.npz")


def ignore(*_, **__):
    pass


def test_a_diffusion_policy_with_two_observation_steps_sees_them_too(load, tmp_path):
    settings = {"policy": {**TINY_DIFFUSION, "n_obs_steps": 2}, "ot.lambda_ot": 0.0}
    train(load("plain", **settings))
    train(load("seen", **settings, **{"ot.view_share": 1.0}))
    assert losses(tmp_path / "plain")[0] != losses(tmp_path / "seen")[0]
    assert (tmp_path / "seen" / "artifacts" / "view_top.png").exists()


def test_a_checkpoint_from_before_views_goes_on_without(load, tmp_path):
    train(load("whole"))
    half = load("half", save_checkpoint=True, steps=2)
    train(half)
    saved = half.output_dir / "checkpoints" / "last" / "pretrained_model" / "train_config.json"
    body = json.loads(saved.read_text())
    del body["ot"]["view_share"], body["ot"]["view_jitter"]
    saved.write_text(json.dumps(body))
    loaded = load_config(["--resume=true", f"--config_path={saved}", "--steps=4"])
    assert any("before there were views" in note for note in loaded.notes)
    train(loaded.config)
    assert losses(tmp_path / "half") == losses(tmp_path / "whole")


def test_views_have_a_background_if_it_is_asked_for(load):
    trainers = [
        assemble(config, make_accelerator(config), Silence())
        for config in (load(**{"ot.view_share": 1.0, "ot.view_background": on}) for on in (True, False))
    ]
    made, plain = (trainer.inputs.views.views[1][TOP].background for trainer in trainers)
    assert made is not None
    assert made.target.shape[-1] <= 192
    assert plain is None


def test_views_do_without_the_transport_of_encodings(load, tmp_path):
    train(load("plain", **{"ot.lambda_ot": 0.0}))
    train(load("seen", **{"ot.lambda_ot": 0.0, "ot.view_share": 1.0, "ot.view_jitter": 0.0}))
    assert losses(tmp_path / "plain")[0] != losses(tmp_path / "seen")[0]


def test_views_need_no_transport_where_pairs_are_rows_of_their_own(load):
    config = load(**{"ot.rows": "separate", "ot.lambda_ot": 0.0, "ot.view_share": 0.5})
    made = assemble(config, make_accelerator(config), Silence())
    assert made.inputs.views.shares == {"source": 0.5}
    assert len(made.stream[0].map.pair_src) == 0


def losses(root):
    return [r.values["loss"] for r in read_metrics(RunPaths(root).metrics).records if r.kind == "train"]
