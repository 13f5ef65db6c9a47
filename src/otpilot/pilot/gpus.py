"""Which GPUs are free: calm in memory, utilisation and processes over several samples, and locked by no trial.

NVML is asked through nvidia-ml-py. Without its library or a driver there are no GPUs, which is said once. A GPU that is
split (MIG) counts as its instances. Devices are named by UUID, which CUDA_VISIBLE_DEVICES takes and which, unlike an
index, means the same device to everybody.
"""

import contextlib
import fcntl
import logging
import os
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otpilot.errors import ExecutorError

logger = logging.getLogger(__name__)
# Samples older than this say nothing of now.
STALE_S = 30.0
LOCKS = Path(tempfile.gettempdir()) / "otpilot-devices"


@dataclass(frozen=True, kw_only=True)
class Device:
    """A GPU, or an instance of one that is split; memory in bytes."""

    uuid: str
    name: str
    memory: int
    index: int
    instance: bool = False


@dataclass(frozen=True, kw_only=True)
class Calm:
    """What counts as free: in each of `samples` looks `pause_s` apart at most this memory (bytes) and use (0 to 1)."""

    memory: int = 1 << 30
    utilisation: float = 0.1
    samples: int = 3
    pause_s: float = 0.3

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.samples < 1 or self.memory < 0 or not 0 <= self.utilisation <= 1 or self.pause_s < 0:
            raise ExecutorError(
                f"{self} is out of range; samples >= 1, memory >= 0, 0 <= utilisation <= 1, pause_s >= 0."
            )


def load_nvml() -> Any | None:
    """Return an initialised NVML, or None where there is no driver or library; says why, once per process."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except ImportError as error:
        _say_once(f"No GPUs: nvidia-ml-py cannot be imported ({error}).")
        return None
    except pynvml.NVMLError as error:
        _say_once(f"No GPUs: NVML says {error}.")
        return None
    return pynvml


_said: set[str] = set()


def _say_once(message: str) -> None:
    if message not in _said:
        _said.add(message)
        logger.info(message)


class GpuMonitor:
    """Watches the GPUs of this machine that this process may use (CUDA_VISIBLE_DEVICES is obeyed)."""

    def __init__(
        self,
        nvml: Any | None,
        *,
        calm: Calm | None = None,
        visible: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nvml = nvml
        self._calm = calm or Calm()
        self._sleep = sleep
        self._clock = clock
        self._looked_at = -STALE_S
        found = {} if nvml is None else dict(_discover(nvml))
        self._handles: dict[str, Any] = {device.uuid: handle for device, handle in found.items()}
        self.devices: tuple[Device, ...] = _choose(tuple(found), visible)
        self._seen: dict[str, deque[bool]] = {d.uuid: deque(maxlen=self._calm.samples) for d in self.devices}

    def calm_devices(self) -> tuple[Device, ...]:
        """Return the devices that were calm in each of the last samples.

        The first call takes all samples, with pauses; later ones take one look each, unless the samples are stale.
        """
        if self._clock() - self._looked_at > STALE_S:
            for seen in self._seen.values():
                seen.clear()
        missing = max((self._calm.samples - len(seen) for seen in self._seen.values()), default=0)
        for look in range(max(1, missing)):
            if look:
                self._sleep(self._calm.pause_s)
            for device in self.devices:
                self._seen[device.uuid].append(self._is_calm(device))
        self._looked_at = self._clock()
        return tuple(device for device in self.devices if all(self._seen[device.uuid]))

    def _is_calm(self, device: Device) -> bool:
        nvml, handle = self._nvml, self._handles[device.uuid]
        assert nvml is not None  # there are no devices without it
        try:
            if nvml.nvmlDeviceGetMemoryInfo(handle).used > min(self._calm.memory, device.memory // 4):
                return False
            if _ask(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle, []):
                return False
            if device.instance:  # NVML has no utilisation of instances
                return True
            rates = _ask(nvml, nvml.nvmlDeviceGetUtilizationRates, handle, None)
            return rates is None or rates.gpu / 100 <= self._calm.utilisation
        except nvml.NVMLError as error:  # fell off the bus, or its driver is being reset
            _say_once(f"GPU {device.uuid} is left alone: NVML says {error}.")
            return False


def _ask(nvml: Any, question: Callable[[Any], Any], handle: Any, otherwise: Any) -> Any:
    """Return NVML's answer, or `otherwise` where this device cannot answer."""
    try:
        return question(handle)
    except (nvml.NVMLError_NotSupported, nvml.NVMLError_NoPermission):
        return otherwise


def _discover(nvml: Any) -> Iterator[tuple[Device, Any]]:
    """Yield every usable device with its handle, in NVML's order (by PCI bus)."""
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            instances = list(_instances(nvml, handle)) if _is_split(nvml, handle) else None
            for part in [handle] if instances is None else instances:
                yield _describe(nvml, part, index=index, instance=instances is not None), part
        except nvml.NVMLError as error:
            _say_once(f"GPU {index} is left alone: NVML says {error}.")


def _is_split(nvml: Any, handle: Any) -> bool:
    modes = _ask(nvml, nvml.nvmlDeviceGetMigMode, handle, (0, 0))
    return bool(modes[0] == nvml.NVML_DEVICE_MIG_ENABLE)


def _instances(nvml: Any, handle: Any) -> Iterator[Any]:
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        with contextlib.suppress(nvml.NVMLError_NotFound, nvml.NVMLError_InvalidArgument):
            yield nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)


def _describe(nvml: Any, handle: Any, *, index: int, instance: bool) -> Device:
    return Device(
        uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
        name=_text(nvml.nvmlDeviceGetName(handle)),
        memory=int(nvml.nvmlDeviceGetMemoryInfo(handle).total),
        index=index,
        instance=instance,
    )


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _choose(devices: tuple[Device, ...], visible: str | None) -> tuple[Device, ...]:
    """Return the devices that CUDA_VISIBLE_DEVICES names, as CUDA reads it: up to the first that does not exist."""
    if visible is None:
        return devices
    chosen: list[Device] = []
    for word in (part.strip() for part in visible.split(",")):
        hits = [d for d in devices if _is_meant(word, d)]
        if len(hits) != 1:
            break
        if hits[0] not in chosen:
            chosen.append(hits[0])
    return tuple(chosen)


def _is_meant(word: str, device: Device) -> bool:
    if word.isdigit():
        return not device.instance and int(word) == device.index
    return bool(word) and word.startswith(("GPU-", "MIG-")) and device.uuid.startswith(word)


@dataclass(kw_only=True)
class DeviceLock:
    """A device that is ours as long as some process holds this open file: the pilot first, then the supervisor."""

    device: Device
    fd: int

    def close(self) -> None:
        """Let go of it; a process that inherited the file still holds it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def try_lock(device: Device, *, folder: Path = LOCKS) -> DeviceLock | None:
    """Return the lock on a device, or None while another trial of any pilot on this machine holds it."""
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(PermissionError):
            folder.chmod(0o1777)  # pilots of other users lock here, too
    path = folder / f"{device.uuid.replace('/', '_')}.lock"
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:  # made by another user before we could open it for all
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    with contextlib.suppress(PermissionError):
        os.fchmod(fd, 0o666)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return DeviceLock(device=device, fd=fd)
