"""Reading and diagnosing run folders against pandas that only reads the same files, in one run.

    python benchmarks/analyze.py            # writes 200 run folders (about 300 MB), then measures for a minute
    python benchmarks/analyze.py FOLDER     # keeps the run folders in FOLDER and reuses them

200 run folders, 2,000 training lines x 20 metrics each, and on top an evaluation every 50 lines and an alarm or two, as
a training process writes them. Files are read once before measuring, so that no side pays for the disk. Rounds
alternate; medians of per-round times are printed, with one process and with as many as there are cores, for each side.

* pandas: `read_json(lines=True)` of each metrics.jsonl, no more (the values stay dictionaries).
* read: our run folders as RunHistory, curves by canonical name.
* ours: the same, and diagnosed with every rule.

Goals: ours / pandas < 1 with one process; peak memory at 200 runs no more than 1.1 times that at 50. Measured on 2
cores shared with other work: read / pandas 0.34 to 0.42, ours / pandas 0.58 to 0.66 with one process (processor time on
its own: pandas 18 ms a run, reading 8, diagnosing 3 to 4), 0.46 with two; 145 MB at 50 runs and at 200.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402

RUNS, ROWS, ROUNDS = 200, 2_000, 3
MEMORY_RUNS = (50, 200)
SPACING = 50
METRICS = (
    "loss", "bc_loss", "l1_loss", "kld_loss", "grad_norm", "lr", "ot_loss", "ot_pi_sum", "ot_pi_diag", "ot_entropy",
    "ot_cost/images", "ot_cost/observation.state", "ot_cost/action_lbl", "ot_weight", "ot_reg", "ot_grad_share",
    "ot_grad_norm", "bc_grad_norm", "update_s", "dataloading_s",
)  # fmt: skip


def write_runs(root: Path) -> list[Path]:
    folders = [root / f"run_{index:03d}" for index in range(RUNS)]
    for index, folder in enumerate(folders):
        if not (folder / "outcome.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "metrics.jsonl").write_text("".join(lines(index)), encoding="utf-8")
            (folder / "config.json").write_text(json.dumps({"steps": ROWS * SPACING, "seed": index}), encoding="utf-8")
            outcome = {"status": "finished", "reason": "all steps done", "last_step": ROWS * SPACING}
            (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")
    return folders


def lines(seed: int) -> Iterator[str]:
    """Yield the lines of one run: decaying curves with noise, the mass of its plan drifting."""
    rng = np.random.default_rng(seed)
    decay = np.exp(-np.arange(ROWS)[:, None] / rng.uniform(100, 2000, len(METRICS)))
    table = (0.2 + decay) * np.exp(0.1 * rng.standard_normal((ROWS, len(METRICS))))
    for row, values in enumerate(table.tolist(), start=1):
        yield line(row, "train", dict(zip(METRICS, values, strict=True)))
        if row % 50 == 0:
            loss = values[0] * float(rng.uniform(0.9, 1.1))
            yield line(
                row, "eval", {"offline_eval/avg_loss": loss, "offline_eval/avg_l1": loss, "offline_eval/n_batches": 8}
            )
    yield line(ROWS, "health", {"alarm": "mass_low", "message": "The plan carries little mass.", "mass": 1e-4})


def line(row: int, kind: str, values: dict) -> str:
    body = {"step": row * SPACING, "time": 1.7e9 + 5.0 * row, "kind": kind, "values": values}
    return json.dumps(body, separators=(",", ":")) + "\n"


def with_pandas(folder: Path) -> int:
    import pandas as pd

    return len(pd.read_json(folder / "metrics.jsonl", lines=True))


def read_only(folder: Path) -> int:
    from otpilot.runs.sources.run_folder import read_run_folder

    return len(read_run_folder(folder).curves)


def read_and_diagnose(folder: Path) -> int:
    from otpilot.analysis.diagnosis import diagnose
    from otpilot.runs.sources.run_folder import read_run_folder

    return len(diagnose(read_run_folder(folder)))


SIDES: dict[str, Callable[[Path], int]] = {"pandas": with_pandas, "read": read_only, "ours": read_and_diagnose}


def seconds(side: Callable[[Path], int], folders: Sequence[Path], run: Callable[..., Iterator[int]]) -> float:
    start = time.perf_counter()
    assert sum(run(side, folders)) > 0
    return time.perf_counter() - start


def measure(folders: Sequence[Path], workers: int) -> dict[str, float]:
    """Return each side's median seconds; every process has imported and read before the clock starts."""
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    with ProcessPoolExecutor(workers) as pool:
        run = map if workers == 1 else partial(pool.map, chunksize=5)
        for side in SIDES.values():
            seconds(side, folders[: 10 * workers], run)
        for _ in range(ROUNDS):
            for name, side in SIDES.items():
                times[name].append(seconds(side, folders, run))
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory_mb(root: Path, count: int) -> float:
    """Return the peak of a fresh process that reads and diagnoses so many runs through the source."""
    command = [sys.executable, __file__, "--memory", str(root), str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_peak(root: Path, count: int) -> None:
    from itertools import islice

    from otpilot.analysis.diagnosis import diagnose
    from otpilot.runs.sources.spelling import parse_source

    found = sum(len(diagnose(history)) for history in islice(parse_source(str(root)).runs(), count))
    assert found > 0
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    if sys.argv[1:2] == ["--memory"]:
        print_peak(Path(sys.argv[2]), int(sys.argv[3]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(sys.argv[1] if len(sys.argv) > 1 else scratch)
        folders = write_runs(root)
        size = sum((folder / "metrics.jsonl").stat().st_size for folder in folders)
        print(f"{RUNS} runs x {ROWS} rows x {len(METRICS)} metrics, {size / 1e6:.0f} MB")
        for workers in dict.fromkeys((1, os.cpu_count() or 1)):
            times = measure(folders, workers)
            shown = ", ".join(f"{name} {1e3 * value / RUNS:.1f} ms a run" for name, value in times.items())
            ratio = times["ours"] / times["pandas"]
            word = "process" if workers == 1 else "processes"
            reading = times["read"] / times["pandas"]
            print(f"{workers} {word}: {shown}; read / pandas {reading:.2f}, ours / pandas {ratio:.2f}")
        small, large = (peak_memory_mb(root, count) for count in MEMORY_RUNS)
        print(f"peak memory: {small:.0f} MB at {MEMORY_RUNS[0]} runs, {large:.0f} MB at {MEMORY_RUNS[1]}")


if __name__ == "__main__":
    main()
