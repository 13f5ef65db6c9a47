"""A pilot to be killed: works through a ledger of fake trials."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otpilot.pilot.executors.local import LocalExecutor
from otpilot.pilot.ledger import Ledger
from otpilot.pilot.slots import Slots
from otpilot.pilot.worker import Worker
from tests.pilot.executors.chaos import spec_of


def drive(told: Mapping[str, Any]) -> None:
    """Work until nothing waits."""
    root = Path(told["root"])
    slots = Slots(limit=told["slots"], threads=1)
    with (
        Ledger.open(**told["ledger"]) as ledger,
        LocalExecutor(
            slots=slots, command=told["command"], on_pilot_death=told["mode"], environment=told["environment"]
        ) as executor,
    ):
        worker = Worker(ledger, executor, spec_of=lambda trial: spec_of(root, trial), max_retries=1000)
        worker.run(poll_s=0.005)
