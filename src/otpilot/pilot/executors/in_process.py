"""Runs each trial as a function in a thread: for tests and simulations, where a process would be too much."""

import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from otpilot.errors import ExecutorError
from otpilot.pilot import supervisor
from otpilot.pilot.executors.base import Ended, Executor, Handle, TrialSpec
from otpilot.pilot.executors.start import clear_drafts, conclude, earlier_end, job_body, prepare, read_json
from otpilot.pilot.paths import TrialPaths
from otpilot.pilot.states import EndState

# Fills the run folder of the spec, from the checkpoint if there is one, and returns soon after the event is set.
Work = Callable[[TrialSpec, Path | None, threading.Event], None]


@dataclass(kw_only=True)
class _Running:
    spec: TrialSpec
    handle: Handle
    thread: threading.Thread | None = None
    asked_to_end: threading.Event = field(default_factory=threading.Event)
    verdict: tuple[EndState, str] | None = None
    ended: Ended | None = None
    exit_code: int = 0


class InProcessExecutor(Executor):
    """Trials as threads of this process. A function that never returns cannot be killed; `close` waits for it."""

    def __init__(self, work: Work, *, slots: int = 1) -> None:
        if slots < 1:
            raise ExecutorError(f"slots is {slots}; allowed: 1 or more.")
        self._work = work
        self._limit = slots
        self._running: dict[str, _Running] = {}

    @property
    def slots(self) -> int:
        """How many trials it runs at once at most."""
        return self._limit

    def has_room(self) -> bool:
        """Return whether a new trial could start now."""
        return sum(self._is_alive(running) for running in self._running.values()) < self._limit

    def submit(self, spec: TrialSpec) -> Handle | None:
        """Start a trial, go on from its last checkpoint, or take its earlier end."""
        if any(running.handle.run == spec.run and self._is_alive(running) for running in self._running.values()):
            raise ExecutorError(f"Trial {spec.name!r} runs here already, in {spec.run}.")
        clear_drafts(spec)
        ended = earlier_end(spec)
        if ended is None and not self.has_room():
            return None
        token = uuid.uuid4().hex
        handle = Handle(trial=spec.name, run=spec.run, token=token, device="cpu")
        running = _Running(spec=spec, handle=handle, ended=ended)
        try:
            if ended is None:
                checkpoint = prepare(spec)
                supervisor.write_json(TrialPaths(spec.run).job, job_body(spec, token))
                running.thread = threading.Thread(target=self._run, args=(running, checkpoint), daemon=True)
        except (OSError, ExecutorError) as error:
            running.ended = Ended(state="crashed", reason=f"cannot be started: {error}")
        self._running[token] = running
        if running.thread is not None:
            running.thread.start()
        return handle

    def poll(self, handle: Handle) -> Ended | None:
        """Return how the trial ended, or None while it runs."""
        running = self._find(handle)
        if running.ended is None and not self._is_alive(running):
            running.ended = self._conclude(running)
        return running.ended

    def cancel(self, handle: Handle, *, state: EndState, reason: str) -> None:
        """Ask for the trial's end; `poll` will say `state` and `reason`, unless it ended by itself before."""
        running = self._find(handle)
        if running.ended is None and running.verdict is None:
            running.verdict = (state, reason)
            body = {"token": handle.token, "state": state, "reason": reason}
            supervisor.write_json(TrialPaths(handle.run).verdict, body)
            running.asked_to_end.set()

    def suspend(self, handle: Handle) -> None:
        """Ask for the trial's end without a verdict."""
        self._find(handle).asked_to_end.set()

    def forget(self, handle: Handle) -> None:
        """Drop what is known of an ended trial."""
        if self._is_alive(self._find(handle)):
            raise ExecutorError(f"Trial {handle.trial!r} still runs; cancel or suspend it first.")
        del self._running[handle.token]

    def close(self) -> None:
        """Ask every trial to end and wait for it."""
        for running in self._running.values():
            running.asked_to_end.set()
        for running in self._running.values():
            if running.thread is not None:
                running.thread.join()

    def _find(self, handle: Handle) -> _Running:
        try:
            return self._running[handle.token]
        except KeyError:
            raise ExecutorError(f"Trial {handle.trial!r} is unknown here: it was forgotten, or is another's.") from None

    @staticmethod
    def _is_alive(running: _Running) -> bool:
        return running.thread is not None and running.thread.is_alive()

    def _run(self, running: _Running, checkpoint: Path | None) -> None:
        began, paths, spec = time.time(), TrialPaths(running.spec.run), running.spec
        try:
            self._work(spec, checkpoint, running.asked_to_end)
        except BaseException:  # whatever it is, it is the trial's end, not ours
            running.exit_code = 1
            with paths.stdout.open("a", encoding="utf-8") as log:
                log.write(traceback.format_exc())
        body = {
            "token": running.handle.token, "trial": spec.name, "retry": spec.retry, "attempt": spec.attempt,
            "code": running.exit_code, "ended_by": "cancel" if running.asked_to_end.is_set() else "itself",
            "began": began, "ended": time.time(),
        }  # fmt: skip
        supervisor.write_json(paths.exit, body)

    @staticmethod
    def _conclude(running: _Running) -> Ended:
        left = read_json(TrialPaths(running.spec.run).exit)
        ended = conclude(
            running.spec.run,
            token=running.handle.token,
            steps=running.spec.steps,
            left=left,
            seen_code=running.exit_code,
        )
        return ended or Ended(state="killed", reason="ended on request, to go on later", suspended=True)
