"""Runs each trial as a Slurm job, through submitit: the local executor runs it on the node, under the same supervisor.

Pilot and nodes share the campaign's folder, as clusters do. A job that is preempted or reaches its time limit is queued
again by submitit and goes on from its last checkpoint.
"""

import contextlib
import os
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otpilot.errors import ExecutorError, closest
from otpilot.pilot import supervisor
from otpilot.pilot.executors.base import Ended, Handle, TrialSpec
from otpilot.pilot.executors.cluster import ClusterExecutor, ClusterTrial, last_line
from otpilot.pilot.executors.local import GRACE_S
from otpilot.pilot.executors.node import Order, Wish, leave_token, run_order
from otpilot.pilot.executors.start import read_json
from otpilot.pilot.paths import TrialPaths

CLUSTERS = ("slurm", "local")
# How often a node looks for the pilot's wish: a file on a shared file system.
LOOK_S = 1.0
# How often Slurm is asked which jobs it has. submitit asks sacct, which many clusters do not keep: a job that is in no
# queue twice in a row, and left no result, is lost.
QUEUE_S = 15.0


class NodeJob:
    """What submitit runs on the node; plain data only, so that it travels."""

    def __init__(self, order: Mapping[str, Any]) -> None:
        self.order = dict(order)
        self._looked_at = 0.0

    def __call__(self) -> dict[str, Any]:
        """Run the trial to its end and return how it ended."""
        names = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_GPUS")
        gpus = next((os.environ[name] for name in names if os.environ.get(name)), None)
        device = None if gpus is None else f"{os.uname().nodename} GPU {gpus}"
        return run_order(self.order, wish=self._wish, device=device, begun=self._begin)

    def checkpoint(self) -> Any:
        """Return this job to be queued again; submitit calls it before a time limit and on preemption."""
        import submitit

        return submitit.helpers.DelayedSubmission(NodeJob(self.order))

    @property
    def _paths(self) -> TrialPaths:
        return TrialPaths(Path(self.order["spec"]["run"]))

    def _begin(self) -> None:
        with contextlib.suppress(OSError):  # a full disk: it only counts as waiting
            supervisor.write_json(self._paths.begun, {"token": self.order["token"]})

    def _wish(self) -> Wish | None:
        if time.monotonic() - self._looked_at < LOOK_S:
            return None
        self._looked_at = time.monotonic()
        body = read_json(self._paths.wish)
        if body is None or body.get("token") != self.order["token"]:
            return None
        return Wish(state=body["state"], reason=body["reason"])


@dataclass(kw_only=True)
class _Running(ClusterTrial):
    job: Any = None
    missed: int = 0


class SlurmExecutor(ClusterExecutor[_Running]):
    """Trials as Slurm jobs. They end with the pilot (`close`); a pilot that is killed leaves its jobs to be taken over.

    Args:
        logs: Folder for submitit's files; it must lie on the path that the nodes share.
        slots: Jobs at once, waiting ones included.
        cluster: `slurm`, or `local` for processes on this machine (tests).
        parameters: submitit's, without the prefix `slurm_`: partition, timeout_min, gpus_per_node, cpus_per_task, mem,
            account, qos, constraint, setup, additional_parameters, ...
        threads: CPU threads of each trial.
        retries: How often a trial whose job is lost is submitted again, until that is its end.
        command: The trainer; None for the node's own `otpilot train`.
        grace_s: Time between SIGTERM and SIGKILL when a trial is asked to end.
        environment: Further variables of every trial.
        cwd: Working folder of every trial; None for the pilot's.

    Raises:
        ExecutorError: If submitit is missing, there is no Slurm here, or a parameter is unknown.
    """

    lost_one = "its job"

    def __init__(
        self,
        *,
        logs: Path,
        slots: int = 1,
        cluster: str = "slurm",
        parameters: Mapping[str, Any] | None = None,
        threads: int = 1,
        retries: int = 3,
        command: tuple[str, ...] | None = None,
        grace_s: float = GRACE_S,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        if slots < 1:
            raise ExecutorError(f"slots is {slots}; allowed: 1 or more.")
        if cluster not in CLUSTERS:
            raise ExecutorError(f"cluster is {cluster!r}; allowed: {', '.join(CLUSTERS)}.{closest(cluster, CLUSTERS)}")
        super().__init__(grace_s=grace_s, retries=retries)
        self._limit = slots
        asks_gpus = any(name.startswith("gpu") or "gpu" in str(value) for name, value in (parameters or {}).items())
        self._device = "slurm" if asks_gpus else "cpu"
        self._submitit = _open(logs, cluster, {"cpus_per_task": threads, **(parameters or {})})
        self._threads, self._command, self._environment = threads, command, dict(environment or {})
        self._cwd = str(cwd or Path.cwd())
        self._has_queue = cluster == "slurm"
        self._asked_at = 0.0

    @property
    def slots(self) -> int:
        """How many jobs it has at once at most."""
        return self._limit

    def has_room(self) -> bool:
        """Return whether another job may be submitted now."""
        return len(self._active()) < self._limit

    def submit(self, spec: TrialSpec) -> Handle | None:
        """Submit a trial; the node starts it, lets it go on from its last checkpoint, or finds that it ended before."""
        self._check_submit(spec)
        if not self.has_room():
            return None
        token = uuid.uuid4().hex
        job, ended = None, None
        try:
            leave_token(spec, token)
            job = self._queue(spec, token)
        except Exception as error:  # OSError, or what sbatch said, in exceptions of submitit's own
            ended = Ended(state="crashed", reason=f"cannot be submitted: {last_line(error)}")
        facts = {"job": None if job is None else str(job.job_id), "token": token}
        handle = Handle(trial=spec.name, run=spec.run, token=token, device=self._device, process=facts)
        self._running[token] = _Running(spec=spec, handle=handle, job=job, ended=ended)
        return handle

    def is_waiting(self, handle: Handle) -> bool:
        """Return whether the job waits in Slurm's queue."""
        running = self._find(handle)
        begun = read_json(TrialPaths(handle.run).begun) or {}
        return running.ended is None and begun.get("token") != handle.token

    def _launch(self, running: _Running) -> None:
        running.job, running.missed = self._queue(running.spec, running.handle.token), 0

    def _queue(self, spec: TrialSpec, token: str) -> Any:
        """Submit a job and return it."""
        order = Order(
            spec=spec,
            token=token,
            threads=self._threads,
            command=self._command,
            environment=self._environment,
            cwd=self._cwd,
            grace_s=self._grace_s,
        )
        return self._submitit.submit(NodeJob(order.plain()))

    def _ask_to_end(self, running: _Running, wish: Wish) -> None:
        waits = self.is_waiting(running.handle)
        body = {"token": running.handle.token, "state": wish.state, "reason": wish.reason}
        with contextlib.suppress(OSError):  # a full disk: Slurm ends it, the harder way
            supervisor.write_json(TrialPaths(running.handle.run).wish, body)
        if waits:
            self._kill(running)

    def _look(self, running: _Running) -> Ended | None:
        late = self._is_late(running)
        if late:
            self._kill(running)
        self._ask_queue()
        if not running.job.done(force_check=late) and running.missed < 2:
            return None
        try:
            if not running.job.paths.result_pickle.exists():
                raise ExecutorError(f"job {running.job.job_id} is gone and left no result")
            return Ended(**running.job.result())
        except Exception as error:  # no result: the job was killed, or its node is gone
            return self._was_lost(running, error)

    def _ask_queue(self) -> None:
        """Count for each job how often in a row Slurm did not know it."""
        if not self._has_queue or time.monotonic() - self._asked_at < QUEUE_S:
            return
        self._asked_at = time.monotonic()
        command = ["squeue", "--noheader", "--me", "--format=%A"]
        try:
            told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError):  # Slurm is away: nothing is known
            return
        queued = set(told.stdout.split())
        for running in self._active():
            running.missed = 0 if str(running.job.job_id) in queued else running.missed + 1

    def _kill(self, running: _Running) -> None:
        with contextlib.suppress(Exception):  # it ended by itself
            running.job.cancel()


def _open(logs: Path, cluster: str, parameters: Mapping[str, Any]) -> Any:
    """Return submitit's executor, with its parameters checked."""
    try:
        import submitit
    except ImportError as error:
        raise ExecutorError(
            f"Slurm needs submitit ({error}); install it with: pip install 'otpilot[slurm]'."
        ) from error
    try:
        logs.mkdir(parents=True, exist_ok=True)
        made = submitit.AutoExecutor(folder=logs, cluster=cluster)
        shared = ("timeout_min", "cpus_per_task", "gpus_per_node", "name")
        told = {name if name in shared else f"slurm_{name}": _typed(value) for name, value in parameters.items()}
        if cluster == "local":
            told = {name: value for name, value in told.items() if name in shared}
        made.update_parameters(**{"name": "otpilot", **told})
    except OSError as error:
        raise ExecutorError(f"submitit's files cannot be written to {logs}: {error}.") from error
    except (RuntimeError, NameError, ValueError, TypeError, AssertionError) as error:
        raise ExecutorError(f"Slurm cannot be used from here: {last_line(error)}") from error
    return made


def _typed(value: Any) -> Any:
    """Return a word of the command line as the number that it is, if it is one."""
    return int(value) if isinstance(value, str) and value.isdigit() else value
