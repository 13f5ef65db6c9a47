"""Fail when a Markdown file of the project links to a file that is not there."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")


def broken() -> list[str]:
    """Return 'file: link' for each link that leads nowhere."""
    files = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]
    return [
        f"{file.relative_to(ROOT)}: {link}"
        for file in files
        for link in LINK.findall(file.read_text(encoding="utf-8"))
        if not (file.parent / link).exists()
    ]


if __name__ == "__main__":
    found = broken()
    sys.stdout.write("\n".join(found) + "\n" if found else "all links lead somewhere\n")
    sys.exit(bool(found))
