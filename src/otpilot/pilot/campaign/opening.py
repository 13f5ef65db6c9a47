"""Opens a campaign's folder: settings, base config, ledger; checks that they still are the campaign they were."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otpilot.config.plain import plain
from otpilot.errors import ConfigError
from otpilot.pilot.campaign.base import read_base, trial_seeds
from otpilot.pilot.campaign.folder import CampaignPaths
from otpilot.pilot.campaign.settings import MAY_CHANGE, CampaignSettings, changed_keys, find_file, read_settings
from otpilot.pilot.ledger import Ledger
from otpilot.pilot.rules import Rule, all_rules


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A campaign as its folder says: paths, settings, base config, rules, and notes on what cannot work so."""

    paths: CampaignPaths
    settings: CampaignSettings
    base: dict[str, Any]
    rules: tuple[Rule, ...]
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the campaign: as campaign.toml says, or its folder's."""
        return self.settings.name or self.paths.root.resolve().name


def open_folder(path: Path) -> Opened:
    """Return the campaign that a folder or a campaign.toml means; nothing is written.

    Raises:
        MissingFileError: If the file, or the base config that it names, is not there.
        ConfigError: If something in them is wrong.
    """
    file = find_file(path)
    settings = read_settings(file)
    root = file.parent
    rules, notes = all_rules([root / name for name in settings.rules])
    base = read_base(settings, root)
    notes += _too_small(settings, seeds=len(trial_seeds(base, settings)))
    return Opened(paths=CampaignPaths(root), settings=settings, base=base, rules=rules, notes=notes)


def _too_small(settings: CampaignSettings, *, seeds: int) -> tuple[str, ...]:
    """Return a note if the budget of trials ends the campaign before its first variant, or before it can be kept."""
    allowed = settings.budget.trials
    screened, confirmed = 2 * seeds, 2 * settings.confirm_seeds
    if allowed is None or allowed >= screened + confirmed:
        return ()
    baseline = f"the baseline and one variant on {seeds} seeds take {screened}"
    if allowed < screened:
        return (f"budget.trials = {allowed} ends the campaign before anything is tried: {baseline}.",)
    return (
        f"budget.trials = {allowed} lets no variant be kept: {baseline}, and confirming it beside the baseline on "
        f"{settings.confirm_seeds} fresh seeds {confirmed} more.",
    )


def check_same(ledger: Ledger, opened: Opened) -> None:
    """Return nothing if the ledger's campaign is the one that the folder says.

    Raises:
        ConfigError: If it is another one: a key changed that may not, or the base config did.
    """
    rounds = ledger.rounds()
    if not rounds:
        return
    plan = rounds[0].plan
    changed = changed_keys(plan["settings"], opened.settings.plain())
    if changed:
        raise ConfigError(
            f"{opened.paths.settings} differs from what this campaign was started with, in {', '.join(changed)}; "
            f"while it runs, only these may change: {', '.join(MAY_CHANGE)}. For another experiment make another "
            f"folder.{_fresh(ledger, opened)}"
        )
    if plan["config"] != plain(opened.base):
        raise ConfigError(
            f"The base config {opened.settings.base} is not what this campaign was started with; put it back, or make "
            f"another folder for another campaign.{_fresh(ledger, opened)}"
        )


def _fresh(ledger: Ledger, opened: Opened) -> str:
    """Return how to begin anew where nothing would be lost: no trial ended well yet."""
    if any(state in ("finished", "stopped_early") for state in ledger.status().by_state):
        return ""
    where = opened.paths.ledger(opened.settings)
    mine = f"{where}, " if isinstance(where, Path) else "the tables of this campaign in its database, "
    return (
        f" Or begin anew, since no trial has ended well: remove {mine}trials/ and configs/, then `otpilot loop start`."
    )
