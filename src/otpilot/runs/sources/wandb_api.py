"""Runs on a W&B server, through its own client, with a local cache that also serves where the server cannot be had."""

import io
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from otpilot.errors import RunError
from otpilot.runs.counting import agree, counted
from otpilot.runs.history import RunHistory, State
from otpilot.runs.lines import number
from otpilot.runs.sources.curves import CurveBuilder, flat_items
from otpilot.runs.sources.secrets import known_secrets, redacted, redacted_run
from otpilot.runs.sources.state import utc_seconds
from otpilot.runs.sources.wandb_cache import WandbCache, default_cache

TIMEOUT_S = 20
# The client's own patience is half an hour; the cache is at hand.
RETRIES = 3
RETRY_WAITS_S = (0.5, 4.0)
# Rows a request: W&B thins out what it returns beyond some 10,000 rows.
PAGE = 10_000
STATES: Mapping[str, State] = {
    "running": "running", "pending": "running", "finished": "finished", "crashed": "crashed", "failed": "crashed",
    "killed": "killed", "preempting": "killed", "preempted": "killed",
}  # fmt: skip

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class WandbQuery:
    """Which runs of which project: all of them, or those with this group, all these tags, or one of these ids."""

    entity: str
    project: str
    group: str | None = None
    tags: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()

    def filters(self) -> dict[str, Any]:
        """Return the same as a filter of W&B's server."""
        conditions: list[dict[str, Any]] = [{"tags": tag} for tag in self.tags]
        if self.group is not None:
            conditions.append({"group": self.group})
        if self.ids:
            conditions.append({"name": {"$in": list(self.ids)}})
        return {"$and": conditions} if conditions else {}

    def admits(self, run: RunHistory) -> bool:
        """Whether a stored run is one of these."""
        grouped = self.group is None or run.group == self.group
        return grouped and set(self.tags) <= set(run.tags) and (not self.ids or run.id in self.ids)


@dataclass(kw_only=True, eq=False)
class WandbProject:
    """The runs of a W&B project that a query names."""

    query: WandbQuery
    cache: Path = field(default_factory=default_cache)
    problems: list[str] = field(default_factory=list)

    def runs(self) -> Iterator[RunHistory]:
        """Yield each run, oldest first; from the cache where it is unchanged, or where the server cannot be had.

        Raises:
            RunError: If the server cannot be had and nothing is cached.
        """
        query = self.query
        host = os.environ.get("WANDB_BASE_URL", "default").rstrip("/")
        store = WandbCache(root=self.cache, host=host, entity=query.entity, project=query.project)
        given: set[str] = set()
        trouble = ""
        listing = _listing(query)
        while not trouble:
            try:
                remote = next(listing)
            except StopIteration:
                break
            except Exception as error:  # the client raises many kinds, its service's own among them
                trouble = _told(error)
                break
            run = self._one(remote, store)
            if run is not None:
                given.add(run.id)
                yield run
        if trouble:
            yield from self._stored(store, given, trouble)
        for missing in sorted(set(query.ids) - given):
            if not trouble:
                self.problems.append(f"{query.entity}/{query.project} has no run {missing!r}.")

    def _one(self, remote: Any, store: WandbCache) -> RunHistory | None:
        """Return one run as it is now: its words from the listing, its curves from the cache if nothing changed."""
        stamp = f"{remote.state} {remote.heartbeatAt} {getattr(remote, 'historyLineCount', None)}"
        cached = store.load(remote.id)
        if cached is not None and cached.stamp == stamp:
            return redacted_run(replace(cached.run, **_words(remote)))
        try:
            run, complete = _fetched(remote, f"wandb:{self.query.entity}/{self.query.project}/{remote.id}")
        except Exception as error:  # as above
            told = _told(error)
            if cached is None:
                self.problems.append(f"Run {remote.id} could not be fetched: {told}")
                return None
            note = f"The newest rows could not be fetched ({told}); these are from the cache."
            return redacted_run(replace(cached.run, notes=(*cached.run.notes, note)))
        if not complete:  # a later look may find more
            return run
        try:
            store.save(run, stamp)
        except OSError as error:
            self.problems.append(f"Run {run.id} could not be cached in {store.folder}: {error.strerror}.")
        return run

    def _stored(self, store: WandbCache, given: set[str], trouble: str) -> Iterator[RunHistory]:
        note = "W&B could not be asked; this run is from the cache, as it was when last fetched."
        count = len(given)
        for cached in store.all():
            if cached.run.id not in given and self.query.admits(cached.run):
                count += 1
                yield redacted_run(replace(cached.run, notes=(*cached.run.notes, note)))
        if not count:
            raise RunError(
                f"W&B could not be asked for {self.query.entity}/{self.query.project} ({trouble}), and the cache in "
                f"{store.folder} holds none of its runs. Check WANDB_API_KEY (or `wandb login`), WANDB_BASE_URL and "
                "the network, or give what lies on this machine, beside it or in its place: run folders, W&B's offline "
                "folder or .wandb files, a CSV export, or compare_runs*.json."
            ) from None
        old = count - len(given)
        told = f"{counted(old, 'run')} {agree(old, 'is', 'are')} from the cache"
        self.problems.append(f"W&B could not be asked ({trouble}); {told}.")


def _listing(query: WandbQuery) -> Iterator[Any]:
    """Yield the server's runs; nothing is asked before the first is wanted."""
    try:
        import wandb
    except ImportError:
        raise RunError("W&B's client is not installed: install wandb>=0.31") from None
    with _no_questions():
        least, most = RETRY_WAITS_S
        wandb.setup(
            settings=wandb.Settings(
                x_graphql_retry_max=RETRIES,
                x_graphql_retry_wait_min_seconds=least,
                x_graphql_retry_wait_max_seconds=most,
            )
        )
        api = wandb.Api(timeout=TIMEOUT_S)
    yield from api.runs(f"{query.entity}/{query.project}", filters=query.filters(), per_page=50)


@contextmanager
def _no_questions() -> Iterator[None]:
    """W&B's client asks for a key on a terminal; without one it says that it has none."""
    stdin, sys.stdin = sys.stdin, io.StringIO()
    try:
        yield
    finally:
        sys.stdin = stdin


def _told(error: Exception) -> str:
    """Return an error in one line, without any key."""
    text = " ".join(str(error).split()) or type(error).__name__
    return str(redacted(text.rstrip("."), known_secrets()))[:300]


def _words(remote: Any) -> dict[str, Any]:
    """Return what the listing says of a run."""
    return {
        "name": remote.name or remote.id,
        "state": STATES.get(remote.state, "unknown"),
        "reason": "" if remote.state in {"finished", "running"} else f"W&B says {remote.state}",
        "url": remote.url,
        "group": remote.group or None,
        "tags": tuple(remote.tags or ()),
        "updated": utc_seconds(remote.heartbeatAt),
    }


def _fetched(remote: Any, source: str) -> tuple[RunHistory, bool]:
    """Return a run with everything that the server gives, and whether that is all that it says it has."""
    remote.load_full_data()  # the listing leaves out config and counts
    rows, short = _history(remote)
    curves, more = _curves(rows)
    config = {key: value for key, value in dict(remote.config).items() if not key.startswith("_")}
    notes = (*short, *more)
    run = RunHistory(id=remote.id, source=source, config=config, curves=curves, notes=notes, **_words(remote))
    return redacted_run(run), not short


@dataclass(kw_only=True, eq=False)
class _Rows:
    """All rows of a run, and for the keys that they were short of, rows asked for that key alone."""

    all: list[Row]
    by_key: dict[str, list[Row]] = field(default_factory=dict)


def _history(remote: Any) -> tuple[_Rows, list[str]]:
    """Return a run's history, verified against the counts that the server keeps of each key.

    `scan_history` without keys is the one call that gives every row unsampled (with several keys it gives only rows
    that hold all of them). In some versions it came back empty or short (wandb issue 12067), so every key that has
    fewer rows than the server counts is asked for again alone, first unsampled, then through the sampled endpoint.
    """
    rows = _Rows(all=list(remote.scan_history(page_size=PAGE)))
    expected = _expected(remote)
    found: dict[str, int] = {}
    for row in rows.all:
        for key, _ in flat_items(row):
            found[key] = found.get(key, 0) + 1
    notes: list[str] = []
    for key, count in expected.items():
        if found.get(key, 0) < count:
            alone = _alone(remote, key, count)
            if len(alone) > found.get(key, 0):
                rows.by_key[key] = alone
                found[key] = len(alone)
        if found.get(key, 0) < count:
            notes.append(f"W&B counts {counted(count, 'row')} of {key} and returned {found.get(key, 0)}.")
    if not expected and not rows.all and (getattr(remote, "historyLineCount", 0) or 0) > 0:
        notes.append(f"W&B counts {counted(remote.historyLineCount, 'row')} and returned none.")
    return rows, notes


def _alone(remote: Any, key: str, count: int) -> list[Row]:
    """Return the rows of one key, asked for alone: unsampled, or sampled to at least their count if that gives more."""
    timed = [key, "_timestamp"]  # every row that a client logged has a time; imported ones may not
    best: list[Row] = []
    for attempt in (
        lambda: list(remote.scan_history(keys=timed, page_size=PAGE)),
        lambda: remote.history(samples=count, keys=timed, pandas=False),
        lambda: remote.history(samples=count, keys=[key], pandas=False),
    ):
        best = max(best, attempt(), key=len)
        if len(best) >= count:
            break
    return best


def _expected(remote: Any) -> dict[str, int]:
    """Return how many rows the server counts for each key with numbers; empty where it keeps no counts."""
    keys = (getattr(remote, "historyKeys", None) or {}).get("keys") or {}
    counts: dict[str, int] = {}
    for key, about in keys.items():
        types = about.get("typeCounts") or []
        if not key.startswith("_") and any(entry.get("type") == "number" for entry in types):
            counts[key] = sum(int(entry.get("count") or 0) for entry in types)
    return counts


def _curves(rows: _Rows) -> tuple[dict[str, Any], list[str]]:
    builder = CurveBuilder()
    unplaced = 0
    for row in rows.all:
        unplaced += _add(row, builder, lambda name: name not in rows.by_key)
    for key, own in rows.by_key.items():
        for row in own:
            unplaced += _add(row, builder, lambda name, key=key: name == key)  # type: ignore[misc]
    curves, notes = builder.build()
    if unplaced:
        told = agree(unplaced, "has no step and is", "have no step and are")
        notes.append(f"{counted(unplaced, 'row')} {told} left out.")
    return curves, notes


def _add(row: Row, builder: CurveBuilder, wanted: Callable[[str], bool]) -> bool:
    """Add the wanted numbers of one row; True if it has no step."""
    values = dict(flat_items(row))
    step, time = number(values.get("_step")), number(values.get("_timestamp"))
    if step is None or not math.isfinite(step):
        return True
    for name, raw in values.items():
        value = None if name.startswith("_") or not wanted(name) else number(raw)
        if value is not None:
            builder.add(name, step=int(step), value=value, time=time)
    return False
