"""W&B beside training: everything arrives, nothing waits, no failure reaches the run."""

import sys
import threading

import numpy as np
import pytest
from PIL import Image

from otpilot.runs.sources.wandb_offline import read_wandb_file
from otpilot.training import wandb_session
from otpilot.training.tracker import Tracker
from tests.pilot.conftest import wait_for

pytestmark = pytest.mark.usefixtures("fresh_wandb")

KEY = "0123456789abcdef0123456789abcdef01234567"


class Recorder:
    """A session that keeps what it gets; it opens when `go` is set."""

    def __init__(self, fails_at=None):
        self.go = threading.Event()
        self.got = []
        self.finished = False
        self.fails_at = fails_at

    def open(self):
        self.go.wait()
        return self

    def log(self, values, *, step, kind):
        if step == self.fails_at:
            raise RuntimeError(f"gone, key {KEY}")
        self.got.append((kind, step, dict(values)))

    def images(self, pictures, *, step):
        self.got.append(("images", step, dict(pictures)))

    def finish(self):
        self.finished = True


def test_everything_arrives_in_order():
    session, told = Recorder(), []
    tracker = Tracker(None, tell=told.append, open_session=session.open)
    values = {"loss": 1.0}
    tracker.log(values, step=1, kind="train")
    values["loss"] = 2.0  # the caller goes on using its dict
    tracker.images({"plan": "a.png"}, step=1)
    tracker.log({"success_mean": 0.5}, step=2, kind="sim")
    session.go.set()
    tracker.finish()
    assert session.got == [
        ("train", 1, {"loss": 1.0}),
        ("images", 1, {"plan": "a.png"}),
        ("sim", 2, {"success_mean": 0.5}),
    ]
    assert session.finished
    assert told == []
    tracker.log(values, step=3, kind="train")  # ignored, not an error
    tracker.finish()


def test_a_server_that_never_answers_holds_nothing_up():
    session, told = Recorder(), []
    tracker = Tracker(None, tell=told.append, open_session=session.open, most_waiting=10)
    for step in range(1000):  # would block for ever, were the queue not bounded and the call not separate
        tracker.log({"loss": 1.0}, step=step, kind="train")
    tracker.finish(timeout_s=0.05)
    assert told == ["W&B took more than 0.05 s for the rest of the log; metrics.jsonl has every value."]
    session.go.set()


def test_a_slow_server_loses_the_newest_events_and_says_so():
    session, told = Recorder(), []
    tracker = Tracker(None, tell=told.append, open_session=session.open, most_waiting=3)
    for step in range(5):
        tracker.log({"loss": 1.0}, step=step, kind="train")
    session.go.set()
    tracker.finish()
    assert [step for _, step, _ in session.got] in ([0, 1, 2], [0, 1], [1, 2])
    assert len(told) == 1
    assert "too slow for" in told[0]


def test_an_error_is_told_once_without_the_key(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    session, told = Recorder(fails_at=1), []
    session.go.set()
    tracker = Tracker(None, tell=told.append, open_session=session.open)
    for step in range(5):
        tracker.log({"loss": 1.0}, step=step, kind="train")
    tracker.finish()
    assert len(told) == 1
    assert "gone, key [hidden]" in told[0]
    assert "metrics.jsonl has every value" in told[0]
    assert [step for _, step, _ in session.got] == [0]


def test_a_key_from_netrc_is_not_told_either(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    session, told = Recorder(fails_at=0), []
    session.go.set()
    tracker = Tracker(None, tell=told.append, open_session=session.open)
    tracker.log({"loss": 1.0}, step=0, kind="train")
    tracker.finish()
    assert len(told) == 1
    assert KEY not in told[0]


def test_a_client_that_cannot_be_imported_ends_the_tracker_and_not_the_run(load, monkeypatch):
    monkeypatch.setitem(sys.modules, "otpilot.training.wandb_session", None)
    told = []
    tracker = Tracker(load(wandb={"enable": True, "project": "test"}), tell=told.append)
    tracker.log({"loss": 1.0}, step=1, kind="train")
    tracker.finish()
    assert len(told) == 1
    assert "W&B takes no more (ModuleNotFoundError: " in told[0]


def test_no_wandb_section_no_thread(load):
    before = set(threading.enumerate())
    for config in (None, load()):
        tracker = Tracker(config)
        tracker.log({"loss": 1.0}, step=1, kind="train")
        tracker.finish()
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("server", ["offline mode", "nothing listens", "no key"])
def test_the_whole_log_is_in_the_offline_file(load, tmp_path, monkeypatch, server):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    if server == "no key":
        monkeypatch.delenv("WANDB_API_KEY")
    config = load(wandb={"enable": True, "project": "test", "mode": "offline" if server == "offline mode" else None})
    told = []
    tracker = Tracker(config, tell=told.append)
    assert config.wandb.run_id  # at once, for the checkpoints
    picture = tmp_path / "plan.png"
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(picture)
    tracker.log({"loss": 0.5, "ot_pi_sum": float("nan")}, step=1, kind="train")
    tracker.log({"offline_eval/avg_loss": 0.25}, step=2, kind="eval")
    tracker.log({"success_mean": 0.75}, step=2, kind="sim")
    tracker.log({"alarm": "dead", "message": "the transport is dead", "mass": [1, 2]}, step=2, kind="health")
    tracker.images({"plan": picture}, step=2)
    tracker.finish(timeout_s=300)
    (file,) = config.output_dir.glob(f"wandb/offline-run-*/run-{config.wandb.run_id}.wandb")
    # offline, the client comes back before its service has written the last of it
    run = wait_for(lambda: (read := read_wandb_file(file)).state == "finished" and read)
    assert run.group == f"policy:act-seed:7-dataset:{config.dataset.repo_id}"
    assert run.config["ot"]["lambda_ot"] == 0.01
    assert run.curves["train/loss"].values.tolist() == [0.5]
    assert run.curves["eval/offline_eval/avg_loss"].steps.tolist() == [2]
    assert run.curves["sim/success_mean"].values.tolist() == [0.75]
    body = file.read_bytes()
    assert b"the transport is dead" in body  # as text, and as an alert
    assert list(file.parent.glob("files/media/images/eval/plan_*.png"))
    assert all(KEY.encode() not in path.read_bytes() for path in config.output_dir.rglob("*") if path.is_file())
    if server == "offline mode":
        assert told == []
    else:
        assert len(told) == 1
        assert {"no key": "no API key", "nothing listens": "http://127.0.0.1:9 does not answer"}[server] in told[0]
        assert "kept offline; `wandb sync" in told[0]


def test_a_resumed_run_keeps_its_wandb_run(load, tmp_path):
    config = load(wandb={"enable": True})
    assert wandb_session.name_run(config) is False
    first = config.wandb.run_id
    assert wandb_session.name_run(config) is True
    assert config.wandb.run_id == first
    config.resume, config.wandb.run_id = True, None  # begun by a version that did not write the id
    folder = config.output_dir / "wandb" / "offline-run-1"
    folder.mkdir(parents=True)
    (folder / "run-old12345.wandb").touch()
    (config.output_dir / "wandb" / "latest-run").symlink_to(folder.name)
    assert wandb_session.name_run(config) is True
    assert config.wandb.run_id == "old12345"


def test_the_group_follows_the_seeds_or_the_environment(load, monkeypatch):
    config = load()
    monkeypatch.delenv("WANDB_RUN_GROUP", raising=False)
    assert wandb_session.group_of(config) == "policy:act-seed:7-dataset:test/target"
    monkeypatch.setenv("WANDB_RUN_GROUP", "mine")
    assert wandb_session.group_of(config) == "mine"
