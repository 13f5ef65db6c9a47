from dataclasses import replace

import numpy as np
import pytest

from benchmarks.transfer.sections import Folders
from benchmarks.transfer.suite import Data
from benchmarks.transfer.tabletop import SOURCE_SEED, TABLETOP, true_states


def test_the_expert_played_again_gives_the_recorded_states(tmp_path):
    from lerobot.datasets import LeRobotDataset

    from otpilot.pairing.storage import load_table

    suite = replace(TABLETOP, source_episodes=4)
    for pairs in ("dtw", "oracle"):
        data = Data(targets=2, pairs=pairs)
        suite.prepare(tmp_path, data)
        suite.prepare(tmp_path, data)  # what is there stays
    at = Folders(root=tmp_path, data=data)
    recorded = LeRobotDataset("a/b", root=at.source).hf_dataset.with_format("numpy")["observation.state"]
    played = true_states("source", "full", episodes=4, seed=SOURCE_SEED)
    np.testing.assert_allclose(np.concatenate(played)[:, :3], np.stack(recorded), atol=1e-6)
    oracle, plain = load_table(at.pairs), load_table(replace(at, data=replace(data, pairs="dtw")).pairs)
    assert oracle.pairs == plain.pairs == 8
    assert not np.array_equal(oracle.distance, plain.distance)


@pytest.mark.slow
def test_the_smoke_grid_runs(tmp_path):
    """Both methods, 20 steps each, on data of their own; takes minutes."""
    from benchmarks.transfer.__main__ import main
    from benchmarks.transfer.results import read_results

    results = tmp_path / "results"
    arguments = [f"--work={tmp_path}", f"--results={results}", "--episodes=2", "--jobs=2", "--discard"]
    assert main(["grid", "smoke", *arguments]) == 0
    assert [record.state for record in read_results(results)] == ["finished", "finished"]
