"""Two tiny datasets with the cameras and sizes of the seeds' robot, for their configs and our recipes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

CAMERAS = ("third_person_cam_color", "ee_cam_color", "side_cam_color")
STATE_SIZE = 14  # 7 joints, gripper, 6 of force and torque
ACTION_SIZE = 8  # 7 joints, gripper
PIXELS = 36
FRAMES = 16
# Not smaller: see docs/log.md, 2026-11-21, bf16 convolutions on a CPU.

SMALL_POLICY = {
    "act": [
        "pretrained_backbone_weights=null", "chunk_size=8", "n_action_steps=8", "dim_model=32", "n_heads=2",
        "dim_feedforward=32", "n_encoder_layers=1", "n_vae_encoder_layers=1", "latent_dim=4",
    ],
    "diffusion": [
        "crop_shape=[32,32]", "down_dims=[16,32]", "diffusion_step_embed_dim=16", "num_inference_steps=2",
        "spatial_softmax_num_keypoints=4",
    ],
}  # fmt: skip
"""What makes a policy quick; everything else stays as the config says."""


@dataclass(frozen=True)
class Robot:
    """Where the two datasets and their pair_info JSON lie."""

    root: Path

    def overrides(self, policy: str, output: Path) -> list[str]:
        """Return the settings that point a config at these datasets, and make it small and short."""
        data = {
            "dataset.root": self.root / "target",
            "ot.src_root": self.root / "source",
            "ot.pair_info_path": self.root / "pair_info.json",
            "output_dir": output,
        }
        short = {"steps": 2, "batch_size": 4, "num_workers": 0, "save_checkpoint": "false", "wandb.enable": "false"}
        small = [f"--policy.{setting}" for setting in ("device=cpu", *SMALL_POLICY[policy])]
        return [f"--{key}={value}" for key, value in (data | short).items()] + small


@pytest.fixture(scope="session")
def robot(tmp_path_factory) -> Robot:
    from otpilot.data.pairs import make_table
    from otpilot.pairing.pair_info import export_pair_info

    made = Robot(tmp_path_factory.mktemp("robot"))
    for number, (name, episodes) in enumerate({"source": 4, "target": 3}.items()):
        _record(made.root / name, episodes, np.random.default_rng(number))
    export_pair_info(make_table(made.root / "source", made.root / "target"), made.root / "pair_info.json")
    return made


def _record(root: Path, episodes: int, generator: np.random.Generator) -> None:
    """Write smooth random motions whose last action column opens and closes like a gripper."""
    import datasets
    from lerobot.datasets import LeRobotDataset

    datasets.disable_progress_bars()
    image = {"dtype": "image", "shape": (PIXELS, PIXELS, 3), "names": ["height", "width", "channels"]}
    features = {f"observation.images.{camera}": image for camera in CAMERAS} | {
        "observation.state": {
            "dtype": "float32",
            "shape": (STATE_SIZE,),
            "names": [f"s{i}" for i in range(STATE_SIZE)],
        },
        "action": {"dtype": "float32", "shape": (ACTION_SIZE,), "names": [f"a{i}" for i in range(ACTION_SIZE)]},
    }
    dataset = LeRobotDataset.create(root.name, fps=10, features=features, root=root, use_videos=False)
    for _ in range(episodes):
        state = generator.normal(size=(FRAMES + 1, STATE_SIZE)).cumsum(axis=0).astype(np.float32)
        gripper = (generator.random(FRAMES) > 0.5).astype(np.float32)
        for step in range(FRAMES):
            views = generator.integers(0, 256, size=(len(CAMERAS), PIXELS, PIXELS, 3), dtype=np.uint8)
            dataset.add_frame(
                {
                    **{f"observation.images.{camera}": view for camera, view in zip(CAMERAS, views, strict=True)},
                    "observation.state": state[step],
                    "action": np.append(state[step + 1, : ACTION_SIZE - 1], gripper[step]),
                    "task": "insert the tube",
                }
            )
        dataset.save_episode()
    dataset.finalize()
