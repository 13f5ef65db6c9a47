"""The real confirmation: from a dead transport on the simulator, campaigns by several proposers, equal budgets.

Campaigns of `otpilot loop start`, one after the other, on the same demonstrations, base config, seeds and number of
trials; they differ in `proposer` alone. What became of them is kept as JSON lines beside the surrogate's.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.pilot_efficiency import results
from otpilot.pilot.ledger import Ledger, Trial

ROOT = Path(__file__).parents[2]
PREPARE = ROOT / "examples" / "tabletop" / "prepare.py"
FILE = results.FOLDER / "confirm.jsonl"
PROPOSERS = ("rules", "mixed")
SETTINGS = """# Written by python -m benchmarks.pilot_efficiency confirm
name = "confirm_{proposer}"
base = "base.json"
proposer = "{proposer}"
rounds = 50
patience = 50
variants = 3
confirm_seeds = 3
promotion = []
metric = "sim/success_mean"
concurrency = 2
threads = 1
gpus = false

[trial]
seeds = {seeds}
steps = {steps}
eval_steps = {often}
env_eval_freq = {often}
log_freq = 10
save_freq = {steps}

[budget]
trials = {trials}

[guard]
start_s = 900
hang_s = 900
"""


def run(
    folder: Path, *, proposers: Sequence[str] = PROPOSERS, trials: int, steps: int, seeds: int, dry_run: bool
) -> None:
    """Prepare the campaigns, run them one after the other, and keep what became of them."""
    folders = prepare(folder, proposers=proposers, trials=trials, steps=steps, seeds=seeds)
    rules = {}
    for proposer, campaign in folders.items():
        command = [sys.executable, "-m", "otpilot", "loop", "start", str(campaign)]
        print(proposer, *command, flush=True)
        if not dry_run:
            rules[proposer] = _rules_now()
            subprocess.run(command, check=True)
    if not dry_run:
        asked = {"steps": steps, "seeds": seeds, "budget": trials}
        keep([summary(campaign, p) | asked | {"rules_hash": rules[p]} for p, campaign in folders.items()])


def _rules_now() -> str:
    """Return the hash of the rules as they lie on the disk; hours pass between two campaigns."""
    code = "from benchmarks.pilot_efficiency.results import RULES_HASH; print(RULES_HASH)"
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def prepare(
    folder: Path, *, proposers: Sequence[str] = PROPOSERS, trials: int, steps: int, seeds: int
) -> dict[str, Path]:
    """Return the campaigns' folders: the first records the demonstrations, the others have a link to them."""
    folders = {proposer: folder / proposer for proposer in proposers}
    first = folders[proposers[0]]
    if not (first / "base.json").is_file():
        first.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, str(PREPARE), str(first)], check=True)
    for proposer, campaign in folders.items():
        campaign.mkdir(parents=True, exist_ok=True)
        if campaign != first:
            shutil.copy(first / "base.json", campaign / "base.json")
            if not (campaign / "data").exists():
                (campaign / "data").symlink_to((first / "data").resolve(), target_is_directory=True)
        text = SETTINGS.format(proposer=proposer, trials=trials, steps=steps, seeds=seeds, often=max(1, steps // 10))
        (campaign / "campaign.toml").write_text(text, encoding="utf-8")
    return folders


def summary(campaign: Path, proposer: str) -> dict[str, Any]:
    """Return what became of a campaign: every trial's score, its decisions, and the last incumbent's scores."""
    with Ledger.open(campaign / "ledger.db") as ledger:
        trials, rounds = ledger.trials(), [item for item in ledger.rounds() if item.finished is not None]
        decisions = [{"kind": d.kind, "reason": d.reason, "round": d.round} for d in ledger.decisions()]
    incumbent = rounds[-1].summary["incumbent"] if rounds else {"name": "baseline"}
    baseline = next((trial for trial in trials if trial.kind == "baseline"), None)
    return {
        "proposer": proposer,
        "date": time.strftime("%Y-%m-%d"),
        "versions": results.versions(),
        "config_hash": None if baseline is None else baseline.config_hash,
        "trials": [
            {"name": t.name, "seed": t.seed, "kind": t.kind, "rule": t.rule, "state": t.state, "score": t.score}
            for t in trials
        ],
        "incumbent": incumbent["name"],
        "incumbent_score": _mean(trials, incumbent.get("hash")),
        "baseline_score": None if baseline is None else _mean(trials, baseline.config_hash),
        "decisions": decisions,
    }


def _mean(trials: list[Trial], config_hash: str | None) -> float | None:
    scores = [trial.score for trial in trials if trial.config_hash == config_hash and trial.score is not None]
    return sum(scores) / len(scores) if scores else None


def keep(lines: list[dict[str, Any]]) -> None:
    """Write the lines in place of those of an earlier confirmation."""
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def told() -> Iterator[str]:
    """Yield what the page says of it."""
    command = "`python -m benchmarks.pilot_efficiency confirm FOLDER`"
    if not FILE.is_file():
        yield f"Not run yet. {command} runs it: campaigns of real trials on the simulator, from a dead transport."
        yield ""
        return
    lines = results.read(FILE)
    first = lines[0]
    yield (
        f"By {command}, {first['date']}: campaigns as the product runs them, {first['budget']} trials of\n"
        f"{first['steps']} steps each, {first['seeds']} seeds a variant; the score is success in closed loop where\n"
        "the target was demonstrated and where it was not. 2 CPU cores."
    )
    yield ""
    yield "| proposer | trials | accepted | baseline | last incumbent | its name | why it ended |"
    yield "|---|---|---|---|---|---|---|"
    for line in lines:
        accepted = sum(decision["kind"] == "accept" for decision in line["decisions"])
        ended = next((d["reason"] for d in reversed(line["decisions"]) if d["kind"] == "stop"), "still running")
        shown = ["" if line[name] is None else f"{line[name]:.2f}" for name in ("baseline_score", "incumbent_score")]
        counts = f"{len(line['trials'])} | {accepted}"
        yield f"| {line['proposer']} | {counts} | {' | '.join(shown)} | {line['incumbent']} | {ended} |"
    yield ""
    if len({line["rules_hash"] for line in lines}) > 1:
        told = ", ".join(f"{line['rules_hash']} ({line['proposer']})" for line in lines)
        yield f"They ran with different versions of the rules, {told}: [log.md](log.md) says what changed in between."
    yield (
        "A campaign each cannot tell proposers from luck: this shows that the loop runs with either, and whether what\n"
        "it found on real trials contradicts the surrogate."
    )
    yield ""
