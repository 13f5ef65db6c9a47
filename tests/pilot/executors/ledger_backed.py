"""An executor whose trials go through a ledger and a worker, as with `otpilot loop worker`."""

from dataclasses import dataclass, field
from pathlib import Path

from otpilot.errors import ExecutorError
from otpilot.pilot.executors.base import Ended, Executor, Handle, TrialSpec
from otpilot.pilot.ledger import ENDS, Ledger, NewTrial, Trial
from otpilot.pilot.worker import Worker


@dataclass(kw_only=True)
class _Known:
    spec: TrialSpec
    handle: Handle
    trial: int
    attempts: int
    ended: Ended | None = None


@dataclass
class LedgerBackedExecutor(Executor):
    """What a trial's end is comes from the ledger alone."""

    inner: Executor
    where: Path
    known: dict[str, _Known] = field(default_factory=dict)

    def __post_init__(self):
        self.ledger = Ledger.open(self.where)
        self.specs: dict[int, TrialSpec] = {}
        self.worker = Worker(self.ledger, self.inner, spec_of=lambda trial: self.specs[trial.id], max_retries=0)

    @property
    def slots(self):
        return self.inner.slots

    def has_room(self):
        return self.inner.has_room()

    def submit(self, spec):
        if any(item.spec.run == spec.run and item.ended is None for item in self.known.values()):
            raise ExecutorError(f"Trial {spec.name!r} runs here already, in {spec.run}.")
        new = NewTrial(name=spec.name, config_hash=spec.name, seed=7, budget=spec.steps, config={})
        trial = self.ledger.find(spec.name, 7, spec.steps)
        if not self.has_room() and (trial is None or trial.state not in ENDS):
            return None
        trial = self.ledger.add_trial(new)
        if trial.state in ENDS and trial.retries < spec.retry:
            trial = self.ledger.queue(trial.id)
        self.specs[trial.id] = spec
        handle = Handle(trial=spec.name, run=spec.run, token=f"{id(self)}:{len(self.known)}", device="cpu")
        ended = ended_of(trial, trial.attempts)
        item = _Known(spec=spec, handle=handle, trial=trial.id, attempts=trial.attempts, ended=ended)
        self.known[handle.token] = item
        self.worker.step()
        return handle

    def poll(self, handle):
        item = self.find(handle)
        if item.ended is None:
            self.worker.step(take_new=False)
            item.ended = ended_of(self.ledger.trial(item.trial), item.attempts)
        return item.ended

    def cancel(self, handle, *, state, reason):
        for job in self.jobs(handle):
            self.inner.cancel(job.handle, state=state, reason=reason)

    def suspend(self, handle):
        for job in self.jobs(handle):
            self.inner.suspend(job.handle)

    def forget(self, handle):
        if self.find(handle).ended is None:
            raise ExecutorError(f"Trial {handle.trial!r} still runs; cancel or suspend it first.")
        del self.known[handle.token]

    def close(self):
        self.worker.stop(reason="closed")
        self.inner.close()
        self.ledger.close()

    def find(self, handle) -> _Known:
        if handle.token not in self.known:
            raise ExecutorError(f"Trial {handle.trial!r} is unknown here: it was forgotten, or is another's.")
        return self.known[handle.token]

    def jobs(self, handle):
        item = self.find(handle)
        return [job for job in self.worker._jobs if job.lease.trial.id == item.trial and item.ended is None]


def ended_of(trial: Trial, before: int) -> Ended | None:
    """Return the end that the ledger tells; a trial that was given back since its `before`-th attempt is suspended."""
    if trial.state in ENDS:
        return Ended(state=trial.state, reason=trial.end_reason, exit_code=trial.exit_code, last_step=trial.last_step)
    given_back = trial.state == "queued" and trial.attempts > before
    return Ended(state="killed", reason=trial.end_reason, suspended=True) if given_back else None
