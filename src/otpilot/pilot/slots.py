"""Room for trials on this machine: a GPU each where there are GPUs, else a share of the cores."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otpilot.errors import ExecutorError
from otpilot.pilot.executors.base import Ended
from otpilot.pilot.gpus import LOCKS, Calm, DeviceLock, GpuMonitor, load_nvml, try_lock
from otpilot.pilot.trust import DeviceTrust


@dataclass(kw_only=True)
class Slot:
    """Room for one trial: its device, what the trial's environment needs for it, and the lock to hand on."""

    device: str
    environment: Mapping[str, str]
    lock: DeviceLock | None = None

    def close(self) -> None:
        """Let go of the lock on our side."""
        if self.lock is not None:
            self.lock.close()


@dataclass(kw_only=True)
class Slots:
    """The room of a machine: `limit` trials at once, each on a GPU of its own where there are GPUs, else on the CPU.

    `granted` names the GPUs that a cluster gave this process: its CUDA_VISIBLE_DEVICES is left as it is.
    """

    limit: int
    threads: int
    monitor: GpuMonitor | None = None
    granted: str | None = None
    locks: Path = LOCKS
    trust: DeviceTrust = field(default_factory=DeviceTrust)
    held: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, value in (("limit", self.limit), ("threads", self.threads)):
            if value < 1:
                raise ExecutorError(f"{name} is {value}; allowed: 1 or more.")

    def acquire(self) -> Slot | None:
        """Return a slot, or None while there is none; give it back with `release`."""
        if len(self.held) >= self.limit:
            return None
        slot = self._cpu_slot() if self.monitor is None else self._gpu_slot(self.monitor)
        if slot is not None:
            self.held.append(slot.device)
        return slot

    def adopt(self, device: str) -> None:
        """Count a trial that already runs, from an earlier pilot; its supervisor holds its device."""
        self.held.append(device)

    def release(self, device: str) -> None:
        """Take back the room of a trial that ended."""
        self.held.remove(device)

    def saw(self, device: str, trial: str, ended: Ended) -> None:
        """Take note of how a trial ended on a device: a broken GPU is left alone."""
        if self.monitor is not None:
            self.trust.saw(device, trial, ended)

    def _cpu_slot(self) -> Slot:
        if self.granted is not None:
            return Slot(device=self.granted, environment=thread_environment(self.threads))
        return Slot(device="cpu", environment={**thread_environment(self.threads), "CUDA_VISIBLE_DEVICES": ""})

    def _gpu_slot(self, monitor: GpuMonitor) -> Slot | None:
        for device in self.trust.choose(monitor.calm_devices(), self.held):
            lock = try_lock(device, folder=self.locks)
            if lock is not None:
                names = {"CUDA_VISIBLE_DEVICES": device.uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
                return Slot(device=device.uuid, environment={**thread_environment(self.threads), **names}, lock=lock)
        return None


def plan_slots(
    *,
    concurrency: int | None = None,
    threads: int | None = None,
    use_gpus: bool = True,
    nvml: Any | None = None,
    calm: Calm | None = None,
    visible: str | None = None,
    cores: int | None = None,
    locks: Path = LOCKS,
) -> Slots:
    """Return the room of this machine: one trial per GPU, or cores // threads trials where there is none.

    Args:
        concurrency: At most so many trials at once; None for as many as there is room for.
        threads: CPU threads of each trial; None for a fair share (with GPUs), or 1 (without).
        use_gpus: False leaves the GPUs alone.
        nvml: An initialised NVML; None loads it.
        calm: What counts as a free GPU.
        visible: CUDA_VISIBLE_DEVICES; None reads this process's own.
        cores: Cores to share out; None for those that this process may run on.
        locks: Folder of the locks that say which GPU has a trial.

    Raises:
        ExecutorError: If a number is below 1.
    """
    available = cores or available_cores()
    for name, value in (("concurrency", concurrency), ("threads", threads)):
        if value is not None and value < 1:
            raise ExecutorError(f"{name} is {value}; allowed: 1 or more, or none to let it be chosen.")
    monitor = None
    if use_gpus:
        seen = visible if visible is not None else os.environ.get("CUDA_VISIBLE_DEVICES")
        monitor = GpuMonitor(nvml or load_nvml(), calm=calm, visible=seen)
    if monitor is not None and monitor.devices:
        limit = min(concurrency or len(monitor.devices), len(monitor.devices))
        return Slots(limit=limit, threads=threads or max(1, available // limit), monitor=monitor, locks=locks)
    if concurrency is not None:
        return Slots(limit=concurrency, threads=threads or max(1, available // concurrency))
    return Slots(limit=max(1, available // (threads or 1)), threads=threads or 1)


def available_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


THREAD_NAMES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)  # fmt: skip


def thread_environment(threads: int) -> dict[str, str]:
    """Return what keeps a trial to its threads, asleep while they wait: sharing cores else costs 5 to 40 times."""
    return {**dict.fromkeys(THREAD_NAMES, str(threads)), "OMP_WAIT_POLICY": "PASSIVE"}
