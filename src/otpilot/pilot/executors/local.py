"""Runs each trial as a process of its own on this machine, under a supervisor that ends it when the pilot dies."""

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from otpilot.errors import ExecutorError
from otpilot.pilot import supervisor
from otpilot.pilot.executors.base import Ended, Executor, Handle, OnPilotDeath, TrialSpec
from otpilot.pilot.executors.start import (
    clear_drafts,
    conclude,
    earlier_end,
    job_body,
    prepare,
    read_json,
    trainer_arguments,
)
from otpilot.pilot.paths import TrialPaths
from otpilot.pilot.slots import Slot, Slots, plan_slots
from otpilot.pilot.states import EndState

TRAINER = (sys.executable, "-m", "otpilot", "train")
GRACE_S = 10.0
LOCK_WAIT_S = supervisor.LOCK_WAIT_S
MODES: tuple[OnPilotDeath, ...] = get_args(OnPilotDeath)


@dataclass(kw_only=True)
class _Running:
    """A trial in our care: its supervisor, or only its pid and birth where an earlier pilot started it."""

    spec: TrialSpec
    handle: Handle
    process: "subprocess.Popen[bytes] | None" = None
    pid: int | None = None
    birth: str = ""
    has_slot: bool = False
    verdict: tuple[EndState, str] | None = None
    ended: Ended | None = None

    def is_alive(self) -> bool:
        """Return whether its supervisor lives."""
        if self.process is not None:
            return self.process.poll() is None
        return self.pid is not None and supervisor.is_alive(self.pid, self.birth)

    def signal(self, number: int) -> None:
        """Send its supervisor a signal, if it lives."""
        with contextlib.suppress(ProcessLookupError):
            if self.process is not None:
                self.process.send_signal(number)
            elif self.pid is not None and self.is_alive():
                os.kill(self.pid, number)


class LocalExecutor(Executor):
    """Trials on this machine's GPUs or cores.

    Do not fork without exec while it is open (multiprocessing's `fork`): the child would keep the trials alive.

    Args:
        slots: The room; None for what this machine has (see `plan_slots`).
        command: The trainer; it gets `--config_path`, `--output_dir`, `--steps`, `--seed` or `--resume=true`.
        on_pilot_death: "kill" ends every trial with the pilot, however it dies; "adopt" lets them run, and a pilot
            that submits them again takes them up.
        grace_s: Time between SIGTERM and SIGKILL when a trial is asked to end.
        environment: Further variables of every trial.
        cwd: Working folder of every trial; None for the pilot's.
    """

    def __init__(
        self,
        *,
        slots: Slots | None = None,
        command: Sequence[str] = TRAINER,
        on_pilot_death: OnPilotDeath = "kill",
        grace_s: float = GRACE_S,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        if on_pilot_death not in MODES:
            raise ExecutorError(f"on_pilot_death is {on_pilot_death!r}; allowed: {', '.join(MODES)}.")
        self._slots = slots or plan_slots()
        self._command = tuple(command)
        self._on_pilot_death = on_pilot_death
        self._grace_s = grace_s
        self._environment = dict(environment or {})
        self._cwd = cwd or Path.cwd()
        self._running: dict[str, _Running] = {}
        self._reserved: Slot | None = None
        self._lifeline, self._held_end = os.pipe()
        self._closed = False

    @property
    def slots(self) -> int:
        """How many trials it runs at once at most."""
        return self._slots.limit

    def has_room(self) -> bool:
        """Return whether a new trial could start now; a device found for it is kept for the next submit."""
        if self._reserved is None:
            self._reserved = self._slots.acquire()
        return self._reserved is not None

    def let_room_go(self) -> None:
        """Free the device that `has_room` kept, since there is no trial for it; others may want it."""
        if self._reserved is not None:
            self._reserved.close()
            self._slots.release(self._reserved.device)
            self._reserved = None

    def submit(self, spec: TrialSpec) -> Handle | None:
        """Start a trial, go on from its last checkpoint, or take up one that runs or ended already in this folder."""
        if self._closed:
            raise ExecutorError("The executor is closed; open another one.")
        if any(running.handle.run == spec.run and running.ended is None for running in self._running.values()):
            raise ExecutorError(f"Trial {spec.name!r} runs here already, in {spec.run}.")
        paths = TrialPaths(spec.run)
        try:
            paths.root.mkdir(parents=True, exist_ok=True)
            with _folder_lock(paths, self._take_up, spec) as found:
                return found if isinstance(found, Handle) else self._submit_here(spec)
        except _BusyError:
            busy = "its run folder is held by another process"
            return self._remember_ended(spec, Ended(state="killed", reason=busy, suspended=True))
        except (OSError, ExecutorError) as error:
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            words = f"{'the disk is full: ' if full else ''}cannot be started: {error}"
            return self._remember_ended(spec, Ended(state="crashed", reason=words))

    def _submit_here(self, spec: TrialSpec) -> Handle | None:
        """Start the trial, or take its earlier end; the folder is locked and nothing runs in it."""
        clear_drafts(spec)
        ended = earlier_end(spec)
        if ended is not None:
            return self._remember_ended(spec, ended)
        return self._start(spec) if self.has_room() else None

    def poll(self, handle: Handle) -> Ended | None:
        """Return how the trial ended, or None while it runs."""
        running = self._find(handle)
        if running.ended is None and not running.is_alive():
            running.ended = self._conclude(running)
            self._free(running)
            self._slots.saw(running.handle.device, running.handle.trial, running.ended)
        return running.ended

    def cancel(self, handle: Handle, *, state: EndState, reason: str) -> None:
        """Ask for the trial's end; `poll` will say `state` and `reason`, unless it ended by itself before."""
        running = self._find(handle)
        if running.ended is not None or running.verdict is not None:
            return
        running.verdict = (state, reason)
        with contextlib.suppress(OSError):  # a full disk: we remember it as long as we live
            body = {"token": handle.token, "state": state, "reason": reason}
            supervisor.write_json(TrialPaths(handle.run).verdict, body)
        running.signal(signal.SIGTERM)

    def suspend(self, handle: Handle) -> None:
        """Ask for the trial's end without a verdict: submitted again, it goes on from its last checkpoint."""
        running = self._find(handle)
        if running.ended is None:
            running.signal(signal.SIGTERM)

    def forget(self, handle: Handle) -> None:
        """Drop what is known of an ended trial."""
        running = self._find(handle)
        if running.ended is None and running.is_alive():
            raise ExecutorError(f"Trial {handle.trial!r} still runs; cancel or suspend it first.")
        self._free(running)
        del self._running[handle.token]

    def close(self) -> None:
        """End what still runs (mode "kill"), or leave it for the next pilot ("adopt")."""
        if self._closed:
            return
        self._closed = True
        self.let_room_go()
        alive = [running for running in self._running.values() if running.ended is None and running.is_alive()]
        if self._on_pilot_death == "kill":
            self._end_all(alive)
        for running in alive:
            if running.process is not None and running.process.poll() is None:
                running.process.returncode = 0  # it lives on: nobody here waits for it
        os.close(self._held_end)
        os.close(self._lifeline)

    def _end_all(self, alive: Sequence[_Running]) -> None:
        for running in alive:
            running.signal(signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s + LOCK_WAIT_S
        for running in alive:
            while running.is_alive() and time.monotonic() < deadline:
                time.sleep(0.01)
            if running.is_alive():
                running.signal(signal.SIGKILL)
                if running.process is not None:
                    running.process.wait()
                supervisor.sweep(running.handle.token)

    def _find(self, handle: Handle) -> _Running:
        try:
            return self._running[handle.token]
        except KeyError:
            raise ExecutorError(f"Trial {handle.trial!r} is unknown here: it was forgotten, or is another's.") from None

    def _take_up(self, spec: TrialSpec) -> Handle | None:
        """Adopt the process that an earlier pilot left running in this folder, or end it; None if there is none."""
        paths = TrialPaths(spec.run)
        job = read_json(paths.job)
        process = None if job is None else _living_supervisor(paths, str(job["token"]))
        if job is None or process is None:
            return None
        token = str(job["token"])
        pid, birth = process["supervisor"], process["supervisor_birth"]
        wanted = (spec.retry, spec.steps) == (job.get("retry"), job.get("steps"))
        if not wanted or job.get("on_pilot_death") != "adopt":
            _end_supervisor(pid, birth)
            return None
        handle = Handle(trial=spec.name, run=spec.run, token=token, device=job["device"], process=process)
        self._running[token] = _Running(spec=spec, handle=handle, pid=pid, birth=birth, has_slot=True)
        self._slots.adopt(handle.device)
        return handle

    def _start(self, spec: TrialSpec) -> Handle:
        slot = self._reserved
        assert slot is not None  # has_room said so
        checkpoint = prepare(spec)
        paths = TrialPaths(spec.run)
        token = uuid.uuid4().hex
        command = [*self._command, *trainer_arguments(spec, checkpoint)]
        body = job_body(
            spec,
            token,
            command=command,
            environment={**self._environment, **slot.environment},
            cwd=str(self._cwd),
            device=slot.device,
            on_pilot_death=self._on_pilot_death,
            grace_s=self._grace_s,
        )
        supervisor.write_json(paths.job, body)
        process = self._spawn(paths, token, slot)
        self._reserved = None
        slot.close()
        facts = {"host": os.uname().nodename, "supervisor": process.pid, "birth": supervisor.birth(process.pid)}
        handle = Handle(trial=spec.name, run=spec.run, token=token, device=slot.device, process=facts)
        self._running[token] = _Running(spec=spec, handle=handle, process=process, has_slot=True)
        return handle

    def _spawn(self, paths: TrialPaths, token: str, slot: Slot) -> "subprocess.Popen[bytes]":
        lifeline = self._lifeline if self._on_pilot_death == "kill" else -1
        passed = [fd for fd in (lifeline, slot.lock.fd if slot.lock else -1) if fd >= 0]
        script = [sys.executable, "-S", "-E", "-s", "-P", supervisor.__file__]
        with paths.complaints.open("ab") as complaints:
            return subprocess.Popen(
                [*script, str(paths.root.resolve()), token, str(lifeline), *map(str, passed)],
                stdin=subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
                pass_fds=passed,
                start_new_session=True,
            )

    def _conclude(self, running: _Running) -> Ended:
        """Return how a trial ended whose supervisor is gone."""
        paths, token, spec = TrialPaths(running.handle.run), running.handle.token, running.spec
        left = read_json(paths.exit)
        if left is not None and left.get("token") != token:
            left = None
        code = None
        if left is None:  # its supervisor was killed, or the disk is full
            supervisor.sweep(token)
            code = None if running.process is None else running.process.returncode
            if code == supervisor.BUSY:
                return Ended(state="killed", reason="its run folder is held by another process", suspended=True)
            if code is not None and code > 128:
                code = 128 - code
        ended = conclude(spec.run, token=token, steps=spec.steps, left=left, seen_code=code)
        if running.verdict is not None and (ended is None or ended.state not in ("finished", "stopped_early")):
            state, reason = running.verdict
            step = None if ended is None else ended.last_step
            return Ended(state=state, reason=reason, exit_code=code, last_step=step)
        return ended or Ended(state="killed", reason="ended on request, to go on later", suspended=True)

    def _remember_ended(self, spec: TrialSpec, ended: Ended) -> Handle:
        handle = Handle(trial=spec.name, run=spec.run, token=uuid.uuid4().hex, device="none")
        self._running[handle.token] = _Running(spec=spec, handle=handle, ended=ended)
        return handle

    def _free(self, running: _Running) -> None:
        if running.has_slot:
            running.has_slot = False
            self._slots.release(running.handle.device)


def _living_supervisor(paths: TrialPaths, token: str) -> dict[str, Any] | None:
    """Return process.json if it is this job's, on this machine, and its supervisor lives."""
    process = read_json(paths.process)
    if process is None or process.get("token") != token or process.get("host") != os.uname().nodename:
        return None
    return process if supervisor.is_alive(process["supervisor"], process["supervisor_birth"]) else None


def _end_supervisor(pid: int, birth: str) -> None:
    """Wait a moment for a supervisor whose pilot is gone, then kill it."""
    patience = time.monotonic() + LOCK_WAIT_S
    while supervisor.is_alive(pid, birth) and time.monotonic() < 2 * LOCK_WAIT_S + patience:
        if time.monotonic() > patience:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


class _BusyError(Exception):
    """Somebody whom we cannot see holds the run folder."""


@contextmanager
def _folder_lock(
    paths: TrialPaths, take_up: Callable[[TrialSpec], Handle | None], spec: TrialSpec
) -> Iterator[Handle | None]:
    """Yield the handle of a process taken up in this folder, or None with the folder locked and nothing left in it.

    A supervisor reads its job under the same lock, so one that was started by a pilot that died meanwhile either is
    found here, or finds another job than its own and leaves.
    """
    fd = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        deadline = time.monotonic() + 2 * LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                handle = take_up(spec)
                if handle is not None:
                    yield handle
                    return
                if time.monotonic() > deadline:
                    raise _BusyError from None
                time.sleep(0.005)
        job = read_json(paths.job)
        if job is not None:  # whoever had this folder is gone; what it started must be, too
            supervisor.sweep(str(job["token"]))
        yield None
    finally:
        os.close(fd)
