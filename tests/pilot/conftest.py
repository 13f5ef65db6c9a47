"""Shared by the pilot's tests: ledgers in SQLite and in a PostgreSQL that the tests start, a clock moved by hand."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from otpilot.pilot.ledger import Ledger, NewTrial


@dataclass
class Clock:
    """Seconds that pass only when told."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Server:
    """A PostgreSQL of our own; stop and start it again to play an outage."""

    root: Path
    port: int
    binaries: Path
    schemas: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"postgresql://tester@127.0.0.1:{self.port}/postgres"

    def run(self, *words: str) -> None:
        user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
        log = self.root / "commands.log"
        with log.open("ab") as output:
            subprocess.run(words, user=user, check=True, stdout=output, stderr=output, cwd=self.root, timeout=60)

    def start(self) -> None:
        options = f"-p {self.port} -k {self.root} -c listen_addresses=127.0.0.1 -c fsync=off"
        data = self.root / "data"
        self.run(str(self.binaries / "pg_ctl"), "-w", "-D", str(data), "-o", options, "-l", f"{data}.log", "start")

    def stop(self, mode: str = "fast") -> None:
        self.run(str(self.binaries / "pg_ctl"), "-w", "-D", str(self.root / "data"), "-m", mode, "stop")


def find_binaries() -> Path | None:
    """Return the folder with initdb and pg_ctl, which distributions often keep off the PATH."""
    places = [Path(found).resolve().parent for name in ("initdb", "pg_ctl") if (found := shutil.which(name))]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in places if (p / "initdb").exists() and (p / "pg_ctl").exists()), None)


@pytest.fixture(scope="session")
def postgres():
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL here: initdb and pg_ctl are missing (apt-get install postgresql)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = Path(tempfile.mkdtemp(prefix="otpilot-pg-"))
    server = Server(root, port, binaries)
    try:
        if os.geteuid() == 0:
            try:
                shutil.chown(root, "postgres")
            except LookupError:
                pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        server.run(str(binaries / "initdb"), "-D", str(root / "data"), "-U", "tester", "-A", "trust", "--no-sync")
        server.start()
        yield server
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            server.stop("immediate")
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request, tmp_path):
    """Return the keywords that open one and the same new ledger again and again."""
    if request.param == "sqlite":
        return {"where": tmp_path / "ledger.db"}
    server = request.getfixturevalue("postgres")
    return {"where": server.url, "schema": f"t{uuid.uuid4().hex[:12]}"}


@pytest.fixture
def ledger(place, clock):
    with Ledger.open(**place, clock=clock, lease_s=60) as made:
        yield made


def new_trial(number: int = 0, **changes) -> NewTrial:
    values = {"name": f"t{number}", "config_hash": f"h{number}", "seed": 7, "budget": 100, "config": {"n": number}}
    return NewTrial(**{**values, **changes})


def wait_for(condition, timeout_s: float = 20.0):
    """Return the condition's first true value; fail when it stays false."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError(f"still not so after {timeout_s} s: {condition}")
