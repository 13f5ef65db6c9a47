"""Which GPUs to leave alone for a while, so that a broken one does not swallow trial after trial.

A GPU that fails is free again at once, and so the first to be given the next trial. One crash does not say whether the
GPU or the trial is broken; where the trial crashes next does. So a GPU that a trial's end may be blamed on rests, and
the retry goes elsewhere. Crashes the trial there, too, it was the trial, and the first GPU is pardoned. On a machine
where there is no elsewhere, nothing rests.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from otpilot.pilot.executors.base import Ended
from otpilot.pilot.gpus import Device

logger = logging.getLogger(__name__)

REST_S = (3600.0, 7200.0, 14400.0)
"""How long a GPU rests after the first, second and any further crash in a row that may be its fault."""
HARDWARE = re.compile(r"\b(cuda|cudnn|cublas|cusolver|cufft|nccl|nvml|nvrtc|ecc|xid)(?![a-z])", re.IGNORECASE)
OUT_OF_MEMORY = re.compile(r"out of memory", re.IGNORECASE)
WORKED = ("finished", "stopped_early", "diverged")


@dataclass(kw_only=True)
class _Doubt:
    """Why a GPU rests: the trials that crashed on it since one last ran well, and until when."""

    trials: set[str] = field(default_factory=set)
    strikes: int = 0
    until: float = 0.0


class DeviceTrust:
    """What the ends of trials say about the GPUs of one machine, as long as this process lives.

    Args:
        clock: Seconds; for tests.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._doubts: dict[str, _Doubt] = {}
        self._crashed_on: dict[str, set[str]] = {}

    def saw(self, device: str, trial: str, ended: Ended) -> None:
        """Take note of how a trial ended on a device."""
        if ended.suspended:
            return
        if ended.state in WORKED:
            self._crashed_on.pop(trial, None)
            if self._doubts.pop(device, None) is not None:
                logger.info("GPU %s ran a trial well and is used as before.", device)
        elif may_be_the_device(ended):
            self._crashed_on.setdefault(trial, set()).add(device)
            if len(self._crashed_on[trial]) > 1:
                self._pardon(trial)
            else:
                self._doubt(device, trial, ended)

    def rests(self, device: str) -> bool:
        """Return whether the device is to be left alone now."""
        doubt = self._doubts.get(device)
        return doubt is not None and self._clock() < doubt.until

    def choose(self, free: Sequence[Device], running: Iterable[str]) -> tuple[Device, ...]:
        """Return the free devices to use, best first.

        Args:
            free: The devices that nobody uses.
            running: The devices on which trials of ours run; they are an elsewhere, too, soon.

        Returns:
            Those that do not rest; all of them if no other device is in use by us or free.
        """
        awake = tuple(device for device in free if not self.rests(device.uuid))
        if awake or not all(self.rests(device) for device in running):
            return awake
        return tuple(sorted(free, key=lambda device: self._doubts[device.uuid].until))

    def _doubt(self, device: str, trial: str, ended: Ended) -> None:
        doubt = self._doubts.setdefault(device, _Doubt())
        doubt.trials.add(trial)
        rest = REST_S[min(doubt.strikes, len(REST_S) - 1)]
        doubt.strikes += 1
        doubt.until = self._clock() + rest
        logger.warning(
            "GPU %s is left alone for %.0f min where there is another: trial %s ended on it (%s). "
            "If it ends so elsewhere, too, the GPU is used again at once.",
            device, rest / 60, trial, ended.reason,
        )  # fmt: skip

    def _pardon(self, trial: str) -> None:
        """End the rest of all devices that this trial alone is held against."""
        for device in self._crashed_on[trial]:
            doubt = self._doubts.get(device)
            if doubt is not None:
                doubt.trials.discard(trial)
                if not doubt.trials:
                    del self._doubts[device]
                    logger.info("GPU %s is used again: trial %s crashed on another one, too.", device, trial)


def may_be_the_device(ended: Ended) -> bool:
    """Return whether a broken GPU could be behind this end.

    Crashes in CUDA's libraries, by a signal, or by silence could be its fault; running out of memory, and errors in
    plain Python, such as a missing file, are not.
    """
    if ended.state not in ("crashed", "killed") or OUT_OF_MEMORY.search(ended.reason):
        return False
    return ended.state == "killed" or HARDWARE.search(ended.reason) is not None
