"""A training step with OT over a co-training step on the same rows, in one run: time, and where it goes.

    python benchmarks/train_step.py            # ACT and Diffusion; records its datasets first; a few minutes
    python benchmarks/train_step.py --quick    # fewer pairs of steps
    python benchmarks/train_step.py --views    # the OT side also shows half of its source rows in the target's view
    python benchmarks/train_step.py --device=cuda

Sizes that learn on a CPU: 64 px, one camera, 16 rows (half of them source rows, which are the pairs: ot.rows =
shared); ACT with dim 128, a small Diffusion U-Net. Both sides start from the same weights and take step k on the very
same batch k, in turns that swap who is first; so whatever else the machine does meets both. Printed are the median of
the pairwise ratios with its 10 % and 90 % points, and for each part of a step the median of either side:

* loading: reading the rows from the filled frame cache, views, and LeRobot's preprocessor;
* forward: the policy's own pass, with the hooks that catch the encodings;
* plan: the transport problem, cost and solver included;
* backward, and optimizer: clipping and AdamW.

`mean` is the ratio of mean times. It includes the steps that also measure gradient shares (health, every 20 steps).
On a CPU the ratio of CPU times is printed, too: where other programs share the cores, the wall clock says little.
Goal: a median ratio of at most 1.05, by CPU time on a CPU, by the clock on a GPU.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
logging.getLogger("lerobot.utils.import_utils").setLevel(logging.ERROR)

import numpy as np  # noqa: E402
import torch  # noqa: E402

from otpilot.config.schema import TrainConfig, load_config  # noqa: E402
from otpilot.data.pairs import make_table  # noqa: E402
from otpilot.pairing.storage import save_table  # noqa: E402
from otpilot.sim.record import record  # noqa: E402
from otpilot.training.parts import make_accelerator  # noqa: E402
from otpilot.training.process import keep_freed_memory  # noqa: E402
from otpilot.training.progress import Silence  # noqa: E402
from otpilot.training.session import assemble  # noqa: E402
from otpilot.training.trainer import Trainer  # noqa: E402

GOAL = 1.05
ROWS, WARMUP = 16, 3
POLICIES: dict[str, dict[str, Any]] = {
    "act": {
        "chunk_size": 16,
        "n_action_steps": 16,
        "dim_model": 128,
        "n_heads": 4,
        "dim_feedforward": 512,
        "n_encoder_layers": 2,
        "use_vae": False,
    },
    "diffusion": {
        "horizon": 16,
        "n_action_steps": 8,
        "crop_shape": None,
        "use_group_norm": True,
        "down_dims": [64, 128],
        "diffusion_step_embed_dim": 64,
        "do_mask_loss_for_padding": True,
    },
}


class Clock:
    """Adds up the time of named parts; on a GPU it waits for the device at both ends."""

    def __init__(self, device: str) -> None:
        self._wait: Callable[[], None] = torch.cuda.synchronize if device == "cuda" else lambda: None
        self.parts: dict[str, float] = defaultdict(float)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time one part."""
        self._wait()
        begin = time.perf_counter()
        yield
        self._wait()
        self.parts[name] += time.perf_counter() - begin

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        def run(*args: Any, **options: Any) -> Any:
            with self.part(name):
                return call(*args, **options)

        return run


class Side:
    """One trainer whose parts are timed."""

    def __init__(self, config: TrainConfig) -> None:
        accelerator = make_accelerator(config)
        self.trainer: Trainer = assemble(config, accelerator, Silence())
        self.trainer.parts.policy.train()
        self.clock = Clock(config.policy.device)
        self.rows: list[dict[str, float]] = []
        loss, parts = self.trainer.loss, self.trainer.parts
        loss.clone = self.clock.timed("forward", loss.clone)  # type: ignore[method-assign]
        loss.solve = self.clock.timed("plan", loss.solve)  # type: ignore[method-assign]
        accelerator.backward = self.clock.timed("backward", accelerator.backward)
        accelerator.clip_grad_norm_ = self.clock.timed("optimizer", accelerator.clip_grad_norm_)
        parts.optimizer.step = self.clock.timed("optimizer", parts.optimizer.step)  # type: ignore[method-assign]

    def step(self, number: int) -> np.ndarray:
        """Take one step, keep its times, and return the frames it saw."""
        self.clock.parts = defaultdict(float)
        begin = time.process_time()
        with self.clock.part("whole"):
            with self.clock.part("loading"):
                batch = self.trainer.stream[number - 1]
                inputs = self.trainer.inputs.for_training(batch.rows, batch.map.is_source)
            self.trainer.update([(inputs, batch.map)], number)
        self.rows.append({**self.clock.parts, "cpu": time.process_time() - begin})
        return batch.rows["index"].numpy()

    def times(self, name: str) -> np.ndarray:
        """Return the times of a part, (steps,), in ms; 0 in steps that had none."""
        return np.array([row.get(name, 0.0) for row in self.rows]) * 1e3


def configure(folder: Path, policy: str, device: str, *, weight: float, views: float) -> TrainConfig:
    """Return the config of one side."""
    body = {
        "dataset": {"repo_id": "bench/target", "root": str(folder / "target"), "use_imagenet_stats": False},
        "policy": {
            "type": policy,
            "device": device,
            "push_to_hub": False,
            "pretrained_backbone_weights": None,
            **POLICIES[policy],
        },
        "batch_size": ROWS,
        "num_workers": 0,
        "steps": 10_000,
        "seed": 0,
        "env_eval_freq": 0,
        "ot": {
            "src_repo_id": "bench/source",
            "src_root": str(folder / "source"),
            "pair_info_path": str(folder / "pairs.npz"),
            "lambda_ot": weight,
            "view_share": views,
        },
    }
    path = folder / "config.json"
    path.write_text(json.dumps(body))
    return load_config([f"--config_path={path}", f"--output_dir={folder}/run_{policy}_{weight}"]).config


def prepare(folder: Path) -> None:
    """Record two small domains and pair them."""
    record(folder / "source", domain="source", region="full", episodes=12, seed=0, image_size=64)
    record(folder / "target", domain="target", region="left", episodes=6, seed=1, image_size=64)
    save_table(make_table(folder / "source", folder / "target"), folder / "pairs.npz")


def measure(folder: Path, policy: str, device: str, pairs: int, *, views: float = 0.0) -> float:
    """Print one policy's table and return the median ratio."""
    settings = ((0.01, views), (0.0, 0.0))
    ot, plain = (Side(configure(folder, policy, device, weight=weight, views=share)) for weight, share in settings)
    for number in range(1, pairs + WARMUP + 1):
        first, second = (ot, plain) if number % 2 else (plain, ot)
        if not np.array_equal(first.step(number), second.step(number)):
            raise RuntimeError(f"Both sides must see the same rows; step {number} differs.")
    for side in (ot, plain):
        del side.rows[:WARMUP]  # the frame cache fills, torch allocates
    print(f"\n{policy} on {device}, {pairs} pairs of steps, {ROWS} rows: OT / co-training")
    for name, clock in [("whole", "wall clock")] + ([("cpu", "CPU time")] if device == "cpu" else []):
        ratios = ot.times(name) / plain.times(name)
        median = statistics.median(ratios)
        low, high = np.quantile(ratios, [0.1, 0.9])
        mean = ot.times(name).mean() / plain.times(name).mean()
        print(f"  {clock}: {median:.3f} (10 to 90 %: {low:.3f} to {high:.3f}), mean {mean:.3f}")
    print(f"  {'ms':>10s}" + "".join(f"{name:>14s}" for name in ("OT", "co-training", "difference")))
    for name in ("loading", "forward", "plan", "backward", "optimizer", "whole", "cpu"):
        one, two = statistics.median(ot.times(name)), statistics.median(plain.times(name))
        print(f"  {name:>10s}{one:14.2f}{two:14.2f}{one - two:14.2f}", flush=True)
    return median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pairs of steps")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--views", action="store_true", help="half of the OT side's source rows in the target's view")
    parser.add_argument("--policy", choices=[*POLICIES], help="only this one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{os.cpu_count()} cores, load {load:.1f} before the start")
    devices = ["cpu", "cuda"] if options.device == "cuda" else ["cpu"]
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        worst = max(
            measure(Path(folder), policy, device, 20 if options.quick else 100, views=0.5 if options.views else 0.0)
            for device in devices
            for policy in ([options.policy] if options.policy else POLICIES)
        )
    print(f"\ngoal: OT / co-training <= {GOAL}: worst {worst:.3f}, {'met' if worst <= GOAL else 'MISSED'}")


if __name__ == "__main__":
    main()
