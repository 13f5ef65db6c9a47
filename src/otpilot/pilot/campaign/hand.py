"""A worker on a campaign: runs its trials, decides nothing. The pilot may be on another machine."""

import importlib.metadata
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from otpilot.errors import ConfigError
from otpilot.pilot.campaign.books import why_over
from otpilot.pilot.campaign.folder import CampaignPaths
from otpilot.pilot.campaign.pilot import Pilot
from otpilot.pilot.campaign.settings import CampaignSettings, find_file, read_settings, settings_of
from otpilot.pilot.executors.base import TrialSpec
from otpilot.pilot.executors.start import find_checkpoint
from otpilot.pilot.ledger import Ledger, Trial
from otpilot.pilot.worker import BEATS_PER_LEASE

SOFTWARE = "software"
PACKAGES = ("otpilot", "lerobot", "torch")
PATIENCE_S = 600.0
"""A worker waits longer than a pilot for a database that is away: its trials run on meanwhile."""

IDLE_S = 5.0
"""How often a worker without a trial asks for one: with many idle workers this is most of the ledger's load."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker works: the ledger, the folder for configs and run folders, campaign.toml where it lies there."""

    where: Path | str
    paths: CampaignPaths
    settings: CampaignSettings | None = None

    def open(self, **options: Any) -> AbstractContextManager[Ledger]:
        """Return the ledger, which must exist.

        Raises:
            LedgerError: If it does not, or cannot be reached.
        """
        return Ledger.open(self.where, must_exist=True, patience_s=PATIENCE_S, **options)


def find_place(ledger: str, folder: Path | None) -> Place:
    """Return where to work, from a ledger's URL and this machine's folder, or from a campaign's folder.

    Raises:
        MissingFileError: If there is no campaign in the folder.
        ConfigError: If a URL comes without a folder, or a campaign's folder was never started.
    """
    if "://" in ledger:
        if folder is None:
            raise ConfigError(
                "A ledger at a URL says nothing about folders: give --folder, the campaign's folder if machines share "
                "it, else an empty one."
            )
        return Place(where=ledger, paths=CampaignPaths(folder.resolve()))
    file = find_file(Path(ledger))
    paths = CampaignPaths(file.parent.resolve())
    settings = read_settings(file)
    where = paths.ledger(settings)
    if isinstance(where, Path) and not where.is_file():
        raise ConfigError(f"The campaign in {paths.root} was never started: there is no {where}.")
    return Place(where=where, paths=paths, settings=settings)


def read_campaign(ledger: Ledger) -> tuple[CampaignSettings, dict[str, Any]]:
    """Return the settings and the base config of the campaign in a ledger.

    Raises:
        ConfigError: If none has begun there.
    """
    rounds = ledger.rounds()
    if not rounds:
        raise ConfigError("No campaign has begun in this ledger; start its pilot first (`otpilot loop start`).")
    plan = rounds[0].plan
    return settings_of(plan["settings"]), dict(plan["config"])


def installed() -> dict[str, str]:
    """Return the versions that decide what a trial is."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}


def note_software(ledger: Ledger) -> None:
    """Write down what the pilot runs, so that workers can be compared with it."""
    ledger.put(SOFTWARE, installed())


def check_software(ledger: Ledger) -> None:
    """Return nothing if this machine has what the pilot has.

    Raises:
        ConfigError: If a version differs: trials of both could not be compared.
    """
    theirs, ours = ledger.get(SOFTWARE, {}), installed()
    other = [
        f"{name} {theirs[name]}, here {ours[name]}" for name in PACKAGES if theirs.get(name, ours[name]) != ours[name]
    ]
    if other:
        raise ConfigError(f"The campaign's pilot runs {'; '.join(other)}. Install the same, so that trials compare.")


class Hand(Pilot):
    """Runs a campaign's trials until it is over or it is asked to stop.

    With a folder of its own, which no other machine shares, a trial that would go on from a shorter one of another
    machine begins anew: by its seed and schedule it comes to the same.
    """

    def work(self, *, watch: Callable[[], None] = lambda: None) -> str | None:
        """Work until the campaign's pilot says that it is over, and return why; None if asked to stop before.

        It may be over while trials run (a budget is spent): they are suspended and given back.
        """
        look_at = 0.0
        while True:
            watch()
            if self.asked_to_stop():
                self._suspend("the worker was asked to stop")
                return None
            if not self.worker.running or self.clocks.seconds() >= look_at:
                over = why_over(self.ledger)
                if over is not None:
                    self._suspend(over)
                    return over
                look_at = self.clocks.seconds() + self.ledger.lease_s / BEATS_PER_LEASE
            opens = self.settings.window.opens(self.clocks.local())
            if opens is not None:
                self._wait_for_hours(opens)
                continue
            done = self.worker.step()
            self._tell_trials(done)
            if not done.started and not done.ended:
                self.clocks.sleep(self.poll_s if done.running else max(self.poll_s, IDLE_S))

    def spec_of(self, trial: Trial) -> TrialSpec:
        """Return what to run for a trial; what lies on another machine is not gone on from."""
        spec = super().spec_of(trial)
        if spec.continues is not None and find_checkpoint(spec.continues, below=spec.steps) is None:
            self.tell(f"{spec.name} begins anew: {spec.continues.name} has no checkpoint on this machine.")
            return replace(spec, continues=None)
        return spec
