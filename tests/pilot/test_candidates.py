"""Runs as candidates: scored at an equal step, diagnosed, with what was tried."""

from typing import Any

import numpy as np
import pytest

from otpilot.config.canonical import config_hash
from otpilot.errors import ConfigError, RunError
from otpilot.pilot.candidates import read_candidates
from otpilot.pilot.variants import TrialKey
from otpilot.runs.history import Curve, RunHistory
from tests.pilot.rules.cases import act, edited, ours

L1, SUCCESS = "eval/offline_eval/avg_l1", "sim/success_mean"


def curve(name: str, values: Any, every: int = 200) -> Curve:
    values = np.asarray(values, dtype=np.float64)
    return Curve(name=name, steps=np.arange(1, len(values) + 1, dtype=np.int64) * every, values=values)


def run(name: str, *curves: Curve, config: Any = None, **rest: Any) -> RunHistory:
    body = act() if config is None else config
    return RunHistory(id=name, name=name, source="test", config=body, curves={c.name: c for c in curves}, **rest)


def test_scores_are_taken_at_an_equal_step() -> None:
    """The longer run is better at the end only; at the step that both reached it is worse."""
    short = run("short", curve(L1, [0.5] * 10))
    long = run("long", curve(L1, [0.6] * 10 + [0.1] * 10))
    found = read_candidates([short, long])
    assert found.metric == L1
    assert {p.id: p.score for p in found.parents} == pytest.approx({"short": 0.5, "long": 0.6})


def test_a_run_that_crashed_early_does_not_rank_the_others() -> None:
    """At its one evaluation the better run was worse."""
    good = run("good", curve(L1, [0.9] * 5 + [0.1] * 45))
    bad = run("bad", curve(L1, [0.6] * 5 + [0.3] * 45))
    broken = run("broken", curve(L1, [0.2]), state="crashed")
    found = read_candidates([good, bad, broken])
    assert {p.id: p.score for p in found.parents} == {
        "good": pytest.approx(0.1),
        "bad": pytest.approx(0.3),
        "broken": None,
    }
    assert not [note for note in found.notes if "ranked" in note]
    short = run("short", curve(L1, [0.2] * 2))
    assert any("ranked at step 400, where short ends" in note for note in read_candidates([good, short]).notes)
    assert read_candidates([broken]).parents[0].score == pytest.approx(0.2)


def test_the_score_is_the_mean_of_the_last_five() -> None:
    found = read_candidates([run("a", curve(L1, [9.0] * 5 + [1.0, 2.0, 3.0, 4.0, 5.0]))])
    assert found.parents[0].score == pytest.approx(3.0)


def test_success_outranks_the_loss_and_is_better_when_high() -> None:
    runs = [run(n, curve(L1, [0.5] * 6), curve(SUCCESS, [rate] * 6)) for n, rate in (("a", 0.2), ("b", 0.7))]
    found = read_candidates(runs)
    assert found.metric == SUCCESS
    assert [p.direction for p in found.parents] == ["max", "max"]
    assert [o.direction for o in found.observations] == ["max", "max"]


def test_runs_without_evaluation_have_no_score() -> None:
    found = read_candidates([run("a", curve("train/l1_loss", [0.5] * 6)), run("b", curve(L1, [np.nan] * 6))])
    assert [p.score for p in found.parents] == [None, None]
    assert found.observations == ()
    assert read_candidates([]).parents == ()


def test_summaries_are_ranked_by_their_last_value() -> None:
    runs = [
        RunHistory(
            id=name, name=name, source="s", config=act(), summary={L1: {"first": 1.0, "last": last, "best": 0.1}}
        )
        for name, last in (("a", 0.5), ("b", 0.4))
    ]
    found = read_candidates(runs)
    assert {p.id: p.score for p in found.parents} == {"a": 0.5, "b": 0.4}
    assert "No run has curves" in found.notes[0]


def test_what_is_known() -> None:
    found = read_candidates([run("a", config={**act(), "seed": 3}), run("b", config=ours())])
    assert found.known == {TrialKey(config_hash(act()), 3), TrialKey(config_hash(ours()), 1000)}


def test_configs_that_cannot_be_used_are_told() -> None:
    broken = act()
    broken["ot"]["loss_config"]["regg"] = 1.0
    found = read_candidates([run("a", config=broken), run("b", config={}), run("c")])
    assert [p.id for p in found.parents] == ["c"]
    told = "\n".join(found.notes)
    assert "The config of a cannot be used" in told
    assert "Did you mean 'reg'" in told
    assert "b has no config" in told


def test_a_base_config_stands_in_for_all() -> None:
    base = edited(ours(lambda_ot=0.3), batch_size=16)
    found = read_candidates([run("a"), run("b", config={})], base=base)
    assert [config_hash(p.config) for p in found.parents] == [config_hash(base)] * 2
    assert len(found.notes) == 1
    assert "come from a, which had other settings than the base config" in found.notes[0]
    assert "ot.lambda_ot 0.1 there, 0.3 here" in found.notes[0]
    with pytest.raises(ConfigError, match="lambda_ot"):
        read_candidates([run("a")], base=ours(lambda_ot=-1))


def test_levels_reach_the_rules() -> None:
    mass = np.linspace(0.9, 0.1, 100)
    found = read_candidates([run("a", curve("train/ot_pi_sum", mass, 50))])
    context = found.parents[0].context
    assert context.recent["train/ot_pi_sum"] == pytest.approx(mass[-10:].mean())
    assert context.last_step == 5000


def test_an_unknown_baseline_is_an_error() -> None:
    with pytest.raises(RunError, match="Did you mean 'run-a'"):
        read_candidates([run("run-a")], baseline="run-b")
