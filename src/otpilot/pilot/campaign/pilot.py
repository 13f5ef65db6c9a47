"""Steers a campaign to its end: decides what can be decided, keeps trials running, keeps to budget and hours."""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from otpilot.config.plain import plain
from otpilot.errors import RunError
from otpilot.pilot.campaign.answers import OVER, Ended, Waiting
from otpilot.pilot.campaign.arms import ENDED_WELL
from otpilot.pilot.campaign.books import SESSION, say_over, worked_seconds
from otpilot.pilot.campaign.folder import CampaignPaths
from otpilot.pilot.campaign.hopeless import hopeless_of
from otpilot.pilot.campaign.scoring import score
from otpilot.pilot.campaign.settings import CampaignSettings
from otpilot.pilot.campaign.stages import Campaign
from otpilot.pilot.executors.base import Executor, TrialSpec
from otpilot.pilot.guard import Guard, GuardSettings
from otpilot.pilot.ledger import Ledger, Trial
from otpilot.pilot.paths import TrialPaths
from otpilot.pilot.rules import RULES, Rule
from otpilot.pilot.states import HELD
from otpilot.pilot.variants import LINEAGE_SUFFIX
from otpilot.pilot.worker import Report, Score, Worker
from otpilot.runs.paths import RunPaths
from otpilot.runs.writer import write_json_atomically

SESSION_S = 10.0
"""How often a pilot writes down how long it has worked: so much is lost when it is killed."""
LOOK_S = 5.0
"""How often a pilot looks for what another one on the same ledger has ended."""
LOOKS_AT_WORKERS = 120
"""How often a pilot whose campaign is over looks whether workers have given their trials back."""


@dataclass(frozen=True, kw_only=True)
class Clocks:
    """What time it is: seconds since the epoch, and the local date and time."""

    seconds: Callable[[], float] = time.time
    local: Callable[[], datetime] = datetime.now
    sleep: Callable[[float], None] = time.sleep


@dataclass(kw_only=True)
class _Session:
    """How long this pilot has worked; pauses outside of the allowed hours do not count."""

    key: str
    began: float
    worked: float = 0.0
    seen: float = field(init=False)
    written: float = -1.0

    def __post_init__(self) -> None:
        self.seen = self.began

    def passes(self, now: float, *, working: bool) -> None:
        """Let time pass; a clock that was set back, or a machine that slept, counts as a minute at most."""
        if working:
            self.worked += min(max(0.0, now - self.seen), 60.0)
        self.seen = now


class Pilot:
    """One pilot at work on a campaign; several may share a ledger.

    Args:
        ledger: The campaign's ledger.
        executor: Where trials run.
        settings: What campaign.toml says.
        base: The base config, ready for trials.
        paths: The campaign's folder.
        rules: The table of rules.
        tell: Told what happens, in a line.
        stop: Asked about once a second whether to stop: suspend the trials and return.
        report: Called after each round, and at the end, to write the reports.
        owner: Who leases; None for this process.
        clocks: The time.
        poll_s: How often trials are looked after.
    """

    def __init__(
        self,
        ledger: Ledger,
        executor: Executor,
        settings: CampaignSettings,
        base: Mapping[str, Any],
        paths: CampaignPaths,
        *,
        rules: Sequence[Rule] = RULES,
        tell: Callable[[str], None] = lambda _: None,
        stop: Callable[[], bool] = lambda: False,
        report: Callable[[Campaign, Ended | None], None] | None = None,
        owner: str | None = None,
        clocks: Clocks | None = None,
        poll_s: float = 1.0,
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self.paths = paths
        self.tell = tell
        self.asked_to_stop = stop
        self.report = report
        self.clocks = clocks or Clocks()
        self.poll_s = poll_s
        self.campaign = Campaign(ledger, settings, base, rules=rules, runs=paths.trials, tell=tell)
        for folder in (paths.configs, paths.trials, paths.reports):
            folder.mkdir(parents=True, exist_ok=True)
        self.worker = Worker(
            ledger,
            executor,
            spec_of=self.spec_of,
            score_of=self.score_of,
            guard=self.guard_of if settings.guard.enable else None,
            max_retries=settings.trial.retries,
            owner=owner,
        )
        self.session = _Session(
            key=f"{SESSION}{self.worker.owner}/{self.clocks.seconds():.0f}", began=self.clocks.seconds()
        )
        self._closed_rounds = -1
        self._waits_for = ""

    def run(self) -> Ended | None:
        """Work until the campaign is over, and return why; None if it was asked to stop before."""
        answer: Waiting | Ended = Waiting(what="")
        look_at = 0.0
        changed = True
        say_over(self.ledger, None)
        while True:
            if self.asked_to_stop():
                self._suspend("the pilot was asked to stop")
                self._tick(working=False, now=True)
                return None
            spent = self._spent()
            if spent is not None:
                key = f"stop/budget/{plain(self.settings.budget)}"
                self.ledger.decide("stop", spent.reason, evidence={"kind": spent.kind}, key=key)
                return self._over(spent)
            opens = self.settings.window.opens(self.clocks.local())
            self._tick(working=opens is None)
            if opens is not None:
                self._wait_for_hours(opens)
                changed = True
                continue
            if changed or self.clocks.seconds() >= look_at:
                answer = self.campaign.advance()
                look_at = self.clocks.seconds() + LOOK_S
                self._after_rounds()
                if isinstance(answer, Ended):
                    return self._over(answer)
            self._tell_waiting(answer)
            done = self.worker.step()
            changed = bool(done.ended)
            self._tell_trials(done)
            if not done.started and not done.ended:
                self.clocks.sleep(self.poll_s)

    # Trials

    def spec_of(self, trial: Trial) -> TrialSpec:
        """Return what to run for a trial, its config written with its lineage beside it."""
        path = self.paths.config(trial.folder_name)
        if not path.exists():
            body = {
                **self.ledger.config(trial.config_hash),
                "seed": trial.seed,
                "steps": trial.budget,
                "job_name": trial.folder_name,
            }
            write_json_atomically(path.with_name(f"{trial.folder_name}{LINEAGE_SUFFIX}"), self._lineage(trial))
            write_json_atomically(path, body)
        continues = None if trial.continues is None else self.ledger.trial(trial.continues)
        return TrialSpec(
            name=trial.folder_name,
            run=self.paths.run(trial.folder_name),
            config=path,
            steps=trial.budget,
            seed=trial.seed,
            retry=trial.retries,
            attempt=trial.attempts,
            continues=None if continues is None else self.paths.run(continues.folder_name),
        )

    def score_of(self, trial: Trial, spec: TrialSpec) -> Score:
        """Return the worth of a trial that ended well, unless its log has what the guard would have ended it for.

        Raises:
            RunError: If it has, or if it has no score. So it does not depend on how often the guard could look.
        """
        if self.settings.guard.enable:
            stop = Guard(path=RunPaths(spec.run).metrics, settings=self.guard_of(trial), clock=lambda: 0.0).check()
            if stop is not None:
                raise RunError(stop.reason)
        metrics = self.ledger.rounds()[0].plan["metrics"]
        return score(spec.run, budget=trial.budget, metrics=metrics)

    def guard_of(self, trial: Trial) -> GuardSettings:
        """Return when a trial is ended early; the baseline's own curves say what is hopeless."""
        limits = self.settings.guard
        hopeless = None
        if limits.hopeless_step and trial.kind != "baseline":
            metrics = self.ledger.rounds()[0].plan["metrics"]
            baselines = [t for t in self.ledger.trials(kind="baseline") if t.state in ENDED_WELL]
            hopeless = hopeless_of([t.metrics for t in baselines], metrics, factor=limits.hopeless_factor)
        return GuardSettings(
            gradient_ceiling=limits.gradient_ceiling,
            gradient_factor=limits.gradient_factor,
            gradient_patience=limits.gradient_patience,
            start_s=limits.start_s,
            hang_s=limits.hang_s,
            garbage_lines=limits.garbage_lines,
            hopeless_step=limits.hopeless_step,
            hopeless=hopeless,
        )

    def _lineage(self, trial: Trial) -> dict[str, Any]:
        parent = None if trial.parent is None else self.ledger.trial(trial.parent)
        return {
            "name": trial.name,
            "parent": "none" if parent is None else parent.name,
            "config_hash": trial.config_hash,
            "seed": trial.seed,
            "budget": trial.budget,
            "kind": trial.kind,
            "round": trial.round,
            "rule": trial.rule or "none",
            "reason": trial.reason or f"{trial.kind} of {trial.name}",
            "evidence": plain(trial.evidence),
            "edits": plain(trial.edits),
        }

    # Limits

    def _spent(self) -> Ended | None:
        """Return which budget of time is spent, or None."""
        budget = self.settings.budget
        if budget.hours is not None and (hours := self.hours()) >= budget.hours:
            return Ended(kind="budget", reason=f"The budget of {budget.hours:g} hours is spent ({hours:.2f} worked).")
        if budget.gpu_hours is not None and (used := self.ledger.status().gpu_seconds / 3600) >= budget.gpu_hours:
            return Ended(kind="budget", reason=f"The budget of {budget.gpu_hours:g} GPU-hours is spent ({used:.2f}).")
        return None

    def hours(self) -> float:
        """Return how many hours pilots have worked on this campaign, this one included."""
        return (worked_seconds(self.ledger, skip=self.session.key) + self.session.worked) / 3600

    def _tick(self, *, working: bool, now: bool = False) -> None:
        self.session.passes(self.clocks.seconds(), working=working)
        if now or self.session.seen - self.session.written >= SESSION_S:
            self.ledger.put(self.session.key, {"began": self.session.began, "worked": round(self.session.worked, 1)})
            self.session.written = self.session.seen

    def _wait_for_hours(self, opens: datetime) -> None:
        if self.worker.running:
            self._suspend("outside of the allowed hours")
        what = f"the allowed hours ({self.settings.allowed_hours}), from {opens:%Y-%m-%d %H:%M}"
        self._tell_waiting(Waiting(what=what))
        self.clocks.sleep(self.poll_s)

    def _suspend(self, reason: str) -> None:
        if self.worker.running:
            self.tell(f"Suspending {self.worker.running} trials: {reason}.")
            self.worker.stop(reason=reason)

    def _over(self, ended: Ended) -> Ended:
        say_over(self.ledger, ended.reason)
        self._suspend(ended.reason)
        self._tick(working=True, now=True)
        self._wait_for_workers()
        self.tell(f"The campaign is over ({ended.kind}): {ended.reason}")
        self._write_reports(ended)
        return ended

    def _wait_for_workers(self) -> None:
        """Wait until workers have given back what they ran, so that the report says how it stands in the end."""
        held: list[Trial] = []
        for look in range(LOOKS_AT_WORKERS):
            held = self.ledger.trials(states=HELD)
            if not held or self.asked_to_stop():
                return
            if look == 0:
                self.tell(f"Waiting for workers to end {len(held)} trials.")
            self.clocks.sleep(self.poll_s)
        owners = ", ".join(sorted({trial.owner or "nobody" for trial in held}))
        self.tell(f"{len(held)} trials are still held by {owners}; they are taken over when the campaign is resumed.")

    # Telling

    def _after_rounds(self) -> None:
        """Clean up and write the reports when a round was closed, by whichever pilot."""
        closed = [r for r in self.ledger.rounds() if r.finished is not None]
        if not closed or closed[-1].number <= self._closed_rounds:
            return
        self._closed_rounds = closed[-1].number
        if not self.settings.keep_checkpoints:
            incumbent = closed[-1].summary["incumbent"]["hash"]
            past = [t for t in self.ledger.trials(states=OVER) if (t.round or 0) <= self._closed_rounds]
            remove_checkpoints(self.paths, [t for t in past if t.config_hash != incumbent])
        self._write_reports(None)

    def _write_reports(self, ended: Ended | None) -> None:
        if self.report is None:
            return
        try:
            self.report(self.campaign, ended)
        except OSError as error:  # a full disk must not end a campaign that can go on without reports
            self.tell(f"The reports could not be written: {error}.")

    def _tell_waiting(self, answer: Waiting | Ended) -> None:
        if isinstance(answer, Waiting) and answer.what and answer.what != self._waits_for:
            self._waits_for = answer.what
            self.tell(f"Waiting for {answer.what}.")

    def _tell_trials(self, done: Report) -> None:
        for trial in done.started:
            again = f", attempt {trial.attempts}" if trial.attempts > 1 else ""
            self.tell(f"Started {trial.folder_name} ({trial.kind}{again}).")
        for trial in done.ended:
            worth = "" if trial.score is None else f", score {trial.score:.4g}"
            reason = f": {trial.end_reason}" if trial.end_reason else ""
            self.tell(f"{trial.folder_name} {trial.state}{worth}{reason}.")


def remove_checkpoints(paths: CampaignPaths, trials: Sequence[Trial]) -> int:
    """Remove the checkpoints of trials that nothing will go on from; returns how many run folders had some."""
    removed = 0
    for trial in trials:
        folder = TrialPaths(paths.run(trial.folder_name)).contract.checkpoints
        if folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed
