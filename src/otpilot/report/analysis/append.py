"""Adding to a file that others may be adding to as well, without ever losing what it holds."""

import fcntl
import os
import shutil
from pathlib import Path

from otpilot.runs.drafts import draft_of


def append_atomically(path: Path, addition: bytes) -> None:
    """Add bytes to the end of a file (made if missing); readers see it before or after, never between.

    Two processes that append at once take turns: each locks the file, copies it with its addition and moves the copy
    over it. A symbolic link keeps pointing to the same place; the file keeps its permissions.

    Raises:
        OSError: The folder is missing or not writable; the file is as it was then.
    """
    path = path.resolve()
    while True:
        with path.open("ab") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            try:
                current = path.stat()
            except FileNotFoundError:
                continue
            if current.st_ino != os.fstat(held.fileno()).st_ino:
                continue  # another process moved its copy here while we waited
            _replace(path, addition)
            return


def _replace(path: Path, addition: bytes) -> None:
    with draft_of(path) as draft:
        shutil.copy2(path, draft)
        with draft.open("ab") as file:
            file.write(addition)
            file.flush()
            os.fsync(file.fileno())
