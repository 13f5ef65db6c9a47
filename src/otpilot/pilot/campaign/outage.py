"""Tells a broken machine from a broken variant, before a crash is held against a config.

A file server that is gone, a full disk or a dead driver makes every config crash. Believed, that would end a round
whose ideas are never proposed again. So when no trial of an arm comes to an end of its own, the incumbent, which is
known to run, is run once more as a check. Does it run, the lost trials are tried once more, and then believed. Does it
crash, too, the campaign waits and checks again.
"""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import NoReturn

from otpilot.errors import LedgerError
from otpilot.pilot import decisions
from otpilot.pilot.campaign.answers import OVER, Ended, Pause, Waiting
from otpilot.pilot.campaign.arms import ENDED_WELL, Identity
from otpilot.pilot.campaign.desk import Desk
from otpilot.pilot.ledger import Ledger, Trial

BROKEN = ("crashed", "killed")
"""Ends that may be the machine's fault. Divergence and what the guard finds unusable are answers."""
CHECK = "check"
CHECK_ERA = 2_000_000
"""The seeds of checks are drawn as those of an incumbent that there will never be."""
WAITS_S = (600.0, 1200.0, 2400.0, 3600.0, 3600.0, 3600.0, 3600.0)
"""Seconds between a check that crashed and the next one; after the last, some five hours on, the campaign ends."""
OUTAGE = "outage"
BASELINE_FAILED = "baseline failed"
FAILURES = (BASELINE_FAILED, OUTAGE)
"""Ends by which nothing was learned, and which `otpilot loop resume` answers by trying the lost trials again."""


def settle_crashes(desk: Desk, trials: Sequence[Trial], incumbent: Identity, what: str) -> None:
    """Return if the crashes among the trials of a stage, all of them over, can be believed.

    Raises:
        Pause: While that is being found out, or if the machine does not come back.
    """
    lost = _lost(trials)
    if not lost or any(made.key == _key(what) for made in desk.ledger.decisions(kind="retry")):
        return
    checks = [trial for trial in desk.ledger.trials(kind=CHECK) if trial.evidence.get("stage") == what]
    if not checks:
        room = desk.room()
        if room is None or room >= 1:
            _check(desk, incumbent, lost[0].round or 0, what, number=0)
        return
    last = checks[-1]
    if last.state not in OVER:
        raise Pause(Waiting(what=_waits_for(incumbent), trials=(last.id,)))
    if last.state not in BROKEN:
        _retry(desk, lost, last, incumbent, what)
    _wait_for_machine(desk, lost, checks, incumbent, what)


def _retry(desk: Desk, lost: Sequence[Trial], check: Trial, incumbent: Identity, what: str) -> NoReturn:
    """Queue the lost trials once more, because the incumbent runs."""
    for trial in lost:
        with contextlib.suppress(LedgerError):  # another pilot was quicker, and somebody runs it already
            desk.ledger.queue(trial.id, reason=f"tried again after {trial.end_reason}")
    desk.decide(
        "retry",
        f"No trial of {_names(lost)} came to an end ({lost[0].end_reason}), but {incumbent.name} runs: tried once "
        "more; what crashes again is believed.",
        key=_key(what),
        round=lost[0].round or 0,
        evidence={"trials": [trial.folder_name for trial in lost], "check": check.folder_name},
    )
    raise Pause(Waiting(what=f"{what}, tried again", trials=tuple(trial.id for trial in lost)))


def _wait_for_machine(
    desk: Desk, lost: Sequence[Trial], checks: Sequence[Trial], incumbent: Identity, what: str
) -> NoReturn:
    """Check again when it is time, because the incumbent crashed, too; give up after the last of WAITS_S."""
    round, last = lost[0].round or 0, checks[-1]
    reason = (
        f"The machine runs no trials: those of {_names(lost)} were lost ({lost[0].end_reason}), and so was "
        f"{incumbent.name}, which ran before ({last.end_reason})."
    )
    if len(checks) > len(WAITS_S):
        reason += f" {len(checks)} checks failed. When it is mended, `otpilot loop resume` tries all of them again."
        desk.decide("stop", reason, key=f"stop/outage/{last.id}", round=round, evidence={"kind": OUTAGE})
        raise Pause(Ended(kind=OUTAGE, reason=reason))
    desk.decide(
        OUTAGE,
        f"{reason} Nothing is held against a config; it is tried again from time to time.",
        key=f"outage/{what}",
        round=round,
        evidence={"trials": [trial.folder_name for trial in lost], "check": last.folder_name},
    )
    due = (last.finished or 0.0) + WAITS_S[len(checks) - 1]
    if desk.ledger.now() < due:
        raise Pause(Waiting(what=f"the machine, tried again at {datetime.fromtimestamp(due):%H:%M}"))
    _check(desk, incumbent, round, what, number=len(checks))


def try_again(ledger: Ledger) -> list[Trial]:
    """Queue what was lost in an outage that ended the campaign, or in a baseline that failed, and return it."""
    stops = ledger.decisions(kind="stop")
    if not stops or stops[-1].evidence.get("kind") not in FAILURES:
        return []
    open_rounds = [round.number for round in ledger.rounds() if round.finished is None]
    lost = [trial for number in open_rounds for trial in ledger.trials(round=number, states=BROKEN)]
    return [
        ledger.queue(trial.id, reason=f"tried again after {trial.end_reason}") for trial in lost if trial.kind != CHECK
    ]


def _lost(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials of arms that crashed or were killed on every seed, and behind which nothing ran well."""
    arms: dict[tuple[str, int], list[Trial]] = {}
    for trial in trials:
        arms.setdefault((trial.config_hash, trial.budget), []).append(trial)
    well = max((trial.finished or 0.0 for trial in trials if trial.state in ENDED_WELL), default=0.0)
    return [
        trial
        for arm in arms.values()
        if all(t.state in BROKEN and (t.finished or 0.0) >= well for t in arm)
        for trial in arm
    ]


def _check(desk: Desk, incumbent: Identity, round: int, what: str, *, number: int) -> NoReturn:
    count = len(desk.ledger.trials(kind=CHECK))
    seed = decisions.fresh_seeds(desk.settings.seed, CHECK_ERA + count, 1, set(desk.seeds))[0]
    config = desk.ledger.config(incumbent.hash)
    made = replace(
        desk.trial(incumbent, config, seed, kind=CHECK, round=round, priority=3),
        reason=f"whether the machine can still run {incumbent.name}",
        evidence={"stage": what, "number": number},
    )
    trial = desk.ledger.add_trial(made)
    raise Pause(Waiting(what=_waits_for(incumbent), trials=(trial.id,)))


def _key(what: str) -> str:
    return f"retry/{what}"


def _names(trials: Sequence[Trial]) -> str:
    return ", ".join(dict.fromkeys(trial.name for trial in trials))


def _waits_for(incumbent: Identity) -> str:
    return f"a check whether the machine can still run {incumbent.name}"
