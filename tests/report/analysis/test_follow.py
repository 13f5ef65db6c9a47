"""Following run folders: only new bytes are read, whatever happens to the logs."""

import io
import json
import os
import time

from rich.console import Console

from otpilot.report.analysis.follow import FollowedFolder
from otpilot.report.analysis.watch import duration, standings_table, watch
from otpilot.runs.record import MetricRecord


def line(step, kind="train", at=None, **values):
    return MetricRecord(step=step, time=time.time() if at is None else at, kind=kind, values=values).to_line() + "\n"


def make(root, name="a", steps=1000):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"steps": steps}))
    (folder / "metrics.jsonl").write_text("")
    return folder


def printed(standings, root, width=100):
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(standings_table(standings, root))
    return out.getvalue()


def test_only_new_bytes_are_read_and_a_torn_line_waits_for_its_end(tmp_path):
    folder = make(tmp_path)
    log = folder / "metrics.jsonl"
    now = time.time()
    whole = "".join(line(step, at=now - 100 + step, loss=1.0 / step, ot_pi_sum=0.5) for step in (10, 20, 30))
    log.write_text(whole)
    followed = FollowedFolder(tmp_path)
    (one,) = followed.refresh()
    run = followed.runs[folder]
    assert (one.step, one.total, one.state) == (30, 1000, "running")
    assert run.bytes_read == len(whole)
    assert one.speed == 1.0
    assert one.eta == 970.0
    followed.refresh()
    assert run.bytes_read == len(whole)
    more = line(40, kind="eval", **{"offline_eval/avg_l1": 0.25})
    with log.open("a") as file:
        file.write(more[:20])
    (one,) = followed.refresh()
    assert one.step == 30
    with log.open("a") as file:
        file.write(more[20:])
    (one,) = followed.refresh()
    assert (one.step, one.values["eval/offline_eval/avg_l1"]) == (40, 0.25)
    assert run.bytes_read == len(whole) + len(more)


def test_garbage_is_passed_over_and_the_newest_alarm_shown(tmp_path):
    folder = make(tmp_path)
    log = folder / "metrics.jsonl"
    log.write_bytes(
        b"\xff\x00garbage\n{}\n[1]\n" + line(5, "health", alarm="dead", message="[red]the transport is dead").encode()
    )
    (one,) = FollowedFolder(tmp_path).refresh()
    assert (one.alarm, one.message) == ("dead", "[red]the transport is dead")
    assert "[red]the transport is dead" in printed([one], tmp_path, 140)


def test_a_resumed_run_that_rewrote_its_log_is_read_anew(tmp_path):
    folder = make(tmp_path)
    log = folder / "metrics.jsonl"
    log.write_text(line(10, loss=1.0) + line(900, loss=0.1))
    followed = FollowedFolder(tmp_path)
    assert followed.refresh()[0].step == 900
    draft = folder / "metrics.tmp"
    draft.write_text(line(10, loss=1.0))
    draft.replace(log)
    assert followed.refresh()[0].step == 10


def test_states_new_runs_and_vanished_runs(tmp_path):
    done = make(tmp_path, "done")
    (done / "metrics.jsonl").write_text(line(7, loss=1.0))
    (done / "outcome.json").write_text(json.dumps({"status": "finished", "reason": "all steps done", "last_step": 7}))
    followed = FollowedFolder(tmp_path)
    assert [one.state for one in followed.refresh()] == ["finished"]
    new = make(tmp_path, "new/seed 1")
    (new / "metrics.jsonl").write_text(line(3, loss=float("nan")))
    assert [(one.name, one.state) for one in followed.refresh()] == [("new/seed 1", "running"), ("done", "finished")]
    assert "nan" in printed(followed.refresh(), tmp_path)
    (new / "metrics.jsonl").unlink()
    (new / "config.json").unlink()
    new.rmdir()
    assert [one.name for one in followed.refresh()] == ["done"]


def test_the_table_fits_100_columns(tmp_path):
    for place in range(3):
        folder = make(tmp_path, f"a rather long name of a trial, number {place}", steps=100_000)
        (folder / "metrics.jsonl").write_text(
            line(12_345, at=time.time() - 50, loss=0.1234567, ot_pi_sum=1e-12)
            + line(12_445, loss=0.1234567, ot_pi_sum=1e-12)
            + line(12_445, "sim", success_ood=0.42, success_ood_low=0.3)
            + line(
                12_445, "health", alarm="dead", message="The transport is dead since step 12000, and so on, and so on"
            )
        )
    text = printed(FollowedFolder(tmp_path).refresh(), tmp_path)
    assert max(map(len, text.splitlines())) <= 100
    for part in ("12,445/100,000", "42%", "1e-12", "3 running, 3 runs"):
        assert part in text


def test_watch_stops_at_ctrl_c_and_leaves_the_last_table(tmp_path):
    make(tmp_path)
    out = io.StringIO()

    def interrupt(seconds):
        raise KeyboardInterrupt

    watch(tmp_path, Console(file=out, width=100), sleep=interrupt)
    assert "1 run below" in out.getvalue()


def test_durations():
    assert [duration(s) for s in (0, 45, 200, 7500, 270_000, 1e300)] == [
        "0 s", "45 s", "3 min 20 s", "2 h 5 min", "3 d 3 h", duration(1e12)]  # fmt: skip


def test_a_run_that_was_given_more_steps_says_so(tmp_path):
    folder = make(tmp_path)
    (folder / "metrics.jsonl").write_text(line(1) + line(2))
    followed = FollowedFolder(tmp_path)
    assert followed.refresh()[0].total == 1000
    (folder / "config.json").write_text(json.dumps({"steps": 5000}))
    (folder / "metrics.jsonl").write_text(line(1))
    assert followed.refresh()[0].total == 5000


def test_a_run_that_logs_rarely_is_running_before_its_rhythm_is_known(tmp_path):
    folder, then = make(tmp_path), time.time() - 320
    for lines in ([line(1, at=then)], [line(1, at=then - 400), line(2, at=then)]):
        (folder / "metrics.jsonl").write_text("".join(lines))
        for path in folder.iterdir():
            os.utime(path, (then, then))
        assert FollowedFolder(tmp_path).refresh()[0].state == "running"


def test_the_table_shows_the_mean_of_the_success_rates_and_survives_odd_lines(tmp_path):
    rates = {"success_seen": 0.9, "success_unseen": 0.1, "success_mean": 0.5}
    odd = '{"step": 2, "time": 2.0, "kind": "train", "values": [1]}\n'
    (make(tmp_path) / "metrics.jsonl").write_text(line(1, "sim", **rates) + odd)
    assert "50%" in printed(FollowedFolder(tmp_path).refresh(), tmp_path)


def trial(root, name, *, token="a", left=None, printed=0.0):
    """Files of a campaign's trial whose run folder is not there yet."""
    folder = root / "trials" / ".pilot" / name
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps({"token": token}))
    (folder / "stdout.log").write_text("importing ...")
    os.utime(folder / "stdout.log", (time.time() - printed,) * 2)
    if left is not None:
        (folder / "exit.json").write_text(json.dumps(left))
    return root / "trials" / name


def test_trials_are_shown_before_they_log(tmp_path):
    folder = trial(tmp_path, "new")
    trial(tmp_path, "again", token="b", left={"token": "a", "ended_by": "itself"})
    trial(tmp_path, "broken", left={"token": "a", "ended_by": "itself", "code": 1})
    trial(tmp_path, "ended", left={"token": "a", "ended_by": "pilot_death"})
    trial(tmp_path, "gone", printed=7200.0)
    make(tmp_path, "plain")
    followed = FollowedFolder(tmp_path)
    states = {one.name: one.state for one in followed.refresh()}
    assert states == {
        "plain": "running", "trials/again": "starting", "trials/new": "starting", "trials/broken": "crashed",
        "trials/ended": "killed", "trials/gone": "killed",
    }  # fmt: skip
    assert [one.state for one in followed.refresh()][:3] == ["running", "starting", "starting"]
    assert "1 running, 2 starting, 6 runs below" in printed(followed.refresh(), tmp_path)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"steps": 50}))
    one = next(one for one in followed.refresh() if one.name == "trials/new")
    assert (one.state, one.total, one.step) == ("starting", 50, 0)
    (folder / "metrics.jsonl").write_text(line(10, loss=0.5))
    one = next(one for one in followed.refresh() if one.name == "trials/new")
    assert (one.state, one.step) == ("running", 10)


def test_a_run_that_has_printed_or_noted_its_environment_only_is_starting(tmp_path):
    for name, file in (("a", "stdout.log"), ("b", "environment.json")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    states = sorted((one.name, one.state) for one in FollowedFolder(tmp_path).refresh())
    assert states == [("a", "starting"), ("b", "starting")]
