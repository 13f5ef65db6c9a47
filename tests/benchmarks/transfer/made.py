"""Records and a suite that train nothing, for the tests of the transfer benchmark."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.transfer.cells import Cell
from benchmarks.transfer.results import Record
from benchmarks.transfer.suite import Data, Suite
from benchmarks.transfer.tabletop import TABLETOP

MACHINE = {"cores": 2, "cpu": "A Processor", "gpu": None, "device": "cpu"}
# Writes what a run folder holds, or waits to be ended, as the file `mode` beside the config says.
SCRIPT = """
import json, pathlib, signal, sys, time
config = json.loads(pathlib.Path(sys.argv[1]).read_text())
run = pathlib.Path(config["output_dir"])
resumed = "--resume=true" in sys.argv
run.mkdir(parents=True, exist_ok=resumed)
mode = (run.parents[1] / "mode").read_text().split()
def end(status, step):
    values = {"n_episodes": config["eval"]["n_episodes"], "success_source": 1.0, "success_target_id": 0.5,
              "success_target_ood": 0.25}
    lines = [{"step": step, "time": 0.0, "kind": "train", "values": {"ot_pi_sum": 0.6, "bc_loss": 0.1}}]
    if status == "finished":
        lines.append({"step": step, "time": 0.0, "kind": "sim", "values": values})
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\\n" for line in lines))
    about = {"versions": {"torch": "1"}, "git": {"commit": "abc", "changed": False}}
    (run / "environment.json").write_text(json.dumps(about))
    (run / "outcome.json").write_text(json.dumps({"status": status, "reason": "said so", "last_step": step}))
def killed(*_):
    folder = run / "checkpoints" / "last" / "pretrained_model"
    folder.mkdir(parents=True)
    (folder / "train_config.json").write_text(json.dumps(config))
    end("killed", 7)
    sys.exit(1)
if "wait" in mode and not resumed:
    signal.signal(signal.SIGTERM, killed)
    (run.parents[1] / "waiting").touch()
    time.sleep(60)
if "die" in mode:
    print("Error: nothing works in", run)
    sys.exit(1)
if "diverge" in mode and config["seed"] == 1:
    end("diverged", 3)
    sys.exit(1)
end("finished", config["steps"])
"""


class StandIn(Suite):
    """A suite whose training is a small script."""

    def prepare(self, folder: Path, data: Data) -> None:
        """Nothing to make."""

    def base_config(self, folder: Path, data: Data, *, policy: str, steps: int) -> dict[str, Any]:
        """Return the tabletop's config."""
        return TABLETOP.base_config(folder, data, policy=policy, steps=steps)

    def command(self, config: Path) -> Sequence[str]:
        """Return the script's command line."""
        return [sys.executable, "-c", SCRIPT, str(config)]


STAND_IN = StandIn(name="stand_in", about="trains nothing", steps={"act": 10}, oracle=True)


def record(name: str, *rates: float, episodes: int = 100, **changes: Any) -> Record:
    """Return the finished record of a cell with success rates on source, target ID and target OOD."""
    cell = Cell.parse(name)
    success = dict(
        zip(("source", "target_id", "target_ood"), ((round(r * episodes), episodes) for r in rates), strict=True)
    )
    values: dict[str, Any] = {
        "cell": cell.name,
        "hash": cell.recipe.hash,
        "seed": cell.seed,
        "steps": cell.recipe.steps,
        "state": "finished",
        "episodes": episodes,
        "success": success,
        "wall_s": 600.0,
        "date": "2026-11-21T20:00:00+00:00",
        "commit": "0123456789abcdef",
        "machine": MACHINE,
        "versions": {"torch": "2.11.0"},
    }
    return Record(**(values | changes))


def lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON lines of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
