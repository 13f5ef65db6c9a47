"""The API source against a server on this machine, through wandb's real client: its traps, the cache, the key."""

import logging
import os
import socket
from base64 import b64encode

import numpy as np
import pytest
import wandb

from otpilot.errors import RunError
from otpilot.runs.sources import wandb_api
from otpilot.runs.sources.spelling import parse_source
from tests.runs.wandb_server import RemoteRun, serving

pytestmark = pytest.mark.usefixtures("fresh_wandb")

KEY = "0123456789abcdef0123456789abcdef01234567"
SENT = b64encode(f"api:{KEY}".encode()).decode()


def rows(count=60):
    made = [{"_step": 50 * i, "_timestamp": 1.7e9 + i, "train/loss": 1 / (i + 1)} for i in range(count)]
    for row in made[::10]:
        row["eval/offline_eval/avg_loss"] = row["train/loss"] + 1
    return made


def remote(id="abc", **fields):
    return RemoteRun(id=id, rows=fields.pop("rows", rows()), **fields)


@pytest.fixture(autouse=True)
def key(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_CACHE_DIR", str(tmp_path / "wandb"))
    monkeypatch.setenv("OTPILOT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(wandb_api, "RETRIES", 1)
    monkeypatch.setattr(wandb_api, "RETRY_WAITS_S", (0.02, 0.05))


@pytest.fixture
def server(monkeypatch):
    with serving(remote(tags=("a", "b"), group="g"), remote("def", tags=("a",)), remote("empty", rows=[])) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        yield server


def read(text="wandb:e/p", **options):
    source = parse_source(text, **options)
    return {run.id: run for run in source.runs()}, source.problems


def whole(run):
    np.testing.assert_array_equal(run.curves["train/loss"].steps, [50 * i for i in range(60)])
    np.testing.assert_array_equal(run.curves["train/loss"].values, [1 / (i + 1) for i in range(60)])
    np.testing.assert_array_equal(run.curves["eval/offline_eval/avg_loss"].steps, [500 * i for i in range(6)])
    np.testing.assert_array_equal(run.curves["train/loss"].times, [1.7e9 + i for i in range(60)])
    return True


def test_every_row_of_every_run_comes_back(server):
    runs, problems = read()
    assert list(runs) == ["abc", "def", "empty"]
    assert whole(runs["abc"])
    assert whole(runs["def"])
    assert runs["empty"].curves == {}
    assert problems == []
    assert runs["abc"].url == f"{server.url}/e/p/runs/abc"


def test_many_runs_are_paged(monkeypatch):
    with serving(*(remote(f"r{index:03d}", rows=rows(1)) for index in range(120))) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        runs, _ = read()
    assert len(runs) == 120
    assert server.asked["Runs"] == 3


@pytest.mark.parametrize(
    ("options", "ids"),
    [("?group=g", ["abc"]), ("?tags=a", ["abc", "def"]), ("?tags=a,b", ["abc"]), ("?ids=def,empty", ["def", "empty"]),
     ("/def", ["def"]), ("?group=none", [])],
)  # fmt: skip
def test_the_query_chooses(server, options, ids):
    assert list(read(f"wandb:e/p{options}")[0]) == ids


def test_an_id_that_is_not_there_is_told(server):
    runs, problems = read("wandb:e/p?ids=abc,zzz")
    assert list(runs) == ["abc"]
    assert problems == ["e/p has no run 'zzz'."]


@pytest.mark.parametrize("scan", ["empty", "short"])
def test_a_scan_without_its_rows_falls_back_to_each_key(server, scan):
    server.scan = scan
    runs, problems = read()
    assert whole(runs["abc"])
    assert runs["abc"].notes == ()
    assert problems == []


def test_rows_that_never_come_are_told_and_not_cached(server):
    server.scan, server.sampled = "empty", "short"
    run = read()[0]["abc"]
    assert len(run.curves["train/loss"].values) == 30
    assert "W&B counts 60 rows of train/loss and returned 30." in run.notes
    server.scan = "whole"
    assert whole(read()[0]["abc"])


def test_an_unchanged_run_is_not_fetched_again(server):
    read()
    before = server.asked["HistoryPage"]
    assert before == 2
    runs, _ = read()
    assert server.asked["HistoryPage"] == before
    assert whole(runs["abc"])
    server.runs[0].heartbeat = "2025-12-24T12:00:00"
    server.runs[0].rows = rows(61)
    runs, _ = read()
    assert server.asked["HistoryPage"] == before + 1
    assert len(runs["abc"].curves["train/loss"].values) == 61


def test_a_new_name_or_tag_shows_without_fetching_again(server):
    read()
    server.runs[0].name, server.runs[0].tags = "renamed", ("c",)
    run = read()[0]["abc"]
    assert (run.name, run.tags) == ("renamed", ("c",))
    assert whole(run)


def test_a_damaged_cache_is_fetched_again(server, tmp_path):
    read()
    (stored,) = (tmp_path / "cache").rglob("abc.npz")
    stored.write_bytes(stored.read_bytes()[:50])
    assert whole(read()[0]["abc"])


def test_the_cache_folder_can_be_given(server, tmp_path):
    read(cache=tmp_path / "mine")
    assert list((tmp_path / "mine").rglob("*.npz"))
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("fault", ["network", "no key", "key refused", "history"])
def test_whatever_fails_the_cache_serves_and_says_so(server, monkeypatch, tmp_path, fault):
    read()
    faults = {
        "network": lambda: monkeypatch.setattr("wandb.Api", refuse),
        "no key": lambda: forget_the_key(monkeypatch, tmp_path),
        "key refused": lambda: setattr(server, "refuse_key", True),
        "history": lambda: (setattr(server, "fail_history", True), setattr(server.runs[0], "heartbeat", "2026-01-01")),
    }
    faults[fault]()
    runs, problems = read()
    assert whole(runs["abc"])
    assert any("cache" in note for note in runs["abc"].notes)
    if fault != "history":
        assert len(problems) == 1
        assert "3 runs are from the cache" in problems[0]
        assert list(read("wandb:e/p?group=g")[0]) == ["abc"]  # the query counts offline, too


def forget_the_key(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    wandb.teardown()  # its settings hold the key that the environment had before


def refuse(**options):
    raise ConnectionError("connection refused")


def test_without_network_and_cache_the_error_says_what_to_do(monkeypatch):
    with socket.socket() as taken:  # bound, not listening: refused at once
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(RunError, match="holds none of its runs"):
            read()


def test_without_a_key_nobody_is_asked_for_one(monkeypatch, tmp_path):
    forget_the_key(monkeypatch, tmp_path)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with pytest.raises(RunError, match="No API key"):
        read()


def test_the_key_appears_nowhere(server, monkeypatch, tmp_path, caplog, capfd):
    """In the run's name, config, tags and group, in what the server answers to a failure, in the cache, in any log."""
    caplog.set_level(logging.DEBUG)
    run = server.runs[0]
    run.name, run.group, run.tags = f"name {KEY}", KEY, (KEY,)
    run.config = {"wandb": {"key": KEY, KEY: [KEY, {"header": f"Basic {SENT}"}]}}
    told = [str(read()), str(read())]
    server.fail_history, run.heartbeat = True, "2026-01-01"
    server.runs[1].heartbeat = "2026-01-01"
    (tmp_path / "cache").rename(tmp_path / "gone")
    told.append(str(read()))
    assert "broken; you sent Basic [hidden]" in told[-1]
    server.refuse_key = True
    with pytest.raises(RunError) as error:
        read("wandb:e/p?ids=abc")
    chain = [repr(error.value), repr(error.value.__cause__), str(error.value)]
    assert error.value.__suppress_context__
    files = [path.read_bytes() for path in (tmp_path / "gone").rglob("*") if path.is_file()]
    assert files
    stored = [np.load(path)["meta"].tobytes() for path in (tmp_path / "gone").rglob("*.npz")]
    for text in (*told, *chain, caplog.text, *capfd.readouterr(), *map(str, files), *map(str, stored)):
        assert KEY not in text
        assert SENT not in text
    assert "[hidden]" in told[0]


def test_a_key_from_netrc_is_hidden_as_well(server, monkeypatch, tmp_path):
    other = "fedcba9876543210fedcba9876543210fedcba98"
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {other}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    server.runs[0].config = {"note": f"my key is {other}"}
    assert read()[0]["abc"].config == {"note": "my key is [hidden]"}


def test_a_run_folder_does_not_pass_a_key_on_either(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text("")
    (tmp_path / "run" / "config.json").write_text(f'{{"wandb": {{"api_key": "{os.environ["WANDB_API_KEY"]}"}}}}')
    runs, _ = read(str(tmp_path / "run"))
    assert runs["run"].config == {"wandb": {"api_key": "[hidden]"}}
