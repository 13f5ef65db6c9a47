"""Campaigns on fake trials: folders, pilots, and what must be true of their ledgers."""

import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from otpilot.pilot.campaign.folder import CampaignPaths
from otpilot.pilot.campaign.opening import Opened, open_folder
from otpilot.pilot.campaign.pilot import Clocks, Pilot
from otpilot.pilot.executors.base import Executor, TrialSpec
from otpilot.pilot.executors.in_process import InProcessExecutor
from otpilot.pilot.executors.local import LocalExecutor
from otpilot.pilot.ledger import Ledger
from otpilot.pilot.slots import Slots
from tests.analysis.build import CONFIG
from tests.pilot.campaign.fake_trainer import run_trial
from tests.pilot.executors.conftest import MARK, processes_with

SCRIPT = Path(__file__).with_name("fake_trainer.py")
TRAINER = (sys.executable, "-S", "-E", str(SCRIPT))
SETTINGS = """
base = "base.json"
name = "fake"
rounds = 3
confirm_seeds = 3
promotion = []

[trial]
seeds = 3
steps = 1000
eval_steps = 100
log_freq = 20
save_freq = 500
"""


@dataclass
class Field:
    """A campaign's folder, and pilots that work in it."""

    root: Path
    made: list[Executor] = field(default_factory=list)

    @property
    def paths(self) -> CampaignPaths:
        return CampaignPaths(self.root)

    @property
    def mark(self) -> str:
        return str(self.root)

    def write(self, settings: str = SETTINGS, **plan) -> "Field":
        """Write base.json and campaign.toml; `plan` says what the fake trials do."""
        ot = {**CONFIG["ot"], "loss_config": {**CONFIG["ot"]["loss_config"]}}
        ot |= {"src_repo_id": "a/s", "src_root": "source", "pair_info_path": "pairs.npz"}
        ot["loss_config"] |= {"reg": 0.02, "tau_src": 0.01, "tau_tgt": 0.01}
        body = {
            **CONFIG, "policy": {**CONFIG["policy"], "push_to_hub": False}, "ot": ot,
            "dataset": {"repo_id": "a/b", "eval_split": 0.1}, "steps": 20_000, "eval": {"n_episodes": 5, **plan},
            "eval_freq": 100,
        }  # fmt: skip
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "base.json").write_text(json.dumps(body))
        (self.root / "campaign.toml").write_text(settings)
        return self

    def opened(self) -> Opened:
        return open_folder(self.root)

    def executor(self, slots: int = 4, **options) -> LocalExecutor:
        options = {"command": TRAINER, "grace_s": 0.3, "environment": {MARK: self.mark}, **options}
        made = LocalExecutor(slots=Slots(limit=slots, threads=1), **options)
        self.made.append(made)
        return made

    def pilot(self, ledger: Ledger, *, executor: Executor | None = None, **options) -> Pilot:
        opened = self.opened()
        options = {"poll_s": 0.002, "rules": opened.rules, **options}
        executor = executor or self.threads()
        return Pilot(ledger, executor, opened.settings, opened.base, opened.paths, **options)

    def threads(self, slots: int = 4) -> InProcessExecutor:
        made = InProcessExecutor(work, slots=slots)
        self.made.append(made)
        return made

    def run(self, **options):
        """Run the campaign to its end; returns why it ended."""
        with Ledger.open(self.root / "ledger.db") as ledger:
            return self.pilot(ledger, **options).run()

    def ledger(self) -> Ledger:
        return Ledger.open(self.root / "ledger.db")

    def left(self) -> list[int]:
        return processes_with(self.mark)


def work(spec: TrialSpec, checkpoint: Path | None, ended: threading.Event) -> None:
    """The fake trainer as a function."""
    first = 1 if checkpoint is None else int(checkpoint.name) + 1
    config = {**json.loads(spec.config.read_text()), "steps": spec.steps, "seed": spec.seed}
    run_trial(str(spec.run), config, first=first, ended=ended.is_set)


@pytest.fixture
def memory_path(tmp_path):
    """A folder in memory where there is one: a ledger waits for the disk at every write, some 20 ms of it here."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="otpilot-test-") as folder:
        yield Path(folder)


@pytest.fixture
def campaign(memory_path):
    made = Field(memory_path / "campaign")
    yield made
    for executor in made.made:
        executor.close()
    assert made.left() == [], "processes were left"


@dataclass
class Hands:
    """Clocks moved by hand: sleeping lets time pass."""

    now: float = 1_000_000.0
    local: datetime = field(default_factory=lambda: datetime(2026, 1, 1, 12, 0))
    slept: Callable[[float], None] = lambda _: None

    def clocks(self) -> Clocks:
        return Clocks(seconds=lambda: self.now, local=lambda: self.local, sleep=self.slept)


def essence(ledger: Ledger) -> dict:
    """Return what a ledger says, without what depends on when and how often something was tried."""
    ids = {trial.id: f"{trial.folder_name}" for trial in ledger.trials()}
    trials = {
        ids[t.id]: {
            "hash": t.config_hash, "state": t.state, "kind": t.kind, "round": t.round, "score": t.score,
            "metrics": t.metrics, "last_step": t.last_step, "parent": ids.get(t.parent), "rule": t.rule,
            "continues": ids.get(t.continues), "reason": t.reason, "config": ledger.config(t.config_hash),
        }
        for t in ledger.trials()
    }  # fmt: skip
    decisions = [(d.key, d.kind, d.reason, d.round, ids.get(d.trial), d.evidence) for d in ledger.decisions()]
    rounds = [(r.number, r.plan, r.summary, r.finished is not None) for r in ledger.rounds()]
    return {"trials": trials, "decisions": decisions, "rounds": rounds}
