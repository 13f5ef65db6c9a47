"""What is done with a run folder before a trial starts in it: has it ended already, or where does it go on?"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otpilot.errors import ExecutorError
from otpilot.pilot.executors.base import Ended, TrialSpec
from otpilot.pilot.outcomes import judge
from otpilot.pilot.paths import TrialPaths
from otpilot.runs.paths import RunPaths

CONFIG_OF_CHECKPOINT = Path("pretrained_model") / "train_config.json"


def find_checkpoint(run: Path, *, below: int) -> Path | None:
    """Return the folder of the newest complete checkpoint of a run before step `below`, or None."""
    folder = RunPaths(run).checkpoints
    found = [path for path in folder.iterdir() if path.name.isdigit()] if folder.is_dir() else []
    usable = [path for path in found if int(path.name) < below and (path / CONFIG_OF_CHECKPOINT).is_file()]
    return max(usable, key=lambda path: int(path.name), default=None)


def earlier_end(spec: TrialSpec) -> Ended | None:
    """Return how this very trial (same retry, same budget) ended in its folder before, or None. Nothing may run there.

    So a trial that ended while no pilot watched, or whose end was not written down, is not run again.
    """
    paths = TrialPaths(spec.run)
    job = read_json(paths.job)
    if job is None or (job.get("retry"), job.get("steps")) != (spec.retry, spec.steps):
        return None
    left = read_json(paths.exit)
    if left is not None and left.get("token") != job["token"]:
        left = None
    return conclude(spec.run, token=str(job["token"]), steps=spec.steps, left=left, seen_code=None)


def clear_drafts(spec: TrialSpec) -> None:
    """Remove what killed writers left: files that were to be moved into place. Nothing may run there."""
    paths = TrialPaths(spec.run)
    for folder in (paths.root, spec.run):
        for draft in (*folder.glob(".*.tmp"), *folder.glob("*.tmp")):
            draft.unlink(missing_ok=True)


def conclude(
    run: Path, *, token: str, steps: int, left: Mapping[str, Any] | None, seen_code: int | None
) -> Ended | None:
    """Return how a trial ended whose process is gone; None if it was only interrupted and can go on.

    Args:
        run: The run folder.
        token: The job's token.
        steps: The budget.
        left: exit.json of this job, if it was written.
        seen_code: The exit code that somebody saw otherwise.
    """
    paths = TrialPaths(run)
    code = seen_code if left is None else left["code"]
    seconds = None if left is None else max(0.0, float(left["ended"]) - float(left["began"]))
    if left is not None and left["ended_by"] == "itself":
        return judge(run, steps=steps, exit_code=code, log=paths.stdout, seconds=seconds)
    found = judge(run, steps=steps, exit_code=code, log=paths.stdout, seconds=seconds)
    if found.state in ("finished", "stopped_early"):  # it was through when the signal came
        return found
    verdict = read_json(paths.verdict)
    if verdict is not None and verdict.get("token") == token:
        return Ended(
            state=verdict["state"],
            reason=verdict["reason"],
            exit_code=code,
            last_step=found.last_step,
            garbled=found.garbled,
            seconds=seconds,
        )
    if left is None and (seen_code is not None or _left_outcome(run)):
        return found
    return None


def _left_outcome(run: Path) -> bool:
    body = read_json(RunPaths(run).outcome)
    return body is not None and body.get("status") in ("diverged", "crashed")


def prepare(spec: TrialSpec) -> Path | None:
    """Make the folders ready for a start and return the checkpoint to go on from, or None for a start from nothing.

    What an earlier attempt left without a checkpoint is moved aside, since the trainer refuses a folder that exists.

    Raises:
        OSError: If the disk is full or the folder cannot be written.
        ExecutorError: If the trial continues a run that has no checkpoint.
    """
    paths = TrialPaths(spec.run)
    paths.root.mkdir(parents=True, exist_ok=True)
    for old in (paths.exit, paths.verdict, paths.process):
        old.unlink(missing_ok=True)
    own = find_checkpoint(spec.run, below=spec.steps)
    if own is not None:
        paths.contract.outcome.unlink(missing_ok=True)
        return own
    if spec.run.exists():
        paths.attempts.mkdir(exist_ok=True)
        number = 1 + max((int(p.name) for p in paths.attempts.iterdir() if p.name.isdigit()), default=0)
        spec.run.rename(paths.attempts / str(number))
    if spec.continues is None:
        return None
    inherited = find_checkpoint(spec.continues, below=spec.steps)
    if inherited is None:
        raise ExecutorError(
            f"Trial {spec.name!r} continues {spec.continues}, which has no complete checkpoint below step {spec.steps}."
        )
    metrics = RunPaths(spec.continues).metrics
    if metrics.is_file():  # the trainer drops what lies behind the checkpoint, and adds its own
        spec.run.mkdir(parents=True)
        shutil.copyfile(metrics, RunPaths(spec.run).metrics)
    return inherited


def trainer_arguments(spec: TrialSpec, checkpoint: Path | None) -> list[str]:
    """Return the arguments that start `otpilot train`, or let it go on from a checkpoint."""
    config = spec.config if checkpoint is None else checkpoint / CONFIG_OF_CHECKPOINT
    words = [f"--config_path={config.resolve()}", f"--output_dir={spec.run.resolve()}", f"--steps={spec.steps}"]
    if checkpoint is not None:
        words.append("--resume=true")
    elif spec.seed is not None:
        words.append(f"--seed={spec.seed}")
    return [*words, *spec.arguments]


def read_json(path: Path) -> dict[str, Any] | None:
    """Return a JSON object from a file, or None where it is missing or damaged."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return body if isinstance(body, dict) else None


def job_body(spec: TrialSpec, token: str, **more: Any) -> dict[str, Any]:
    """Return what job.json says."""
    named = {"token": token, "trial": spec.name, "run": str(spec.run.resolve()), "steps": spec.steps}
    return {**named, "retry": spec.retry, "attempt": spec.attempt, **more}
