import io

import numpy as np
import pytest
import torch
from PIL import Image

from otpilot.data.batches import Batch
from otpilot.data.mixing import RowMap
from otpilot.runs.paths import RunPaths
from otpilot.training.artifacts import LONGEST_SIDE, draw_plan, save_plan
from otpilot.training.session import train
from otpilot.training.step import CoTrainingLoss
from otpilot.transport.solver import solve
from tests.training.test_evaluate import TINY_DIFFUSION
from tests.training.test_noise import losses


def made(images):
    cost = torch.rand(4, 4, generator=torch.Generator().manual_seed(0)) + 1.0 - torch.eye(4)
    plan = solve(cost, reg=0.1, tau_src=0.5, tau_tgt=0.5)
    rows = {"observation.images.top": images} if images is not None else {"observation.state": torch.zeros(8, 3)}
    places = RowMap(
        cloning=8,
        pair_src=np.arange(4),
        pair_tgt=np.arange(4, 8),
        domain=np.array([1] * 4 + [0] * 4),
        viewed=np.zeros(8, dtype=bool),
    )
    return plan, Batch(rows=rows, map=places)


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 3, 32, 32), (4, 32, 32, 3)),
        (torch.full((8, 2, 3, 480, 640), 0.5), (4, 72, LONGEST_SIDE, 3)),  # floats with a time axis
        (torch.zeros(8, 1, 16, 16, dtype=torch.uint8), (4, 16, 16, 3)),  # one channel
        (None, (4, 8, 8, 3)),
    ],
)
def test_the_newest_plan_and_one_for_each_step(tmp_path, images, shape):
    paths = RunPaths(tmp_path)
    plan, batch = made(images)
    save_plan(paths, plan, batch)
    save_plan(paths, plan, batch, step=20)
    pictures = draw_plan(paths, plan, batch, step=20)
    assert sorted(path.name for path in paths.artifacts.iterdir()) == [
        "pairs_000020.png", "plan.npz", "plan_000020.npz", "plan_000020.png",
    ]  # fmt: skip
    with np.load(paths.artifacts / "plan_000020.npz") as kept:
        assert kept["source"].shape == kept["target"].shape == shape
        assert kept["source"].dtype == np.uint8
        np.testing.assert_allclose(kept["unit_plan"], plan.unit_plan.numpy(), atol=1e-6)
        assert float(kept["mass"]) == pytest.approx(float(plan.mass))
    assert set(pictures.by_name()) == {"ot_plan", "ot_pairs"}
    for path in pictures.by_name().values():
        with Image.open(io.BytesIO(path.read_bytes())) as picture:
            assert min(picture.size) > 8
    assert sum(path.stat().st_size for path in paths.artifacts.iterdir()) < 400_000


def test_sides_are_not_confused(tmp_path):
    images = torch.arange(8, dtype=torch.uint8)[:, None, None, None].expand(8, 3, 8, 8)
    plan, batch = made(images)
    save_plan(RunPaths(tmp_path), plan, batch)
    with np.load(RunPaths(tmp_path).artifacts / "plan.npz") as kept:
        assert kept["source"][:, 0, 0, 0].tolist() == [0, 1, 2, 3]
        assert kept["target"][:, 0, 0, 0].tolist() == [4, 5, 6, 7]


def test_pictures_every_second_evaluation_leave_training_alone(load):
    settings = {"dataset.eval_split": 0.3, "eval_steps": 1, "policy": dict(TINY_DIFFUSION)}  # its forward pass draws
    plain, drawn = load("plain", **settings), load("drawn", **settings, plan_images_every=2)
    train(plain)
    train(drawn)
    found = sorted(path.name for path in RunPaths(drawn.output_dir).artifacts.glob("*_*"))
    assert found == sorted(f"{name}_00000{step}.{kind}" for step in (2, 4) for name, kind in
                           (("plan", "npz"), ("plan", "png"), ("pairs", "png")))  # fmt: skip
    assert losses(drawn) == losses(plain)


def test_the_kept_plan_is_solved_as_the_last_step_was(load, monkeypatch):
    seen = []
    plain = CoTrainingLoss.solve

    def watched(self, src, tgt, *, step, update=True):
        seen.append((self.reg(step), update))
        return plain(self, src, tgt, step=step, update=update)

    monkeypatch.setattr(CoTrainingLoss, "solve", watched)
    ramp = {"type": "linear", "start_value": 0.5, "end_value": 0.01, "end_ratio_of_steps": 1.0}
    train(load(**{"ot.loss_config": {"reg": 0.1, "reg_schedule": ramp}, "ot.compute_every_n_steps": 3}))
    assert seen[-1] == (pytest.approx(0.01), False)
