"""Runs trials on a Ray cluster: an actor for each, in which the local executor runs it under the same supervisor.

The actor holds the GPUs that it asked for, or fractions of them. When the pilot, the actor's process or its node dies,
the supervisor ends the trial. A trial whose node is lost goes on from its last checkpoint on another one.
"""

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from otpilot.errors import ExecutorError
from otpilot.pilot.executors.base import Ended, Handle, TrialSpec
from otpilot.pilot.executors.cluster import ClusterExecutor, ClusterTrial, last_line
from otpilot.pilot.executors.local import GRACE_S
from otpilot.pilot.executors.mirror import Mirror
from otpilot.pilot.executors.node import Order, Wish, leave_token, run_order
from otpilot.pilot.executors.ray_cluster import connect, probe_nodes
from otpilot.pilot.states import EndState

# How long an actor keeps its GPUs for our next trial. Another actor costs a Python process, seconds on a busy node.
KEEP_S = 10.0
# Ray would kill the supervisor with the actor, before it has ended what the trial started.
ACTOR_ENVIRONMENT = {"RAY_kill_child_processes_on_worker_exit": "0"}


class _Node:
    """The actor: one trial at a time. `run` blocks in one thread while `end` is called in another."""

    def __init__(self) -> None:
        self._wishes: dict[str, Wish] = {}

    def run(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Run the trial to its end."""
        import ray

        gpus = ray.get_gpu_ids()
        device = f"{os.uname().nodename} GPU {','.join(map(str, gpus))}" if gpus else None
        return run_order(order, wish=lambda: self._wishes.get(order["token"]), device=device)

    def end(self, token: str, state: EndState | None, reason: str) -> None:
        """Note that the pilot wants the trial of this order to end; the first word stays."""
        self._wishes.setdefault(token, Wish(state=state, reason=reason))


@dataclass(kw_only=True)
class _Running(ClusterTrial):
    order: dict[str, Any] = field(default_factory=dict)
    actor: Any = None
    ready: Any = None
    answer: Any = None
    fetch: "_Fetch | None" = None


class RayExecutor(ClusterExecutor[_Running]):
    """Trials on the nodes of a Ray cluster; otpilot in the same version, and Ray, must be installed there.

    Trials end with the pilot (Ray ends the actors of a driver that is gone). Run folders lie on a path that all nodes
    share, or in a store (`storage`) from where they are brought back, metrics while the trial runs.

    Args:
        address: `auto`, `HOST:PORT` or `ray://HOST:PORT` of a running cluster; None starts one on this machine.
        gpus: GPUs of each trial, fractions too; None for one each if the cluster has any, else none.
        cpus: Cores of each trial, and its threads.
        resources: Custom resources of each trial.
        slots: Trials at once; None for as many as the cluster has room for, at each moment. A number is needed where
            nodes come only when something waits (autoscaling).
        retries: How often a trial whose node or worker is lost is started elsewhere, until that is its end.
        folder: Where run folders will lie; every node is asked at once whether it can write there.
        storage: fsspec URL of a store, for nodes that share no path.
        sync_s: How often a running trial is copied to the store.
        scratch: Folder on the nodes for trials kept in a store.
        command: The trainer; None for the node's own `otpilot train`.
        grace_s: Time between SIGTERM and SIGKILL when a trial is asked to end.
        environment: Further variables of every trial.
        cwd: Working folder of every trial; None for the pilot's (in a store's case the node's).

    Raises:
        ExecutorError: If Ray is missing, the cluster cannot be reached or has another version, or a node is not fit.
    """

    lost_one = "its node or worker"

    def __init__(
        self,
        *,
        address: str | None = None,
        gpus: float | None = None,
        cpus: float = 1.0,
        resources: Mapping[str, float] | None = None,
        slots: int | None = None,
        retries: int = 3,
        folder: Path | None = None,
        storage: str = "",
        sync_s: float = 30.0,
        scratch: str = "/tmp/otpilot-trials",
        command: tuple[str, ...] | None = None,
        grace_s: float = GRACE_S,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        _check_numbers(gpus=gpus, cpus=cpus, slots=slots, retries=retries)
        super().__init__(grace_s=grace_s, retries=retries)
        if storage:
            Mirror(storage, Path("probe"))  # a scheme that nobody knows is told now
        self._ray: ModuleType
        self._ray, self._ours = connect(address)
        try:
            if not storage:
                probe_nodes(self._ray, folder)
            has_gpus = any(node["Resources"].get("GPU", 0) > 0 for node in self._nodes())
            self._need = {"CPU": cpus, "GPU": float(has_gpus) if gpus is None else gpus, **(resources or {})}
            self._limit = slots
            if slots is None and not self.slots:
                raise ExecutorError(
                    f"No node of the cluster has room for a trial that needs {_spelled(self._need)}; nodes have "
                    f"{'; '.join(_spelled(n['Resources']) for n in self._nodes())}. Ask for less, or give slots."
                )
        except BaseException:
            self._leave()
            raise
        self._storage, self._sync_s, self._scratch = storage, sync_s, scratch
        self._command, self._environment = command, dict(environment or {})
        self._cwd = str(cwd or Path.cwd()) if not storage else (str(cwd) if cwd else None)
        self._kept: list[tuple[float, Any]] = []
        named = {name: amount for name, amount in self._need.items() if name not in ("CPU", "GPU")}
        self._actor = self._ray.remote(_Node).options(
            num_cpus=cpus,
            num_gpus=self._need["GPU"],
            resources=named or None,
            max_concurrency=4,
            max_restarts=0,
            runtime_env={"env_vars": ACTOR_ENVIRONMENT},
        )

    @property
    def slots(self) -> int:
        """How many trials it runs at once at most; follows the cluster as nodes come and go."""
        if self._limit is not None:
            return self._limit
        return sum(_fits(node["Resources"], self._need) for node in self._nodes())

    def has_room(self) -> bool:
        """Return whether a new trial could start now: a slot is free, and nothing of ours waits for the cluster."""
        self._let_go()
        active = self._active()
        if len(active) >= self.slots:
            return False
        if self._limit is not None or self._kept:
            return True
        waiting = sum(self._waits(running) for running in active)
        free = self._ray.available_resources()
        return all(free.get(name, 0.0) + 1e-6 >= need * (waiting + 1) for name, need in self._need.items() if need)

    def submit(self, spec: TrialSpec) -> Handle | None:
        """Start a trial, or let it go on from its last checkpoint; what ended in this folder is found by the node."""
        self._check_submit(spec)
        if not self.has_room():
            return None
        token = uuid.uuid4().hex
        gpus = self._need["GPU"]
        handle = Handle(
            trial=spec.name, run=spec.run, token=token, device=f"ray, {gpus:g} GPU" if gpus else "cpu",
            process={"ray": self._ray.get_runtime_context().get_job_id(), "token": token},
        )  # fmt: skip
        running = _Running(spec=spec, handle=handle)
        try:
            running.order = self._order(spec, token).plain()
            leave_token(spec, token)
            self._launch(running)
            if self._storage:
                running.fetch = _Fetch(Mirror(self._storage, spec.run), self._sync_s)
        except (OSError, ExecutorError) as error:
            running.ended = Ended(state="crashed", reason=f"cannot be started: {error}")
        self._running[token] = running
        return handle

    def is_waiting(self, handle: Handle) -> bool:
        """Return whether the trial waits for the cluster to have room."""
        return self._waits(self._find(handle))

    def close(self) -> None:
        """End what still runs and leave the cluster; one that was started here is stopped."""
        if self._closed:
            return
        super().close()
        self._let_go(older_than_s=0.0)
        self._leave()

    def _nodes(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _order(self, spec: TrialSpec, token: str) -> Order:
        return Order(
            spec=spec,
            token=token,
            threads=max(1, int(self._need["CPU"])),
            command=self._command,
            environment=self._environment,
            cwd=self._cwd,
            grace_s=self._grace_s,
            storage=self._storage,
            sync_s=self._sync_s,
            scratch=self._scratch,
            config=spec.config.read_text(encoding="utf-8") if self._storage else "",
        )

    def _launch(self, running: _Running) -> None:
        if self._kept:
            running.actor, running.ready = self._kept.pop()[1], None
        else:
            running.actor = self._actor.remote()
            running.ready = running.actor.__ray_ready__.remote()
        running.answer = running.actor.run.remote(running.order)

    def _waits(self, running: _Running) -> bool:
        if running.ended is not None or running.ready is None:
            return False
        if self._ray.wait([running.ready], timeout=0)[0]:
            running.ready = None
        return running.ready is not None

    def _ask_to_end(self, running: _Running, wish: Wish) -> None:
        if self._waits(running):  # it never began: there is nobody to ask
            self._kill(running)
        elif running.actor is not None:
            running.actor.end.remote(running.handle.token, wish.state, wish.reason)

    def _look(self, running: _Running) -> Ended | None:
        if not self._ray.wait([running.answer], timeout=0)[0]:
            if self._is_late(running):
                self._kill(running)
            return None
        try:
            ended = Ended(**self._ray.get(running.answer))
        except self._ray.exceptions.RayTaskError as error:
            ended = Ended(state="crashed", reason=f"cannot be run on its node: {last_line(error)}")
        except self._ray.exceptions.RayError as error:
            self._kill(running)
            lost = self._was_lost(running, error)
            if lost is None:
                return None
            ended = lost
        if running.actor is not None:
            self._kept.append((time.monotonic(), running.actor))
            running.actor = None
        self._let_go()
        if running.fetch is None:
            return ended
        return running.fetch.judged(ended) if running.fetch.finish() else None

    def _kill(self, running: _Running) -> None:
        if running.actor is not None:
            self._end_actor(running.actor)
            running.actor = None

    def _let_go(self, older_than_s: float = KEEP_S) -> None:
        """Give back the GPUs of actors that had no trial for a while."""
        while self._kept and time.monotonic() - self._kept[0][0] >= older_than_s:
            self._end_actor(self._kept.pop(0)[1])

    def _end_actor(self, actor: Any) -> None:
        with contextlib.suppress(self._ray.exceptions.RayError, ValueError):
            self._ray.kill(actor, no_restart=True)

    def _leave(self) -> None:
        if self._ours:
            self._ray.shutdown()


class _Fetch:
    """Brings a trial's folder back from the store in a thread: metrics now and then, everything at the end."""

    def __init__(self, mirror: Mirror, every_s: float) -> None:
        self._mirror, self._every_s = mirror, every_s
        self._over = threading.Event()
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def finish(self) -> bool:
        """Ask for everything, and return whether it is here."""
        self._over.set()
        return not self._thread.is_alive()

    def judged(self, ended: Ended) -> Ended:
        """Return the end, or why it cannot be known here."""
        if not self._complaint:
            return ended
        return Ended(state="killed", reason=f"it {ended.state}, but {self._complaint}", last_step=ended.last_step)

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            with contextlib.suppress(ExecutorError):  # seen again soon, or told at the end
                self._mirror.pull(light=True)
        for wait_s in (1.0, 5.0, 30.0, 0.0):
            try:
                self._mirror.pull()
            except ExecutorError as error:
                self._complaint = str(error)
                time.sleep(wait_s)
            else:
                self._complaint = ""
                return


def _fits(has: Mapping[str, float], need: Mapping[str, float]) -> int:
    """Return how many trials a node has room for when it is empty."""
    return int(min((has.get(name, 0.0) / amount + 1e-6 for name, amount in need.items() if amount), default=1))


def _spelled(resources: Mapping[str, float]) -> str:
    shown = {n: a for n, a in sorted(resources.items()) if a and not n.startswith(("node:", "memory", "object_store"))}
    return ", ".join(f"{amount:g} {name}" for name, amount in shown.items()) or "nothing"


def _check_numbers(*, gpus: float | None, cpus: float, slots: int | None, retries: int) -> None:
    if gpus is not None and (gpus < 0 or (gpus > 1 and gpus != int(gpus))):
        raise ExecutorError(f"gpus is {gpus}; allowed: a fraction up to 1, or a whole number.")
    if cpus < 0:
        raise ExecutorError(f"cpus is {cpus}; allowed: 0 or more.")
    if slots is not None and slots < 1:
        raise ExecutorError(f"slots is {slots}; allowed: 1 or more.")
    if retries < 0:
        raise ExecutorError(f"retries is {retries}; allowed: 0 or more.")
