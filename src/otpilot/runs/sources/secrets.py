"""Keeps API keys out of everything that is read, cached, logged or reported."""

import netrc
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from otpilot.runs.history import RunHistory
from otpilot.runs.sources.source import Source

VARIABLES = ("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
NETRC_FILES = (".netrc", "_netrc")
HIDDEN = "[hidden]"
# Shorter words than any key; hiding them would garble texts.
SHORTEST = 16


def known_secrets() -> tuple[str, ...]:
    """Return the keys that this machine's environment and netrc files hold, as such and as HTTP sends them."""
    found = {os.environ.get(name, "").strip() for name in VARIABLES}
    paths = [Path.home() / name for name in NETRC_FILES]
    if named := os.environ.get("NETRC"):
        paths.append(Path(named).expanduser())
    for path in paths:
        try:
            hosts = netrc.netrc(path).hosts.values()
        except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
            continue
        found.update(password or "" for _, _, password in hosts)
    keys = {key for key in found if len(key) >= SHORTEST}
    sent = {b64encode(f"{user}{key}".encode()).decode() for key in keys for user in ("api:", "")}
    return tuple(sorted(keys | sent, key=len, reverse=True))


def redacted(value: Any, secrets: tuple[str, ...] | None = None) -> Any:
    """Return text, or nested lists and mappings of it, with every known key replaced by [hidden]."""
    secrets = known_secrets() if secrets is None else secrets
    if not secrets:
        return value
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, Mapping):
        return {redacted(key, secrets): redacted(item, secrets) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(redacted(item, secrets) for item in value)
    if isinstance(value, list):
        return [redacted(item, secrets) for item in value]
    return value


def redacted_run(run: RunHistory) -> RunHistory:
    """Return a run whose words hold no known key; its curves stay as they are."""
    secrets = known_secrets()
    if not secrets:
        return run
    words = ("id", "name", "source", "reason", "config", "url", "group", "tags", "notes")
    changed = {word: redacted(getattr(run, word), secrets) for word in words}
    events = tuple(
        replace(event, message=redacted(event.message, secrets), values=redacted(event.values, secrets))
        for event in run.events
    )
    return replace(run, events=events, **changed)


@dataclass(kw_only=True, eq=False)
class Redacted:
    """A source whose runs and problems hold no known key."""

    inner: Source
    problems: list[str] = field(default_factory=list)

    def runs(self) -> Iterator[RunHistory]:
        """Yield the inner source's runs."""
        for run in self.inner.runs():
            yield redacted_run(run)
            self._tell()
        self._tell()

    def _tell(self) -> None:
        self.problems[:] = redacted(self.inner.problems)
