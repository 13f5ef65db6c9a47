"""A finding made ready to print: its words (analysis/wording.py), its window, numbers and limits as texts."""

from collections.abc import Iterable
from dataclasses import dataclass

from otpilot.analysis import wording
from otpilot.analysis.findings import Finding
from otpilot.analysis.postmortem import PostMortem
from otpilot.report.analysis.words import Lang, word

SEVERITIES = ("problem", "warning", "info")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What is printed of one finding; `limits` are (name, value, where it comes from)."""

    tag: str
    severity: str
    sentence: str
    metric: str
    window: str
    evidence: tuple[tuple[str, str], ...]
    limits: tuple[tuple[str, str, str], ...]


def tell(finding: Finding, lang: Lang) -> Told:
    """Return the words of a finding in a language."""
    window = "" if finding.window is None else word("window", lang).format(*(f"{step:,}" for step in finding.window))
    return Told(
        tag=wording.tag_name(finding.tag, lang),
        severity=finding.severity,
        sentence=wording.sentence(finding, lang),
        metric=finding.metric or "",
        window=window,
        evidence=wording.evidence(finding, lang),
        limits=tuple((one.name, wording.short(one.value), wording.origin(one, lang)) for one in finding.thresholds),
    )


def ranked(findings: Iterable[Finding]) -> list[Finding]:
    """Return findings by severity, problems first, otherwise in the order given."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def tags(findings: Iterable[Finding], lang: Lang) -> list[Told]:
    """Return what the table of runs shows: each tag once, the worst first, and not that only a loss exists."""
    told = (tell(finding, lang) for finding in ranked(findings) if finding.tag != "loss_only")
    kept: dict[str, Told] = {}
    for one in told:
        kept.setdefault(one.tag, one)
    return list(kept.values())


def postmortem_title(found: Iterable[PostMortem], lang: Lang) -> str:
    """Return the heading of post-mortems, which speaks of causes only where the configs of both runs are known."""
    known = any(one.mechanism != "unknown" for one in found)
    return word("postmortem" if known else "postmortem without configs", lang)


def plain(text: str) -> str:
    """Return text on one line without characters that would steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in " ".join(text.split()))
