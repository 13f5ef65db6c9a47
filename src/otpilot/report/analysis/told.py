"""A finding made ready to print: its words, and its evidence as (name, value) texts. All renderings say the same."""

from dataclasses import dataclass

from otpilot.analysis.findings import Finding, Number
from otpilot.analysis.postmortem import PostMortem, SingleChange
from otpilot.analysis.verdict import Verdict
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
        tag=finding.tag,
        severity=finding.severity,
        sentence=finding.tag,
        metric=finding.metric or "",
        window=window,
        evidence=tuple((name.replace("_", " "), shown(value)) for name, value in finding.evidence.items()),
        limits=tuple((one.name.replace("_", " "), shown(one.value), one.origin) for one in finding.thresholds),
    )


def ranked(findings: tuple[Finding, ...]) -> list[Finding]:
    """Return findings by severity, problems first, otherwise in the order given."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def shown(value: Number) -> str:
    """Return a number with four significant digits, whole numbers and words as they are."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "–" if value is None else str(value)


def basis(verdict: Verdict, lang: Lang) -> str:
    """Return what a verdict rests on."""
    return f"{verdict.basis} {lang}"


def mechanism(found: PostMortem, lang: Lang) -> str:
    """Return how a post-mortem explains the regression."""
    return f"{found.mechanism} {lang}"


def change(one: SingleChange, lang: Lang) -> str:
    """Return what to change, and nothing else."""
    return f"{one.key}: {one.instead_of} -> {one.value}"


def plain(text: str) -> str:
    """Return text on one line without characters that would steer a terminal."""
    return "".join(character if character.isprintable() else " " for character in " ".join(text.split()))
