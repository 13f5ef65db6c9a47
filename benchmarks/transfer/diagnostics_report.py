"""Diagnoses as a part of a report: one table per suite, and the pictures."""

from collections.abc import Iterable, Iterator, Sequence

from benchmarks.transfer.blocks import Block, Grid, Heading, Text, render_markdown
from benchmarks.transfer.diagnostics import Diagnosis
from benchmarks.transfer.diagnostics_measures import FEW
from benchmarks.transfer.diagnostics_twins import REGIONS

HOW_TO_READ = (
    "The same states are drawn in both domains and encoded by each run's own policy: its images, and the fusion of "
    "everything that it sees. Probe: how often a linear classifier tells the domains apart on episodes that it has not "
    f"seen, from all dimensions and from the {FEW} leading principal components; 0.50 is chance. Between: share of the "
    "variance that lies between the domains' means. Twin first: how often the source picture nearest to a target "
    "picture is its own twin; rank: the twin's mean rank, 1 is best; chance in brackets; left, where the target was "
    "demonstrated, and right, where it was not. Mass and diagonal: of the transport at the end of training, the latter "
    "its share on the drawn pairs."
)


def diagnostics_blocks(found: Iterable[Diagnosis]) -> Iterator[Block]:
    """Yield heading, explanation and a table per suite; of several diagnoses of one run the last counts."""
    newest = {one.run: one for one in found}
    if not newest:
        return
    yield Heading(text="Diagnostics")
    yield Text(text=HOW_TO_READ)
    for suite in dict.fromkeys(one.suite for one in newest.values()):
        yield Heading(text=f"Diagnostics: {suite}", level=3)
        yield _table([one for one in newest.values() if one.suite == suite])


def diagnostics_section(lines: Iterable[str], *, pictures: str = "") -> str:
    """Return a Markdown section of JSON lines; "" if there are none.

    Args:
        lines: Lines of results/diagnostics/runs.jsonl; of several of one run the last counts.
        pictures: What to write before a picture's name, e.g. "../benchmarks/transfer/results/diagnostics/"; without
            it no picture is shown.
    """
    newest = {one.run: one for one in map(Diagnosis.from_line, lines)}
    if not newest:
        return ""
    section = render_markdown(list(diagnostics_blocks(newest.values())))
    if not pictures:
        return section
    return section + "\n" + "\n\n".join(f"![{one.run}]({pictures}{one.picture})" for one in newest.values()) + "\n"


def _table(found: Sequence[Diagnosis]) -> Grid:
    head = ["run", "encoding", "probe", f"probe, {FEW}", "between"]
    for region in REGIONS:
        head += [f"{region}: twin first", f"{region}: rank"]
    rows = []
    for one in found:
        for name, encoding in one.encodings.items():
            apart = encoding.separation
            cells = [f"{apart.accuracy:.2f}", f"{apart.accuracy_few:.2f}", f"{apart.variance_share:.3f}"]
            for twin in (encoding.match[region] for region in REGIONS):
                cells.append(f"{twin.top1:.2f} ({twin.chance_top1:.3f})")
                cells.append(f"{twin.mean_rank:.1f} ({twin.chance_rank:.1f})")
            cells += [_number(one.transport.get("mass")), _number(one.transport.get("diag_share"))]
            rows.append((one.run, name.rpartition(".")[2], *cells))
    return Grid(head=(*head, "mass", "diagonal"), rows=tuple(rows))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
