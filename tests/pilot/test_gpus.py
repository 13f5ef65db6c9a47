import logging
import subprocess
import sys
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otpilot.errors import ExecutorError
from otpilot.pilot import gpus
from otpilot.pilot.gpus import Calm, GpuMonitor, load_nvml, try_lock
from otpilot.pilot.slots import Slots, available_cores, plan_slots, thread_environment
from tests.pilot.conftest import Clock
from tests.pilot.fake_nvml import FakeNvml, Gpu

GIB = 1 << 30


def names(devices):
    return [device.uuid for device in devices]


def monitor(*cards, **options):
    return GpuMonitor(FakeNvml(*cards), sleep=lambda _: None, **options)


def test_busy_in_memory_use_or_processes_is_not_free():
    cards = [Gpu("GPU-a"), Gpu("GPU-b", used=20 * GIB), Gpu("GPU-c", use=50), Gpu("GPU-d", processes=1), Gpu("GPU-old")]
    assert names(monitor(*cards).calm_devices()) == ["GPU-a", "GPU-old"]


def test_a_small_gpu_is_measured_by_its_own_size():
    assert names(monitor(Gpu("GPU-a", total=2 * GIB, used=int(0.9 * GIB))).calm_devices()) == []


def test_calm_means_calm_in_every_recent_sample():
    card, pauses, clock = Gpu("GPU-a", use=90), [], Clock()
    watch = GpuMonitor(FakeNvml(card), calm=Calm(samples=3, pause_s=0.2), sleep=pauses.append, clock=clock)
    assert watch.calm_devices() == ()
    card.use = 0  # between two steps of somebody's training
    assert watch.calm_devices() == ()
    assert watch.calm_devices() == ()
    assert names(watch.calm_devices()) == ["GPU-a"]
    assert pauses == [0.2, 0.2], "later calls take one look each"
    clock.now += 31
    assert names(watch.calm_devices()) == ["GPU-a"]
    assert len(pauses) == 4, "old samples are taken anew"


def test_a_split_gpu_counts_as_its_instances():
    parts = [Gpu(f"MIG-{n}", total=10 * GIB, is_instance=True, used=n * 5 * GIB) for n in range(2)]
    watch = monitor(Gpu("GPU-a", instances=parts), Gpu("GPU-b"))
    assert names(watch.devices) == ["MIG-0", "MIG-1", "GPU-b"]
    assert [device.instance for device in watch.devices] == [True, True, False]
    assert names(watch.calm_devices()) == ["MIG-0", "GPU-b"]


def test_a_split_gpu_without_instances_is_no_room():
    class Split(FakeNvml):
        def nvmlDeviceGetMigMode(self, gpu):
            return (1, 1)

    assert GpuMonitor(Split(Gpu("GPU-a"))).devices == ()


def test_a_gpu_that_fell_off_the_bus_is_left_alone(caplog):
    lost, fine = Gpu("GPU-a"), Gpu("GPU-b")
    watch = monitor(lost, fine)
    lost.broken = True
    with caplog.at_level(logging.INFO):
        assert names(watch.calm_devices()) == ["GPU-b"]
    broken = monitor(Gpu("GPU-x", broken=True), fine)
    assert names(broken.devices) == ["GPU-b"]


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, ["GPU-aa", "GPU-ab", "MIG-c"]),
        ("", []),
        ("1,0", ["GPU-ab", "GPU-aa"]),
        ("GPU-ab", ["GPU-ab"]),
        ("GPU-a", []),  # not unique
        ("0,9,1", ["GPU-aa"]),  # as CUDA: up to the first that does not exist
        ("MIG-c,0,0", ["MIG-c", "GPU-aa"]),
        ("2", []),  # the parent of instances
        ("-1,0", []),
    ],
)
def test_cuda_visible_devices_is_obeyed(visible, expected):
    cards = [Gpu("GPU-aa"), Gpu("GPU-ab"), Gpu("GPU-c", instances=[Gpu("MIG-c", is_instance=True)])]
    assert names(monitor(*cards, visible=visible).devices) == expected


def test_old_nvml_speaks_bytes():
    assert names(GpuMonitor(FakeNvml(Gpu("GPU-a"), old_names=True)).devices) == ["GPU-a"]


def test_without_a_driver_there_are_no_gpus_and_that_is_said_once(monkeypatch, caplog):
    class Error(Exception):
        pass

    broken = ModuleType("pynvml")
    broken.NVMLError = Error

    def fail():
        raise Error("Driver Not Loaded")

    broken.nvmlInit = fail
    monkeypatch.setitem(sys.modules, "pynvml", broken)
    monkeypatch.setattr(gpus, "_said", set())
    with caplog.at_level(logging.INFO):
        assert load_nvml() is None
        assert load_nvml() is None
    assert [record.message for record in caplog.records] == ["No GPUs: NVML says Driver Not Loaded."]
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert load_nvml() is None
    assert GpuMonitor(None).calm_devices() == ()


def test_a_lock_lasts_as_long_as_any_process_holds_it(tmp_path):
    [device] = monitor(Gpu("GPU-a")).devices
    lock = try_lock(device, folder=tmp_path)
    assert try_lock(device, folder=tmp_path) is None
    with subprocess.Popen(["sleep", "600"], pass_fds=[lock.fd]) as holder:
        lock.close()
        lock.close()
        assert try_lock(device, folder=tmp_path) is None, "the supervisor holds it"
        holder.kill()
    again = try_lock(device, folder=tmp_path)
    assert again is not None
    again.close()


def plan(tmp_path, *cards, **options):
    calm = Calm(samples=1)
    return plan_slots(nvml=FakeNvml(*cards), calm=calm, visible=options.pop("visible", None), locks=tmp_path, **options)


def test_concurrency_is_the_gpus_unless_told(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cards = [Gpu("GPU-a"), Gpu("GPU-b")]
    assert (plan(tmp_path, *cards, cores=16).limit, plan(tmp_path, *cards, cores=16).threads) == (2, 8)
    assert plan(tmp_path, *cards, concurrency=1, cores=16).limit == 1
    assert plan(tmp_path, *cards, concurrency=9, cores=16).limit == 2, "never two on one GPU"
    assert plan(tmp_path, cores=8).limit == 8
    assert plan(tmp_path, cores=8, threads=3).limit == 2
    assert plan(tmp_path, cores=2, threads=3).limit == 1
    assert (plan(tmp_path, cores=8, concurrency=2).threads, plan(tmp_path, *cards, use_gpus=False, cores=4).limit) == (
        4,
        4,
    )
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-b")
    assert names(plan(tmp_path, *cards).monitor.devices) == ["GPU-b"]
    for options in ({"concurrency": 0}, {"threads": 0}):
        with pytest.raises(ExecutorError, match="is 0; allowed: 1 or more"):
            plan_slots(use_gpus=False, **options)
    with pytest.raises(ExecutorError, match="limit is 0"):
        Slots(limit=0, threads=1)
    with pytest.raises(ExecutorError, match="samples >= 1"):
        Calm(samples=0)
    assert available_cores() >= 1


def test_a_slot_names_its_gpu_by_uuid_and_its_threads(tmp_path):
    slots = plan(tmp_path, Gpu("GPU-a", processes=1), Gpu("GPU-b"), threads=4, visible="0,1")
    slot = slots.acquire()
    assert slot.device == "GPU-b"
    assert slot.environment["CUDA_VISIBLE_DEVICES"] == "GPU-b"
    assert slot.environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert thread_environment(4).items() <= slot.environment.items()
    assert slots.acquire() is None
    slot.close()
    slots.release(slot.device)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    cards=st.integers(1, 4),
    limits=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    moves=st.lists(st.tuples(st.booleans(), st.integers(0, 1), st.integers(0, 3)), max_size=30),
)
def test_never_two_jobs_on_one_gpu(tmp_path_factory, cards, limits, moves):
    """Two pilots on one machine take and give back as they like; NVML sees nothing of jobs that just started."""
    folder = tmp_path_factory.mktemp("locks")
    fakes = [Gpu(f"GPU-{n}") for n in range(cards)]
    pilots = [plan(folder, *fakes, concurrency=limit, visible=",".join(map(str, range(cards)))) for limit in limits]
    held = [[], []]
    try:
        for take, who, which in moves:
            if take:
                slot = pilots[who].acquire()
                busy = [s.device for own in held for s in own]
                if slot is None:
                    assert len(busy) == cards or len(held[who]) == pilots[who].limit
                else:
                    assert slot.device not in busy
                    held[who].append(slot)
            elif held[who]:
                slot = held[who].pop(which % len(held[who]))
                slot.close()
                pilots[who].release(slot.device)
    finally:
        for own in held:
            for slot in own:
                slot.close()
