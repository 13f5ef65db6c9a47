"""Rules about how a run is undone, watched and fed, not about what it learns."""

from collections.abc import Mapping, Sequence
from typing import Any

from otpilot.analysis.findings import Finding
from otpilot.config.bounds import default_of
from otpilot.config.canonical import ABSENT, canonical, config_hash, diff
from otpilot.config.edits import PRESET_KEYS, WHOLE, Edit, apply, policy_type, uses_preset, value_at
from otpilot.errors import ConfigError
from otpilot.pilot.proposal import Failure, Proposal
from otpilot.pilot.rules.base import (
    Config,
    RuleContext,
    at_least,
    evaluation_worse,
    found,
    number_at,
    propose,
    set_to,
    times,
)  # fmt: skip

SLOW_LOADING = Failure(metric="train/dataloading_s", relation="above", threshold=0.9, relative=True)
OFTEN = 200
ONCE_IN = 1000


def roll_back(_findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Go back to the parent's settings when the verdict says worse, never for a percentage alone (seed 001).

    Seed 001's "worse by more than 10 %" fires on 30 % of equal runs at the noise that was measured (statistics.md).
    """
    if context.verdict != "worse" or context.parent is None:
        return None
    edits = edits_back(config, context.parent)
    if not edits:
        return None
    changed = ", ".join(str(edit) for edit in edits)
    return propose(
        {"verdict": context.verdict},
        config,
        RuleContext(run=context.run, recent=context.recent),  # the parent was tried, and may be gone back to
        edits,
        reason=f"The change made evaluation worse beyond noise; it is undone: {changed}.",
        expected="Evaluation comes back to the parent's level.",
        failure=evaluation_worse(context),
        group="ot" if all(edit.path.startswith("ot.") for edit in edits) else "bc",
        together=True,
    )


def evaluate_less_often(_findings: Sequence[Finding], config: Config, context: RuleContext) -> Proposal | None:
    """Evaluate every 1,000 steps where it is every 199 or fewer: it costs time and says little early on (seed 001)."""
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


def edits_back(config: Config, parent: Config) -> tuple[Edit, ...]:
    """Return the edits that give `config` the hash of `parent`; none where edits cannot do that."""
    try:
        edits = _edits_back(config, parent)
        if edits and config_hash(apply(config, edits)[0]) == config_hash(parent):
            return edits
    except ConfigError:
        pass
    return ()


def _edits_back(config: Config, parent: Config) -> tuple[Edit, ...]:
    now, then = canonical(config), canonical(parent)
    preset = uses_preset(parent)
    edits = [] if uses_preset(config) == preset else [set_to("use_policy_training_preset", preset)]
    wholes = [name for name in WHOLE if name != "ot" and not (preset and name in ("optimizer", "scheduler"))]
    edits += [set_to(name, _at(parent, name)) for name in wholes if _at(now, name) != _at(then, name)]
    if not then["ot"].get("enable", True):
        wholes.append("ot")
        edits += [set_to("ot.enable", False)] if now["ot"].get("enable", True) else []
    for difference in diff(now, then):
        path, value = difference.path, difference.right
        idle = path == "use_policy_training_preset" or (not preset and PRESET_KEYS.match(path))
        if idle or any(f"{path}.".startswith(f"{name}.") for name in (*wholes, "optimizer", "scheduler")):
            continue
        edits.append(set_to(path, default_of(path, policy_type(parent)) if value == ABSENT else value))
    return tuple(edits)


def _at(config: Config, path: str) -> Any:
    place: Any = config
    for part in path.split("."):
        place = place.get(part) if isinstance(place, Mapping) else None
    return place
