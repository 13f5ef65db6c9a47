"""Post-mortems: report 002's conclusion from runs built with its figures, and the reasoning in parts."""

from dataclasses import replace

import numpy as np
import pytest

from otpilot.analysis import wording
from otpilot.analysis.diagnosis import diagnose
from otpilot.analysis.postmortem import area_of, postmortem, rank_differences
from otpilot.analysis.thresholds import Thresholds
from otpilot.runs.history import RunHistory

from .build import changed, curve, history, with_tail

EVAL, LABEL = "eval/offline_eval/avg_l1", "train/ot_cost/action_lbl"

# id: eval_l1, ot_action_lbl, jitter, lr, wd, clip, lambda, reg, tau, window, label weight
SEED_002 = {
    "z851dpqu": (0.6379, 0.02185, 0.3865, 2e-4, 0.05, 1, 0.1, 0.1, 0.5, 10, 0.02),
    "64fubjbc": (0.9249, 0.01508, 0.3784, 3e-4, 0.02, 1, 0.2, 0.07, 0.5, 10, 0.02),
    "qrsts3lb": (0.918, 0.0377, 0.3784, 2.5e-4, 0.05, 1, 0.05, 0.05, 0.5, 10, 0.05),
    "4gb7zc4r": (0.3944, 0.01892, 0.4556, 1e-5, 1e-4, 10, 0.1, 0.1, 0.5, 10, 0.02),
    "80h5t9k8": (0.4457, 0.01996, 0.4299, 1e-5, 1e-4, 10, 0.1, 0.2, 2, 20, 0.02),
}


def seed_run(name: str) -> RunHistory:
    score, label, jitter, lr, wd, clip, weight, reg, tau, window, label_weight = SEED_002[name]
    baseline = lr == 1e-5
    config = changed(
        optimizer__lr=lr,
        optimizer__weight_decay=wd,
        optimizer__grad_clip_norm=clip,
        use_policy_training_preset=baseline,
        scheduler=None if baseline else {"type": "cosine_decay_with_warmup"},
        ot__lambda_ot=weight,
        ot__window_size=window,
        ot__loss_config__reg=reg,
        ot__loss_config__tau_src=tau,
        ot__loss_config__tau_tgt=tau,
    )
    config["ot"]["loss_config"]["features"][1]["weight_label"] = label_weight
    config["output_dir"] = f"/outputs/{name}"
    curves = [
        with_tail(LABEL, label, 0.3 * label, 0.0, jitter),
        curve(EVAL, np.r_[np.linspace(0.9, score, 15), [score] * 5], every=1000),
    ]
    return history(curves, id=name, name=name, config=config)


@pytest.mark.parametrize("name", ["z851dpqu", "64fubjbc", "qrsts3lb"])
def test_seed_report_002_is_concluded(name):
    found = postmortem(seed_run(name), seed_run("4gb7zc4r"))
    assert found.worse == pytest.approx(SEED_002[name][0])
    assert found.better == pytest.approx(0.3944)
    # lr x20 to x30 and wd x200 to x500 come first, then the rest of the optimiser and its schedule.
    keys = ["optimizer.lr", "optimizer.weight_decay", "optimizer.grad_clip_norm", "scheduler.type"]
    assert [item.key for item in found.suspects] == keys
    assert found.suspects[0].factor == pytest.approx(SEED_002[name][3] / 1e-5)
    # The transport moved by at most 2.5: too little to explain it.
    transport = [item for item in found.differences if item.area == "transport"]
    assert not any(item.could_explain for item in transport)
    assert len(transport) == {"z851dpqu": 0, "64fubjbc": 2, "qrsts3lb": 3}[name]
    # Jitter did not explode, it is slightly lower: optimiser mismatch, not transport noise.
    assert found.jitter.exploded is False
    assert found.jitter.worse < found.jitter.better
    assert found.mechanism == "optimiser mismatch"
    # Revert the optimiser, one knob at a time.
    assert (found.test.key, found.test.value) == ("optimizer.lr", 1e-5)


@pytest.mark.parametrize("name", ["z851dpqu", "64fubjbc", "qrsts3lb"])
@pytest.mark.parametrize("base", ["4gb7zc4r", "80h5t9k8"])
def test_the_tag_follows(name, base):
    tags = {f.tag: f for f in diagnose(seed_run(name), baseline=seed_run(base))}
    evidence = tags["underfitting_after_optimiser_change"].evidence
    assert evidence["lr_factor"] == pytest.approx(SEED_002[name][3] / 1e-5)
    assert evidence["baseline"] == base


def test_a_baseline_that_is_merely_worse_gets_no_such_tag():
    tags = {f.tag for f in diagnose(seed_run("80h5t9k8"), baseline=seed_run("4gb7zc4r"))}
    assert "underfitting_after_optimiser_change" not in tags


def test_jitter_that_exploded_points_to_the_transport():
    worse = seed_run("64fubjbc")
    noisy = replace(worse, curves=worse.curves | {LABEL: with_tail(LABEL, 0.01508, 0.012, 0.0, 1.0)})
    found = postmortem(noisy, seed_run("80h5t9k8"))
    assert found.jitter.exploded
    assert found.mechanism == "transport noise"
    assert found.suspects[0].area == "transport"  # tau x0.25
    tags = {f.tag for f in diagnose(noisy, baseline=seed_run("80h5t9k8"))}
    assert "underfitting_after_optimiser_change" not in tags


def test_the_key_to_edit_is_the_one_in_effect():
    worse = history(config=changed(policy__optimizer_lr=1e-3))
    found = postmortem(worse, history(id="base"))
    assert (found.test.key, found.test.value, found.test.instead_of) == ("policy.optimizer_lr", 1e-5, 1e-3)


def test_equal_configs_and_seeds_alone_explain_nothing():
    same = postmortem(history(), history(id="base"))
    assert (same.mechanism, same.test, same.differences) == ("no difference", None, ())
    seeds = postmortem(history(config=changed(seed=1)), history(id="base"))
    assert (seeds.mechanism, seeds.suspects) == ("unclear", ())
    assert any("seeds differ" in note for note in seeds.notes)


def test_a_run_that_is_not_worse_or_hardly_worse_is_told():
    scored = {name: history({EVAL: [score] * 6}, id=name) for name, score in (("a", 0.40), ("b", 0.44), ("c", 0.60))}
    assert any("not worse" in note for note in postmortem(scored["a"], scored["b"]).notes)
    assert any("may be noise" in note for note in postmortem(scored["b"], scored["a"]).notes)
    assert not any("noise" in note for note in postmortem(scored["c"], scored["a"]).notes)


def test_runs_that_were_evaluated_differently_are_told():
    found = postmortem(history(config=changed(dataset__eval_split=0.2)), history(id="base"))
    assert any("not evaluated alike" in note for note in found.notes)
    assert found.suspects == ()


def test_a_run_that_diverged_is_said_to_have():
    worse = history({"train/loss": [1.0] * 20 + [np.nan] * 5}, config=changed(policy__optimizer_lr=1e-2))
    assert postmortem(worse, history(id="base")).mechanism == "diverged"


@pytest.mark.parametrize(
    ("worse", "explains"), [(2.9e-5, False), (3e-5, True), (1e-5 / 2.9, False), (1e-5 / 3, True), (0.0, True)]
)
def test_the_limit_on_a_factor_works_both_ways(worse, explains):
    (found,) = rank_differences({"optimizer.lr": worse}, {"optimizer.lr": 1e-5}, Thresholds())
    assert found.could_explain is explains


def test_nothing_given_and_null_are_the_same_and_a_new_term_is_not():
    limits = Thresholds()
    assert rank_differences({"a": None}, {}, limits) == ()
    assert rank_differences({"a": 1}, {"a": 1.0}, limits) == ()
    (found,) = rank_differences({"ot.loss_config.features[x].weight_label": 0.1}, {}, limits)
    assert found.could_explain
    assert found.factor is None


def test_settings_belong_to_areas():
    areas = {
        "optimizer.betas": "optimiser",
        "scheduler.num_warmup_steps": "schedule",
        "steps": "schedule",
        "policy.dim_model": "model",
        "ot.loss_config.reg": "transport",
        "ot.window_size": "transport",
        "ot.src_repo_id": "data",
        "dataset.repo_id": "data",
        "dataset.eval_split": "evaluation",
        "eval.n_episodes": "evaluation",
        "seed": "seed",
        "whatever": "other",
    }
    assert {key: area_of(key) for key in areas} == areas


@pytest.mark.parametrize(("worse", "better"), [({}, {}), (None, {}), ({}, None)])
def test_configs_that_were_not_recorded_are_told_and_not_compared(worse, better):
    configs = {"run": changed() if worse is None else worse, "base": changed() if better is None else better}
    found = postmortem(*(history({EVAL: [0.6] * 6}, id=name, config=config) for name, config in configs.items()))
    assert (found.mechanism, found.differences, found.test) == ("unknown", (), None)
    assert "configs were not recorded, so nothing can be said about them" in wording.mechanism(found, "en")
    assert "未记录配置" in wording.mechanism(found, "zh")


def test_last_values_at_different_steps_are_said_to_be():
    figures = {name: {"last": last, "best": last, "best_step": step} for name, last, step in SHORT_AND_LONG}
    short, long = (history((), id=name, summary={EVAL: one}) for name, one in figures.items())
    assert any("a shorter run can look worse" in note for note in postmortem(short, long).notes)
    both = [history((), id=name, summary={EVAL: {**one, "best_step": 650}}) for name, one in figures.items()]
    assert not any("shorter" in note for note in postmortem(*both).notes)


SHORT_AND_LONG = (("short", 0.3851, 650), ("long", 0.3429, 1250))
