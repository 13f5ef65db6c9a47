"""Whatever a log holds, the analysis answers with finite numbers or none, and never falls over."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from otpilot.analysis.diagnosis import TAGS
from otpilot.analysis.result import analyze
from otpilot.analysis.wording import describe, mechanism, verdict_basis
from otpilot.runs.history import Curve, RunHistory

from .build import changed

NAMES = (
    "train/loss", "train/l1_loss", "train/grad_norm", "train/lr", "train/ot_pi_sum", "train/ot_pi_diag",
    "train/ot_diag_share", "train/ot_cost/img", "train/ot_cost/action_lbl", "train/ot_cost_share/img", "train/ot_loss",
    "train/ot_grad_share", "train/ot_weight", "train/update_s", "train/dataloading_s", "eval/offline_eval/avg_l1",
    "eval/offline_eval/avg_loss", "sim/success_target", "sim/success_mean", "<script>alert(1)</script>",
)  # fmt: skip
NUMBERS = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1e308, -1e308, 5e-324, 0.5])
EDITS = st.dictionaries(
    st.sampled_from(["seed", "steps", "policy__optimizer_lr", "ot__lambda_ot", "ot__loss_config__reg", "scheduler"]),
    st.none() | st.integers(-3, 10**12) | st.floats(allow_nan=True) | st.text(max_size=5),
    max_size=4,
)


@st.composite
def curves(draw):
    name = draw(st.sampled_from(NAMES))
    n = draw(st.integers(0, 60))
    level, spread = draw(NUMBERS), draw(st.sampled_from([0.0, 0.1, 10.0]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    with np.errstate(all="ignore"):
        values = level * (1 + spread * rng.standard_normal(n))
    for place, odd in draw(st.dictionaries(st.integers(0, 59), NUMBERS, max_size=5)).items():
        if place < n:
            values[place] = odd
    steps = draw(st.sampled_from([1, 50, 5000])) * np.arange(n)
    if draw(st.booleans()):
        steps = rng.permutation(np.maximum(steps - 7 * (steps[-1] // 9 if n else 0), 0))
    return Curve(name=name, steps=steps.astype(np.int64), values=values)


@st.composite
def histories(draw, number):
    made = draw(st.lists(curves(), max_size=12))
    return RunHistory(
        id=str(number),
        name="<script>alert(1)</script>",
        source="test",
        config=changed(**draw(EDITS)),
        curves={one.name: one for one in made},
    )


@settings(max_examples=60, deadline=None)
@given(st.tuples(histories(0), histories(1), histories(2)))
def test_any_log_is_analysed(runs):
    found = analyze(runs, baselines=["2"])
    for run in found.runs:
        for finding in run.findings:
            assert finding.tag in TAGS
            assert finding.window is None or finding.window[0] <= finding.window[1]
            assert all(math.isfinite(x) for x in finding.evidence.values() if isinstance(x, float))
            assert describe(finding, "en")
            assert describe(finding, "zh")
    for comparison in found.comparisons:
        assert verdict_basis(comparison.verdict, "en")
    for postmortem in found.postmortems:
        assert mechanism(postmortem, "zh")
