"""The one exception tree: every message says what was wrong, the value got, and what is allowed."""

import difflib
from collections.abc import Iterable


class OtpilotError(Exception):
    """Base of every error that otpilot raises on purpose; the command line prints it in one line and exits with 2."""


class ConfigError(OtpilotError):
    """A setting is unknown, out of range, or contradicts another."""


class DatasetError(OtpilotError):
    """A dataset is missing, unreadable, empty, or does not fit the other one."""


class PairingError(OtpilotError):
    """A pair table is damaged, empty, or was made for other data."""


class TransportError(OtpilotError):
    """A transport problem is malformed or not finite."""


class NonFiniteError(TransportError):
    """A cost or feature is NaN or infinite, so there is no transport problem to solve."""


class TrainingError(OtpilotError):
    """Training cannot start, or cannot go on."""


class RunError(OtpilotError):
    """A run folder is missing, unreadable, or breaks the contract on disk."""


class LedgerError(OtpilotError):
    """The ledger cannot be opened or reached, or was asked for something that its rules forbid."""


class LeaseLostError(LedgerError):
    """A trial was worked on with a lease that ended, or that another owner took over."""


class ExecutorError(OtpilotError):
    """A trial cannot be started, watched or ended as asked."""


class MissingFileError(OtpilotError):
    """A file that the user named is not there."""


def closest(name: str, allowed: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the allowed name nearest to `name`, or an empty string when none is near."""
    matches = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]!r}?" if matches else ""
