"""Finding a Ray cluster: connects, or says in a line what is wrong; asks every node whether trials can run there."""

import logging
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from otpilot.errors import ExecutorError
from otpilot.pilot.executors.node import VERSION

ANSWER_WITHIN_S = 5.0
# A node may have to start a Python first.
PROBE_WITHIN_S = 120.0
GCS_PORT, CLIENT_PORT = 6379, 10001


def connect(address: str | None) -> tuple[ModuleType, bool]:
    """Return Ray, connected, and whether the connection is ours to close.

    Raises:
        ExecutorError: If Ray is not installed, nobody answers at the address, or the versions differ.
    """
    try:
        import ray
    except ImportError as error:
        raise ExecutorError(
            f"The Ray executor needs Ray ({error}); install it with: pip install 'otpilot[ray]'."
        ) from error
    if ray.is_initialized():
        return ray, False
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address is None:
        ray.init(address="local", include_dashboard=False, **quiet)
        return ray, True
    _check_answers(address)
    try:
        ray.init(address=address, **quiet)
    except Exception as error:  # RuntimeError, ConnectionError, ValueError, RaySystemError, grpc's own
        ray.shutdown()
        raise ExecutorError(f"The Ray cluster at {address} cannot be used: {_plain(error)}") from error
    return ray, True


def probe_nodes(ray: ModuleType, folder: Path | None) -> None:
    """Ask every node for its otpilot, and whether it sees and may write the folder of the run folders.

    Raises:
        ExecutorError: If a node is not fit; it names each of them. Nothing is left in the folder.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    beacon = None
    if folder is not None:
        beacon = folder / f".otpilot-{os.uname().nodename}-{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            beacon.write_text("here", encoding="utf-8")
        except OSError as error:
            raise ExecutorError(f"Run folders cannot be made in {folder}: {error}.") from error
    look = ray.remote(_probe(None if beacon is None else str(beacon.resolve())))
    asked = {}
    for node in ray.nodes():
        if node["Alive"]:
            place = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
            asked[look.options(num_cpus=0, scheduling_strategy=place, max_retries=0).remote()] = node
    try:
        ready, late = ray.wait(list(asked), num_returns=len(asked), timeout=PROBE_WITHIN_S)
        complaints = [f"{_name(asked[ref])} did not answer within {PROBE_WITHIN_S:g} s" for ref in late]
        for ref in ready:
            try:
                wrong = _what_is_wrong(ray.get(ref), folder)
            except ray.exceptions.RayError as error:
                wrong = _plain(error)
            if wrong:
                complaints.append(f"{_name(asked[ref])}: {wrong}")
    finally:
        if beacon is not None:
            beacon.unlink(missing_ok=True)
    if complaints:
        raise ExecutorError(f"The cluster has nodes where no trial can run: {'; '.join(sorted(complaints))}.")


def _probe(beacon: str | None) -> Callable[[], dict[str, Any]]:
    """Return what a node is asked; it travels by value, so that a node without otpilot can answer."""

    def look() -> dict[str, Any]:
        import importlib.metadata
        import os.path
        import sys

        try:
            version = importlib.metadata.version("otpilot")
        except ImportError:
            version = None
        answer = {"otpilot": version, "python": sys.version_info[:2], "sees": True, "writes": ""}
        if beacon is not None:
            answer["sees"] = os.path.exists(beacon)  # noqa: PTH110 - travels alone
            try:
                with open(f"{beacon}.{os.getpid()}.tmp", "x"):  # noqa: PTH123
                    pass
                os.unlink(f"{beacon}.{os.getpid()}.tmp")  # noqa: PTH108
            except OSError as error:
                answer["writes"] = str(error)
        return answer

    return look


def _what_is_wrong(answer: dict[str, Any], folder: Path | None) -> str:
    if answer["otpilot"] is None:
        return "otpilot is not installed there"
    if answer["otpilot"] != VERSION:
        return f"it has otpilot {answer['otpilot']}, this is {VERSION}"
    if tuple(answer["python"]) != sys.version_info[:2]:
        return (
            f"it has Python {'.'.join(map(str, answer['python']))}, this is {sys.version_info[0]}.{sys.version_info[1]}"
        )
    if not answer["sees"]:
        return f"it does not see {folder}; use a path that all machines share, or storage = URL"
    if answer["writes"]:
        return f"it cannot write in {folder} ({answer['writes']})"
    return ""


def _check_answers(address: str) -> None:
    """Refuse an address at which nothing listens; Ray itself would try for a minute or more."""
    if address in ("auto", "local"):
        return
    place = address.removeprefix("ray://").split("/")[0]
    host, _, port = place.rpartition(":")
    if not host:
        host, port = place, str(CLIENT_PORT if address.startswith("ray://") else GCS_PORT)
    if not port.isdigit():
        raise ExecutorError(f"{address!r} is no address of a Ray cluster; allowed: auto, HOST:PORT, ray://HOST:PORT.")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_WITHIN_S).close()
    except (OSError, OverflowError) as error:
        raise ExecutorError(
            f"No Ray cluster answers at {address}: {error}. Start one with `ray start --head`, or give its address."
        ) from error


def _name(node: dict[str, Any]) -> str:
    return f"node {node.get('NodeManagerHostname') or node.get('NodeManagerAddress')} ({node['NodeID'][:8]})"


def _plain(error: Exception) -> str:
    """Return an error of Ray in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines)[:600] or type(error).__name__
