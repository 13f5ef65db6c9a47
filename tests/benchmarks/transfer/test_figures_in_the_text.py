"""The figures that README.md and docs/views.md quote are those of the results, rounded."""

import re
from pathlib import Path

import pytest

from benchmarks.transfer.results import read_results
from benchmarks.transfer.tables import make_sections

ROOT = Path(__file__).parents[3]
PLACES = {
    "tabletop": ("tabletop", "act", 1000),
    "far": ("tabletop_far", "act", 1000),
    "far2000": ("tabletop_far", "act", 2000),
    "metaworld": ("metaworld", "act", 1500),
    "diffusion": ("tabletop", "diffusion", 1500),
}
CELLS = {"source": "source", "id": "target_id", "ood": "target_ood"}

# {PLACE METHOD[+WORD...] CELL} is a mean over seeds, {PLACE METHOD - METHOD CELL} a difference with its interval.
ALIGNED = ("ot-encodings", "mmd", "energy-distance", "paired")
QUOTED = {
    "README.md": [
        "| **otpilot's defaults** (12 of 16 rows from the source) "
        "| {tabletop ot source} | {tabletop ot id} | **{tabletop ot ood}** | 5 |",
        "| co-training (10 of 16, which is better for it) "
        "| {tabletop co-training source} | {tabletop co-training id} | {tabletop co-training ood} | 5 |",
        "Compared with co-training this is a gain of {tabletop ot - co-training ood} where nothing was demonstrated",
        "{tabletop ot+targets=1 id} where it was shown and {tabletop ot+targets=1 ood} where nothing was, against "
        "{tabletop co-training+targets=1 id} and {tabletop co-training+targets=1 ood} (three seeds)",
        "three demonstrations give {tabletop ot+targets=3+stats=rows id} and {tabletop ot+targets=3+stats=rows ood}.",
        "{far ot ood} against {far co-training ood} where nothing was demonstrated. Trained twice as long the defaults "
        "reach {far2000 ot ood}, and {far2000 ot+background=on ood} if the target's own background is drawn behind "
        "what moves (`ot.view_background`), which is {far2000 ot+background=on - ot ood} over the defaults",
        "{diffusion ot ood} against {diffusion co-training ood} where nothing was demonstrated, "
        "{diffusion ot - co-training ood} over three seeds",
        "the defaults reach {metaworld ot ood} where nothing was demonstrated (nine seeds), co-training "
        "{metaworld co-training ood}, and training on the source alone {metaworld source-only ood} (five). Over the "
        "five seeds in common that is {metaworld ot - co-training ood} and {metaworld ot - source-only ood}.",
        "Views alone reach {tabletop ot-views ood} on the tabletop, not distinguishable from {tabletop ot ood}, and "
        "{metaworld ot-views ood} on Meta-World (three seeds), where transport of encodings alone reaches "
        "{metaworld ot-encodings ood}.",
        "the semi-relaxed form by {metaworld ot-semi - ot ood} over three seeds and the product prior by "
        "{metaworld ot-product - ot ood} over nine,",
    ],
    "docs/views.md": [
        "on the tabletop ({tabletop ot-views ood} and {tabletop ot ood} over five seeds) and on Meta-World "
        "({metaworld ot-views ood} over three seeds and {metaworld ot ood} over nine), and not distinguishable on "
        "`tabletop_far` ({far ot-views ood} and {far ot ood}, five seeds)",
        "brings target OOD on `tabletop_far` from {far2000 ot ood} to {far2000 ot+background=on ood} after 2,000 steps "
        "({far2000 ot+background=on - ot ood} over five seeds)",
    ],
}


@pytest.fixture(scope="module")
def rows():
    sections, _ = make_sections(read_results())
    reported = {(s.suite, s.policy, s.steps): s for s in sections if s.reported}

    def find(place, name):
        method, *words = name.split("+")
        row = reported[PLACES[place]].row(method, words)
        assert row is not None, f"no results of {place} {name}"
        return row

    return find


def short(value, *, sign=False):
    return re.sub(r"^([+-]?)0\.", r"\1.", f"{value:{'+' if sign else ''}.2f}")


def quote(rows, words):
    """Return the figure that the words of a placeholder ask for, as the text has it."""
    place, method, *against, cell = words.split()
    if not against:
        return short(rows(place, method).estimate(CELLS[cell]).mean)
    found = rows(place, method).minus(rows(place, against[1]), CELLS[cell])
    low, high = short(found.low, sign=True), short(found.high, sign=True)
    return f"{short(found.mean, sign=True)} [{low}, {high}]"


@pytest.mark.parametrize(("file", "sentence"), [(file, one) for file, many in QUOTED.items() for one in many])
def test_a_quoted_figure_is_that_of_the_results(file, sentence, rows):
    said = " ".join((ROOT / file).read_text(encoding="utf-8").split())
    assert re.sub(r"\{(.+?)\}", lambda found: quote(rows, found[1]), sentence) in said


def table_row(start):
    """Return the cells of the row of README's table that begins with some words, without the method's."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


def test_the_row_of_many_methods_spans_them(rows):
    means = [[rows("tabletop", name).estimate(CELLS[cell]).mean for name in ALIGNED] for cell in CELLS]
    spans = [f"{short(min(values))} to {short(max(values))}" for values in means]
    assert table_row("transport of encodings alone, MMD")[:3] == spans


@pytest.mark.parametrize(
    ("start", "methods"),
    [
        ("co-training that is told the domain; CORAL", ("co-training-token", "coral")),
        ("source demonstrations only; target demonstrations only", ("source-only", "target-only")),
    ],
)
def test_a_row_of_two_methods_names_both(start, methods, rows):
    both = [[short(rows("tabletop", name).estimate(CELLS[cell]).mean) for name in methods] for cell in CELLS]
    assert table_row(start)[:3] == ["; ".join(pair) for pair in both]
