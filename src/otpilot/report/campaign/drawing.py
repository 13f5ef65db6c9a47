"""What the drawings of a campaign share: colours, the opening of an SVG, widths of texts, a value axis."""

from collections.abc import Sequence

from otpilot.report.svg import safe_text

CHARACTER, WIDE = 6.3, 11.6
"""Mean width of a character at 11.5 px; one of a Chinese text."""

# The classes that the drawings use. A page that shows them inline defines the variables itself.
DRAWING_CSS = """
.drawing text {
  font: 11.5px system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; fill: var(--muted);
}
.drawing .run { fill: var(--ink); font-size: 12px; font-weight: 600; }
.drawing .edit { font: 11px ui-monospace, "SF Mono", Menlo, Consolas, monospace; fill: var(--ink); }
.drawing .grid { stroke: var(--line); stroke-width: 1; }
.drawing .zero { stroke: var(--muted); stroke-width: 1; }
.drawing .band { fill: var(--band); }
.drawing .link { fill: none; stroke: var(--line); stroke-width: 1.6; }
.drawing .node rect { fill: var(--paper); stroke: var(--line); stroke-width: 1.2; }
.drawing .node.baseline rect { stroke: var(--muted); }
.drawing .node.incumbent rect { stroke: var(--good); stroke-width: 2.4; }
.drawing .node.former rect { stroke: var(--good); }
.drawing .link.incumbent, .drawing .link.former { stroke: var(--good); }
.drawing .incumbent .standing, .drawing .former .standing { fill: var(--good); }
.drawing .rolled-back .standing, .drawing .not-confirmed .standing { fill: var(--warn); }
.drawing .broken .standing { fill: var(--bad); }
.drawing .node.broken rect { stroke: var(--bad); stroke-dasharray: 4 3; }
.drawing .node.running rect { stroke-dasharray: 2 3; }
.drawing .better { --tone: var(--good); }
.drawing .worse { --tone: var(--bad); }
.drawing .warning { --tone: var(--warn); }
.drawing .neutral { --tone: var(--muted); }
.drawing .interval { stroke: var(--tone); stroke-width: 2; fill: none; stroke-linecap: round; }
.drawing .interval.thin { stroke-width: 1.2; stroke-dasharray: 3 3; }
.drawing .dot { fill: var(--tone); stroke: var(--tone); stroke-width: 1.6; }
.drawing .hollow { fill: var(--paper); stroke: var(--tone); stroke-width: 1.6; }
.drawing .mean { stroke: var(--ink); stroke-width: 2.4; stroke-linecap: round; }
.drawing .said { fill: var(--tone); }
"""
_LIGHT = "--ink: #1d232b; --muted: #5f6873; --line: #d5dae0; --paper: #ffffff; --band: #0072b21a;"
_LIGHT_TONES = "--bad: #b3261e; --warn: #8a5a00; --good: #1b7f4b;"
_DARK = "--ink: #e6e9ee; --muted: #99a3b0; --line: #3a424d; --paper: #14181d; --band: #56b4e924;"
_DARK_TONES = "--bad: #ff8a80; --warn: #f2b84b; --good: #63d29a;"
_OWN_CSS = (
    f".drawing {{ {_LIGHT} {_LIGHT_TONES} }}\n.drawing .paper {{ fill: var(--paper); }}\n"
    f"@media (prefers-color-scheme: dark) {{ .drawing {{ {_DARK} {_DARK_TONES} }} }}\n"
)

SHRINKS = 0.75
"""How far a drawing is made smaller: words of 11.5 px to 8.6."""


def picture(body: Sequence[str], *, width: float, height: float, label: str, standalone: bool) -> str:
    """Return an SVG of the elements; on a narrow page it shrinks as far as its words stay readable, then it scrolls."""
    space = ' xmlns="http://www.w3.org/2000/svg"' if standalone else ""
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    least = "" if standalone else f' style="min-width:{SHRINKS * width:.0f}px"'
    opening = [f'<svg{space} class="drawing" {size}{least} role="img" aria-label="{safe_text(label)}">']
    if standalone:
        paper = f'<rect class="paper" width="{width:.0f}" height="{height:.0f}"/>'
        opening += [f"<style>{DRAWING_CSS}{_OWN_CSS}</style>", paper]
    return "\n".join([*opening, *body, "</svg>"])


def cut(text: str, longest: int) -> str:
    """Return the text on one line, cut in the middle where it is too long: both ends of a name tell something."""
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    head = (longest - 1) * 2 // 3
    return f"{line[:head]}…{line[len(line) - (longest - 1 - head) :]}"


def text_width(text: str) -> float:
    """Return about how wide a text is, in pixels at 11.5 px."""
    return sum(WIDE if ord(character) > 0x2E7F else CHARACTER for character in text)
