"""One logical run, written in every format that a source reads, as the tools of that format spell it."""

import csv
import json
import math
import sqlite3
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime

from otpilot.runs.record import Outcome
from otpilot.runs.writer import RunWriter

START = 1_766_570_000.0


@dataclass(frozen=True)
class LogicalRun:
    """Curves by canonical name, as {step: value}; every value has three decimals at most, as a log prints them."""

    name: str
    curves: dict
    config: dict = field(default_factory=dict)
    group: str | None = None
    tags: tuple = ()

    def rows(self):
        """Steps in ascending order, each with its values."""
        steps = sorted({step for curve in self.curves.values() for step in curve})
        return [(step, {name: curve[step] for name, curve in self.curves.items() if step in curve}) for step in steps]


LOSS = {50: 15.125, 100: math.nan, 150: math.inf, 200: -math.inf, 250: 1e308, 300: 0.5}
FULL = LogicalRun(
    name="<script>alert(1)<script>",
    curves={
        "train/loss": LOSS,
        "train/grad_norm": {step: 1.0 + step / 1000 for step in LOSS},
        "train/ot_pi_sum": {step: step / 1000 for step in LOSS},
        "eval/offline_eval/avg_loss": {100: 0.75, 300: 0.25},
    },
    config={"policy": {"type": "act"}, "steps": 300, "log_freq": 50},
    group="pairs",
    tags=("ot", "seed-1"),
)
ONE = LogicalRun(name="one", curves={"train/loss": {50: 0.5}, "train/grad_norm": {50: 2.0}})
EMPTY = LogicalRun(name="empty", curves={})
RUNS = (FULL, ONE, EMPTY)
# How the reports' fork spelled what we call train/ot_pi_sum.
FORK = {"train/ot_pi_sum": "train/ot_ot_pi_sum"}


def write_folders(folder, runs):
    for run in runs:
        with RunWriter.create(folder / run.name, config=run.config, environment={}) as writer:
            for step, values in run.rows():
                for kind in ("train", "eval"):
                    mine = {
                        name.removeprefix(f"{kind}/"): value for name, value in values.items() if name[:4] == kind[:4]
                    }
                    if mine:
                        writer.log(step, kind, mine)
            writer.finish(Outcome(status="finished", reason="all steps done", last_step=300))
    return str(folder)


WANDB_SCRIPT = """
import json, sys, math, os
os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_DIR=sys.argv[1])
import wandb
settings = wandb.Settings(console="off", x_disable_stats=True, disable_git=True, x_disable_meta=True)
for run in json.load(sys.stdin):
    with wandb.init(entity="lab", project="ot", id=run["id"], name=run["name"], group=run["group"], tags=run["tags"],
                    config=run["config"], settings=settings) as live:
        for step, values in run["rows"]:
            live.log(values, step=step)
        if run["exit_code"]:
            live.finish(exit_code=run["exit_code"])
"""


def write_wandb_offline(folder, runs, *, exit_codes=()):
    """Let wandb itself write the runs, in a process of its own."""
    bodies = [
        {
            "id": f"id{index}", "name": run.name, "group": run.group, "tags": run.tags, "config": run.config,
            "rows": [(step, {FORK.get(k, k): v for k, v in values.items()}) for step, values in run.rows()],
            "exit_code": exit_codes[index] if exit_codes else 0,
        }
        for index, run in enumerate(runs)
    ]  # fmt: skip
    command = [sys.executable, "-c", WANDB_SCRIPT, str(folder)]
    subprocess.run(command, input=json.dumps(bodies), text=True, check=True, capture_output=True, timeout=120)
    return str(folder / "wandb")


LOG_NAMES = {"train/loss": "loss", "train/grad_norm": "grdn", "train/ot_pi_sum": "ot_pi_sum"}


def log_text(run):
    """What lerobot-train 0.6.1 prints for a run that logs every 50 steps."""
    moment = datetime.fromtimestamp(START).strftime("%Y-%m-%d %H:%M:%S")
    head = f"INFO {moment} ot_train.py:272 "
    lines = [head + "{'batch_size': 8,", " 'log_freq': 50,", " 'policy': {'type': 'act'},", " 'steps': 300}"]
    if not run.config:
        lines = [head + "Creating dataset"]
    for step, values in run.rows():
        words = [f"step:{step}", f"smpl:{step * 8}", "ep:1", "epch:0.50"]
        words += [f"{LOG_NAMES[name]}:{value:.3f}" for name, value in values.items() if name in LOG_NAMES]
        lines.append(head + " ".join([*words, "lr:1.0e-05", "updt_s:0.100", "data_s:0.002"]))
        if "eval/offline_eval/avg_loss" in values:
            lines.append(head + f"step {step}: eval_loss={values['eval/offline_eval/avg_loss']:.4f}")
    return "\n".join([*lines, head + "End of training"]) + "\n"


def write_log(folder, run):
    path = folder / f"{run.name}.log"
    path.write_text(log_text(run), encoding="utf-8")
    return str(path)


def write_trackio(folder, runs):
    """The columns that trackio 0.43 writes; tests/data/trackio holds a file by trackio itself."""
    path = folder / "project.db"
    words = {math.inf: "Infinity", -math.inf: "-Infinity"}
    with sqlite3.connect(path) as base:
        base.execute("CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_id, timestamp, run_name, step, metrics)")
        base.execute("CREATE TABLE configs (id INTEGER PRIMARY KEY, run_id, run_name, config, created_at)")
        for run in runs:
            config = run.config | {"_Group": run.group, "_Created": "2025-12-24T10:11:12+00:00"}
            row = (f"id-{run.name}", run.name, json.dumps(config).encode(), "2025-12-24T10:11:12+00:00")
            base.execute("INSERT INTO configs (run_id, run_name, config, created_at) VALUES (?, ?, ?, ?)", row)
            for step, values in run.rows():
                told = {FORK.get(k, k): "NaN" if v != v else words.get(v, v) for k, v in values.items()}
                moment = datetime.fromtimestamp(START + step, UTC).isoformat()
                row = (f"id-{run.name}", moment, run.name, step, json.dumps(told).encode())
                base.execute("INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES (?,?,?,?,?)", row)
    base.close()
    return str(path)


def _write_csv(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def write_wide(folder, run):
    names = [*run.curves]
    rows = [[step, START + step, *(values.get(name, "") for name in names)] for step, values in run.rows()]
    short = [name.removeprefix("train/") for name in names]
    return _write_csv(folder / f"{run.name}.csv", ["step", "time", *short], rows)


def write_long(folder, runs):
    rows = [
        [run.name, step, metric, value]
        for run in runs
        for step, values in run.rows()
        for metric, value in values.items()
    ]
    return _write_csv(folder / "long.csv", ["run", "step", "metric", "value"], rows)


def write_export(folder, runs):
    """A chart of W&B, exported: one column a run and metric, and their envelopes."""
    steps = sorted({step for run in runs for step, _ in run.rows()})
    pairs = [(run, name) for run in runs for name in run.curves]
    header = ["Step", *(f"{run.name} - {name}{end}" for run, name in pairs for end in ("", "__MIN", "__MAX"))]
    rows = [[step, *(run.curves[name].get(step, "") for run, name in pairs for _ in range(3))] for step in steps]
    return _write_csv(folder / "wandb_export.csv", header, rows)
