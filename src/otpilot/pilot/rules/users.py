"""Rules of users: from installed packages (entry point group `otpilot.rules`) and from Python files.

An entry point names a Rule, a rule function, or a list of those; a file defines `RULES`, such a list. Whatever is
broken is told and skipped: a campaign does not end because of somebody's rule.
"""

import importlib.util
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType

from otpilot.pilot.rules.table import RULES, Rule

ENTRY_POINTS = "otpilot.rules"
FILE_LIST = "RULES"


def all_rules(files: Sequence[Path] = ()) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
    """Return our rules and behind them the users', and one sentence for each thing that could not be used."""
    notes: list[str] = []
    own = [rule for entry in entry_points(group=ENTRY_POINTS) for rule in _from_entry_point(entry, notes)]
    own += [rule for path in files for rule in _from_file(path, notes)]
    taken = {rule.name for rule in RULES}
    rules: list[Rule] = []
    for rule in own:
        if rule.name in taken:
            notes.append(f"Rule {rule.name} of {rule.source} is skipped: there is one of that name already.")
            continue
        taken.add(rule.name)
        rules.append(rule)
    return (*RULES, *rules), tuple(notes)


def _from_entry_point(entry: EntryPoint, notes: list[str]) -> list[Rule]:
    source = f"entry point {ENTRY_POINTS}:{entry.name}"
    try:
        found = entry.load()
    except Exception as error:
        notes.append(f"The {source} cannot be loaded and is skipped: {type(error).__name__}: {error}")
        return []
    return _rules_of(found, source, notes)


def _from_file(path: Path, notes: list[str]) -> list[Rule]:
    source = f"file {path.name}"
    try:
        module = _load(path)
    except (Exception, SystemExit) as error:
        notes.append(f"The rules of {path} cannot be loaded and are skipped: {type(error).__name__}: {error}")
        return []
    if not hasattr(module, FILE_LIST):
        notes.append(f"{path} defines no {FILE_LIST}, a list of rule functions; it is skipped.")
        return []
    return _rules_of(getattr(module, FILE_LIST), source, notes)


def _load(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"otpilot_user_rules_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ImportError("not a Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _rules_of(found: object, source: str, notes: list[str]) -> list[Rule]:
    items = list(found) if isinstance(found, list | tuple) else [found]
    rules = []
    for item in items:
        if isinstance(item, Rule):
            rules.append(item)
        elif callable(item):
            rules.append(Rule(function=item, source=source))
        else:
            notes.append(f"{source}: {item!r} is neither a rule function nor a Rule; it is skipped.")
    return rules
