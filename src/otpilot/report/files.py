"""Files written whole or not at all."""

import os
from pathlib import Path


def write_atomically(path: Path, body: bytes) -> None:
    """Write `body` to a sibling file, then move it over `path`; readers see the old file or the new one.

    Raises:
        OSError: The folder is missing or not writable; nothing is left behind.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(body)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
