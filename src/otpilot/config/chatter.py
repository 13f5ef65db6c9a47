"""What LeRobot logs while it reads a config."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def caught_warnings() -> Iterator[list[str]]:
    """Yield a list that gathers what is warned of meanwhile, instead of having it printed."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    root = logging.getLogger()
    before = root.handlers[:]
    root.handlers = [Ear(logging.WARNING)]
    try:
        yield heard
    finally:
        root.handlers = before
