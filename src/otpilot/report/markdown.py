"""A report as Markdown (GitHub's flavour), with charts and pictures as files beside it."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from otpilot.report.files import write_atomically
from otpilot.report.palette import line_styles
from otpilot.report.result import Report, SuccessRate
from otpilot.report.svg import chart_svg

_MARKS = re.compile(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)")  # an underscore inside a word is plain text
_LEADING = re.compile(r"^(#|[+-](?= )|\d+[.)](?= ))")
_HTML: Mapping[str, str] = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def write_markdown(report: Report, path: Path) -> None:
    """Write the report to `path` and its charts and pictures to the folder `<stem>_files` beside it.

    The text is written last, each file whole or not at all.

    Raises:
        OSError: The folder is missing or not writable.
    """
    folder = path.parent / f"{path.stem}_files"
    attachments = _attachments(report)
    if attachments:
        folder.mkdir(exist_ok=True)
    for name, body in attachments.items():
        write_atomically(folder / name, body)
    write_atomically(path, render_markdown(report, picture_folder=folder.name).encode())


def render_markdown(report: Report, *, picture_folder: str) -> str:
    """Return the report's text; it links to files in `picture_folder`, relative to where the text will lie."""
    lines = [f"# {escape_markdown(report.title)}", ""]
    lines += [f"- {escape_markdown(label)}: {escape_markdown(value)}" for label, value in report.facts]
    lines += ["", *_success(report)]
    if report.findings:
        lines += ["", "## Findings", "", *(f"- {escape_markdown(finding)}" for finding in report.findings)]
    if report.charts:
        lines += ["", "## Curves"]
        for name, chart in zip(_chart_names(report), report.charts, strict=True):
            lines += _figure(chart.metric, chart.about, f"{picture_folder}/{name}")
    if report.pictures:
        lines += ["", "## Pictures"]
        for name, picture in zip(_picture_names(report), report.pictures, strict=True):
            lines += _figure(picture.title, picture.caption, f"{picture_folder}/{name}")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)) + "\n"


def escape_markdown(text: str) -> str:
    """Return `text` on one line so that Markdown shows it as it is, in a table too."""
    one_line = " ".join(text.split())
    quiet = _MARKS.sub(lambda found: "\\" + found.group(), one_line)
    quiet = _LEADING.sub(lambda found: found.group()[:-1] + "\\" + found.group()[-1], quiet)
    return re.sub("[&<>]", lambda found: _HTML[found.group()], quiet)


def _success(report: Report) -> Iterator[str]:
    if not report.methods:
        return
    yield from ("## Success", "")
    cells = [escape_markdown(cell.replace("_", " ")) for cell in report.cells]
    yield f"| method | {' | '.join(cells)} |" if cells else "| method |"
    yield "|---" * (len(cells) + 1) + "|"
    for method in report.methods:
        row = [_cell(method.success.get(cell)) for cell in report.cells]
        yield f"| {' | '.join([escape_markdown(method.name), *row])} |"
    yield from ("", "Share of successful episodes, its exact (Clopper-Pearson) 95 % interval, and n episodes.", "")
    yield from (f"- {escape_markdown(method.name)}: {escape_markdown(method.about)}" for method in report.methods)


def _cell(success: SuccessRate | None) -> str:
    if success is None:
        return "not evaluated"
    low, high = success.interval
    return f"{success.rate:.2f} ({low:.2f} to {high:.2f}), n = {success.episodes}"


def _figure(title: str, caption: str, link: str) -> list[str]:
    name = escape_markdown(title)
    return ["", f"### {name}", "", escape_markdown(caption), "", f"![{name}]({quote(link)})"]


def _attachments(report: Report) -> dict[str, bytes]:
    styles = line_styles(report.runs)
    charts = [chart_svg(chart, styles=styles).encode() for chart in report.charts]
    pictures = [picture.png for picture in report.pictures]
    return dict(zip([*_chart_names(report), *_picture_names(report)], [*charts, *pictures], strict=True))


def _chart_names(report: Report) -> list[str]:
    return [f"chart-{number}-{_slug(chart.metric)}.svg" for number, chart in enumerate(report.charts, start=1)]


def _picture_names(report: Report) -> list[str]:
    return [f"picture-{number}-{_slug(one.title)}.png" for number, one in enumerate(report.pictures, start=1)]


def _slug(text: str) -> str:
    return re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "untitled"
