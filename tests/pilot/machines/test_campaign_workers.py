"""A campaign of twelve real trials on PostgreSQL: three workers, one killed, the server restarted in the middle."""

import time

import pytest

from otpilot.pilot.ledger import Ledger
from tests.pilot.conftest import wait_for
from tests.pilot.machines.real_campaign import (
    STEPS,
    RealCampaign,
    assert_ended_once,
    assert_report_is_whole,
    told,
)


@pytest.mark.slow
def test_twelve_real_trials_one_worker_killed_and_the_database_restarted(world, postgres, database, tmp_path):
    campaign = RealCampaign(tmp_path / "campaign", ledger=database).write(world)
    began = time.monotonic()
    try:
        pilot = campaign.start("start", "--steer-only", str(campaign.root))
        with Ledger.open(database) as ledger:
            wait_for(ledger.rounds, 120)
            words = (
                "--ledger",
                database,
                "--folder",
                str(campaign.root),
                "--slots",
                "1",
                "--threads",
                "1",
                "--no-gpus",
            )
            workers = [campaign.start("worker", *words) for _ in range(3)]

            def victim():
                assert pilot.poll() is None, campaign.said()
                held = ledger.trials(states=("running",), round=1)
                return next((trial for trial in held if campaign.in_the_middle(trial)), None)

            hit = wait_for(victim, 900)
            killed = next(w for w in workers if f":{w.pid}:" in hit.owner)
            killed.kill()
            killed.wait()
            time.sleep(2.0)
            postgres.stop("fast")
            time.sleep(5.0)
            postgres.start()
            assert pilot.wait(900) == 0, campaign.said()
            assert [w.wait(120) for w in workers if w is not killed] == [0, 0], campaign.said()
            assert campaign.left() == {}, "orphans"
            assert_ended_once(campaign, ledger)
            attempts = ledger.attempts(hit.id)
            first, *between, last = [a.outcome for a in attempts]
            assert (first, last) == ("lost", "finished")
            assert set(between) <= {"given back"}, "one without a free slot gives back what it took over"
            assert f":{killed.pid}:" not in attempts[-1].owner
            starts = campaign.starts(hit)
            assert len(starts) >= 2, "it had ended when its worker was killed"
            assert "/checkpoints/" in starts[-1], "it began anew"
            owners = {a.owner for trial in ledger.trials() for a in ledger.attempts(trial.id)}
            assert len(owners) == 3, "a worker had nothing to do"
            step = int(starts[-1].split("/checkpoints/")[1].split("/")[0])
            print(f"{time.monotonic() - began:.0f} s; resumed at {step} of {STEPS}; {told(campaign, ledger)}")
        assert_report_is_whole(campaign)
    finally:
        campaign.end_all()
    wait_for(lambda: not campaign.left(), 90)
