"""Mirrors the log into Weights & Biases from a thread of its own: training neither waits for it nor fails with it."""

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from otpilot.config.schema import TrainConfig
from otpilot.runs.sources.secrets import redacted

logger = logging.getLogger(__name__)

MOST_WAITING = 2000
"""Log events that wait for W&B; what comes on top is left out there, never in metrics.jsonl."""
FINISH_S = 20.0
"""Seconds that the end of training waits for W&B."""


class Session(Protocol):
    """What a tracker sends to, from its own thread."""

    def log(self, values: Mapping[str, Any], *, step: int, kind: str) -> None:
        """Send values under <kind>/."""

    def images(self, pictures: Mapping[str, Path], *, step: int) -> None:
        """Send pictures."""

    def finish(self) -> None:
        """Close the run."""


type Job = Callable[[Session], None]


class Tracker:
    """W&B if the config enables it; otherwise silent, because metrics.jsonl has everything.

    Args:
        config: The config of the run, whose `wandb.run_id` is set; None for no tracker.
        tell: Called with what the user should know, from any thread; the log by default.
        open_session: What opens the session; W&B by default.
        most_waiting: Log events that may wait.
    """

    def __init__(
        self,
        config: TrainConfig | None,
        *,
        tell: Callable[[str], None] = logger.warning,
        open_session: Callable[[], Session] | None = None,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._tell = tell
        self._jobs: queue.Queue[Job | None] = queue.Queue(maxsize=most_waiting)
        self._left_out = 0
        self._thread: threading.Thread | None = None
        self._broken = False
        if open_session is None:
            if config is None or not (config.wandb.enable and config.wandb.project):
                return
            open_session = self._prepare(config)
        if open_session is not None:
            self._thread = threading.Thread(target=self._work, args=(open_session,), name="tracker", daemon=True)
            self._thread.start()

    def log(self, values: Mapping[str, Any], *, step: int, kind: str) -> None:
        """Send numbers and strings under train/, eval/, sim/ or health/; returns at once."""
        self._put(partial(_log, dict(values), step, kind))

    def images(self, pictures: Mapping[str, Path], *, step: int) -> None:
        """Send pictures under eval/; returns at once. The files must stay."""
        self._put(partial(_images, dict(pictures), step))

    def finish(self, timeout_s: float = FINISH_S) -> None:
        """Hand over what is left, waiting at most so long; the tracker takes no more."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        while True:
            try:
                self._jobs.put_nowait(None)
                break
            except queue.Full:  # nothing is taken any more, so nothing that waits will be missed
                self._left_out += _drop_one(self._jobs)
        thread.join(timeout_s)
        if thread.is_alive():
            self._tell(f"W&B took more than {timeout_s:g} s for the rest of the log; metrics.jsonl has every value.")
        elif self._left_out and not self._broken:
            self._tell(f"W&B was too slow for {self._left_out} log events; metrics.jsonl has them.")

    def _prepare(self, config: TrainConfig) -> Callable[[], Session] | None:
        try:
            from otpilot.training.wandb_session import name_run, open_session

            continues = name_run(config)  # now, because checkpoints write it
        except Exception as error:  # W&B's client is not installed as it should be
            self._give_up(error)
            return None
        return partial(open_session, config, continues=continues, tell=self._tell)

    def _put(self, job: Job) -> None:
        if self._thread is None or self._broken:
            return
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            self._left_out += 1

    def _work(self, open_session: Callable[[], Session]) -> None:
        """Open the session, then send until the end comes; the first error ends it."""
        try:
            session = open_session()
            while (job := self._jobs.get()) is not None:
                job(session)
            session.finish()
        except Exception as error:  # whatever the tracker's client raises, training goes on
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._broken = True
        message = redacted(f"{type(error).__name__}: {error}")
        self._tell(f"W&B takes no more ({message}); training goes on, metrics.jsonl has every value.")


def _log(values: Mapping[str, Any], step: int, kind: str, session: Session) -> None:
    session.log(values, step=step, kind=kind)


def _images(pictures: Mapping[str, Path], step: int, session: Session) -> None:
    session.images(pictures, step=step)


def _drop_one(jobs: "queue.Queue[Job | None]") -> int:
    try:
        jobs.get_nowait()
    except queue.Empty:
        return 0
    return 1
