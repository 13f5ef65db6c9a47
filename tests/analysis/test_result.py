"""The result object: one run at a time, bounded size, everything a report needs."""

import json
import math
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpilot.analysis import result
from otpilot.analysis.result import analyze
from otpilot.analysis.thinning import drawing_order, thin
from otpilot.errors import RunError

from .build import changed, curve, history
from .test_postmortem import seed_run

EVAL, RATE = "eval/offline_eval/avg_l1", "sim/success_target_ood"


def runs(count, rows=50):
    rng = np.random.default_rng(0)
    for index in range(count):
        names = ("train/l1_loss", "train/ot_pi_sum", EVAL)
        yield history(
            {name: np.exp(-np.arange(rows) / 30) + 0.01 * rng.random(rows) for name in names},
            id=f"r{index}",
            name=f"run {index}",
        )


def test_a_seed_style_analysis_from_end_to_end():
    found = analyze(map(seed_run, ("z851dpqu", "64fubjbc", "4gb7zc4r", "80h5t9k8")), baselines=["4gb7zc4r", "80h5t9k8"])
    assert [run.id for run in found.runs] == ["z851dpqu", "64fubjbc", "4gb7zc4r", "80h5t9k8"]
    assert found.baselines == ("4gb7zc4r", "80h5t9k8")
    assert [(c.runs, c.baselines) for c in found.comparisons] == [
        ((ours,), (base,)) for ours in ("z851dpqu", "64fubjbc") for base in ("4gb7zc4r", "80h5t9k8")
    ]
    # One post-mortem each, against the baseline that is most alike.
    assert [(p.run, p.baseline, p.test.key) for p in found.postmortems] == [
        ("z851dpqu", "4gb7zc4r", "optimizer.lr"),
        ("64fubjbc", "4gb7zc4r", "optimizer.lr"),
    ]
    assert {f.tag for f in found.run("z851dpqu").findings} >= {"underfitting_after_optimiser_change", "loss_only"}
    assert found.run("z851dpqu").findings[0].severity == "problem"
    assert found.run("4gb7zc4r").findings[0].severity != "problem"
    assert all(c.verdict.word == "not distinguishable" for c in found.comparisons)  # one seed, no noise floor
    assert any("rank methods backwards" in note for note in found.notes)
    assert found.run("4gb7zc4r").config.lambda_ot == 0.1
    assert set(found.run("4gb7zc4r").shared) == {"train/ot_cost/action_lbl", EVAL}


def test_a_known_noise_floor_reaches_the_verdict():
    found = analyze(map(seed_run, ("z851dpqu", "4gb7zc4r")), baselines=["4gb7zc4r"], noise=0.006)
    assert (found.comparisons[0].verdict.word, found.comparisons[0].verdict.basis) == ("worse", "noise floor")


def test_the_seeds_summary_file_gives_a_report():
    body = json.loads((Path(__file__).parents[1] / "data" / "summaries" / "compare_runs_3.json").read_text())
    histories = [
        history(
            (),
            id=run,
            config={},
            summary={name.replace("ot_ot_", "ot_"): figures for name, figures in b["summary"].items()},
        )
        for run, b in body.items()
    ]
    found = analyze(histories, baselines=["r1"])
    assert found.run("r2").statistics[EVAL].endpoint.pct == body["r2"]["summary"][EVAL]["pct"]
    assert found.run("r2").statistics["train/l1_loss"].tail.points == 0
    assert [(c.metric, c.pairs[0].run, c.pairs[0].score) for c in found.comparisons] == [
        (EVAL, "r2", None),
        (EVAL, "r3", None),
    ]
    assert {f.tag for f in found.run("r1").findings} >= {"converging", "data_loading_bottleneck", "loss_only"}


@pytest.mark.parametrize(
    ("ends", "regressed"),
    [((650, 1250), False), ((650, 650), True), ((None, None), False), ((None, 650), False)],
)
def test_a_run_is_explained_unasked_only_where_it_is_worse_at_an_equal_step(ends, regressed):
    figures = [
        {"first": 1.0, "last": last, "best": last if end else last - 0.01, "best_step": end or 500}
        for last, end in zip((0.3851, 0.3429), ends, strict=True)
    ]
    histories = [history((), id=name, summary={EVAL: one}) for name, one in zip(("r3", "r1"), figures, strict=True)]
    found = analyze(histories, baselines=["r1"])
    assert [dead.run for dead in found.postmortems] == ["r3"] * regressed
    assert any("does not count as a regression" in note for note in found.notes) is not regressed


def test_histories_are_dropped_one_after_the_other():
    alive = []

    def stream():
        for run in runs(6):
            alive.append(weakref.ref(run))
            assert sum(ref() is not None for ref in alive) <= 2
            yield run

    assert len(analyze(stream()).runs) == 6


def test_many_runs_share_one_budget_of_points(monkeypatch):
    monkeypatch.setattr(result, "ALL_POINTS", 1000)
    found = analyze(runs(12, rows=200))
    assert sum(len(c.steps) for run in found.runs for c in run.curves.values()) <= 1000
    assert all(len(c.steps) >= 10 for run in found.runs for c in run.curves.values())


def test_ten_thousand_metrics_are_counted_but_not_all_drawn():
    found = analyze([history([curve(f"train/x{i}", [1.0, 2.0]) for i in range(10_000)])])
    assert len(found.runs[0].statistics) == 10_000
    assert len(found.runs[0].curves) == result.DRAWN_CURVES
    assert any("of 10000 metrics are not drawn" in note for note in found.runs[0].notes)


def test_baselines_may_be_named_and_must_exist():
    assert analyze(runs(3), baselines=["run 1"]).baselines == ("r1",)
    with pytest.raises(RunError, match=r"Baseline 'r11' is not among the runs\. Did you mean 'r1'\?"):
        analyze(runs(3), baselines=["r11"])
    with pytest.raises(RunError, match="Runs read: none"):
        analyze([], baselines=["zzz"])
    with pytest.raises(RunError, match="No run 'zz'"):
        analyze(runs(1)).run("zz")


def test_two_runs_of_one_id_are_kept_apart():
    found = analyze([history(id="a"), history(id="a"), history(id="a")])
    assert [run.id for run in found.runs] == ["a", "a#2", "a#3"]
    assert "read before" in found.runs[1].notes[0]


def test_nothing_and_empty_runs_are_fine():
    assert analyze([]).runs == ()
    found = analyze([history(config={}), history(id="b", config={})], baselines=["b"])
    assert [f.tag for f in found.runs[0].findings] == ["too_short"]
    assert (found.comparisons, found.postmortems) == ((), ())
    assert found.notes == ("2 of 2 runs hold no evaluation at all.",)


def test_success_is_compared_where_both_have_it():
    def run(name, weight, seed, rate):
        config = changed(seed=seed, ot__lambda_ot=weight)
        return history([curve(RATE, [rate]), curve(EVAL, [0.3])], id=f"{name}{seed}", config=config)

    groups = (("b", 0.0, (0.49, 0.53, 0.43)), ("o", 0.1, (0.38, 0.58, 0.50)))
    made = [run(name, weight, seed, rate) for name, weight, rates in groups for seed, rate in enumerate(rates)]
    (comparison,) = analyze(made, baselines=["b0", "b1", "b2"]).comparisons
    # docs/log.md: OT minus co-training on target OOD, +.00 [-.24, +.25], not distinguishable.
    assert (comparison.metric, comparison.verdict.word, comparison.verdict.pairs) == (RATE, "not distinguishable", 3)
    assert comparison.verdict.mean == pytest.approx(0.0033, abs=1e-4)
    assert (round(comparison.verdict.low, 2), round(comparison.verdict.high, 2)) == (-0.24, 0.25)


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=0, max_size=300), st.integers(4, 60))
def test_thinning_keeps_the_ends_and_the_extremes(values, points):
    made = curve("train/loss", values)
    small = thin(made, points)
    finite = [value for value in values if math.isfinite(value)]
    drawn = small.values[np.isfinite(small.values)]
    assert len(drawn) <= max(points, 4)
    assert (np.diff(small.steps) > 0).all()
    if finite:
        assert (drawn.min(), drawn.max()) == (min(finite), max(finite))
        assert (drawn[0], drawn[-1]) == (finite[0], finite[-1])


def test_success_and_losses_are_drawn_first():
    names = ["train/x", "train/ot_energy", "train/lr", "train/loss", EVAL, RATE]
    assert drawing_order(names) == [RATE, "train/loss", EVAL, "train/lr", "train/ot_energy", "train/x"]


def test_only_an_evaluation_can_rank():
    found = analyze(runs(2), baselines=["r0"], metric="offline_eval/avg_l1")
    assert found.comparisons[0].metric == EVAL
    with pytest.raises(RunError, match="cannot be ranked by 'train/loss'; allowed: eval/offline_eval/avg_l1"):
        analyze(runs(2), metric="train/loss")
