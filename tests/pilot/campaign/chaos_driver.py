"""A campaign's pilot to be killed: works in a folder until the campaign is over."""

import sys
from pathlib import Path

from otpilot.pilot.campaign.opening import open_folder
from otpilot.pilot.campaign.pilot import Pilot
from otpilot.pilot.executors.local import LocalExecutor
from otpilot.pilot.ledger import Ledger
from otpilot.pilot.slots import Slots
from tests.pilot.executors.conftest import MARK

TRAINER = (sys.executable, "-S", "-E", str(Path(__file__).with_name("fake_trainer.py")))


def drive(root: str, mode: str = "kill", ledger: str | None = None, schema: str | None = None) -> None:
    """Work until the campaign is over."""
    opened = open_folder(Path(root))
    with (
        Ledger.open(ledger or opened.paths.ledger(opened.settings), schema=schema) as book,
        LocalExecutor(
            slots=Slots(limit=3, threads=1), command=TRAINER, on_pilot_death=mode, environment={MARK: root}, grace_s=0.3
        ) as executor,
    ):
        Pilot(book, executor, opened.settings, opened.base, opened.paths, rules=opened.rules, poll_s=0.005).run()
