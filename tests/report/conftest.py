import math

import cv2
import numpy as np
import pytest

from otpilot.report.result import Chart, Curve, MethodResult, Picture, Report, SuccessRate

ATTACK = "<script>alert(1)</script>"


def png(width, height):
    return cv2.imencode(".png", np.zeros((height, width, 3), np.uint8))[1].tobytes()


@pytest.fixture
def report():
    """A report whose every name tries to break out of its place, and whose curves are not finite."""
    rates = {"source": SuccessRate(successes=92, episodes=100), "target_ood": SuccessRate(successes=0, episodes=50)}
    wild = Curve(run=ATTACK, steps=(0, 1, 2, 3, 4), values=(math.nan, math.inf, 1e308, -1e308, 0.5))
    calm = Curve(run="co-training", steps=(0, 100, 200), values=(3.0, 0.25, 1e-7))
    nothing = Curve(run="dead", steps=(0, 1), values=(math.nan, -math.inf))
    return Report(
        title=f"A & B {ATTACK}",
        facts=(("seed", "0"), (ATTACK, 'a "quoted" | value')),
        methods=(
            MethodResult(name="co-training", about="both domains", success=rates),
            MethodResult(name=f"pipe | {ATTACK}", about="*stars* and `ticks`", success={"source": rates["source"]}),
        ),
        findings=(f"{ATTACK} is a name", "# not a heading\nnor two lines"),
        charts=(
            Chart(metric="loss", about="wild", curves=(wild, calm)),
            Chart(metric=ATTACK, about=ATTACK, curves=(calm, nothing), log_scale=True),
            Chart(metric="empty", about="no run", curves=()),
        ),
        pictures=(
            Picture(title=ATTACK, caption="wide", png=png(40, 10)),
            Picture(title="b", caption="", png=png(8, 9)),
        ),
    )
