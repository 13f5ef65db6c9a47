"""A campaign's folder: where everything lies, which process steers it, and how it is asked to stop."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otpilot.errors import ConfigError
from otpilot.pilot import supervisor
from otpilot.pilot.campaign.settings import FILE, CampaignSettings


@dataclass(frozen=True)
class CampaignPaths:
    """All paths of one campaign; nothing is created here."""

    root: Path

    @property
    def settings(self) -> Path:
        """What was asked."""
        return self.root / FILE

    @property
    def configs(self) -> Path:
        """One config file for each trial, its lineage beside it."""
        return self.root / "configs"

    @property
    def trials(self) -> Path:
        """Run folders."""
        return self.root / "trials"

    @property
    def reports(self) -> Path:
        """One report after each round, and the newest under a fixed name."""
        return self.root / "reports"

    @property
    def log(self) -> Path:
        """What the pilot did, line by line."""
        return self.root / "campaign.log"

    @property
    def pilot(self) -> Path:
        """Which process steers the campaign, by host, pid and birth."""
        return self.root / ".pilot.json"

    @property
    def lock(self) -> Path:
        """Held by the pilot as long as it lives."""
        return self.root / ".pilot.lock"

    @property
    def request(self) -> Path:
        """Names the pilot that is asked to stop."""
        return self.root / ".stop"

    def run(self, folder_name: str) -> Path:
        """Run folder of a trial."""
        return self.trials / folder_name

    def config(self, folder_name: str) -> Path:
        """Config file of a trial."""
        return self.configs / f"{folder_name}.json"

    def ledger(self, settings: CampaignSettings) -> Path | str:
        """The ledger: as campaign.toml says (a relative file lies in the folder), or ledger.db."""
        named = settings.ledger or "ledger.db"
        return named if "://" in named else self.root / named


@dataclass(frozen=True, kw_only=True)
class Steersman:
    """The process that steers a campaign."""

    host: str
    pid: int
    birth: str
    started: float

    @property
    def name(self) -> str:
        """What tells it from every other."""
        return f"{self.host}:{self.pid}:{self.birth}"

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host == os.uname().nodename


def steersman(paths: CampaignPaths) -> Steersman | None:
    """Return the process that steers the campaign now, or None; one on another machine is believed."""
    body = _read(paths.pilot)
    if body is None:
        return None
    try:
        found = Steersman(
            host=str(body["host"]), pid=int(body["pid"]), birth=str(body["birth"]), started=float(body["started"])
        )
    except (KeyError, TypeError, ValueError):
        return None
    return found if not found.is_here or supervisor.is_alive(found.pid, found.birth) else None


@contextmanager
def steering(paths: CampaignPaths) -> Iterator[Steersman]:
    """Yield this process as the campaign's only pilot in this folder.

    Raises:
        ConfigError: If another process is.
    """
    fd = os.open(paths.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            other = steersman(paths)
            who = f"process {other.pid} on {other.host}" if other else "another process"
            raise ConfigError(
                f"The campaign in {paths.root} is running already: {who} steers it. See `otpilot loop status`, "
                "or end it with `otpilot loop stop`."
            ) from None
        me = Steersman(
            host=os.uname().nodename, pid=os.getpid(), birth=supervisor.birth(os.getpid()) or "", started=time.time()
        )
        paths.request.unlink(missing_ok=True)
        body = {"host": me.host, "pid": me.pid, "birth": me.birth, "started": me.started}
        supervisor.write_json(paths.pilot, body)
        try:
            yield me
        finally:
            paths.pilot.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                paths.request.unlink(missing_ok=True)
    finally:
        os.close(fd)


def ask_to_stop(paths: CampaignPaths, pilot: Steersman) -> None:
    """Ask a pilot to suspend its trials and end; it looks once a second or so."""
    supervisor.write_json(paths.request, {"pilot": pilot.name})


def is_asked_to_stop(paths: CampaignPaths, pilot: Steersman) -> bool:
    """Return whether this very pilot was asked to stop."""
    body = _read(paths.request)
    return body is not None and body.get("pilot") == pilot.name


def _read(path: Path) -> dict[str, Any] | None:
    """Return a JSON object, or None where it is missing or damaged."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return body if isinstance(body, dict) else None
