"""A campaign of twelve short trials with the real trainer, and what must be true of it in the end, wherever it ran."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from otpilot.pilot.campaign.folder import CampaignPaths
from otpilot.pilot.campaign.pilot import Score
from otpilot.pilot.campaign.scoring import score
from otpilot.pilot.ledger import Ledger, Trial
from otpilot.pilot.paths import TrialPaths
from otpilot.runs.reader import read_metrics
from tests.pilot.executors.chaos import finished_times

STEPS, SAVE_EVERY, TRIALS = 10, 2, 12
ROOT = Path(__file__).parents[3]
SETTINGS = f"""
base = "base.json"
name = "twelve real trials"
ledger = "{{ledger}}"
proposer = "random"
rounds = 1
variants = 3
confirm_seeds = 3
promotion = []
keep_checkpoints = true
gpus = false
[trial]
seeds = 3
steps = {STEPS}
eval_steps = 5
log_freq = 1
save_freq = {SAVE_EVERY}
retries = 1
[budget]
trials = {TRIALS}
"""
"""Three of the baseline and three variants on three seeds; there is no room for a confirmation."""


@dataclass
class RealCampaign:
    """A campaign's folder, and processes of the command line as people start them."""

    root: Path
    ledger: str
    started: list[subprocess.Popen] = field(default_factory=list)

    @property
    def paths(self) -> CampaignPaths:
        return CampaignPaths(self.root)

    def write(self, world) -> "RealCampaign":
        self.root.mkdir()
        changes = {"schedule_horizon": 100, "dataset.eval_split": 0.3}
        world.write(self.root / "base.json", **changes)
        (self.root / "campaign.toml").write_text(SETTINGS.format(ledger=self.ledger))
        return self

    def start(self, *words: str) -> subprocess.Popen:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
        with (self.root / f"process-{len(self.started)}.log").open("wb") as log:
            made = subprocess.Popen(
                [sys.executable, "-m", "otpilot", "loop", *words],
                cwd=ROOT, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.started.append(made)
        return made

    def said(self) -> str:
        return "\n".join(path.read_text() for path in sorted(self.root.glob("process-*.log")))

    def left(self) -> dict[int, str]:
        """Return the living processes that were told of this folder, with their words: trials, supervisors."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if str(self.root) in words:
                    found[int(entry.name)] = words
        return found

    def trainer_of(self, trial: Trial) -> int | None:
        """Return the process that trains it."""
        wanted = f"--output_dir={self.paths.run(trial.folder_name)} "
        return next((pid for pid, words in self.left().items() if wanted in words and " train " in words), None)

    def in_the_middle(self, trial: Trial) -> bool:
        """Return whether the trial has a checkpoint to go on from, and steps to go."""
        run = self.paths.run(trial.folder_name)
        newest = max((int(p.name) for p in (run / "checkpoints").glob("0*")), default=0)
        return 0 < newest < STEPS - SAVE_EVERY

    def end_all(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.wait()

    def starts(self, trial: Trial) -> list[str]:
        """Return from which checkpoint each start of the trial's trainer went on, "" for a start from nothing."""
        log = TrialPaths(self.paths.run(trial.folder_name)).stdout.read_text()
        return re.findall(r"--config_path=(\S+)", log)


def assert_ended_once(campaign: RealCampaign, ledger: Ledger) -> None:
    """Every trial once, by its key; one attempt that finished; curves without a gap; scores as the run folders say."""
    trials = ledger.trials()
    assert len(trials) == TRIALS
    assert {trial.state for trial in trials} == {"finished"}, [(t.folder_name, t.end_reason) for t in trials]
    keys = Counter((trial.config_hash, trial.seed, trial.budget) for trial in trials)
    assert max(keys.values()) == 1
    assert Counter(trial.kind for trial in trials) == {"baseline": 3, "variant": 9}
    metrics = ledger.rounds()[0].plan["metrics"]
    for trial in trials:
        run = campaign.paths.run(trial.folder_name)
        assert finished_times(run) == 1
        assert (trial.last_step, trial.owner, trial.end_reason) == (STEPS, None, "all steps done")
        log = read_metrics(run / "metrics.jsonl")
        assert log.skipped == 0, "a torn line"
        assert log.curve("loss")[0] == list(range(1, STEPS + 1)), "a curve with a gap or a step twice"
        worth: Score = score(run, budget=STEPS, metrics=metrics)
        assert trial.score == worth.value is not None
        attempts = ledger.attempts(trial.id)
        assert [a.number for a in attempts] == list(range(1, trial.attempts + 1))
        assert [a.outcome for a in attempts][-1] == "finished"
        assert [a.outcome for a in attempts].count("finished") == 1
        assert all(a.ended is not None for a in attempts)
    decisions = ledger.decisions()
    assert len({d.key for d in decisions}) == len(decisions)
    assert [d.kind for d in decisions].count("stop") == 1
    assert ledger.owners() == []
    assert [path for path in campaign.paths.trials.rglob("*.tmp") if "attempts" not in path.parts] == []


def assert_report_is_whole(campaign: RealCampaign) -> None:
    """No cell of its tables is empty or a dash."""
    text = (campaign.paths.reports / "report.md").read_text()
    assert (campaign.paths.reports / "report.html").stat().st_size > 10_000
    rows = [line for line in text.splitlines() if line.startswith("|") and not set(line) <= set("|-: ")]
    assert rows
    empty = [
        row for row in rows if any(cell.strip() in ("", "-", "–", "—", "nan", "None") for cell in row[1:-1].split("|"))
    ]
    assert empty == []


def told(campaign: RealCampaign, ledger: Ledger) -> str:
    """Return what a log entry needs, in JSON: ends of attempts, and the scores to compare with another run."""
    trials = ledger.trials()
    outcomes = Counter(a.outcome for trial in trials for a in ledger.attempts(trial.id))
    scores = {trial.folder_name: trial.score for trial in trials}
    return json.dumps({"outcomes": outcomes, "scores": scores})
