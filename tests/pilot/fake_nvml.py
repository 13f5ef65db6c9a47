"""NVML in miniature: GPUs whose memory, use and instances a test sets."""

from dataclasses import dataclass, field
from types import SimpleNamespace


@dataclass
class Gpu:
    uuid: str
    used: int = 0
    total: int = 80 << 30
    use: int = 0
    processes: int = 0
    instances: list["Gpu"] = field(default_factory=list)
    is_instance: bool = False
    broken: bool = False


class FakeNvml:
    NVML_DEVICE_MIG_ENABLE = 1

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    class NVMLError_NoPermission(NVMLError):
        pass

    class NVMLError_NotFound(NVMLError):
        pass

    class NVMLError_InvalidArgument(NVMLError):
        pass

    def __init__(self, *gpus: Gpu, old_names: bool = False):
        self.gpus = gpus
        self.old_names = old_names
        self.looks = 0

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        return self.gpus[index]

    def nvmlDeviceGetMigMode(self, gpu):
        if not gpu.instances and gpu.uuid.endswith("old"):
            raise self.NVMLError_NotSupported
        return (int(bool(gpu.instances)), int(bool(gpu.instances)))

    def nvmlDeviceGetMaxMigDeviceCount(self, gpu):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, gpu, number):
        if number >= len(gpu.instances):
            raise self.NVMLError_NotFound
        return gpu.instances[number]

    def nvmlDeviceGetUUID(self, gpu):
        return gpu.uuid.encode() if self.old_names else gpu.uuid

    def nvmlDeviceGetName(self, gpu):
        return "NVIDIA Fake"

    def nvmlDeviceGetMemoryInfo(self, gpu):
        self.looks += 1
        if gpu.broken:
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(used=gpu.used, total=gpu.total)

    def nvmlDeviceGetComputeRunningProcesses(self, gpu):
        return [object()] * gpu.processes

    def nvmlDeviceGetUtilizationRates(self, gpu):
        if gpu.is_instance:
            raise self.NVMLError_NotSupported
        return SimpleNamespace(gpu=gpu.use, memory=0)
