"""A worker's campaign, from a ledger alone or from a folder."""

from pathlib import Path

import pytest

from otpilot.errors import ConfigError
from otpilot.pilot.campaign.folder import CampaignPaths
from otpilot.pilot.campaign.hand import Hand, find_place, read_campaign
from otpilot.pilot.ledger import Ledger, NewTrial
from tests.pilot.campaign.conftest import Field, Hands
from tests.pilot.machines.conftest import QUICK


@pytest.fixture
def field(tmp_path):
    made = Field(tmp_path / "campaign").write(QUICK.format(ledger="ledger.db"), noise=0.02)
    made.run()
    yield made
    for executor in made.made:
        executor.close()


def test_settings_and_config_come_back_from_the_ledger(field):
    opened = field.opened()
    with field.ledger() as ledger:
        settings, base = read_campaign(ledger)
        assert settings == opened.settings
        assert base == opened.base
    place = find_place(str(field.root), None)
    assert (place.where, place.paths) == (field.root / "ledger.db", CampaignPaths(field.root))


def test_an_empty_ledger_has_no_campaign(tmp_path):
    with Ledger.open(tmp_path / "l.db") as ledger, pytest.raises(ConfigError, match="start its pilot first"):
        read_campaign(ledger)


def test_a_worker_of_a_campaign_that_is_over_goes_home(field, tmp_path):
    with field.ledger() as ledger:
        settings, base = read_campaign(ledger)
        hand = Hand(ledger, field.threads(), settings, base, CampaignPaths(tmp_path / "elsewhere"))
        assert hand.work() == ledger.decisions(kind="stop")[-1].reason


def test_what_lies_on_another_box_is_begun_anew(field, tmp_path):
    told = []
    with field.ledger() as ledger:
        settings, base = read_campaign(ledger)
        short = ledger.trials()[0]
        new = NewTrial(
            name=short.name, config_hash=short.config_hash, config={}, seed=short.seed, budget=900, continues=short.id
        )
        long = ledger.add_trial(new)
        options = {"tell": told.append, "clocks": Hands().clocks()}
        here = Hand(ledger, field.threads(), settings, base, field.paths, **options)
        assert here.spec_of(long).continues in (None, field.paths.run(short.folder_name))
        there = Hand(ledger, field.threads(), settings, base, CampaignPaths(tmp_path / "box"), **options)
        assert there.spec_of(long).continues is None
        assert told[-1] == f"{long.folder_name} begins anew: {short.folder_name} has no checkpoint on this machine."
        assert Path(there.spec_of(long).config).is_relative_to(tmp_path / "box")
