"""Twelve real trials on a Ray cluster of two nodes with fake GPUs, one of which is killed in the middle."""

import time
from pathlib import Path

import pytest

from otpilot.pilot.ledger import Ledger
from tests.pilot.conftest import wait_for
from tests.pilot.executors.conftest import add_node, start_cluster
from tests.pilot.machines.real_campaign import (
    STEPS,
    RealCampaign,
    assert_ended_once,
    assert_report_is_whole,
    told,
)

pytest.importorskip("ray", reason="Ray is not installed (otpilot[ray])")

BOX = "OTPILOT_TEST_BOX"


@pytest.fixture
def cluster(tmp_path):
    made = start_cluster(num_cpus=2, num_gpus=2)
    yield made
    made.shutdown()


def is_on_the_other_node(pid: int | None) -> bool:
    try:
        return f"{BOX}={BOX}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


@pytest.mark.slow
def test_twelve_real_trials_and_a_node_killed(world, cluster, tmp_path):
    campaign = RealCampaign(tmp_path / "campaign", ledger="ledger.db").write(world)
    began = time.monotonic()
    try:
        pilot = campaign.start("start", "--steer-only", str(campaign.root))
        wait_for((campaign.root / "ledger.db").is_file, 120)
        with Ledger.open(campaign.root / "ledger.db") as ledger:
            wait_for(ledger.rounds, 120)
            words = ("--ledger", str(campaign.root), "--ray", cluster.address, "--gpus-per-trial", "1")
            worker = campaign.start("worker", *words)
            # A driver joins one node, and is lost with it; so it joins before there are two of the same address.
            wait_for(lambda: "trials at once" in campaign.said() or worker.poll() is not None, 300)
            other = add_node(cluster, num_cpus=2, num_gpus=2, env_vars={BOX: BOX})

            def on_the_other_node():
                assert (pilot.poll(), worker.poll()) == (None, None), campaign.said()
                held = ledger.trials(states=("running",), round=1)
                return [t for t in held if is_on_the_other_node(campaign.trainer_of(t))]

            def hit():
                there = on_the_other_node()
                return there if any(campaign.in_the_middle(trial) for trial in there) else None

            lost = wait_for(hit, 900)
            had = {trial.id: campaign.in_the_middle(trial) for trial in lost}
            cluster.remove_node(other, allow_graceful=False)
            assert pilot.wait(900) == 0, campaign.said()
            assert worker.wait(120) == 0, campaign.said()
            assert campaign.left() == {}, "orphans"
            assert_ended_once(campaign, ledger)
            resumed = {}
            for trial in lost:
                starts = campaign.starts(trial)
                if len(starts) == 1:  # it came to its end while its node was being killed
                    continue
                assert len(starts) == 2
                assert "/checkpoints/" in starts[1] or not had[trial.id], "it began anew"
                if "/checkpoints/" in starts[1]:
                    resumed[trial.folder_name] = int(starts[1].split("/checkpoints/")[1].split("/")[0])
            assert resumed, "no trial of the lost node went on from its checkpoint"
            attempts = [a for trial in ledger.trials() for a in ledger.attempts(trial.id)]
            assert {a.device for a in attempts if a.outcome == "finished"} == {"ray, 1 GPU"}
            assert {a.outcome for a in attempts} <= {"finished", "given back"}, "Ray itself starts again what it lost"
            print(f"{time.monotonic() - began:.0f} s; of {STEPS} steps resumed at {resumed}; {told(campaign, ledger)}")
        assert_report_is_whole(campaign)
    finally:
        campaign.end_all()
    wait_for(lambda: not campaign.left(), 90)
