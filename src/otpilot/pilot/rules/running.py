"""Rules about how a run is watched and fed, not about what it learns."""

from collections.abc import Sequence

from otpilot.analysis.findings import Finding
from otpilot.config.edits import value_at
from otpilot.pilot.proposal import Failure, Proposal
from otpilot.pilot.rules.base import Config, RuleContext, at_least, found, number_at, propose, times

SLOW_LOADING = Failure(metric="train/dataloading_s", relation="above", threshold=0.9, relative=True)
OFTEN = 200
ONCE_IN = 1000


def evaluate_less_often(_findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Evaluate every 1,000 steps where it is every 199 or fewer: it costs time and says little early (report 001)."""
    every, steps = number_at(config, "eval_steps"), number_at(config, "steps") or config.get("steps") or 100_000
    if every is None or not 0 < every < OFTEN or steps < 10 * OFTEN:
        return None
    target = min(ONCE_IN, int(steps) // 10)
    return propose(
        {"eval_steps": every, "steps": float(steps)},
        config,
        context,
        (at_least("eval_steps", target),),
        reason="Frequent evaluation slows training with little insight.",
        expected="More steps per second; nothing that is learned changes.",
        failure=Failure(metric="train/update_s", relation="above", threshold=1.1, relative=True),
        group="run",
    )


def more_workers(findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Double the loader's processes where training waits for data (ours)."""
    finding = found(findings, "data_loading_bottleneck")
    if finding is None:
        return None
    edit = times("num_workers", 2) if value_at(config, "num_workers") else at_least("num_workers", 2)
    return propose(
        finding,
        config,
        context,
        (edit,),
        reason="Training waits for its data.",
        expected="train/dataloading_s falls; nothing that is learned changes.",
        failure=SLOW_LOADING,
        group="run",
    )
