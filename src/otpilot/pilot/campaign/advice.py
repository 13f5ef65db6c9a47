"""What to do next with a campaign: sentences for the end of its report."""

from collections.abc import Sequence
from pathlib import Path

from otpilot.analysis.view import is_success
from otpilot.pilot.campaign.opening import Opened
from otpilot.pilot.decisions import PROMISE
from otpilot.pilot.ledger import Decision
from otpilot.pilot.variants import DEFAULT_STEPS, LINEAGE_SUFFIX
from otpilot.report.campaign.result import Incumbent, Node


def next_steps(
    opened: Opened, decisions: Sequence[Decision], nodes: Sequence[Node], incumbents: Sequence[Incumbent], *, over: str
) -> tuple[str, ...]:
    """Return what a person may do next, most useful first."""
    place = opened.paths.root
    if not over:
        return (f"Let it go on: otpilot loop resume {place} (otpilot loop status {place} says how it stands).",)
    steps: list[str] = []
    last = incumbents[-1] if incumbents else None
    if last is None:
        return (
            f"Look into the log of the first baseline trial under {opened.paths.trials}. If the machine or the data "
            f"are at fault, mend them and type otpilot loop resume {place}: the baseline is tried again. If the base "
            "config is, begin another folder.",
        )
    kind = next((str(d.evidence.get("kind")) for d in reversed(decisions) if d.kind == "stop"), "")
    if _may_have_got_worse(last, decisions):
        steps.append(
            f"Before {last.name} is trained any longer, compare it with {incumbents[-2].name} on more seeds: it was "
            "accepted for its health, and its score fell by more than its standard error."
        )
    elif last.ground in ("score", "health"):
        claim = "better beyond noise" if last.ground == "score" else "healthier; about its score nothing is claimed"
        steps.append(f"Train {last.name} to the end of its schedule ({claim}): {_command(last.name, opened)}")
    problems = next((node.problems for node in nodes if last is not None and node.name == last.name), ())
    if problems:
        steps.append(f"The incumbent still has {', '.join(problems)}; look into its runs with otpilot analyze.")
    metric = next((str(d.evidence["metric"]) for d in decisions if d.key == "r0/baseline"), "")
    if metric and not is_success(metric):
        steps.append("Measure closed-loop success before believing it: trials were ranked by a held-out loss only.")
    steps += _by_kind(kind, opened)
    return tuple(steps)


def _command(name: str, opened: Opened) -> str:
    """Return what to type to train a config of the campaign for as long as its base was meant to."""
    root, cwd = opened.paths.root.resolve(), (opened.paths.root / opened.settings.cwd).resolve()
    written = sorted(opened.paths.configs.glob(f"{name}_s*_b*.json"))
    written = [path for path in written if not path.name.endswith(LINEAGE_SUFFIX)]
    config = written[0].resolve() if written else opened.paths.configs.resolve() / f"{name}_....json"
    steps = int(opened.base.get("schedule_horizon") or opened.base.get("steps") or DEFAULT_STEPS)
    out = (root / "final" / name).relative_to(cwd, walk_up=True)
    command = f"otpilot train --config_path={config.relative_to(cwd, walk_up=True)} --steps={steps} --output_dir={out}"
    here = opened.paths.root / opened.settings.cwd
    return command if cwd == Path.cwd() else f"cd {here} && {command}"


def _may_have_got_worse(last: Incumbent, decisions: Sequence[Decision]) -> bool:
    found = next((d.evidence for d in decisions if d.key == f"r{last.round}/confirm/{last.name}"), {})
    gain, error = found.get("gain"), found.get("error")
    return last.ground == "health" and gain is not None and error is not None and gain < -PROMISE * error


def _by_kind(kind: str, opened: Opened) -> list[str]:
    settings = opened.settings
    if kind == "nothing to gain":
        return [
            "For smaller effects raise trial.seeds and confirm_seeds, or trial.steps: with these numbers they drown in "
            "the noise. That is another campaign, in a folder of its own."
        ]
    if kind == "exhausted":
        others = "mixed or bayes" if settings.proposer == "rules" else "rules"
        return [f"Set proposer = {others} in campaign.toml, or add rules of your own, and resume."]
    if kind == "rounds":
        return [f"Raise rounds above {settings.rounds} in campaign.toml and resume, if it still gained."]
    if kind == "budget":
        return ["Raise the budget in campaign.toml and resume."]
    return []
