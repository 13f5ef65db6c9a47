"""The parts of a report, and their two renderings: Markdown and one HTML page."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from otpilot.report.campaign.drawing import DRAWING_CSS
from otpilot.report.markdown import escape_markdown
from otpilot.report.svg import safe_text


@dataclass(frozen=True, kw_only=True)
class Heading:
    """A heading of level 1 to 3."""

    text: str
    level: int = 2


@dataclass(frozen=True, kw_only=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Sentences under each other."""

    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A table; all cells are text."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Commands:
    """Command lines, folded away under a title."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An SVG: in Markdown a link to a file beside it, on the page inline."""

    about: str
    file: str
    inline: str


_TABLES = """
table { border-collapse: collapse; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 6px 22px 6px 0; }
tbody tr + tr > * { border-top: 1px solid var(--line); }
"""
_TONES = """
:root { --good: #1b7f4b; --bad: #b3261e; --warn: #8a5a00; --band: #0072b21a; }
@media (prefers-color-scheme: dark) { :root { --good: #63d29a; --bad: #ff8a80; --warn: #f2b84b; --band: #56b4e924; } }
"""
Block = Heading | Text | Listing | Grid | Commands | Drawing


def render_markdown(blocks: Sequence[Block]) -> str:
    """Return the blocks as Markdown."""
    return "\n\n".join("\n".join(_markdown(block)) for block in blocks) + "\n"


def render_html(blocks: Sequence[Block], *, title: str) -> str:
    """Return the blocks as one page, without script, in the reader's light or dark scheme."""
    css = files("otpilot.report").joinpath("page.css").read_text(encoding="utf-8")
    head = [
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{safe_text(title)}</title>",
        f"<style>{css}{_TONES}{_TABLES}{DRAWING_CSS}</style>",
        "<main>",
    ]
    return "\n".join([*head, *(line for block in blocks for line in _html(block)), "</main>", "</html>", ""])


def _markdown(block: Block) -> Iterator[str]:
    match block:
        case Heading():
            yield f"{'#' * block.level} {escape_markdown(block.text)}"
        case Text():
            yield block.text
        case Listing():
            yield from (f"- {line}" for line in block.lines)
        case Grid():
            yield f"| {' | '.join(block.head)} |"
            yield f"|{'---|' * len(block.head)}"
            yield from (f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in block.rows)
        case Commands():
            yield f"<details><summary>{block.title}</summary>"
            yield ""
            yield "```text"
            yield from block.lines
            yield "```"
            yield ""
            yield "</details>"
        case Drawing():
            yield f"![{block.about}]({block.file})"


def _html(block: Block) -> Iterator[str]:
    match block:
        case Heading():
            yield f"<h{block.level}>{safe_text(block.text)}</h{block.level}>"
        case Text():
            yield f"<p>{_inline(block.text)}</p>"
        case Listing():
            yield f"<ul>{''.join(f'<li>{_inline(line)}</li>' for line in block.lines)}</ul>"
        case Grid():
            head = "".join(f"<th>{safe_text(cell)}</th>" for cell in block.head)
            rows = "".join(
                f"<tr><th>{_inline(row[0])}</th>{''.join(f'<td>{_inline(cell)}</td>' for cell in row[1:])}</tr>"
                for row in block.rows
            )
            table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
            yield f'<div class="card scroll">{table}</div>'
        case Commands():
            lines = "\n".join(safe_text(line) for line in block.lines)
            yield f"<details><summary>{safe_text(block.title)}</summary><pre>{lines}</pre></details>"
        case Drawing():
            yield f'<div class="card scroll">{block.inline}</div>'


def _inline(text: str) -> str:
    """Return a line as HTML; **strong**, `code` and [links](file.md) as in Markdown."""
    parts = safe_text(text).split("**")
    strong = "".join(part if i % 2 == 0 else f"<strong>{part}</strong>" for i, part in enumerate(parts))
    pieces = strong.split("`")
    coded = "".join(piece if i % 2 == 0 else f"<code>{piece}</code>" for i, piece in enumerate(pieces))
    return re.sub(r"\[([^\]]+)\]\(([\w.]+)\)", r'<a href="\2">\1</a>', coded)
