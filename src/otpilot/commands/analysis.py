"""The commands that read runs: analyze, compare, postmortem, watch. They import neither torch nor lerobot."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from otpilot.errors import ConfigError, RunError, closest
from otpilot.runs.counting import counted

if TYPE_CHECKING:
    from otpilot.analysis.result import Analysis
    from otpilot.analysis.thresholds import Thresholds
    from otpilot.runs.history import RunHistory
    from otpilot.runs.sources.source import Source

app = typer.Typer()
console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

SOURCES = "Run folders, folders of them, wandb:ENTITY/PROJECT, .wandb, .json, .csv, .db or .log files."
Sources = Annotated[list[str], typer.Argument(help=SOURCES, show_default=False)]
Language = Annotated[Literal["en", "zh"], typer.Option(help="Language of the reports.")]
Markdown = Annotated[Path | None, typer.Option(help="Markdown report to write; pictures go into a folder beside it.")]
Html = Annotated[Path | None, typer.Option(help="Interactive page to write: one file, no network.")]
Json = Annotated[Path | None, typer.Option(help="Machine-readable result to write.")]
Append = Annotated[bool, typer.Option("--append", help="Add to the Markdown file under a dated heading.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
Limits = Annotated[Path | None, typer.Option(help="TOML file with other limits for the diagnosis.")]
Note = Annotated[str, typer.Option(help="A line to put at the head of the report.")]
Noise = Annotated[
    float | None, typer.Option(help="Known standard deviation between equal runs (log scale for losses), e.g. 0.12.")
]


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What to write, and how; checked before anything is read."""

    md: Path | None
    html: Path | None
    json: Path | None
    lang: Literal["en", "zh"]
    append: bool
    overwrite: bool
    note: str

    def __post_init__(self) -> None:
        """Check that every file can be written.

        Raises:
            ConfigError: If a folder is missing, or a file is there already.
        """
        if self.append and self.md is None:
            raise ConfigError("--append adds to a Markdown file; name it with --md.")
        named = {"md": self.md, "html": self.html, "json": self.json}
        given = {option: path for option, path in named.items() if path is not None}
        if len({path.resolve() for path in given.values()}) < len(given):
            raise ConfigError(f"{', '.join(f'--{option}' for option in given)} name the same file; give each its own.")
        for option, path in given.items():
            if not path.absolute().parent.is_dir():
                raise ConfigError(f"There is no folder {path.parent}; make it, or give another --{option}.")
            if path.is_dir():
                raise ConfigError(f"--{option} {path} is a folder; give a file in it.")
            keep = not self.overwrite and not (option == "md" and self.append)
            if path.exists() and keep:
                hint = ", --append to add a dated update" if option == "md" else ""
                raise ConfigError(f"{path} exists already; give another --{option}{hint}, or --overwrite.")

    def write(self, analysis: "Analysis") -> None:
        """Write the files that were asked for and say so."""
        if self.md is not None:
            from otpilot.report.analysis.markdown import write_markdown

            write_markdown(
                analysis, self.md, lang=self.lang, append=self.append, overwrite=self.overwrite, note=self.note
            )
            console.print(f"Markdown -> {self.md}", markup=False, soft_wrap=True)
        if self.html is not None:
            from otpilot.report.analysis.html import write_html

            write_html(analysis, self.html, lang=self.lang, title=self.note or None)
            console.print(f"Page -> {self.html}", markup=False, soft_wrap=True)
        if self.json is not None:
            from otpilot.report.analysis.json import write_json

            write_json(analysis, self.json)
            console.print(f"JSON -> {self.json}", markup=False, soft_wrap=True)


@dataclass(kw_only=True)
class Reading:
    """Runs read one by one from several sources: an id of its own for each, and what could not be read.

    `baselines` holds the ids of the runs from `against`; it is complete once `histories` is exhausted.
    """

    sources: Sequence[str]
    against: Sequence[str] = ()
    baselines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    found: int = 0
    progress: Callable[[str], None] = field(default=lambda _: None)

    def histories(self) -> "Iterator[RunHistory]":
        """Yield each run under an id that no other has; a source that fails is a problem if another holds a run.

        Raises:
            RunError: If a source does not exist, or none holds a run.
        """
        from otpilot.runs.sources.spelling import parse_source

        opened = [parse_source(text) for text in (*self.sources, *self.against)]
        taken: set[str] = set()
        for place, source in enumerate(opened):
            is_baseline = place >= len(self.sources)
            for history in self._readable(source):
                self.found += 1
                named = _under_own_id(history, taken)
                taken.add(named.id)
                if is_baseline:
                    self.baselines.append(named.id)
                self.progress(f"{counted(self.found, 'run')} read: {named.name}")
                yield named
            self.problems += source.problems
        if self.found == 0:
            raise RunError(" ".join(self.problems) or f"No runs in {', '.join(self.sources)}.")

    def _readable(self, source: "Source") -> "Iterator[RunHistory]":
        """Yield a source's runs up to where it fails as a whole (a W&B server that cannot be had, say)."""
        try:
            yield from source.runs()
        except RunError as error:
            self.problems.append(str(error))


@app.command(no_args_is_help=True)
def analyze(
    sources: Sources,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Id or name of a run to compare with, or a source; may be repeated.")
    ] = None,
    lang: Language = "en",
    md: Markdown = None,
    html: Html = None,
    json: Json = None,
    append: Append = False,
    overwrite: Overwrite = False,
    thresholds: Limits = None,
    noise: Noise = None,
    note: Note = "",
) -> None:
    """Read runs, say what is wrong with each and why, compare them with baselines, write the report."""
    outputs = Outputs(md=md, html=html, json=json, lang=lang, append=append, overwrite=overwrite, note=note)
    ids, against = _baselines(baseline or [], sources)
    reading = Reading(sources=sources, against=against)
    analysis = _analyze(reading, baselines=ids, limits=_limits(thresholds), noise=noise)
    _show(analysis, reading, outputs)


@app.command(no_args_is_help=True)
def compare(
    run: Annotated[str, typer.Argument(help="Source of the run, or of the runs that differ by seed only.")],
    baselines: Annotated[list[str], typer.Argument(help="Sources of what to compare it with.")],
    lang: Language = "en",
    md: Markdown = None,
    html: Html = None,
    json: Json = None,
    append: Append = False,
    overwrite: Overwrite = False,
    thresholds: Limits = None,
    noise: Noise = None,
    note: Note = "",
) -> None:
    """Compare a run, or several seeds of one, with baselines: better, worse or not distinguishable."""
    outputs = Outputs(md=md, html=html, json=json, lang=lang, append=append, overwrite=overwrite, note=note)
    reading = Reading(sources=[run], against=baselines)
    analysis = _analyze(reading, baselines=[], limits=_limits(thresholds), noise=noise)
    if reading.problems and not 0 < len(reading.baselines) < reading.found:  # one of the two sides is missing
        raise RunError(" ".join(reading.problems))
    _show(analysis, reading, outputs, only="comparison")


@app.command(no_args_is_help=True)
def postmortem(
    run: Annotated[str, typer.Argument(help="Source of the worse run, or its id within --among.")],
    baseline: Annotated[str, typer.Option(help="Source of the better run, or its id within --among.")],
    among: Annotated[list[str] | None, typer.Option(help="Source that holds both; may be repeated.")] = None,
    lang: Language = "en",
    md: Markdown = None,
    html: Html = None,
    json: Json = None,
    append: Append = False,
    overwrite: Overwrite = False,
    thresholds: Limits = None,
    noise: Noise = None,
    note: Note = "",
) -> None:
    """Explain why a run is worse than another: what differs, the likely cause, which single change would test it."""
    outputs = Outputs(md=md, html=html, json=json, lang=lang, append=append, overwrite=overwrite, note=note)
    limits = _limits(thresholds)
    with console.status("Reading runs ..."):
        from otpilot.analysis.postmortem import postmortem as explain
        from otpilot.analysis.result import analyze as run_analysis

        reading = Reading(sources=among or [run], against=[] if among else [baseline])
        histories = list(reading.histories())
        worse = _one(histories if among else [h for h in histories if h.id not in reading.baselines], run, bool(among))
        better = _one(
            histories if among else [h for h in histories if h.id in reading.baselines], baseline, bool(among)
        )
        if worse.id == better.id:
            raise RunError(f"{run!r} and {baseline!r} are the same run; give two.")
        analysis = run_analysis([worse, better], baselines=[better.id], thresholds=limits, noise=noise)
        analysis = dataclasses.replace(analysis, postmortems=(explain(worse, better, limits),))
    _show(analysis, reading, outputs, only="postmortem")


@app.command(no_args_is_help=True)
def watch(
    folder: Annotated[Path, typer.Argument(help="Folder with run folders, such as a campaign's.")],
    once: Annotated[bool, typer.Option("--once", help="Print the table once and exit.")] = False,
    interval: Annotated[float, typer.Option(help="Seconds between updates.", min=0.1)] = 2.0,
) -> None:
    """Follow running trials in a live table: step, loss, evaluation, mass, speed, time left, newest alarm."""
    if not folder.is_dir():
        hint = closest(folder.name, _names_beside(folder))
        raise RunError(f"There is no folder {folder}.{hint} Give one with run folders that `otpilot train` writes.")
    from otpilot.report.analysis.watch import watch as follow

    follow(folder, console, interval_s=interval, rounds=1 if once else None)


def _analyze(reading: Reading, *, baselines: Sequence[str], limits: "Thresholds", noise: float | None) -> "Analysis":
    with console.status("Reading runs ...") as status:
        from otpilot.analysis.result import analyze as run_analysis

        reading.progress = lambda text: status.update(text.replace("[", r"\["))
        chosen = reading.baselines
        chosen += baselines
        # `chosen` grows while the runs are read one by one; it is looked at only after the last.
        return run_analysis(reading.histories(), baselines=chosen, thresholds=limits, noise=noise)


def _show(
    analysis: "Analysis", reading: Reading, outputs: Outputs, only: Literal["comparison", "postmortem"] | None = None
) -> None:
    from otpilot.report.analysis import terminal

    analysis = dataclasses.replace(analysis, notes=(*analysis.notes, *reading.problems))
    console.print(terminal.render(analysis, outputs.lang, only=only))
    outputs.write(analysis)


def _limits(path: Path | None) -> "Thresholds":
    from otpilot.analysis.thresholds import Thresholds, load_thresholds

    return Thresholds() if path is None else load_thresholds(path)


def _baselines(given: Sequence[str], sources: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return ids (or names) of runs among the sources, and further sources to read as baselines."""
    ids: list[str] = []
    more: list[str] = []
    for text in given:
        inside = _id_within(Path(text), sources)
        if inside is not None:
            ids.append(inside)
        elif Path(text).exists() or text.startswith(("wandb:", "https://")):
            more.append(text)
        else:
            ids.append(text)
    return ids, more


def _id_within(path: Path, sources: Sequence[str]) -> str | None:
    """Return the id of the run folder `path` where one of the sources is a folder that holds it."""
    if not path.is_dir():
        return None
    for source in map(Path, sources):
        if source.is_dir() and path.resolve().is_relative_to(source.resolve()):
            below = path.resolve().relative_to(source.resolve()).as_posix()
            return path.resolve().name if below == "." else below
    return None


def _one(histories: "Sequence[RunHistory]", text: str, among: bool) -> "RunHistory":
    """Return the one run that `text` names, or that its source holds."""
    if not among:
        if len(histories) != 1:
            listed = ", ".join(history.id for history in histories[:8]) or "none"
            raise RunError(
                f"{text} holds {len(histories)} runs; allowed: one, or an id with --among. It has: {listed}."
            )
        return histories[0]
    found = [h for h in histories if h.id == text] or [h for h in histories if h.name == text]
    if not found:
        known = list(dict.fromkeys(name for h in histories for name in (h.id, h.name)))
        raise RunError(f"No run {text!r} among them.{closest(text, known) or f' There are: {", ".join(known[:12])}.'}")
    return found[0]


def _under_own_id(history: "RunHistory", taken: set[str]) -> "RunHistory":
    if history.id not in taken:
        return history
    number = next(n for n in range(2, len(taken) + 3) if f"{history.id}#{n}" not in taken)
    note = f"A run with id {history.id} was read before; this one is called {history.id}#{number}."
    return dataclasses.replace(history, id=f"{history.id}#{number}", notes=(*history.notes, note))


def _names_beside(path: Path) -> list[str]:
    try:
        return [other.name for other in path.absolute().parent.iterdir() if other.is_dir()]
    except OSError:
        return []
