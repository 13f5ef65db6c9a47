"""Names of variants: what changed, from whom, in letters that any file system takes."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from otpilot.config.edits import Change
from otpilot.pilot.knobs import knob_of

ID_LENGTH = 4
LONGEST = 60
SHORT_ENOUGH = re.compile(r"[A-Za-z0-9]{1,8}")
UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")


def short_id(text: str) -> str:
    """Return the text itself if it is a short id (up to 8 letters and digits), else four characters made from it."""
    if SHORT_ENOUGH.fullmatch(text):
        return text
    return _digest(text)


def variant_name(changes: Sequence[Change], parent: str) -> str:
    """Return a name such as `w8_reg0.24_from-x7k2`; long ones are cut and carry an id of the whole."""
    tokens = list(dict.fromkeys(_token(change) for change in changes)) or ["same"]
    head = "_".join(tokens)
    if len(head) > LONGEST:
        head = f"{head[: LONGEST - ID_LENGTH - 1].rstrip('_-.')}_{_digest(head)}"
    return f"{head}_from-{short_id(parent)}"


def _token(change: Change) -> str:
    return UNSAFE.sub("-", f"{knob_of(change.path).code}{_value(change.new)}").strip("-.") or "x"


def _value(value: Any) -> str:
    if value is None:
        return "-none"
    if isinstance(value, bool):
        return "" if value else "-off"
    if isinstance(value, int | float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        rate = value.get("lr", value.get("type", ""))
        return f"-{rate:.4g}" if isinstance(rate, int | float) else f"-{rate}" if rate else ""
    return f"-{value}"


def _digest(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode().lower()[:ID_LENGTH]
