"""What the chaos tests share: how a trial becomes files, and what must be true of them in the end."""

import json
from pathlib import Path

from otpilot.pilot.executors.base import TrialSpec
from otpilot.pilot.ledger import Ledger, Trial
from otpilot.pilot.paths import TrialPaths
from otpilot.runs.reader import read_metrics
from otpilot.runs.writer import write_json_atomically


def spec_of(root: Path, trial: Trial) -> TrialSpec:
    config = root / "configs" / f"{trial.folder_name}.json"
    if not config.exists():
        config.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomically(config, trial_config(trial))
    return TrialSpec(
        name=trial.folder_name, run=root / "trials" / trial.folder_name, config=config, steps=trial.budget,
        seed=trial.seed, retry=trial.retries, attempt=trial.attempts,
    )  # fmt: skip


def trial_config(trial: Trial) -> dict:
    """Some save checkpoints, some have children that would outlive them."""
    return {
        "behaviour": "children" if trial.id % 3 == 0 else "finish",
        "pause": 0.03,
        "save_every": 2 if trial.id % 2 else 0,
    }


def finished_times(run: Path) -> int:
    """Return how often this trial came to its end, in whatever folder of it."""
    found = [run / "outcome.json", *TrialPaths(run).attempts.glob("*/outcome.json")]
    return sum(json.loads(path.read_text())["status"] == "finished" for path in found if path.exists())


def assert_all_is_right(root: Path, ledger: Ledger, count: int, budget: int | None) -> None:
    """`budget` None: each trial's own."""
    trials = ledger.trials()
    assert len(trials) == count
    assert {trial.state for trial in trials} == {"finished"}
    for trial in trials:
        run = root / "trials" / trial.folder_name
        assert finished_times(run) == 1, f"{trial.folder_name} ran to its end {finished_times(run)} times"
        assert (trial.last_step, trial.owner) == (budget or trial.budget, None)
        log = read_metrics(run / "metrics.jsonl")
        assert log.skipped == 0, "a torn line"
        assert log.curve("loss")[0] == list(range(1, (budget or trial.budget) + 1)), (
            "a curve with a gap or a step twice"
        )
        attempts = ledger.attempts(trial.id)
        assert [a.outcome for a in attempts].count("finished") == 1
        assert all(a.ended is not None for a in attempts)
        assert [a.number for a in attempts] == list(range(1, trial.attempts + 1))
    left = [path for path in (root / "trials").rglob("*.tmp") if "attempts" not in path.parts]
    assert left == [], f"torn files: {left}"
