"""The hours of the day in which trials may run, by the local clock; a window may cross midnight."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from otpilot.errors import ConfigError

SPAN = re.compile(r"^\s*(\d{1,2}):(\d{2})\s*(?:-|to)\s*(\d{1,2}):(\d{2})\s*$")
DAY = 24 * 60


@dataclass(frozen=True)
class DailyWindow:
    """Spans of minutes of the day, each from (inclusive) and to (exclusive); none at all means always."""

    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the window that "22:00-06:00" or "12:00-13:00, 20:00-07:30" means; an empty text means always.

        Raises:
            ConfigError: If it cannot be read.
        """
        spans = []
        for part in (part for part in text.split(",") if part.strip()):
            found = SPAN.match(part)
            numbers = [int(group) for group in found.groups()] if found else []
            if not numbers or not (numbers[0] <= 24 and numbers[2] <= 24 and numbers[1] < 60 and numbers[3] < 60):
                raise ConfigError(
                    f'allowed_hours is {text!r}; allowed: "22:00-06:00", several with commas between, or "" for always.'
                )
            begin, end = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
            if begin > DAY or end > DAY or begin == end:
                raise ConfigError(f"allowed_hours has {part.strip()!r}; allowed: two different times up to 24:00.")
            spans.append((begin % DAY, end))
        return cls(tuple(spans))

    def is_open(self, now: datetime) -> bool:
        """Return whether trials may run at this local time."""
        minute = now.hour * 60 + now.minute
        return not self.spans or any(_within(minute, *span) for span in self.spans)

    def opens(self, now: datetime) -> datetime | None:
        """Return when it opens next, or None if it is open."""
        if self.is_open(now):
            return None
        start = now.replace(second=0, microsecond=0)
        waits = [(begin - (start.hour * 60 + start.minute)) % DAY for begin, _ in self.spans]
        return start + timedelta(minutes=min(waits))


def _within(minute: int, begin: int, end: int) -> bool:
    return begin <= minute < end if begin < end else minute >= begin or minute < end
