"""Who watches training: what a progress display is told."""

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Who wants to see how training goes."""

    def start(self, *, total: int, done: int) -> None:
        """Learn how many steps there are, and how many are done already."""

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Learn that a step is done, with the newest logged values."""

    def note(self, text: str) -> None:
        """Learn something worth a line."""


class Silence:
    """Shows nothing."""

    def start(self, *, total: int, done: int) -> None:
        """Ignore."""

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""
