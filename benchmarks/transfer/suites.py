"""The one table of suites."""

from collections.abc import Mapping

from benchmarks.transfer.metaworld import METAWORLD
from benchmarks.transfer.suite import Suite
from benchmarks.transfer.tabletop import TABLETOP, TABLETOP_FAR
from otpilot.errors import ConfigError, closest

SUITES: Mapping[str, Suite] = {suite.name: suite for suite in (TABLETOP, TABLETOP_FAR, METAWORLD)}


def get_suite(name: str) -> Suite:
    """Return the suite of a name.

    Raises:
        ConfigError: If it is unknown.
    """
    if name not in SUITES:
        raise ConfigError(f"Unknown suite {name!r}; allowed: {', '.join(SUITES)}.{closest(name, SUITES)}")
    return SUITES[name]
