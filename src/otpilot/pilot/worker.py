"""Works through a ledger: claims trials, runs them on an executor under guard, and writes down how they ended."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from otpilot.errors import LeaseLostError, OtpilotError
from otpilot.pilot import supervisor
from otpilot.pilot.executors.base import Ended, Executor, Handle, TrialSpec
from otpilot.pilot.guard import Guard, GuardSettings
from otpilot.pilot.ledger import Lease, Ledger, Result, Trial
from otpilot.runs.paths import RunPaths

logger = logging.getLogger(__name__)

# Exit code of an error that otpilot foresaw (a wrong config, a missing dataset): a second try would end likewise.
FORESEEN = 2
BEATS_PER_LEASE = 4


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a trial that ended well is worth; None where it cannot be said."""

    value: float | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one pass did, by trial."""

    started: tuple[Trial, ...] = ()
    ended: tuple[Trial, ...] = ()
    running: int = 0


@dataclass(kw_only=True)
class _Job:
    lease: Lease
    handle: Handle
    spec: TrialSpec
    guard: Guard | None = None
    waits: bool = True
    lost: bool = False


class Worker:
    """Keeps an executor busy with a ledger's trials. Many workers may share a ledger; each has an executor of its own.

    Killed at any moment, a worker that is started again takes its trials up where they are: running (executors that
    adopt), ended but not written down, or to be resumed from their last checkpoint. Nothing runs twice.

    Args:
        ledger: Where trials come from and results go.
        executor: Where they run.
        spec_of: Returns what to run for a trial; writes its config file if need be, must be repeatable.
        score_of: Returns the worth of a trial that finished or stopped early, from its run folder.
        guard: When a trial is ended early; None for never, or a function of the trial.
        max_retries: How often a trial that crashed or was killed is tried again.
        owner: Who leases; None for this process, by host, pid and birth. No two living workers may share a name: a
            worker that starts takes the leases of its name for those of its dead self.
        kinds: Kinds of trials to take; all if empty.
    """

    def __init__(
        self,
        ledger: Ledger,
        executor: Executor,
        *,
        spec_of: Callable[[Trial], TrialSpec],
        score_of: Callable[[Trial, TrialSpec], Score] | None = None,
        guard: GuardSettings | Callable[[Trial], GuardSettings | None] | None = None,
        max_retries: int = 1,
        owner: str | None = None,
        kinds: tuple[str, ...] = (),
    ) -> None:
        self._ledger = ledger
        self._executor = executor
        self._spec_of = spec_of
        self._score_of = score_of
        self._guard = guard
        self._max_retries = max_retries
        self._kinds = kinds
        self._jobs: list[_Job] = []
        self._beat_at = 0.0
        self._look_at = 0.0
        self.owner = owner or this_process()
        for other in ledger.owners():
            if other == self.owner or is_gone(other):
                ledger.release(other)

    @property
    def running(self) -> int:
        """How many trials are in its care."""
        return len(self._jobs)

    def step(self, *, take_new: bool = True) -> Report:
        """Look after every trial once and start new ones while there is room; returns at once.

        `take_new` = False starts nothing from the queue: the budget is spent, or the night is over.
        """
        self._beat()
        ended = [trial for job in list(self._jobs) if (trial := self._look_after(job)) is not None]
        started = []
        if time.monotonic() >= self._look_at:  # with many workers, asking at each step is most of the ledger's load
            # lost trials are taken over without a free slot, too: they may still run here; a pilot without any has none
            while self._executor.slots and (trial := self._take(lost_only=True)) is not None:
                started.append(trial)
            self._look_at = time.monotonic() + self._ledger.lease_s / BEATS_PER_LEASE
        while take_new and self._executor.has_room() and (trial := self._take(lost_only=False)) is not None:
            started.append(trial)
        self._executor.let_room_go()
        return Report(started=tuple(started), ended=tuple(ended), running=len(self._jobs))

    def run(
        self,
        *,
        poll_s: float = 1.0,
        until: Callable[[], bool] | None = None,
        watch: Callable[[Report], None] | None = None,
    ) -> None:
        """Work until nothing waits and nothing runs. Once `until` says so, nothing new starts, and what runs ends."""
        while True:
            over = until is not None and until()
            report = self.step(take_new=not over)
            if watch is not None:
                watch(report)
            if not self._jobs and (over or self._ledger.status().open == 0):
                return
            if not report.started and not report.ended:
                time.sleep(poll_s)

    def stop(self, *, reason: str, timeout_s: float = 60.0) -> None:
        """Suspend every trial and give its lease back: whoever works next goes on from the last checkpoints."""
        for job in self._jobs:
            self._executor.suspend(job.handle)
        deadline = time.monotonic() + timeout_s
        while self._jobs and time.monotonic() < deadline:
            self._beat()
            for job in list(self._jobs):
                self._look_after(job, reason=reason)
            time.sleep(0.01)

    def _take(self, *, lost_only: bool) -> Trial | None:
        """Claim a trial and start it; returns it, or None when there is none or no room."""
        lease = self._ledger.claim(self.owner, kinds=self._kinds, lost_only=lost_only)
        if lease is None:
            return None
        try:
            spec = self._spec_of(lease.trial)
            handle = self._executor.submit(spec)
        except (OSError, OtpilotError) as error:  # this trial's fault or bad luck: the others go on
            return self._finish(lease, Ended(state="crashed", reason=f"cannot be started: {error}"), None)
        if handle is None:
            self._ledger.give_back(lease, reason="no room")
            return None
        job = _Job(lease=lease, handle=handle, spec=spec)
        self._jobs.append(job)
        return lease.trial if self._executor.is_waiting(handle) else self._begin(job)

    def _begin(self, job: _Job) -> Trial:
        """Note that the trial runs, and watch it from now on; in a cluster's queue it was only leased."""
        job.waits = False
        trial = job.lease.trial
        settings = self._guard(trial) if callable(self._guard) else self._guard
        if settings is not None:
            job.guard = Guard(path=RunPaths(job.spec.run).metrics, settings=settings)
        try:
            return self._ledger.start(job.lease, process=job.handle.process, device=job.handle.device)
        except LeaseLostError:  # this machine slept longer than a lease lasts
            self._let_go(job)
            return trial

    def _look_after(self, job: _Job, *, reason: str = "suspended") -> Trial | None:
        """Return the trial if it ended now, written down; else let the guard look at it."""
        ended = self._executor.poll(job.handle)
        if ended is None:
            if job.waits and not job.lost and not self._executor.is_waiting(job.handle):
                self._begin(job)
            stop = None if job.guard is None or job.lost else job.guard.check()
            if stop is not None:
                self._executor.cancel(job.handle, state=stop.state, reason=stop.reason)
            return None
        if job.waits and not job.lost and not ended.suspended:
            self._begin(job)  # it ran and ended between two looks
        self._jobs.remove(job)
        trial = None
        try:
            if not job.lost and ended.suspended:
                self._ledger.give_back(job.lease, reason=reason)
            elif not job.lost:
                trial = self._finish(job.lease, ended, job.handle)
        except LeaseLostError as error:
            logger.warning("The end of trial %s (%s) is not ours to write: %s", job.handle.trial, ended.state, error)
        self._executor.forget(job.handle)
        return trial

    def _let_go(self, job: _Job) -> None:
        """End a trial that another owner has now."""
        logger.warning("The lease on trial %s is lost; its process here is ended.", job.handle.trial)
        job.lost = True
        self._executor.suspend(job.handle)

    def _finish(self, lease: Lease, ended: Ended, handle: Handle | None) -> Trial:
        score, reason, state = Score(), ended.reason, ended.state
        if state in ("finished", "stopped_early") and self._score_of is not None and handle is not None:
            try:
                score = self._score_of(lease.trial, self._spec_of(lease.trial))
            except OtpilotError as error:
                state, reason = "invalid", f"it {ended.state}, but has no score: {error}"
            except OSError as error:  # the machine's fault: another try may read it
                state, reason = "crashed", f"it {ended.state}, but its score cannot be read: {error}"
        metrics = dict(score.metrics)
        if ended.garbled:
            metrics["garbled_lines"] = ended.garbled
        result = Result(
            state=state,
            reason=reason,
            exit_code=ended.exit_code,
            last_step=ended.last_step,
            score=score.value,
            metrics=metrics,
        )
        return self._ledger.finish(lease, result, again=self._deserves_another_try(lease.trial, result))

    def _deserves_another_try(self, trial: Trial, result: Result) -> bool:
        failed = result.state in ("crashed", "killed") and result.exit_code != FORESEEN
        return failed and trial.retries < self._max_retries

    def _beat(self) -> None:
        """Extend the leases when it is time; a trial whose lease is lost is ended, its result is another's to write."""
        now = time.monotonic()
        if not self._jobs or now < self._beat_at:
            return
        lost = self._ledger.heartbeat([job.lease for job in self._jobs if not job.lost])
        for job in self._jobs:
            if job.lease.token in lost:
                self._let_go(job)
        self._beat_at = now + self._ledger.lease_s / BEATS_PER_LEASE


def this_process() -> str:
    """Return an owner's name that is this process's alone: host, pid and birth."""
    return f"{os.uname().nodename}:{os.getpid()}:{supervisor.birth(os.getpid())}"


def is_gone(owner: str) -> bool:
    """Return whether the owner was a process of this machine that lives no more; False for those of other machines."""
    host, _, rest = owner.partition(":")
    pid, _, birth = rest.partition(":")
    return host == os.uname().nodename and pid.isdigit() and not supervisor.is_alive(int(pid), birth)
