"""The reports of a campaign, written."""

from pathlib import Path

from rich.console import Console

from otpilot.pilot.campaign.answers import Ended
from otpilot.pilot.campaign.opening import Opened
from otpilot.pilot.campaign.stages import Campaign
from otpilot.pilot.campaign.story import Story


def write_reports(
    opened: Opened, campaign: Campaign, ended: Ended | None = None, *, console: Console | None = None
) -> list[Path]:
    """Write the campaign's reports as it stands and return their paths; with a console, show its essence there."""
    from otpilot.report.campaign.html import write_html
    from otpilot.report.campaign.markdown import write_markdown
    from otpilot.report.campaign.terminal import render

    result = Story(opened, campaign, ended).tell()
    folder = opened.paths.reports
    last = max((round.number for round in result.rounds if round.finished is not None), default=0)
    written = [folder / "report.md", folder / "report.html"]
    write_markdown(result, written[0])
    write_html(result, written[1])
    if result.rounds:
        kept = folder / f"round_{last}.md"
        write_markdown(result, kept)
        written.append(kept)
    if console is not None:
        console.print(render(result))
    return written
