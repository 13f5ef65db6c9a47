"""A campaign's ledger: opened, and asked whether it was begun or is over, and how long pilots have worked on it."""

from collections.abc import Iterator
from contextlib import contextmanager

from otpilot.errors import ConfigError
from otpilot.pilot.campaign.folder import CampaignPaths
from otpilot.pilot.campaign.settings import CampaignSettings
from otpilot.pilot.ledger import Ledger

SESSION = "session/"
"""How the keys begin under which each pilot writes down how long it has worked."""
OVER_KEY = "over"
"""Under it a pilot says why the campaign is over: workers end what they run. Who resumes takes it back."""


def has_ledger(opened_paths: CampaignPaths, settings: CampaignSettings) -> bool:
    """Whether there may be a ledger to read: the file exists, or it is at a URL."""
    where = opened_paths.ledger(settings)
    return isinstance(where, str) or where.is_file()


@contextmanager
def open_ledger(paths: CampaignPaths, settings: CampaignSettings, *, must_exist: bool = False) -> Iterator[Ledger]:
    """Yield the campaign's ledger, made if need be.

    Raises:
        ConfigError: If it must exist and does not.
        LedgerError: If it cannot be used.
    """
    if must_exist and not has_ledger(paths, settings):
        raise ConfigError(
            f"The campaign in {paths.root} was never started: there is no {paths.ledger(settings)}. "
            f"Begin it with `otpilot loop start {paths.root}`."
        )
    with Ledger.open(paths.ledger(settings)) as ledger:
        yield ledger


def was_started(ledger: Ledger) -> bool:
    """Whether the ledger holds a campaign."""
    return bool(ledger.rounds())


def say_over(ledger: Ledger, reason: str | None) -> None:
    """Tell all workers that the campaign is over, and why; None takes it back."""
    if ledger.get(OVER_KEY) != reason:
        ledger.put(OVER_KEY, reason)


def why_over(ledger: Ledger) -> str | None:
    """Return why the campaign is over, as its pilot said it; None while it goes on."""
    reason = ledger.get(OVER_KEY)
    return None if reason is None else str(reason)


def worked_seconds(ledger: Ledger, *, skip: str = "") -> float:
    """Return how long pilots have worked on a campaign, all together, by what they wrote down."""
    found = ledger.everything(SESSION)
    return sum(float(body["worked"]) for key, body in found.items() if key != skip)
