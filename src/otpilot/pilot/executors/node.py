"""What happens on the machine that a cluster gave a trial: the local executor runs it, under the same supervisor.

Whatever ends this process (the cluster, a lost connection, a signal) ends the trial, too: the supervisor sees its pilot
gone, and the pilot of a trial on a node is this process.
"""

import contextlib
import importlib.metadata
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from otpilot.errors import ExecutorError, OtpilotError
from otpilot.pilot import supervisor
from otpilot.pilot.executors.base import Ended, TrialSpec
from otpilot.pilot.executors.local import GRACE_S, TRAINER, LocalExecutor
from otpilot.pilot.executors.mirror import Mirror
from otpilot.pilot.executors.start import read_json
from otpilot.pilot.paths import TrialPaths
from otpilot.pilot.slots import Slots
from otpilot.pilot.states import EndState

VERSION = importlib.metadata.version("otpilot")
POLL_S = 0.05
# A file that another machine made may be seen late on a network file system.
SEEN_WITHIN_S = 10.0
PATHS = ("run", "config", "continues")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """The pilot wants the trial to end: as `state` for a reason, or (None) without a verdict."""

    state: EndState | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Order:
    """A trial for a node, and how it is run there.

    `command` is the trainer, None for the node's own otpilot. `cwd` None leaves the node's. With a `storage` URL the
    run folder is kept there, and the config travels in `config`; else all folders are the pilot's own, by the same
    paths, and `token` lies in the pilot's folder of the trial to prove it.
    """

    spec: TrialSpec
    token: str
    threads: int = 1
    command: tuple[str, ...] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    grace_s: float = GRACE_S
    storage: str = ""
    sync_s: float = 30.0
    config: str = ""
    scratch: str = ""
    version: str = VERSION

    def plain(self) -> dict[str, Any]:
        """Return it as plain data: a node with another otpilot can read at least the version."""
        body = asdict(self)
        body["spec"] |= {name: None if (p := body["spec"][name]) is None else str(p) for name in PATHS}
        return body

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> "Order":
        """Return the order that plain data tell.

        Raises:
            ExecutorError: If another otpilot wrote it.
        """
        if body["version"] != VERSION:
            raise ExecutorError(
                f"The pilot runs otpilot {body['version']}, the node {os.uname().nodename} has {VERSION}; "
                "install the same on both."
            )
        told = dict(body["spec"])
        told |= {name: None if told[name] is None else Path(told[name]) for name in PATHS}
        return cls(**{**body, "spec": TrialSpec(**{**told, "arguments": tuple(told["arguments"])})})


def leave_token(spec: TrialSpec, token: str) -> None:
    """Write the token by which a node tells that it sees the pilot's folders."""
    paths = TrialPaths(spec.run)
    paths.root.mkdir(parents=True, exist_ok=True)
    supervisor.write_json(paths.order, {"token": token})


def run_order(
    body: Mapping[str, Any],
    *,
    wish: Callable[[], Wish | None],
    device: str | None = None,
    begun: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Run a trial to its end on this machine and return how it ended, as plain data.

    Args:
        body: The order (`Order.plain`).
        wish: What the pilot wants by now; None for the trial to go on.
        device: The GPUs that the cluster granted; None for the CPU.
        begun: Called when the trial runs.
    """
    try:
        order = Order.read(body)
        mirror = None
        if order.storage:
            order, mirror = _move_here(order)
        else:
            _check_shared(order)
        return asdict(_attend(order, mirror, wish=wish, device=device, begun=begun))
    except (OSError, OtpilotError) as error:
        return asdict(Ended(state="crashed", reason=f"cannot be started: {error}"))


def _attend(
    order: Order,
    mirror: Mirror | None,
    *,
    wish: Callable[[], Wish | None],
    device: str | None,
    begun: Callable[[], None],
) -> Ended:
    executor = LocalExecutor(
        slots=Slots(limit=1, threads=order.threads, granted=device),
        command=order.command or TRAINER,
        grace_s=order.grace_s,
        environment=order.environment,
        cwd=None if order.cwd is None else Path(order.cwd),
    )
    with executor:
        handle = executor.submit(order.spec)
        assert handle is not None  # there is room for one
        begun()
        told, sent = False, time.monotonic()
        while (ended := executor.poll(handle)) is None:
            wanted = None if told else wish()
            if wanted is not None:
                told = True
                if wanted.state is None:
                    executor.suspend(handle)
                else:
                    executor.cancel(handle, state=wanted.state, reason=wanted.reason)
            if mirror is not None and time.monotonic() - sent > order.sync_s:
                with contextlib.suppress(ExecutorError):  # the store is away: at the end it counts
                    mirror.push()
                sent = time.monotonic()
            time.sleep(POLL_S)
        if mirror is not None:
            mirror.push(patience_s=600.0)
        return ended


def _check_shared(order: Order) -> None:
    """Refuse to work in a folder that only looks like the pilot's."""
    path = TrialPaths(order.spec.run).order
    deadline = time.monotonic() + SEEN_WITHIN_S
    while (read_json(path) or {}).get("token") != order.token:
        if time.monotonic() > deadline:
            raise ExecutorError(
                f"{order.spec.run.parent} on {os.uname().nodename} is not the pilot's folder. Put the campaign on a "
                "path that all machines share, or keep run folders in a store that all reach (storage = URL)."
            )
        time.sleep(0.1)


def _move_here(order: Order) -> tuple[Order, Mirror]:
    """Return the order with its folders in this machine's scratch place, filled from the store."""
    spec, root = order.spec, Path(order.scratch) / "trials"
    run = root / spec.run.name
    mirror = Mirror(order.storage, run)
    mirror.pull()
    continues = None
    if spec.continues is not None:
        continues = root / spec.continues.name
        Mirror(order.storage, continues).pull()
    paths = TrialPaths(run)
    paths.root.mkdir(parents=True, exist_ok=True)
    config = paths.root / "config.json"
    config.write_text(order.config, encoding="utf-8")
    told = asdict(spec) | {"run": run, "config": config, "continues": continues}
    return Order(**{**order.__dict__, "spec": TrialSpec(**told)}), mirror
