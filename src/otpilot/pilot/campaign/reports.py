"""The reports of a campaign, written."""

from pathlib import Path
from typing import Literal

from rich.console import Console

from otpilot.pilot.campaign.answers import Ended
from otpilot.pilot.campaign.opening import Opened
from otpilot.pilot.campaign.stages import Campaign
from otpilot.pilot.campaign.story import Story


def write_reports(
    opened: Opened, campaign: Campaign, ended: Ended | None = None, *, console: Console | None = None
) -> list[Path]:
    """Write the campaign's reports as it stands and return their paths; with a console, show its essence there.

    Each round that is over is also added to the journal that campaign.toml names, once, behind what stands there.
    """
    from otpilot.report.campaign.html import write_html
    from otpilot.report.campaign.markdown import append_round, write_markdown
    from otpilot.report.campaign.terminal import render

    result = Story(opened, campaign, ended).tell()
    folder = opened.paths.reports
    last = max((round.number for round in result.rounds if round.finished is not None), default=0)
    lang: Literal["en", "zh"] = "zh" if opened.settings.language == "zh" else "en"
    written = [folder / "report.md", folder / "report.html"]
    write_markdown(result, written[0], lang=lang)
    write_html(result, written[1], lang=lang)
    if result.rounds:
        kept = folder / f"round_{last}.md"
        write_markdown(result, kept, lang=lang)
        written.append(kept)
    if opened.settings.journal:
        journal = opened.paths.root / opened.settings.journal
        for round in result.rounds:
            if round.number and round.finished is not None:
                append_round(result, journal, round.number, lang=lang)
        written.append(journal)
    if console is not None:
        console.print(render(result, lang))
    return written
