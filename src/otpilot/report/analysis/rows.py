"""Which metrics a report shows for every run, in the order and under the labels of the five older reports."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from otpilot.analysis.compare import Comparison
from otpilot.analysis.result import Analysis, RunReport
from otpilot.analysis.statistics import Endpoint, MetricStatistics
from otpilot.analysis.view import SUCCESS_MEAN, is_success


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a run's block: its labels, and the first metric that a run has of those it may be called."""

    zh: str
    en: str
    names: tuple[str, ...]
    always: bool = True

    def label(self, lang: str) -> str:
        """Return the label in a language."""
        return self.zh if lang == "zh" else self.en

    def metric(self, names: Iterable[str]) -> str | None:
        """Return the metric of this row among `names`; a trailing * stands for anything."""
        given = list(names)
        for wanted in self.names:
            start = wanted.removesuffix("*")
            for name in given:
                if name == wanted or (start != wanted and name.startswith(start)):
                    return name
        return None


LOSS = Row(zh="训练总损失", en="train/loss", names=("train/loss",))
L1 = Row(zh="训练L1", en="train/l1_loss", names=("train/l1_loss", "train/bc_loss"))
EVAL = Row(zh="离线评估L1", en="eval/avg_l1", names=("eval/offline_eval/avg_l1",))
EVAL_LOSS = Row(zh="离线评估损失", en="eval/avg_loss", names=("eval/offline_eval/avg_loss",), always=False)
OT_LOSS = Row(zh="OT损失", en="ot_loss", names=("train/ot_loss",))
MASS = Row(zh="π总和", en="ot_pi_sum", names=("train/ot_pi_sum",))
DIAGONAL = Row(zh="π对角和", en="ot_pi_diag", names=("train/ot_pi_diag",))
STATE_COST = Row(
    zh="OT cost(state)", en="ot_cost(state)", names=("train/ot_cost/observation.state", "train/ot_cost/state*")
)
LABEL_COST = Row(
    zh="动作标签代价", en="ot_cost/action_lbl", names=("train/ot_cost/action_lbl", "train/ot_cost/action*")
)
BLOCK = (LOSS, L1, EVAL, EVAL_LOSS, OT_LOSS, MASS, DIAGONAL, STATE_COST)
"""The seven rows of report 003; the evaluation's loss stands in, or beside, where a policy reports no L1."""
SUCCESS = "sim/success_"
CELLS_ZH = {"mean": "均值", "pc_success": "均值"}
"""Cells have names of their own; the mean over them is a word."""
MOST_NAMED = 3
EMPTY = Endpoint(rows=0, nan=0, inf=0)


def block(run: RunReport) -> list[tuple[Row, Endpoint]]:
    """Return the rows of a run's block with their statistics; closed-loop success, where measured, comes last."""
    rows = [(row, endpoint(run.statistics, row)) for row in BLOCK if row.always or row.metric(run.statistics)]
    if EVAL.metric(run.statistics) is None and EVAL_LOSS.metric(run.statistics) is not None:
        rows = [(row, found) for row, found in rows if row is not EVAL]
    elif EVAL.metric(run.statistics) is not None:
        # ACT's evaluation loss is its L1 under another name; the older reports print it once.
        rows = [(row, found) for row, found in rows if row is not EVAL_LOSS]
    for name in success_metrics(run.statistics):
        cell = name.removeprefix(SUCCESS).removeprefix("eval/")
        row = Row(zh=f"闭环成功率({CELLS_ZH.get(cell, cell)})", en=f"success({cell})", names=(name,))
        rows.append((row, run.statistics[name].endpoint))
    return rows


def endpoint(statistics: Mapping[str, MetricStatistics], row: Row) -> Endpoint:
    """Return the endpoint statistics of a row's metric, empty ones where the run lacks it."""
    metric = row.metric(statistics)
    return EMPTY if metric is None else statistics[metric].endpoint


def success_metrics(names: Iterable[str]) -> list[str]:
    """Return the closed-loop success rates among metric names, without their intervals; their mean first."""
    return sorted((name for name in names if is_success(name)), key=lambda name: name != SUCCESS_MEAN)


def key_metrics(analysis: Analysis) -> list[str]:
    """Return the metrics that matter most, in the order in which reports show their curves."""
    names = list(dict.fromkeys(name for run in analysis.runs for name in run.curves))
    rows = (LOSS, L1, EVAL, EVAL_LOSS, OT_LOSS, MASS, DIAGONAL, STATE_COST, LABEL_COST)
    found = [row.metric(names) for row in rows]
    more = [name for name in ("train/grad_norm", "train/lr") if name in names]
    return list(dict.fromkeys([*success_metrics(names), *(name for name in found if name is not None), *more]))


def other_metrics(analysis: Analysis) -> list[str]:
    """Return all further metrics that have a curve, by name."""
    names = {name for run in analysis.runs for name in run.curves}
    return sorted(names - set(key_metrics(analysis)))


NO_BEST = (MASS, LOSS)
"""Rows of the overview whose best value says little beside the last one."""


def overview(analysis: Analysis) -> list[Row]:
    """Return the few rows that the table of runs shows: success, the evaluation, the loss, the mass."""
    names = list(dict.fromkeys(name for run in analysis.runs for name in run.statistics))
    success = [
        Row(zh=f"成功率 {CELLS_ZH.get(cell, cell)}", en=f"success {cell}", names=(name,))
        for name in success_metrics(names)[:3]
        for cell in [name.removeprefix(SUCCESS).removeprefix("eval/")]
    ]
    held_out = EVAL if EVAL.metric(names) else EVAL_LOSS
    return [*success, *(row for row in (held_out, MASS, LOSS) if row.metric(names))]


def labels(analysis: Analysis) -> dict[str, str]:
    """Return what each run is called, by id: its name where no other run has it, else its id."""
    names = [run.name for run in analysis.runs]
    return {run.id: run.name if names.count(run.name) == 1 else run.id for run in analysis.runs}


def comparison_title(found: Comparison, called: Mapping[str, str]) -> tuple[str, str]:
    """Return what the two sides of a comparison are called: their runs, or the first and how many more."""
    return _side(found.runs, called), _side(found.baselines, called)


def _side(ids: Sequence[str], called: Mapping[str, str]) -> str:
    names = [called.get(one, one) for one in ids]
    return " & ".join(names) if len(names) <= MOST_NAMED else f"{names[0]} (+{len(names) - 1})"


def last_step(run: RunReport) -> str:
    """Return the last step that any metric has; a run without curves reached at least the step of its best values."""
    ends = [one.endpoint for one in run.statistics.values()]
    last = max((one.last_step for one in ends if one.last_step is not None), default=-1)
    best = max((one.best_step for one in ends if one.best_step is not None), default=-1)
    if last < 0 and best < 0:
        return "–"
    return f"{last:,}" if last >= best and run.curves else f"≥ {max(last, best):,}"
