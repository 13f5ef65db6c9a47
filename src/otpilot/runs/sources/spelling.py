"""How sources are spelled: one table, and the function that reads it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from otpilot.errors import RunError, closest
from otpilot.runs.sources.csv_table import CsvFile
from otpilot.runs.sources.folder import Folder
from otpilot.runs.sources.lerobot_log import LeRobotLog
from otpilot.runs.sources.secrets import Redacted
from otpilot.runs.sources.source import Source
from otpilot.runs.sources.summary_json import SummaryFile
from otpilot.runs.sources.trackio_db import TrackioFile
from otpilot.runs.sources.wandb_api import WandbProject, WandbQuery
from otpilot.runs.sources.wandb_cache import default_cache
from otpilot.runs.sources.wandb_offline import WandbFiles


@dataclass(frozen=True, kw_only=True)
class FileForm:
    """A kind of file: its suffixes, what it is, and how it is opened."""

    suffixes: tuple[str, ...]
    meaning: str
    open: Callable[[Path], Source]


FILES = (
    FileForm(suffixes=(".wandb",), meaning="W&B's offline run", open=lambda path: WandbFiles(files=(path,))),
    FileForm(suffixes=(".log", ".txt"), meaning="what lerobot-train printed", open=lambda path: LeRobotLog(path=path)),
    FileForm(suffixes=(".json",), meaning="summary figures (compare_runs*.json)", open=lambda p: SummaryFile(path=p)),
    FileForm(suffixes=(".db", ".sqlite", ".sqlite3"), meaning="Trackio's file", open=lambda p: TrackioFile(path=p)),
    FileForm(suffixes=(".csv", ".tsv"), meaning="a table with a step column", open=lambda path: CsvFile(path=path)),
)
# Files of a run folder: whoever names one means the run.
OF_A_RUN = ("metrics.jsonl", "outcome.json", "config.json", "environment.json", "stdout.log")
WANDB = "wandb:"
OPTIONS = ("group", "tags", "ids")
WANDB_LINK = re.compile(
    r"^https?://(?:[\w.-]*wandb\.ai)/(?P<entity>[^/?#]+)/(?P<project>[^/?#]+)"
    r"(?:/runs/(?P<run>[^/?#]+)|/groups/(?P<group>[^/?#]+))?(?:[/?#].*)?$"
)


def forms() -> tuple[str, ...]:
    """Return the allowed spellings, one line each."""
    files = (f"a {' or '.join(form.suffixes)} file: {form.meaning}" for form in FILES)
    return (
        "a run folder, or any folder that holds run folders or W&B's offline runs, however deep",
        "wandb:ENTITY/PROJECT[/RUN][?group=G&tags=A,B&ids=X,Y]: runs on a W&B server (its https links, too)",
        *files,
    )


def parse_source(text: str, *, cache: Path | None = None) -> Source:
    """Return the source that a text spells; nothing is read yet.

    Args:
        text: A path, `wandb:...`, or a link to W&B.
        cache: Where histories fetched from W&B are kept; default $OTPILOT_CACHE, else the user's cache folder.

    Raises:
        RunError: If the text spells no source, or the file or folder is not there.
    """
    link = WANDB_LINK.match(text.strip())
    if link or text.startswith(WANDB):
        query = _from_link(link) if link else parse_query(text)
        return Redacted(inner=WandbProject(query=query, cache=cache or default_cache()))
    return Redacted(inner=_path_source(Path(text).expanduser()))


def _path_source(path: Path) -> Source:
    if path.name in OF_A_RUN and path.is_file() and (path.parent / "metrics.jsonl").is_file():
        path = path.parent
    if path.is_dir():
        return Folder(root=path)
    if not path.exists():
        raise RunError(f"There is no source {str(path)!r}.{_near(path)}{_allowed()}")
    form = next((form for form in FILES if path.suffix.lower() in form.suffixes), None)
    if form is None:
        suffixes = [suffix for form in FILES for suffix in form.suffixes]
        raise RunError(
            f"{path} is of no known kind: its suffix is {path.suffix!r}.{closest(path.suffix, suffixes)}{_allowed()}"
        )
    return form.open(path)


def _allowed() -> str:
    return " A source is one of:\n" + "\n".join(f"  - {form}" for form in forms())


def _near(path: Path) -> str:
    """Return a hint at the nearest name in the same folder, or at a misspelled `wandb:`."""
    word, colon, rest = str(path).partition(":")
    if colon and "/" in rest:
        return closest(word, [WANDB.rstrip(":")]) or f" Runs of a server are spelled {WANDB}{rest}."
    try:
        names = [other.name for other in path.parent.iterdir()]
    except OSError:
        return ""
    return closest(path.name, names)


def parse_query(text: str) -> WandbQuery:
    """Return what `wandb:ENTITY/PROJECT[/RUN][?group=..&tags=..&ids=..]` asks for.

    Raises:
        RunError: If it is not of that form.
    """
    where, _, options = text.removeprefix(WANDB).partition("?")
    parts = [unquote(part) for part in where.strip("/").split("/")]
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise RunError(
            f"{text!r} names no W&B project; allowed: wandb:ENTITY/PROJECT, wandb:ENTITY/PROJECT/RUN, each with "
            "?group=G&tags=A,B&ids=X,Y."
        )
    given = _options(text, options)
    ids = (*parts[2:], *_list(given.get("ids", "")))
    group = given.get("group")
    return WandbQuery(entity=parts[0], project=parts[1], group=group, tags=_list(given.get("tags", "")), ids=ids)


def _options(text: str, options: str) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for option in filter(None, options.split("&")):
        name, equals, value = option.partition("=")
        if name not in OPTIONS or not equals:
            raise RunError(
                f"{text!r} has the option {option!r}; allowed: {', '.join(f'{name}=..' for name in OPTIONS)}."
                f"{closest(name, OPTIONS)}"
            )
        given[name] = unquote(value)
    return given


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _from_link(link: re.Match[str]) -> WandbQuery:
    parts = {name: unquote(part) for name, part in link.groupdict().items() if part}
    run = parts.get("run")
    return WandbQuery(
        entity=parts["entity"], project=parts["project"], group=parts.get("group"), ids=(run,) if run else ()
    )
