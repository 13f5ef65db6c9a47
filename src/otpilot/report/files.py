"""Files written whole or not at all."""

from pathlib import Path

from otpilot.runs.drafts import draft_of


def write_atomically(path: Path, body: bytes) -> None:
    """Write `body` to a sibling file, then move it over `path`; readers see the old file or the new one.

    Raises:
        OSError: The folder is missing or not writable; nothing is left behind.
    """
    with draft_of(path) as draft:
        draft.write_bytes(body)
