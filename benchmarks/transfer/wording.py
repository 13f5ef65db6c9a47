"""What the tables mean, in sentences that follow from the verdicts."""

from collections.abc import Iterator

from benchmarks.transfer.methods import get_method
from benchmarks.transfer.suite import SPOKEN
from benchmarks.transfer.tables import Difference, Row, Section

OURS, COTRAINING, SOURCE_ONLY = "ot", "co-training", "source-only"
QUESTION = "target_ood"
AIM = 0.08
"""What the project wants over the better of co-training and source-only on target OOD."""
FEW = 5


def conclusions(section: Section) -> Iterator[str]:
    """Yield what a section shows: ours against co-training, the aim, what else won or lost, and how sure that is."""
    ours, base = section.row(OURS), section.row(COTRAINING)
    if ours is None or base is None:
        yield "The transport's defaults and co-training are not both there yet, so the question stays open."
    else:
        yield from _ours(ours, base)
        yield from _aim(section, ours)
    yield from _others(section)
    yield from _above_defaults(section)
    yield from _caution(section)


def _ours(ours: Row, base: Row) -> Iterator[str]:
    for cell in ours.cells:
        found = ours.minus(base, cell)
        if found is None:
            yield "ot and co-training have no seed in common yet."
            return
        place = SPOKEN.get(cell, cell)
        if found.seeds == 1:
            said = f"**On {place}, one seed cannot say whether transport with otpilot's defaults beats co-training**"
        elif found.word == "better":
            said = f"**On {place}, transport with otpilot's defaults beats co-training**"
        elif found.word == "worse":
            said = f"**On {place}, transport with otpilot's defaults is worse than co-training**"
        else:
            said = f"**On {place}, transport with otpilot's defaults does not beat co-training** (not distinguishable)"
        yield f"{said}: {_figures(found)}."


def _aim(section: Section, ours: Row) -> Iterator[str]:
    rivals = [row for name in (COTRAINING, SOURCE_ONLY) if (row := section.row(name)) is not None]
    rival = max(rivals, key=lambda row: row.estimate(QUESTION).mean)
    found = ours.minus(rival, QUESTION)
    if found is None:
        return
    losses = [
        cell
        for cell in ours.cells
        if cell != QUESTION and (lost := ours.minus(rival, cell)) is not None and lost.word == "worse"
    ]
    won = found.word == "better" and found.seeds > 1  # one seed's interval says nothing of another training
    reached = won and found.mean >= AIM and not losses and len(rivals) == 2
    missing = "" if len(rivals) == 2 else ", of the two only one has been run"
    lost = f"; it loses on {', '.join(SPOKEN.get(cell, cell) for cell in losses)}" if losses else ""
    word = "reached" if reached else "not reached"
    yield (
        f"The aim, {AIM:.2f} more on target OOD than the better of co-training and source-only (here "
        f"{rival.recipe.label}{missing}) without a loss elsewhere beyond noise, is **{word}**: {_figures(found)}{lost}."
    )


def _others(section: Section) -> Iterator[str]:
    better, worse, compared = [], [], 0
    for row in section.distinct():
        base = section.baseline(row, COTRAINING)
        alone = get_method(row.recipe.method).uses != "both" and row.recipe.ablations
        found = None if base is None or base is row or alone else row.minus(base, QUESTION)
        if found is None or found.seeds == 1:
            continue
        compared += 1
        if row.recipe.label != OURS and found.word != "not distinguishable":
            (better if found.word == "better" else worse).append(f"{row.recipe.label} ({_figures(found)})")
    for word, names in (("Better", better), ("Worse", worse)):
        if names:
            yield f"{word} than co-training on target OOD, by the interval over seeds: {'; '.join(names)}."
    if better and compared > 1:
        yield (
            f"{compared} settings were compared over seeds; about one in forty of settings that change nothing would "
            "look better by chance. A winner among many needs fresh seeds."
        )


def _above_defaults(section: Section) -> Iterator[str]:
    """Yield what has more success on target OOD than the defaults, beyond noise over seeds, or that nothing has."""
    better, compared = [], 0
    for row in section.distinct():
        ours = section.baseline(row, OURS)
        found = None if ours is None or row.recipe.hash == ours.recipe.hash else row.minus(ours, QUESTION)
        if found is not None and found.seeds > 1:
            compared += 1
            if found.word == "better":
                better.append(f"{row.recipe.label} ({_figures(found)})")
    if better:
        yield f"More than the defaults on target OOD, by the interval over common seeds: {'; '.join(better)}."
    elif compared:
        yield f"None of {compared} other settings has more than the defaults on target OOD, by the interval over seeds."


def _caution(section: Section) -> Iterator[str]:
    counts = [len(row.records) for row in section.rows]
    if min(counts, default=0) < FEW:
        few, most = min(counts), max(counts)
        seeds = f"{few if few == most else f'{few} to {most}'} seed{'s' * (most != 1)}"
        yield (
            f"Rows have {seeds}; intervals from fewer than {FEW} are wide, and one seed's interval says nothing of "
            "another training."
        )


def _figures(found: Difference) -> str:
    seeds = "one seed, its episodes only" if found.seeds == 1 else f"{found.seeds} seeds"
    if found.low is None or found.high is None:
        return f"{found.mean:+.2f} in every one of {found.seeds} seeds"
    return f"{found.mean:+.2f} [{found.low:+.2f}, {found.high:+.2f}], {seeds}"
