"""Trains several methods side by side, each in a process of its own, and follows their logs."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from otpilot.errors import TrainingError
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics

POLL_S = 0.5


def train_side_by_side(
    configs: Mapping[str, tuple[Path, Path, Path]],
    *,
    threads: int,
    watch: Callable[[str, int, Mapping[str, Any]], None],
) -> None:
    """Run `otpilot train` for every entry at once and wait for all.

    Args:
        configs: name -> (config file, run folder, file for what the process prints).
        threads: CPU threads of each process.
        watch: Called with (name, newest step, newest values) whenever a log has grown.

    Raises:
        TrainingError: If a process fails; the others are ended first.
    """
    with _processes(configs, threads) as running:
        seen = dict.fromkeys(running, 0)
        while running:
            time.sleep(POLL_S)
            for name, process in list(running.items()):
                _, run, log = configs[name]
                seen[name] = _follow(name, RunPaths(run).metrics, seen[name], watch)
                code = process.poll()
                if code is None:
                    continue
                if code != 0:
                    raise TrainingError(f"Training of {name!r} ended with exit code {code}: {_last_line(log)}")
                del running[name]


def _follow(name: str, metrics: Path, seen: int, watch: Callable[[str, int, Mapping[str, Any]], None]) -> int:
    """Tell the watcher of the newest line if the log has grown; return its size."""
    size = metrics.stat().st_size if metrics.exists() else 0
    if size == seen:
        return seen
    records = read_metrics(metrics).records
    if records:
        watch(name, records[-1].step, records[-1].values)
    return size


@contextmanager
def _processes(
    configs: Mapping[str, tuple[Path, Path, Path]], threads: int
) -> Iterator[dict[str, "subprocess.Popen[bytes]"]]:
    """Start one process per config; whatever still runs at the end is ended."""
    limits = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment = {**os.environ, **limits, "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    running: dict[str, subprocess.Popen[bytes]] = {}
    started: list[subprocess.Popen[bytes]] = []
    try:
        for name, (config, _, log) in configs.items():
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("wb") as output:
                running[name] = subprocess.Popen(
                    _command(config), stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment
                )
            started.append(running[name])
        yield running
    finally:
        _end(started)


def _command(config: Path) -> Sequence[str]:
    return [sys.executable, "-m", "otpilot", "train", f"--config_path={config}"]


def _end(processes: Sequence["subprocess.Popen[bytes]"]) -> None:
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return f"{lines[-1].strip()} (all of it in {log})" if lines else f"it printed nothing (see {log})"
