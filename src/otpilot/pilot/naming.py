"""Names of variants: what changed, from whom, in letters that any file system takes."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from otpilot.config.edits import Change
from otpilot.pilot.knobs import knob_of

ID_LENGTH = 4
LONGEST = 40
"""Characters for what changed, without the id that stands for changes left out."""
LONGEST_PARENT = 24
LONGEST_WORD = 16
SHORT_ENOUGH = re.compile(r"[A-Za-z0-9]{1,8}")
UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
FROM = "_from-"


def short_id(text: str) -> str:
    """Return the text itself if it is a short id (up to 8 letters and digits), else four characters made from it."""
    if SHORT_ENOUGH.fullmatch(text):
        return text
    return _digest(text)


def variant_name(changes: Sequence[Change], parent: str) -> str:
    """Return a name such as `w8_reg0.24_from-base_s0`; changes that find no room are left out and told by an id.

    No number is cut: what a name says is what the config holds, to four digits.
    """
    whole = list(dict.fromkeys(_token(change) for change in changes)) or ["same"]
    tokens = list(dict.fromkeys(_token(change, LONGEST) for change in changes)) or ["same"]
    head = "_".join(whole_pieces(tokens, LONGEST))
    if head != "_".join(whole):
        head = f"{head}_{_digest('_'.join(whole))}"
    return f"{head}{FROM}{parent_name(parent)}"


def parent_name(parent: str) -> str:
    """Return what a parent is called within a variant's name: itself where it is short, else its beginning and an id.

    A parent that is a variant goes by an id alone, or names would grow with every generation.
    """
    if FROM in parent:
        return short_id(parent)
    safe = UNSAFE.sub("-", parent).strip("-._")
    if safe == parent and len(parent) <= LONGEST_PARENT:
        return parent
    pieces = whole_pieces(re.findall(r"[^_]+", safe), LONGEST_PARENT - ID_LENGTH - 1)
    return "-".join(["_".join(pieces), _digest(parent)] if pieces else [_digest(parent)])


def whole_pieces(pieces: Sequence[str], longest: int) -> list[str]:
    """Return as many of the first pieces as fit, joined by underscores, into `longest` characters; none is cut."""
    count = len(pieces)
    while count and len("_".join(pieces[:count])) > longest:
        count -= 1
    return list(pieces[:count])


def _token(change: Change, longest: int | None = None) -> str:
    """Return a change as code and value; with `longest`, a long word or a long code is cut, but never a number."""
    code, value = (UNSAFE.sub("-", text) for text in (knob_of(change.path).code, _value(change.new)))
    if longest is not None:
        value = value if _is_number(change.new) else value[:LONGEST_WORD]
        code = code[: longest - len(value)]
    return f"{code}{value}".strip("-.") or "x"


def _value(value: Any) -> str:
    if value is None:
        return "-none"
    if isinstance(value, bool):
        return "" if value else "-off"
    if _is_number(value):
        return _number(value)
    if isinstance(value, Mapping):
        rate = value.get("lr", value.get("type", ""))
        return f"-{_number(rate)}" if _is_number(rate) else f"-{rate}" if rate else ""
    return f"-{value}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float) -> str:
    """Return a number as short as it is exact to four digits: 16, 0.24, 1.62e-5."""
    return str(value) if isinstance(value, int) else re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.4g}")


def _digest(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:ID_LENGTH]
