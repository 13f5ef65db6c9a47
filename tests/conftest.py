"""Shared across the tests: two tiny recorded domains, their pair table, and configs that train on them in seconds."""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import jaxtyping
import psutil
import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background, as `nohup` and `&` do
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else Ctrl-C is ignored here and in every child
logging.getLogger("lerobot.utils.import_utils").setLevel(logging.ERROR)  # torchcodec without FFmpeg is fine here

SERVICE_S = 60.0
"""Seconds that W&B's service has to end by itself behind a test."""
TINY_ACT = {
    "type": "act",
    "device": "cpu",
    "push_to_hub": False,
    "chunk_size": 4,
    "n_action_steps": 4,
    "pretrained_backbone_weights": None,
    "dim_model": 32,
    "n_heads": 2,
    "dim_feedforward": 32,
    "n_encoder_layers": 1,
    "n_decoder_layers": 1,
    "use_vae": False,
    "dropout": 0.1,
}


@dataclass(frozen=True)
class World:
    """Two recorded domains (32 px; source 6 episodes, target 3 of the left half) and their pair table."""

    root: Path

    @property
    def source(self) -> Path:
        return self.root / "source"

    @property
    def target(self) -> Path:
        return self.root / "target"

    @property
    def pairs(self) -> Path:
        return self.root / "pairs.npz"

    def config(self, **changes) -> dict:
        """Return a co-training + OT config; a change with dots (ot.lambda_ot=0) goes below."""
        body = {
            "dataset": {"repo_id": "test/target", "root": str(self.target), "use_imagenet_stats": False},
            "policy": dict(TINY_ACT),
            "batch_size": 4,
            "num_workers": 0,
            "steps": 4,
            "log_freq": 1,
            "save_checkpoint": False,  # 140 MB each; tests that need one ask for it
            "save_freq": 0,
            "seed": 7,
            "env_eval_freq": 0,
            "ot": {
                "src_repo_id": "test/source",
                "src_root": str(self.source),
                "pair_info_path": str(self.pairs),
                "lambda_ot": 0.01,
                "view_share": 0.0,  # a fit takes seconds; tests of the views ask for it
            },
        }
        for key, value in changes.items():
            place = body
            *sections, last = key.split(".")
            for section in sections:
                place = place.setdefault(section, {})
            place[last] = value
        return body

    def write(self, path: Path, **changes) -> Path:
        path.write_text(json.dumps(self.config(**changes)))
        return path


@pytest.fixture
def as_users_run(monkeypatch):
    """Switch the shape checks off, as they are outside pytest, so that our own errors for wrong shapes are seen."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> World:
    from otpilot.data.pairs import make_table
    from otpilot.pairing.storage import save_table
    from otpilot.sim.record import record

    made = World(tmp_path_factory.mktemp("world"))
    record(made.source, domain="source", region="full", episodes=6, seed=0, image_size=32)
    record(made.target, domain="target", region="left", episodes=3, seed=1, image_size=32)
    save_table(make_table(made.source, made.target), made.pairs)
    return made


@pytest.fixture
def load(tmp_path, world):
    """Return a function that turns changes into a validated TrainConfig whose output folder does not exist yet.

    What config/hygiene.py would refuse on the command line is let through, for what lies below it looks, too.
    """
    import otpilot.sim.env_config  # noqa: F401 - registers the env type
    from otpilot.config.schema import complete, read_arguments

    def make(name="run", **changes):
        path = world.write(tmp_path / f"{name}.json", **changes)
        return complete(read_arguments([f"--config_path={path}", f"--output_dir={tmp_path / name}"])).config

    return make


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Forget accelerate's process-wide state, which fixes one precision per process, behind every test that set it."""
    yield
    if "accelerate.state" in sys.modules:
        sys.modules["accelerate.state"].AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def one_thread():
    """One CPU thread: with several a library may split a sum elsewhere, and the last bit of a loss with it."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def fresh_wandb():
    """W&B's client reads the environment once in a process: what another test set must not count here.

    Its service does not always end when it is asked to (seen once, on a busy machine); then it is killed.
    """
    yield
    if "wandb" in sys.modules:
        killer = threading.Timer(SERVICE_S, _kill_service)
        killer.start()
        try:
            with contextlib.suppress(SystemExit):  # what it raises when its service was killed
                sys.modules["wandb"].teardown()
        finally:
            killer.cancel()


def _kill_service():
    for child in psutil.Process().children(recursive=True):
        if "wandb-core" in child.name():
            child.kill()
