"""Loading against LeRobot's plain DataLoader, in one run: time per batch at equal rows.

    python benchmarks/loading.py            # records its datasets (about a minute), then measures for some minutes
    python benchmarks/loading.py FOLDER     # keeps the recorded datasets in FOLDER and reuses them

Datasets: the tabletop at 64 px, 60 source and 10 target demonstrations, stored as images and as videos. Both sides
read the very same frames in the same order, 16 rows a batch (half source, half target, which is the pairs' batch with
`ot.rows = shared`) with ACT's action chunk of 16, through forked workers; each side begins every round anew, and the
time is taken from the first batch that arrives to the last. Rounds alternate; medians of per-round times are printed.

* plain: `LeRobotDataset` with delta timestamps, default collate, `return_uint8=True`. It decodes every image of an
  action chunk where images are stored as images (LeRobot's issue 4392).
* bare: the same without delta timestamps, so that it decodes one image a row and brings no action chunk. For
  information: below it nobody gets without a cache.
* ours: `make_loader(BatchStream)` with the frame cache off, filling (first pass), and filled.

Target: ours / plain <= 1.15 in every cell. One run on 2 shared cores, decoding with pyav: 0.12 to 0.16 on images (the
plain loader decodes the chunk's images), 0.70 to 0.88 on videos, under 0.10 once the cache is filled.
"""

import json
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
logging.getLogger("lerobot.utils.import_utils").setLevel(logging.ERROR)

import torch  # noqa: E402
from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: E402
from torch.utils.data import ConcatDataset, DataLoader  # noqa: E402

from otpilot.config.schema import TrainConfig, load_config  # noqa: E402
from otpilot.data.batches import BatchStream, make_loader  # noqa: E402
from otpilot.data.domains import open_domains  # noqa: E402
from otpilot.data.pairs import make_samplers, make_table  # noqa: E402
from otpilot.pairing.storage import save_table  # noqa: E402
from otpilot.sim.record import record  # noqa: E402

ROWS, CHUNK, BATCHES, ROUNDS = 16, 16, 16, 5
GOAL = 1.15
STORAGES, WORKERS = ("image", "video"), (0, 2)
OURS = ("cache off", "cache filling", "cache filled")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the datasets of one storage lie."""

    root: Path

    @property
    def source(self) -> Path:  # noqa: D102
        return self.root / "source"

    @property
    def target(self) -> Path:  # noqa: D102
        return self.root / "target"

    @property
    def pairs(self) -> Path:  # noqa: D102
        return self.root / "pairs.npz"


def prepare(place: Place, *, use_videos: bool) -> None:
    """Record what is not there yet."""
    place.root.mkdir(parents=True, exist_ok=True)
    if not place.source.exists():
        record(place.source, domain="source", region="full", episodes=60, seed=0, image_size=64, use_videos=use_videos)
    if not place.target.exists():
        record(place.target, domain="target", region="left", episodes=10, seed=1, image_size=64, use_videos=use_videos)
    if not place.pairs.exists():
        save_table(make_table(place.source, place.target), place.pairs)


def configure(place: Place, *, workers: int, cache_gb: float) -> TrainConfig:
    """Return the config of a run with pairs, as training would load it."""
    body = {
        "dataset": {"repo_id": "bench/target", "root": str(place.target)},
        "policy": {
            "type": "act",
            "device": "cpu",
            "push_to_hub": False,
            "chunk_size": CHUNK,
            "n_action_steps": CHUNK,
            "pretrained_backbone_weights": None,
        },
        "batch_size": ROWS,
        "num_workers": workers,
        "dataloader_multiprocessing_context": "fork",
        "steps": BATCHES,
        "seed": 0,
        "env_eval_freq": 0,
        "frame_cache_gb": cache_gb,
        "ot": {
            "src_repo_id": "bench/source",
            "src_root": str(place.source),
            "pair_info_path": str(place.pairs),
            "normalize_bc_weights_by_ds_size": False,
        },
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "config.json")
        path.write_text(json.dumps(body))
        return load_config([f"--config_path={path}", f"--output_dir={folder}/run"]).config


def open_stream(config: TrainConfig) -> BatchStream:
    """Return our stream with its own, empty, frame cache."""
    domains = open_domains(config)
    return BatchStream(config, domains, make_samplers(config, domains))


def frames_of(stream: BatchStream, source_frames: int) -> list[list[int]]:
    """Return the frames of every batch as places in source and target, one behind the other."""
    batches = []
    for step in range(BATCHES):
        batch = stream[step]
        places = batch.rows["index"] + torch.from_numpy(~batch.map.is_source) * source_frames
        batches.append(places.tolist())
    return batches


def plain_loader(place: Place, frames: Sequence[list[int]], *, workers: int, chunk: bool) -> DataLoader:
    """Return LeRobot's own loader of these frames."""

    def load(root: Path) -> LeRobotDataset:
        fps = LeRobotDataset(root.name, root=root).meta.fps
        deltas = {"action": [frame / fps for frame in range(CHUNK)]} if chunk else None
        return LeRobotDataset(root.name, root=root, delta_timestamps=deltas, return_uint8=True)

    return DataLoader(
        ConcatDataset([load(place.source), load(place.target)]),
        batch_sampler=frames,
        num_workers=workers,
        multiprocessing_context="fork" if workers else None,
    )


def time_batch(batches: Iterator[object]) -> float:
    """Return the seconds per batch, from the first that arrives to the last."""
    next(batches)
    begin = time.perf_counter()
    count = sum(1 for _ in batches)
    return (time.perf_counter() - begin) / count


def measure(place: Place, *, workers: int) -> dict[str, float]:
    """Return the median seconds per batch of each side, measured in turns."""
    uncached = configure(place, workers=workers, cache_gb=0.0)
    cached = configure(place, workers=workers, cache_gb=4.0)
    off, filled = open_stream(uncached), open_stream(cached)
    source_frames = len(LeRobotDataset("source", root=place.source))
    frames = frames_of(filled, source_frames)  # which fills its cache
    plain = plain_loader(place, frames, workers=workers, chunk=True)
    bare = plain_loader(place, frames, workers=workers, chunk=False)
    turns: dict[str, Callable[[], Iterator[object]]] = {
        "plain": lambda: iter(plain),
        "bare": lambda: iter(bare),
        "cache off": lambda: iter(make_loader(uncached, off, start=0)),
        "cache filling": lambda: iter(make_loader(cached, open_stream(cached), start=0)),
        "cache filled": lambda: iter(make_loader(cached, filled, start=0)),
    }
    times: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(ROUNDS):
        for name, start in turns.items():
            times[name].append(time_batch(start()))
    return {name: statistics.median(values) for name, values in times.items()}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    print(f"median ms per batch of {ROWS} rows over {ROUNDS} rounds of {BATCHES - 1} batches; ratio to plain")
    print(f"{'storage':8s} {'workers':>7s} {'plain':>8s} {'bare':>8s}" + "".join(f"{name:>22s}" for name in OURS))
    worst = 0.0
    for storage in STORAGES:
        place = Place(root=folder / storage)
        prepare(place, use_videos=storage == "video")
        for workers in WORKERS:
            found = measure(place, workers=workers)
            ratios = {name: found[name] / found["plain"] for name in OURS}
            worst = max(worst, *ratios.values())
            cells = "".join(f"{found[name] * 1e3:13.2f} ({ratios[name]:.3f})" + " " for name in OURS)
            print(
                f"{storage:8s} {workers:7d} {found['plain'] * 1e3:8.1f} {found['bare'] * 1e3:8.1f} {cells}", flush=True
            )
    print(f"target: ours / plain <= {GOAL} everywhere: worst {worst:.3f}, {'met' if worst <= GOAL else 'MISSED'}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
