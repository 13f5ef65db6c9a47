"""Pairing against named peers, in one run: alignment with paths, and the size and load time of stored pairs.

99 source x 20 target episodes of about 300 frames x 8 dims (a seeded reaching motion with warped time and noise).

* Alignment: otpilot's kernel against tslearn (`dtw_path`, numba) and dtaidistance (`dtw_ndim.warping_path`, C), one
  thread each, the same pairs in turn; the time of a pair is the least of several rounds, in CPU seconds, since other
  work on the machine must not count. Then all pairs with all cores. Targets: ratio >= 1 to the fastest; < 5 s in all.
* Storage: pair_info JSON against the table file. Targets: 10 times smaller, 50 times faster to load. "Load" is up to
  what a sampler can use: for the table `load_table` with all its checks, for JSON both parsing alone and the import.
* Start: the first alignment of a new process, with and without numba's cache on disk.

Why our own kernel: on an Intel Xeon with AVX2 this benchmark gave otpilot 0.41 ms a pair, dtaidistance 2.5.1 0.53 and
tslearn 0.10.0 0.69; in a run of its own aeon 1.6.0 took 0.43 where dtaidistance took 0.52: level with ours. Ours
is some 100 lines, needs numba only (aeon and tslearn bring scikit-learn), has l1, l2 and linf and a band that is never
empty, and runs in threads without the GIL.

Peers are not dependencies: `uv pip install tslearn dtaidistance`; a missing one is said and left out.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from otpilot.pairing.dtw import Alignment, DTWOptions, align, align_all
from otpilot.pairing.features import joint_zscore
from otpilot.pairing.fingerprint import DatasetFingerprint
from otpilot.pairing.pair_info import export_pair_info, import_pair_info
from otpilot.pairing.sampler import PairSampler, SamplerOptions
from otpilot.pairing.storage import load_table, save_table
from otpilot.pairing.table import PairTable

SOURCES, TARGETS, FRAMES, DIMS = 99, 20, 300, 8
ROUNDS = 3
SAMPLE = 40  # pairs timed for each alignment peer
START = """
import time
begin = time.perf_counter()
import numpy as np
from otpilot.pairing.dtw import align
align(np.zeros((9, 2)), np.zeros((9, 2)))
print(time.perf_counter() - begin)
"""


def episodes(count: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    result = []
    for _ in range(count):
        frames = int(rng.integers(FRAMES - 30, FRAMES + 31))
        speed = rng.uniform(0.2, 1.8, size=6).repeat(-(-frames // 6))[:frames]
        phase = np.cumsum(speed)[:, None] / speed.sum()
        goal, bend = rng.normal(size=DIMS), rng.normal(scale=0.3, size=DIMS)
        result.append(goal * phase + bend * np.sin(np.pi * phase) + rng.normal(scale=0.01, size=(frames, DIMS)))
    return result


def peers() -> dict[str, Callable[[np.ndarray, np.ndarray], object]]:
    found: dict[str, Callable[[np.ndarray, np.ndarray], object]] = {"otpilot": align}
    try:
        from tslearn.metrics import dtw_path

        found["tslearn"] = dtw_path
    except ImportError:
        print("tslearn is not installed: left out")
    try:
        from dtaidistance import dtw, dtw_ndim

        if not dtw.try_import_c():
            raise ImportError("without its C library")
        found["dtaidistance (C)"] = lambda x, y: dtw_ndim.warping_path(x, y, use_c=True)
    except ImportError as error:
        print(f"dtaidistance is not installed, or without its C library: left out ({error})")
    return found


def check_against_dtaidistance(sources: list[np.ndarray], targets: list[np.ndarray]) -> None:
    """The same problem is solved: equal cost with the same local distance."""
    try:
        from dtaidistance import dtw_ndim
    except ImportError:
        return
    for x, y in zip(sources[:5], targets[:5], strict=True):
        theirs = dtw_ndim.distance(x, y, use_c=True, inner_dist="euclidean")
        ours = align(x, y).cost
        assert abs(ours - theirs) < 1e-9 * theirs, (ours, theirs)
    print("cost equals dtaidistance's (Euclidean) on 5 pairs")


def time_alignment(sources: list[np.ndarray], targets: list[np.ndarray]) -> None:
    rng = np.random.default_rng(0)
    picked = [(int(rng.integers(SOURCES)), int(rng.integers(TARGETS))) for _ in range(SAMPLE)]
    functions = peers()
    for function in functions.values():
        function(sources[0], targets[0])  # compile
    least = {name: np.full(SAMPLE, np.inf) for name in functions}
    for _ in range(ROUNDS):
        for at, (s, t) in enumerate(picked):
            for name, function in functions.items():
                begin = time.process_time()
                function(sources[s], targets[t])
                least[name][at] = min(least[name][at], time.process_time() - begin)
    ours = least["otpilot"].mean()
    print(f"\nalignment with path, one thread, CPU time per pair (mean of {SAMPLE} pairs, least of {ROUNDS} rounds)")
    for name, times in least.items():
        print(f"  {name:18s} {times.mean() * 1e3:7.3f} ms   ratio to otpilot {times.mean() / ours:5.2f}")
    rest = [times.mean() for name, times in least.items() if name != "otpilot"]
    if rest:
        verdict = "met" if min(rest) >= ours else "MISSED"
        print(f"  target: ratio of the fastest peer >= 1: {min(rest) / ours:.2f}, {verdict}")


def time_all(sources: list[np.ndarray], targets: list[np.ndarray]) -> list[list[Alignment]]:
    cores = len(os.sched_getaffinity(0))
    print(f"\nall {SOURCES} x {TARGETS} pairs")
    alignments: list[list[Alignment]] = []
    for workers in sorted({1, cores}):
        begin = time.perf_counter()
        alignments = align_all(sources, targets, workers=workers)
        print(f"  {workers} worker(s): {time.perf_counter() - begin:.2f} s")
    begin = time.perf_counter()
    align_all(sources, targets, DTWOptions(window=30))
    print(f"  {cores} worker(s), window 30: {time.perf_counter() - begin:.2f} s")
    begin = time.perf_counter()
    align_all(sources, targets)
    taken = time.perf_counter() - begin
    print(f"  target: under 5 s with {cores} worker(s): {taken:.2f} s, {'met' if taken < 5 else 'MISSED'}")
    return alignments


def least_time(function: Callable[[], object], rounds: int) -> float:
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times)


def time_storage(table: PairTable, folder: Path) -> None:
    npz, pair_info = folder / "pairs.npz", folder / "pair_info.json"
    save_table(table, npz)
    export_pair_info(table, pair_info)
    export_pair_info(table, folder / "pair_info.json.gz")
    sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    lengths = {"source_lengths": table.source_lengths.tolist(), "target_lengths": table.target_lengths.tolist()}
    ours = least_time(lambda: load_table(npz), 20)
    parse = least_time(lambda: json.loads(pair_info.read_bytes()), 5)
    whole = least_time(lambda: import_pair_info(pair_info, source=table.source, target=table.target, **lengths), ROUNDS)
    print(f"\nstorage of {table.pairs} pairs, {len(table.match_source)} matches")
    for name, size in sizes.items():
        print(f"  {name:18s} {size / 1e6:7.2f} MB   ratio to the table {size / sizes['pairs.npz']:6.1f}")
    print(f"  load the table     {ours * 1e3:7.2f} ms")
    print(f"  parse the JSON     {parse * 1e3:7.2f} ms   ratio to the table {parse / ours:6.1f}")
    print(f"  import the JSON    {whole * 1e3:7.2f} ms   ratio to the table {whole / ours:6.1f}")
    smaller, faster = sizes["pair_info.json"] / sizes["pairs.npz"], whole / ours
    print(f"  target: 10 times smaller: {smaller:.1f}, {'met' if smaller >= 10 else 'MISSED'}")
    print(f"  target: 50 times faster to load: {faster:.1f}, {'met' if faster >= 50 else 'MISSED'}")


def time_draws(table: PairTable) -> None:
    sampler = PairSampler(table, SamplerOptions(window_size=8, sharpness=0.5, topk_src_episodes=20))
    batches = iter(range(10**9))
    taken = least_time(lambda: sampler.draw(next(batches), 64), 2000)
    making = least_time(lambda: PairSampler(table), 5)
    print(f"\nsampler: 64 pairs in {taken * 1e6:.0f} us; making it takes {making * 1e3:.1f} ms")


def time_start(folder: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    print("\nfirst alignment of a new process, imports included")
    for label in ("empty cache", "filled cache"):
        done = subprocess.run(
            [sys.executable, "-c", START], env=environment, check=True, capture_output=True, text=True
        )
        print(f"  {label:18s} {float(done.stdout):7.2f} s")


def main() -> None:
    sources, targets = joint_zscore(episodes(SOURCES, 1), episodes(TARGETS, 2))
    check_against_dtaidistance(sources, targets)
    time_alignment(sources, targets)
    alignments = time_all(sources, targets)
    source_lengths, target_lengths = [len(x) for x in sources], [len(y) for y in targets]
    table = PairTable.from_alignments(
        alignments,
        source=DatasetFingerprint.from_lengths(source_lengths, fps=30.0),
        target=DatasetFingerprint.from_lengths(target_lengths, fps=30.0),
        source_lengths=source_lengths,
        target_lengths=target_lengths,
    )
    with tempfile.TemporaryDirectory() as folder:
        time_storage(table, Path(folder))
    time_draws(table)
    with tempfile.TemporaryDirectory() as folder:
        time_start(Path(folder))


if __name__ == "__main__":
    main()
