"""Appending never loses what was there."""

import multiprocessing

import pytest

from otpilot.report.analysis import append
from otpilot.report.analysis.append import append_atomically


def test_old_bytes_stay_whatever_they_are(tmp_path):
    path = tmp_path / "report.md"
    path.write_bytes(b"\xff\xfe old \r\n no newline at the end")
    path.chmod(0o640)
    append_atomically(path, b"\nnew\n")
    append_atomically(path, b"\nnew\n")
    assert path.read_bytes() == b"\xff\xfe old \r\n no newline at the end\nnew\n\nnew\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in tmp_path.iterdir()] == ["report.md"]


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "report.md"
    path.write_text("old")

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(append.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        append_atomically(path, b"new")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["report.md"]


def test_a_link_keeps_pointing_to_the_report(tmp_path):
    path, link = tmp_path / "report.md", tmp_path / "link.md"
    path.write_text("old\n")
    link.symlink_to(path)
    append_atomically(link, b"new\n")
    assert link.is_symlink()
    assert path.read_text() == "old\nnew\n"


def _append_many(path, mark):
    for _ in range(20):
        append_atomically(path, mark * 10 + b"\n")


def test_two_processes_lose_nothing(tmp_path):
    path = tmp_path / "report.md"
    path.write_text("old\n")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append_many, args=(path, mark)) for mark in (b"a", b"b")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    lines = path.read_text().splitlines()
    assert lines[0] == "old"
    assert sorted(lines[1:]) == ["a" * 10] * 20 + ["b" * 10] * 20
