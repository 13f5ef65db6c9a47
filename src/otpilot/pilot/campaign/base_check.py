"""Whether trials of a base config could run at all, asked of `otpilot config check` before anything is written."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from otpilot.errors import ConfigError
from otpilot.pilot.campaign.opening import Opened
from otpilot.pilot.variants import for_trial
from otpilot.runs.writer import write_json_atomically


def check_base(opened: Opened) -> list[str]:
    """Return notes on the base config as trials would train it, e.g. on data that are not on this machine.

    A process of its own asks LeRobot's classes, which the pilot never imports.

    Raises:
        ConfigError: If `otpilot train` would refuse it.
    """
    settings = opened.settings
    config = for_trial(opened.base, seed=0, budget=settings.trial.steps)
    with tempfile.TemporaryDirectory(prefix="otpilot-check-") as folder:
        file = Path(folder) / "base.json"
        write_json_atomically(file, config)
        words = [sys.executable, "-m", "otpilot", "config", "check", "--json", str(file)]
        cwd = (opened.paths.root / settings.cwd).resolve()
        done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    try:
        (found,) = json.loads(done.stdout)
    except ValueError:
        raise ConfigError(f"The base config could not be checked: {done.stderr.strip()[-500:]}") from None
    if found["problems"]:
        listed = "\n  ".join(found["problems"])
        raise ConfigError(
            f"The base config {settings.base}, with [overrides], cannot be trained:\n  {listed}\n"
            f"Mend it in {settings.base} or {opened.paths.settings}; nothing was started."
        )
    return [note for note in found["notes"] if "not on this machine" in note]


def check_data(opened: Opened, missing: Sequence[str]) -> None:
    """Return nothing if all data are there.

    Raises:
        ConfigError: If some are not, with the line for campaign.toml if they lie below the working directory instead.
    """
    paths = [note.removesuffix(".").partition("not on this machine: ")[2] for note in missing]
    lost = [note for note, path in zip(missing, paths, strict=True) if path]
    if not lost:
        return
    root = opened.paths.root.resolve()
    cwd = (root / opened.settings.cwd).resolve()
    hint = "Mend the path or [overrides], or use `--steer-only` and workers that have them."
    if all(Path(path).exists() for path in paths if path) and Path.cwd() != cwd:
        there = Path.cwd().relative_to(root, walk_up=True)
        hint = f'They are below the working directory: put cwd = "{there}" into {opened.paths.settings}.'
    listed = "\n  ".join(lost)
    raise ConfigError(f"Trials run in {cwd}, and lack their data there:\n  {listed}\n{hint}")
