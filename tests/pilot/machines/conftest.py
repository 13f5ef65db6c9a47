"""Campaigns whose ledger is a PostgreSQL database of their own, and processes of the command line that work on them."""

import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest

from tests.pilot.campaign.conftest import Field
from tests.pilot.executors.conftest import processes_with

ROOT = Path(__file__).parents[3]
QUICK = """
base = "base.json"
ledger = "{ledger}"
rounds = 1
variants = 1
confirm_seeds = 3
promotion = []
[trial]
seeds = 3
steps = 800
eval_steps = 100
log_freq = 20
save_freq = 400
retries = 1
"""


@dataclass
class Boxes:
    """Processes that stand for machines."""

    root: Path
    mark: str
    lease_s: float = 15.0
    started: list[subprocess.Popen] = field(default_factory=list)

    def start(self, *words: str) -> subprocess.Popen:
        told = json.dumps({"mark": self.mark, "lease_s": self.lease_s})
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OTPILOT_TEST_DRIVER": told, "OMP_NUM_THREADS": "1"}
        log = (self.root / f"process-{len(self.started)}.log").open("wb")
        with log:
            made = subprocess.Popen(
                [sys.executable, "-m", "tests.pilot.machines.driver", *words],
                cwd=ROOT, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self.started.append(made)
        return made

    def said(self, number: int) -> str:
        return (self.root / f"process-{number}.log").read_text()


@pytest.fixture
def database(postgres):
    """Return the URL of a new, empty database."""
    name = f"d{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return postgres.url.replace("/postgres", f"/{name}")


@pytest.fixture
def shared(tmp_path, database):
    """Return a campaign's folder whose ledger is in PostgreSQL."""
    made = Field(tmp_path / "campaign")
    made.write(QUICK.format(ledger=database), noise=0.02, pause=0.15)
    yield made
    assert made.left() == [], "processes were left"


@pytest.fixture
def boxes(tmp_path):
    made = Boxes(tmp_path, mark=str(tmp_path / "campaign"))
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
        process.wait()
    assert processes_with(made.mark) == []
