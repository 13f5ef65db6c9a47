"""How a campaign stands, for people: who steers it, what runs, what is waited for, what was decided last."""

import contextlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from otpilot.pilot import supervisor
from otpilot.pilot.campaign.books import worked_seconds
from otpilot.pilot.campaign.folder import CampaignPaths, Steersman, steersman
from otpilot.pilot.campaign.settings import CampaignSettings
from otpilot.pilot.ledger import ENDS, Decision, Ledger, Trial
from otpilot.pilot.states import HELD, TrialState
from otpilot.pilot.worker import is_gone
from otpilot.runs.record import MetricRecord

LAST_DECISIONS = 6
TAIL_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class RunningTrial:
    """A trial that runs, or was interrupted: how far it is, since when, who has it."""

    name: str
    kind: str
    step: int
    steps: int
    since: float | None
    owner: str
    interrupted: bool = False


@dataclass(frozen=True, kw_only=True)
class CampaignStatus:
    """How a campaign stands. `phase` says what is going on in one sentence; `stopped` why it ended, if it did.

    In `by_state` a trial that was interrupted is no running one: it goes on when somebody works on the campaign.
    """

    steersman: Steersman | None
    round: int
    rounds: int
    phase: str
    incumbent: str
    by_state: dict[str, int]
    running: tuple[RunningTrial, ...]
    decisions: tuple[Decision, ...]
    hours: float
    gpu_hours: float
    trials: int
    stopped: str | None


def read_status(
    ledger: Ledger, paths: CampaignPaths, settings: CampaignSettings, *, now: datetime | None = None
) -> CampaignStatus:
    """Return how a campaign stands, from its ledger and from the logs of the trials that run."""
    counts = ledger.status()
    rounds = ledger.rounds()
    pilot = steersman(paths)
    held = ledger.trials(states=HELD)
    clock = ledger.now()
    lost = [trial for trial in held if is_interrupted(trial, clock)]
    closed = [round for round in rounds if round.finished is not None]
    decisions = ledger.decisions()
    current = max((round.number for round in rounds), default=0)
    stop = next((d for d in reversed(decisions) if d.kind == "stop"), None)
    over = stop is not None and decisions[-1].id == stop.id and pilot is None and counts.open == 0
    return CampaignStatus(
        steersman=pilot,
        round=current,
        rounds=settings.rounds,
        phase=_phase(ledger, current, counts.open, pilot, settings, over=over, now=now or datetime.now()),
        incumbent=str(closed[-1].summary["incumbent"]["name"]) if closed else "the baseline is not yet measured",
        by_state=_by_state(counts.by_state, lost),
        running=tuple(_running(trial, paths, trial in lost) for trial in held if trial.state == "running"),
        decisions=tuple(decisions[-LAST_DECISIONS:]),
        hours=worked_seconds(ledger) / 3600,
        gpu_hours=counts.gpu_seconds / 3600,
        trials=counts.trials,
        stopped=stop.reason if stop is not None and over else None,
    )


def _phase(
    ledger: Ledger,
    current: int,
    open_trials: int,
    pilot: Steersman | None,
    settings: CampaignSettings,
    *,
    over: bool,
    now: datetime,
) -> str:
    if over:
        return "over"
    opens = settings.window.opens(now)
    if pilot is not None and opens is not None:
        return f"pauses until {opens:%Y-%m-%d %H:%M} (allowed hours {settings.allowed_hours})"
    if not open_trials:
        return f"round {current}: deciding" if pilot is not None else f"round {current}: nothing runs"
    waiting = ledger.trials(states=("queued", "leased", "running"))
    number, kind = waiting[0].round or 0, waiting[0].kind
    done, total = _progress(ledger.trials(round=number, kind=kind))
    word = {"baseline": "baseline repeats", "variant": "screening", "check": "check of the machine"}.get(kind, kind)
    asleep = "" if pilot is not None else "; no pilot works on it (otpilot loop resume)"
    return f"round {number}, {word}: {done} of {total} trials are over{asleep}"


def _progress(trials: Sequence[Trial]) -> tuple[int, int]:
    states = Counter(trial.state for trial in trials)
    return sum(states[state] for state in ENDS), len(trials)


def is_interrupted(trial: Trial, now: float) -> bool:
    """Whether a held trial's owner is gone or let its lease run out, and no process of it lives on this machine."""
    expired = trial.lease_until is not None and trial.lease_until < now
    return (expired or is_gone(trial.owner or "")) and not _lives_here(trial.process or {})


def _lives_here(process: Mapping[str, Any]) -> bool:
    # What an adopted trial's supervisor wrote has its own birth under another name than the trainer's.
    pid, born = process.get("supervisor"), process.get("supervisor_birth", process.get("birth"))
    here = process.get("host", os.uname().nodename) == os.uname().nodename
    return here and isinstance(pid, int) and supervisor.is_alive(pid, str(born))


def _by_state(counts: Mapping[TrialState, int], lost: Sequence[Trial]) -> dict[str, int]:
    found = Counter({str(state): count for state, count in counts.items()})
    found.subtract(Counter(str(trial.state) for trial in lost))
    return {state: count for state, count in found.items() if count} | ({"interrupted": len(lost)} if lost else {})


def _running(trial: Trial, paths: CampaignPaths, interrupted: bool) -> RunningTrial:
    return RunningTrial(
        name=trial.folder_name,
        kind=trial.kind,
        step=last_step(paths.run(trial.folder_name) / "metrics.jsonl"),
        steps=trial.budget,
        since=trial.started,
        owner=trial.owner or "nobody",
        interrupted=interrupted,
    )


def last_step(metrics: Path) -> int:
    """Return the step of the last readable line of a log, 0 where there is none; reads only the log's end."""
    try:
        with metrics.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        with contextlib.suppress(ValueError):
            return MetricRecord.from_line(line).step
    return 0
