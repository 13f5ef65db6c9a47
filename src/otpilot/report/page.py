"""What every HTML page of a report begins with: one file that loads nothing, and runs only its own scripts."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from otpilot.report.svg import safe_text


def asset(package: str, name: str) -> str:
    """Return the text of a file that comes with a package, such as a style sheet."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def page_head(title: str, *, lang: str, style: str, scripts: Sequence[str]) -> list[str]:
    """Return the lines of a page up to `<main>`.

    Its Content-Security-Policy allows no request at all, and no script but the given ones, by their SHA-256 hashes:
    names in a report come from outside, and should one slip through the escaping, it can still do nothing.
    """
    digests = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    return [
        "<!doctype html>",
        f'<html lang="{"zh-CN" if lang == "zh" else "en"}">',
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{safe_text(title)}</title>",
        f"<style>{style}</style>",
        "<main>",
    ]
