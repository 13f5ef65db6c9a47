"""The plan of a campaign in words: what would be run, and what it may cost. Nothing is written or launched."""

import statistics
from collections.abc import Sequence

from otpilot.pilot.campaign.arms import ENDED_WELL, Known
from otpilot.pilot.campaign.base import acceptable_metrics, trial_seeds
from otpilot.pilot.campaign.opening import Opened
from otpilot.pilot.campaign.proposing import plan_round
from otpilot.pilot.campaign.settings import CampaignSettings
from otpilot.pilot.campaign.stages import Campaign
from otpilot.pilot.ledger import Ledger
from otpilot.runs.counting import counted


def describe_plan(opened: Opened, ledger: Ledger | None = None, *, slots: str = "") -> list[str]:
    """Return the plan as lines; with a ledger also what the next round would try."""
    settings = opened.settings
    seeds = trial_seeds(opened.base, settings)
    metric, *others = acceptable_metrics(opened.base, settings)
    told = [
        f"Campaign {opened.name} in {opened.paths.root}",
        f"  base config      {settings.base}",
        f"  ranked by        {metric}{f' (or {others[0]} where it is not logged)' if others else ''}"
        + ("" if metric.startswith("sim/") else "; a held-out loss can rank methods backwards"),
        f"  seeds            {', '.join(map(str, seeds))} for every variant; confirmation on "
        f"{settings.confirm_seeds} fresh ones",
        f"  trials           {settings.trial.steps} steps, evaluated every {settings.trial.eval_steps}"
        + (f", promoted to {', '.join(map(str, settings.promotion))}" if settings.promotion else ", never promoted"),
        f"  rounds           {settings.rounds} of up to {settings.variants} variants by {settings.proposer}",
        f"  budget           {_budget(opened)}",
        f"  allowed hours    {settings.allowed_hours or 'always'}",
        f"  at once          {slots or settings.concurrency or 'as many as there are free GPUs or cores'}",
        f"  at most          {_most(opened, seeds, ledger)}",
        *(f"  note             {note}" for note in opened.notes),
    ]
    if ledger is None or not ledger.rounds():
        return [*told, f"First: the baseline on {len(seeds)} seeds, to know its findings and the noise of equal runs."]
    return [*told, *_next_round(opened, ledger)]


def _next_round(opened: Opened, ledger: Ledger) -> list[str]:
    campaign = Campaign(ledger, opened.settings, opened.base, rules=opened.rules, runs=opened.paths.trials)
    situation = campaign.situation()
    if situation is None:
        last = ledger.rounds()[-1]
        names = ", ".join(item["name"] for item in last.plan.get("variants", ())) or "the baseline"
        return [f"Next: go on with round {last.number} ({names})."]
    plan = plan_round(situation, opened.settings, opened.rules, limit=opened.settings.variants)
    number = 1 + max(round.number for round in ledger.rounds())
    lines = [f"Next: round {number}, from {', '.join(p['name'] for p in plan['parents'])}."]
    if number > opened.settings.rounds:
        lines.append(f"  All {opened.settings.rounds} rounds are done: it would be tried only with rounds raised.")
    for item in plan["variants"]:
        changes = "; ".join(f"{c['path']} {c['old']} -> {c['new']}" for c in item["changes"])
        lines += [
            f"  {item['name']} (rule {item['rule']})",
            f"    change    {changes}",
            f"    why       {item['reason']}",
        ]
        lines += [f"    expected  {item['expected']}", f"    failed if {item['failed_if']}"]
    if not plan["variants"]:
        lines.append("  There is nothing new to propose, so the campaign would end.")
    known = Known.of(situation.trials)
    new = sum(len(item["seeds"]) for item in plan["variants"])
    lines.append(f"  {new} new trials beside the {sum(len(group) for group in known.by_arm.values())} in the ledger.")
    return lines


def _budget(opened: Opened) -> str:
    budget = opened.settings.budget
    named = ((budget.hours, "hours"), (budget.trials, "trials"), (budget.gpu_hours, "GPU-hours"))
    return ", ".join(f"{value:g} {unit}" for value, unit in named if value is not None) or "no limit"


def most(settings: CampaignSettings, seeds: int) -> tuple[int, int]:
    """Return a bound of the number of trials on this many common seeds, and of their steps, if nothing crashes.

    In each round every variant is screened, every candidate is confirmed and promoted (one that is rolled back makes
    room for the next), each time beside the incumbent. From two acceptances on the last incumbent meets the baseline.
    """
    screened = settings.rounds * settings.variants * seeds + seeds
    arms = settings.rounds * settings.confirm_seeds * (settings.candidates + 1)
    final = 2 * settings.confirm_seeds if settings.rounds > 1 else 0
    steps = (screened + arms + final) * settings.trial.steps
    if settings.promotion:
        steps += arms * (settings.promotion[-1] - settings.trial.steps)
    return screened + arms * (1 + len(settings.promotion)) + final, steps


def _most(opened: Opened, seeds: Sequence[int], ledger: Ledger | None) -> str:
    settings = opened.settings
    trials, steps = most(settings, len(seeds))
    why, allowed = "if every round accepts", settings.budget.trials
    if allowed is not None and allowed < trials:
        steps = min(steps, allowed * max(settings.trial.steps, *settings.promotion, 0))
        trials, why = allowed, "by the budget"
    told = f"{trials} trials, {steps:,} steps in all, {why}; retries and checks after crashes on top"
    rates = [] if ledger is None else _seconds_per_step(ledger)
    if not rates:
        return told
    rate = statistics.median(rates)
    ran = f"{counted(len(rates), 'trial')} that ran"
    return f"{told}; one after another {rate * steps / 3600:.3g} hours, at {rate:.3g} s per step ({ran})"


def _seconds_per_step(ledger: Ledger) -> list[float]:
    """Return how long a step took in each trial that ended well from its own start, start and evaluation included."""
    ended = [trial for trial in ledger.trials() if trial.state in ENDED_WELL and trial.continues is None]
    return [trial.seconds / trial.last_step for trial in ended if trial.last_step and trial.seconds > 0]
