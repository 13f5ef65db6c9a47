"""Small analyses made by hand, for the tests of renderings."""

# ruff: noqa: E501 - tables of figures

import numpy as np

from otpilot.analysis.compare import Comparison, Difference, PairComparison
from otpilot.analysis.findings import Finding, Threshold
from otpilot.analysis.postmortem import ConfigDifference, JitterEvidence, PostMortem
from otpilot.analysis.result import Analysis, RunReport
from otpilot.analysis.settings import KeySettings
from otpilot.analysis.single_change import SingleChange
from otpilot.analysis.statistics import curve_statistics
from otpilot.analysis.thresholds import Thresholds
from otpilot.analysis.verdict import Verdict
from otpilot.runs.history import Curve

GENERATED = 1766571060.0


def curve(name, values, *, every=50, times=True):
    """A curve logged every `every` steps, two seconds a step."""
    steps = np.arange(1, len(values) + 1, dtype=np.int64) * every
    return Curve(
        name=name,
        steps=steps,
        values=np.asarray(values, dtype=np.float64),
        times=GENERATED + 2.0 * steps if times else None,
    )


def run(name, curves, *, run_id=None, **more):
    """A run report whose statistics are those of its curves."""
    given = {one.name: one for one in curves}
    fields = {"source": f"outputs/{name}", "state": "finished", "reason": "", "config": KeySettings(), "settings": {}}
    return RunReport(
        id=run_id or name,
        name=name,
        **{**fields, "shared": {}, "findings": (), **more},
        statistics={key: curve_statistics(one) for key, one in given.items()},
        curves=given,
    )


def analysis(*runs, **more):
    """An analysis of the runs, nothing compared."""
    fields = {"comparisons": (), "postmortems": (), "thresholds": Thresholds(), "generated": GENERATED}
    baselines = tuple(one.id for one in runs if one.is_baseline)
    return Analysis(runs=tuple(runs), baselines=baselines, **{**fields, **more})


def noisy(name, seed, *, points=200, start=2.0, end=0.2, every=50):
    """A falling curve with noise."""
    rng = np.random.default_rng(seed)
    level = end + (start - end) * np.exp(-np.linspace(0, 5, points))
    return curve(name, level * np.exp(0.08 * rng.standard_normal(points)), every=every)


def finding(tag="mass_too_low", severity="problem"):
    """A finding with evidence and a limit."""
    return Finding(
        tag=tag,
        severity=severity,
        metric="train/ot_pi_sum",
        window=(8000, 10000),
        evidence={"level": 0.0004321, "share_of_window": 0.93},
        thresholds=(Threshold(name="mass_low", value=0.001, origin="report 004"),),
    )


def campaign(count=4, metrics=8, points=200):
    """Runs with a baseline, findings, a comparison and a post-mortem."""
    names = ["train/loss", "train/l1_loss", "eval/offline_eval/avg_l1", "train/ot_loss", "train/ot_pi_sum",
             "train/ot_pi_diag", "train/ot_cost/observation.state", "train/ot_cost/action_lbl", "train/grad_norm"]  # fmt: skip
    names += [f"train/extra_{number:02d}" for number in range(max(0, metrics - len(names)))]
    runs = []
    for place in range(count):
        curves = [noisy(name, 100 * place + number, points=points) for number, name in enumerate(names[:metrics])]
        config = KeySettings(
            policy="act", window_size=10 + place, reg=0.1 * (place + 1), tau_src=0.5, tau_tgt=0.5, heuristic=True,
            weight_embed=1 / 3, weight_label=0.0, lambda_ot=0.1, lr=1e-5 * 30 ** min(place, 1), weight_decay=1e-4,
            grad_clip_norm=10.0, scheduler=None, seed=place,
        )  # fmt: skip
        settings = {"ot.window_size": 10 + place, "ot.loss_config.reg": 0.1 * (place + 1), "policy.type": "act",
                    "policy.optimizer_lr": config.lr, "batch_size": 16}  # fmt: skip
        runs.append(
            run(
                f"run {place}",
                curves,
                run_id=f"id{place:04d}",
                config=config,
                settings=settings,
                is_baseline=place == 0,
                url=f"https://wandb.ai/e/p/runs/id{place:04d}",
                findings=(finding(), finding("plateau", "warning"))[:place],
            )
        )
    pairs = tuple(
        PairComparison(
            run=one.id, baseline="id0000", seed=None, evaluations=5,
            score=Difference(ours=0.41, baseline=0.3944, percent=4.7, step=10000, baseline_step=10000),
            last=Difference(ours=0.413, baseline=0.3944, percent=4.7, step=10000, baseline_step=10000),
            best=Difference(ours=0.3813, baseline=0.3944, percent=-3.3, step=4000, baseline_step=9000),
        )
        for one in runs[1:]
    )  # fmt: skip
    compared = Comparison(
        name="candidates", runs=tuple(one.id for one in runs[1:]), baseline_name="baseline", baselines=("id0000",),
        metric="eval/offline_eval/avg_l1", kind="loss", direction="min", pairs=pairs,
        verdict=Verdict(word="worse", basis="t-interval", scale="log", pairs=3, mean=0.05, low=0.01, high=0.09, noise=0.006),
    )  # fmt: skip
    dead = PostMortem(
        run="id0001", baseline="id0000", metric="eval/offline_eval/avg_l1", worse=0.6379, better=0.3944, percent=61.7,
        differences=(
            ConfigDifference(key="policy.optimizer_lr", area="optimiser", worse=3e-4, better=1e-5, factor=30.0, could_explain=True, limit=3.0),
            ConfigDifference(key="ot.loss_config.reg", area="transport", worse=0.2, better=0.1, factor=2.0, could_explain=False, limit=10.0),
        ),
        jitter=JitterEvidence(metric="train/loss", worse=0.3865, better=0.4556, exploded=False, limit=2.0),
        mechanism="optimiser mismatch",
        test=SingleChange(key="policy.optimizer_lr", value=1e-5, instead_of=3e-4),
    )  # fmt: skip
    return analysis(*runs, comparisons=(compared,), postmortems=(dead,), notes=("Only a validation loss exists.",))
