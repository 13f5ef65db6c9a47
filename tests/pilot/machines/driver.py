"""The command line, with the fake trainer in the place of `otpilot train` and shorter leases."""

import json
import os
import sys

from otpilot.cli import main
from otpilot.commands import worker
from otpilot.pilot.campaign import hand
from otpilot.pilot.executors.local import LocalExecutor
from otpilot.pilot.ledger import Ledger
from otpilot.pilot.slots import Slots
from tests.pilot.campaign.conftest import TRAINER
from tests.pilot.executors.conftest import MARK

told = json.loads(os.environ["OTPILOT_TEST_DRIVER"])


def local(slots, threads, gpus, cwd):
    return LocalExecutor(
        slots=Slots(limit=slots or 1, threads=1),
        command=TRAINER,
        grace_s=0.3,
        environment={MARK: told["mark"]},
        cwd=cwd,
    )


def open_place(place):
    return Ledger.open(place.where, must_exist=True, patience_s=120, lease_s=told["lease_s"])


worker._local = local
hand.Place.open = open_place
sys.exit(main())
