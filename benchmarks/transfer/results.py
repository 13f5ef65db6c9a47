"""Results as JSON lines, one per training: what was run, how it fared, on what."""

import fcntl
import json
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.transfer.cells import Cell
from benchmarks.transfer.suites import get_suite
from otpilot.errors import MissingFileError, OtpilotError, RunError
from otpilot.report.result import SuccessRate
from otpilot.runs.paths import RunPaths
from otpilot.runs.reader import read_metrics, read_outcome

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[2]
FINISHED = "finished"
FIGURES = {
    "mass": "ot_pi_sum",
    "grad_share": "ot_grad_share",
    "diag_share": "ot_diag_share",
    "weight": "ot_weight",
    "bc_loss": "bc_loss",
}
"""What a record says of the last logged step, and the metric that it comes from."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One training. `success` holds (successes, episodes) by cell; `wall_s` is what its last process took.

    `resumed_at` is the step at which that process took over, None where it trained all of them. `figures` hold the
    last mass, gradient share, share of the plan on the drawn pairs, weight, and cloning loss, where there are any.
    """

    cell: str
    hash: str
    seed: int
    steps: int
    state: str
    reason: str = ""
    episodes: int
    success: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    wall_s: float
    resumed_at: int | None = None
    date: str
    commit: str | None
    changed: bool | None = None
    machine: Mapping[str, Any]
    versions: Mapping[str, str | None] = field(default_factory=dict)

    def rate(self, cell: str) -> SuccessRate:
        """Return the success in a cell."""
        successes, episodes = self.success[cell]
        return SuccessRate(successes=successes, episodes=episodes)

    def to_line(self) -> str:
        """Return the JSON line, without newline."""
        return json.dumps(asdict(self), allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> "Record":
        """Return what a line says.

        Raises:
            ValueError: If it is torn, or lacks a field.
        """
        body = json.loads(line)
        try:
            body["success"] = {name: (int(k), int(n)) for name, (k, n) in body["success"].items()}
            return cls(**body)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a result: {error}") from error


def read_results(folder: Path = RESULTS) -> list[Record]:
    """Return all records of a folder, in order of file and line.

    Raises:
        RunError: If a line cannot be read; results are never dropped in silence.
    """
    records = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                records.append(Record.from_line(line))
            except ValueError as error:
                raise RunError(f"{path}, line {number}: {error}.") from error
    return records


def append_result(record: Record, folder: Path = RESULTS) -> Path:
    """Append a record to the file of its suite, in one write under a lock, and return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{record.cell.split('/')[0]}.jsonl"
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(record.to_line() + "\n")
    return path


def find_result(cell: Cell, records: Iterable[Record], *, episodes: int = 1) -> Record | None:
    """Return the newest finished record of a cell with enough episodes, whatever name it was run under, or None."""
    wanted = (cell.recipe.hash, cell.seed, cell.recipe.steps)
    found = None
    for record in records:
        if (record.hash, record.seed, record.steps) == wanted and record.state == FINISHED:
            found = record if record.episodes >= episodes else found
    return found


def measure(cell: Cell, run: Path, *, wall_s: float, resumed_at: int | None, episodes: int, device: str) -> Record:
    """Return the record of a run folder, finished or not."""
    paths = RunPaths(run)
    state, reason, success, figures = "crashed", "it left no outcome", {}, {}
    try:
        outcome = read_outcome(run)
        if outcome is not None:
            state, reason = outcome.status, outcome.reason
        if paths.metrics.is_file():
            figures = _figures(paths)
        if state == FINISHED:
            rates = get_suite(cell.recipe.suite).measure(paths)
            success = {name: (rate.successes, rate.episodes) for name, rate in rates.items()}
    except OtpilotError as error:
        state, reason = "crashed", str(error)
    environment = json.loads(paths.environment.read_text(encoding="utf-8")) if paths.environment.is_file() else {}
    git = environment.get("git") or {}
    return Record(
        cell=cell.name,
        hash=cell.recipe.hash,
        seed=cell.seed,
        steps=cell.recipe.steps,
        state=state,
        reason="" if state == FINISHED else without_places(reason, run),
        episodes=min((n for _, n in success.values()), default=episodes),
        success=success,
        figures=figures,
        wall_s=round(wall_s, 1),
        resumed_at=resumed_at,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=git.get("commit"),
        changed=git.get("changed"),
        machine=describe_machine(device),
        versions={**environment.get("versions", {}), "python": environment.get("python")},
    )


def without_places(text: str, run: Path) -> str:
    """Return a message without this machine's folders: the run is RUN, its workplace WORK, the repository a dot."""
    for place, name in ((run, "RUN"), (run.parent.parent, "WORK"), (ROOT, "."), (Path.home(), "~")):
        text = text.replace(str(place), name)
    return text


def describe_machine(device: str) -> dict[str, Any]:
    """Return cores, processor, GPU (None without one) and the device trained on: words, no names of hosts."""
    import os

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    try:
        asked = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        gpus = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=10).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        gpus = []
    gpu = next((name.strip() for name in gpus if name.strip()), None)
    return {"cores": os.cpu_count(), "cpu": names[0] if names else None, "gpu": gpu, "device": device}


def _figures(paths: RunPaths) -> dict[str, float]:
    log = read_metrics(paths.metrics)
    found = {}
    for name, metric in FIGURES.items():
        _, values = log.curve(metric)
        finite = [value for value in values if abs(value) < float("inf")]
        if finite:
            found[name] = float(f"{finite[-1]:.5g}")
    return found


def machine_words(machine: Mapping[str, Any]) -> str:
    """Return a machine in words, e.g. "2 cores (Intel(R) Xeon(R) Processor), no GPU"."""
    gpu = machine.get("gpu") if machine.get("device") != "cpu" else None
    return f"{machine.get('cores')} cores ({machine.get('cpu') or 'unknown'}), {gpu or 'no GPU used'}"


def check_found(record: Record | None, cell: Cell) -> Record:
    """Return the record, or raise MissingFileError with how to make it."""
    if record is None:
        raise MissingFileError(
            f"No finished result of {cell.name}; make it with: python -m benchmarks.transfer run {cell.name}"
        )
    return record
