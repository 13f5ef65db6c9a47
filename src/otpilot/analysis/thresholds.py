"""Every limit that diagnosis and comparison use, with where it comes from; a TOML file can override them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The limits; see the table of origins below."""
