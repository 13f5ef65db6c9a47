"""The plan of a campaign in words: what would be run, and what it may cost. Nothing is written or launched."""

from collections.abc import Sequence

from otpilot.pilot.campaign.arms import Known
from otpilot.pilot.campaign.base import acceptable_metrics, trial_seeds
from otpilot.pilot.campaign.opening import Opened
from otpilot.pilot.campaign.proposing import plan_round
from otpilot.pilot.campaign.stages import Campaign
from otpilot.pilot.ledger import Ledger


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
        f"  at most          {_most(opened, seeds)}",
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


def _most(opened: Opened, seeds: Sequence[int]) -> str:
    """Return the number of trials and steps if every round accepts a candidate."""
    settings = opened.settings
    screened = settings.rounds * settings.variants * len(seeds) + len(seeds)
    confirmed = settings.rounds * settings.confirm_seeds * (settings.candidates + 1)
    promoted = settings.rounds * settings.confirm_seeds * 2
    steps = (screened + confirmed) * settings.trial.steps
    if settings.promotion:
        steps += promoted * (settings.promotion[-1] - settings.trial.steps)
    trials = screened + confirmed + promoted * len(settings.promotion)
    return f"{trials} trials, {steps:,} steps in all, if every round accepts a candidate"
