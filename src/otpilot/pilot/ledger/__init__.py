"""The ledger of a campaign: trials, leases, decisions, on SQLite or PostgreSQL."""

from otpilot.pilot.ledger.ledger import Ledger
from otpilot.pilot.ledger.records import Attempt, Decision, Lease, NewTrial, Result, Round, Status, Trial
from otpilot.pilot.states import ENDS, HELD, STATES, TRANSITIONS, EndState, TrialState

__all__ = [
    "ENDS",
    "HELD",
    "STATES",
    "TRANSITIONS",
    "Attempt",
    "Decision",
    "EndState",
    "Lease",
    "Ledger",
    "NewTrial",
    "Result",
    "Round",
    "Status",
    "Trial",
    "TrialState",
]
