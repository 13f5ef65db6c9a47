"""`otpilot pair inspect`: which matches are shown, what is read, what is refused, what the page holds."""

import re
import sys

import numpy as np
import pytest
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from otpilot import cli
from otpilot.data.inspect import DatasetFolders, open_table, pick_camera, read_frames
from otpilot.errors import ConfigError, DatasetError, MissingFileError, PairingError
from otpilot.pairing.inspect import inspect_table
from otpilot.pairing.matches import spread_matches
from otpilot.pairing.pair_info import export_pair_info
from otpilot.pairing.storage import load_table, save_table
from otpilot.report.pairs import pairs_report, shown_pairs

CAMERA = "observation.images.top"


@pytest.fixture
def folders(world):
    return DatasetFolders(source=world.source, target=world.target)


@pytest.fixture
def call(monkeypatch):
    """Return a function that runs `otpilot pair ...` and lets our errors through."""
    monkeypatch.setattr(cli, "console", cli.Console(highlight=False, width=200))

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["otpilot", "pair", *map(str, args)])
        cli.app(standalone_mode=False)

    return run


def test_matches_lie_on_the_path_and_their_rows_in_the_right_episodes(world):
    table = load_table(world.pairs)
    matches = spread_matches(table, [5, 2, 5], per_pair=4)
    assert matches.pair.tolist() == [5] * 4 + [2] * 4
    for at, pair in enumerate(matches.pair.tolist()):
        step = [matches.source_frame[at], matches.target_frame[at]]
        assert step in table.path(pair).tolist()
        begin = table.source_lengths[: table.pair_source[pair]].sum()
        assert matches.source_row[at] == begin + matches.source_frame[at]
        begin = table.target_lengths[: table.pair_target[pair]].sum()
        assert matches.target_row[at] == begin + matches.target_frame[at]
    ends = table.path(5)[[0, -1]].tolist()
    assert [[matches.source_frame[at], matches.target_frame[at]] for at in (0, 3)] == ends
    assert matches.of([2, 5]).tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    for bad, words in ((-1, "pair -1 is out of range"), (table.pairs, "out of range; allowed: 0 to 17")):
        with pytest.raises(PairingError, match=words):
            spread_matches(table, [bad])
    with pytest.raises(PairingError, match="per_pair is 0"):
        spread_matches(table, [0], per_pair=0)


def test_frames_are_those_of_the_dataset(world):
    rows = np.asarray([7, 0, 7, 40])
    frames = read_frames(world.source, rows, camera=CAMERA)
    dataset = LeRobotDataset("s", root=world.source)
    expected = [(dataset[row][CAMERA].permute(1, 2, 0) * 255).round().to(int).numpy() for row in rows.tolist()]
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames, expected)


def test_pair_info_opens_as_the_same_table(world, folders, tmp_path):
    table = open_table(world.pairs, folders)
    export_pair_info(table, tmp_path / "pairs.json.gz")
    again = open_table(tmp_path / "pairs.json.gz", folders)
    np.testing.assert_array_equal(again.match_source, table.match_source)
    np.testing.assert_allclose(again.distance, table.distance)


def test_wrong_datasets_and_cameras_are_refused(world, folders, tmp_path):
    swapped = DatasetFolders(source=world.target, target=world.source)
    with pytest.raises(PairingError, match="made for another source dataset"):
        open_table(world.pairs, swapped)
    with pytest.raises(DatasetError, match=f"No dataset folder at {tmp_path}/none; set --source"):
        DatasetFolders(source=tmp_path / "none", target=world.target)
    with pytest.raises(
        DatasetError, match=r"no camera 'observation.images.tap'.*Did you mean 'observation.images.top'"
    ):
        pick_camera(folders, "observation.images.tap")
    assert pick_camera(folders) == CAMERA


def test_the_command_writes_a_page_with_matched_frames(call, world, capsys, tmp_path):
    out = tmp_path / "page"
    call("inspect", world.pairs, "--source", world.source, "--target", world.target, "--out", out)
    text = capsys.readouterr().out
    assert "of 3 target episodes have a good partner" in text
    assert str(out / "index.html") in text
    page = (out / "index.html").read_text()
    for title in (
        "Distances",
        "Matched frames",
        "Warping paths",
        "Coverage of the source frames",
        "Worst pairs of all",
    ):
        assert f"<h3>{title}</h3>" in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    names = sorted(path.name for path in (out / "index_files").iterdir())
    assert len(names) == 8
    assert all((out / "index_files" / name).read_bytes().startswith(b"\x89PNG") for name in names)
    before = page
    with pytest.raises(ConfigError, match="page exists already"):
        call("inspect", world.pairs, "--out", out)
    assert (out / "index.html").read_text() == before


def test_without_datasets_a_table_is_enough_and_bad_partners_are_told(call, world, capsys, tmp_path):
    table = load_table(world.pairs)
    distance = table.distance.copy()
    distance[table.pair_target == 1] += 100.0
    bad = tmp_path / "far.npz"
    save_table(type(table)(**{**_fields(table), "distance": distance}), bad)
    call("inspect", bad)
    text = capsys.readouterr().out
    assert "Warning: Target episode 1 has no good partner" in text
    assert "2 of 3 target episodes have a good partner" in text
    page = (tmp_path / "far_inspect" / "index.html").read_text()
    assert "Target episode 1 has no good partner" in page
    assert "Matched frames" not in page


def test_a_page_shows_the_worst_pairs_and_tells_them_in_words(world):
    table = load_table(world.pairs)
    figures = inspect_table(table)
    farthest = int(table.distance.argmax())
    assert shown_pairs(table, figures).farthest[0] == farthest
    findings = pairs_report(table, figures, None, name="t").findings
    named = f"target {table.pair_target[farthest]} with source {table.pair_source[farthest]}"
    assert findings[-1].startswith(f"Farthest of all pairs: {named} ({table.distance[farthest]:.3g})")


@pytest.mark.parametrize(
    ("args", "kind", "words"),
    [
        ((), ConfigError, "needs --source and --target and --out"),
        (("--source", "a", "--out", "b"), ConfigError, "needs --target;"),
        (("--source", "a", "inspect", "t.npz"), ConfigError, "stand behind its name"),
        (("inspect", "nowhere/t.npz"), MissingFileError, "nowhere/t.npz is not there"),
        (("inspect", "t.npz", "--source", "a"), ConfigError, "--target is missing"),
        (("inspect", "t.json"), ConfigError, "give --source and --target"),
    ],
)
def test_incomplete_commands_say_what_is_missing(call, args, kind, words):
    with pytest.raises(kind, match=re.escape(words)):
        call(*args)


def _fields(table):
    return {name: getattr(table, name) for name in table.__dataclass_fields__}
