import logging

import pytest

from otpilot.pilot.executors.base import Ended
from otpilot.pilot.gpus import Device
from otpilot.pilot.trust import REST_S, DeviceTrust, may_be_the_device
from tests.pilot.conftest import Clock

A, B, C = (Device(uuid=f"GPU-{name}", name="x", memory=1, index=n) for n, name in enumerate("abc"))
CUDA = Ended(state="crashed", reason="exit code 1: RuntimeError: CUDA error: unspecified launch failure")
WELL = Ended(state="finished", reason="")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def trust(clock):
    return DeviceTrust(clock=clock)


@pytest.mark.parametrize(
    ("state", "reason", "blamed"),
    [
        ("crashed", "exit code 1: torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered", True),
        ("crashed", "RuntimeError: cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", True),
        ("crashed", "RuntimeError: CUBLAS_STATUS_NOT_INITIALIZED", True),
        ("crashed", "RuntimeError: No CUDA GPUs are available", True),
        ("killed", "ended by SIGSEGV", True),
        ("killed", "no new step for 300 s", True),
        ("crashed", "out of memory: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", False),
        ("killed", "ended by SIGKILL (out of memory?)", False),
        ("crashed", "exit code 1: FileNotFoundError: data/meta/info.json", False),
        ("crashed", "exit code 1: ValueError: the barracuda dataset succeeds nowhere", False),
        ("diverged", "loss exploded", False),
        ("finished", "CUDA", False),
    ],
)
def test_what_a_gpu_may_be_blamed_for(state, reason, blamed):
    assert may_be_the_device(Ended(state=state, reason=reason)) is blamed


def test_a_gpu_on_which_a_trial_crashed_rests_while_another_is_there(trust, clock):
    trust.saw(A.uuid, "one", CUDA)
    assert trust.choose([A, B], []) == (B,)
    assert trust.choose([A], [B.uuid]) == (), "the other one is busy, but ours: the retry waits for it"
    assert trust.choose([A], []) == (A,), "there is no elsewhere"
    clock.now += REST_S[0]
    assert trust.choose([A, B], []) == (A, B)


def test_it_rests_longer_each_time_until_it_runs_a_trial_well(trust, clock, caplog):
    with caplog.at_level(logging.INFO):
        for number, rest in enumerate((*REST_S, REST_S[-1])):
            trust.saw(A.uuid, f"trial {number}", CUDA)
            clock.now += rest - 1
            assert trust.rests(A.uuid)
            clock.now += 1
            assert not trust.rests(A.uuid)
        trust.saw(A.uuid, "trial 9", CUDA)
        trust.saw(A.uuid, "trial 10", WELL)  # adopted from an earlier pilot
        assert not trust.rests(A.uuid)
    assert "left alone for 60 min" in caplog.messages[0]
    assert "unspecified launch failure" in caplog.messages[0]
    assert caplog.messages[-1] == "GPU GPU-a ran a trial well and is used as before."


def test_a_trial_that_crashes_elsewhere_too_was_to_blame(trust):
    trust.saw(A.uuid, "one", CUDA)
    trust.saw(B.uuid, "one", CUDA)
    assert trust.choose([A, B], []) == (A, B)
    trust.saw(C.uuid, "one", CUDA)
    assert trust.choose([A, B, C], []) == (A, B, C)


def test_a_pardon_covers_its_own_trial_only(trust):
    for trial in ("one", "two"):
        trust.saw(A.uuid, trial, CUDA)
    trust.saw(B.uuid, "one", CUDA)
    assert trust.choose([A, B], []) == (B,), "two is still held against it"
    trust.saw(B.uuid, "two", WELL)
    assert trust.choose([A, B], []) == (B,), "what ran well elsewhere is no pardon"


def test_where_all_rest_the_one_that_rested_longest_goes_first(trust, clock):
    for device, trial in ((B, "one"), (A, "two")):
        trust.saw(device.uuid, trial, CUDA)
        clock.now += 1
    assert trust.choose([A, B], []) == (B, A)
    assert trust.choose([A], [B.uuid]) == (A,)


def test_other_ends_say_nothing_of_a_gpu(trust):
    trust.saw(A.uuid, "one", CUDA)
    for ended in (
        Ended(state="crashed", reason="exit code 1: KeyError: 'action'"),
        Ended(state="killed", reason="ended on request", suspended=True),
        Ended(state="invalid", reason="it has no score"),
    ):
        trust.saw(A.uuid, "other", ended)
        trust.saw(B.uuid, "other", ended)
    assert (trust.rests(A.uuid), trust.rests(B.uuid)) == (True, False)
