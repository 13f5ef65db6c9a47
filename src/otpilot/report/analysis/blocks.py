"""The blocks of a Markdown report, line for line in the form of the reports."""

from collections.abc import Callable, Iterator, Sequence

from otpilot.analysis import wording
from otpilot.analysis.compare import Comparison, Difference, PairComparison
from otpilot.analysis.postmortem import PostMortem
from otpilot.analysis.result import Analysis, RunReport
from otpilot.analysis.settings import KeySettings, Setting
from otpilot.analysis.statistics import Endpoint, Stability, Tail
from otpilot.report.analysis import rows
from otpilot.report.analysis.digits import figure, padded, percent, signed
from otpilot.report.analysis.words import Lang, word
from otpilot.report.markdown import escape_markdown
from otpilot.runs.metric_names import Direction

_UNSAFE_IN_LINK = str.maketrans({"(": "%28", ")": "%29", " ": "%20", "<": "%3C", ">": "%3E", "\n": "", "\r": ""})


def web_address(run: RunReport) -> str | None:
    """Return a run's web address (no other scheme) such that it cannot end the parentheses of a link, or None."""
    if run.url is None or not run.url.startswith(("https://", "http://")):
        return None
    return run.url.translate(_UNSAFE_IN_LINK)


def result_lines(run: RunReport, lang: Lang, *, change: bool, indent: str = "") -> Iterator[str]:
    """Return one line per metric: first, last, best@step, and with `change` the difference and its percentage."""
    for row, found in rows.block(run):
        yield f"{indent}- {row.label(lang)}: {_endpoints(found, lang)}{_change(found) if change else ''}"


def _endpoints(found: Endpoint, lang: Lang) -> str:
    first, last, best = (word(key, lang) for key in ("first", "last", "best"))
    lost = found.nan + found.inf
    text = f"{first}={figure(found.first)}, {last}={figure(found.last)}, {best}={figure(found.best)}@{found.best_step}"
    return text + (f" [NaN {found.nan}, inf {found.inf}]" if lost else "")


def _change(found: Endpoint) -> str:
    if found.first is None:
        return ""
    return f", Δ={figure(found.delta)} ({percent(found.pct)})"


def config_lines(config: KeySettings, lang: Lang) -> Iterator[str]:
    """Return the two config lines of the older reports, or one that says that the config is not known."""
    if config == KeySettings():
        yield f"  - {word('no config', lang)}"
        return
    yield (
        f"  - window_size={_setting(config.window_size)}, reg={_setting(config.reg)}, tau={_taus(config)}, "
        f"heuristic={_setting(config.heuristic)}"
    )
    yield (
        f"  - weight_embed={_setting(config.weight_embed)}, weight_label={_setting(config.weight_label)}, "
        f"lambda_ot={_setting(config.lambda_ot)}"
    )


def _taus(config: KeySettings) -> str:
    source = "hard" if config.hard_src else _setting(config.tau_src)
    target = "hard" if config.hard_tgt else _setting(config.tau_tgt)
    return f"({source},{target})"


def _setting(value: Setting) -> str:
    return f"{value:.4g}" if isinstance(value, float) else escape_markdown(str(value))


def title(run: RunReport, label: str, lang: Lang) -> str:
    """Return the heading of a run under a dated update: `R1  [act](url)` in Chinese, `act (id)` in English."""
    name = escape_markdown(label)
    if lang == "en":
        return f"{name} ({escape_markdown(run.id)})"
    policy = escape_markdown(run.config.policy or run.id)
    address = web_address(run)
    return f"{name}  [{policy}]({address})" if address else f"{name}  {policy}"


def fresh_title(run: RunReport, label: str) -> str:
    """Return the heading of a run in a new report: `R1  (url)`, or its source where it has no address."""
    place = web_address(run) or escape_markdown(run.source or run.id)
    return f"{escape_markdown(label)}  ({place})"


def overview_lines(analysis: Analysis) -> Iterator[str]:
    """Return one line per run: id, policy, where it is."""
    for run in analysis.runs:
        place = web_address(run) or escape_markdown(run.source)
        yield f"- {escape_markdown(run.id)} · {escape_markdown(run.config.policy or run.name)} · {place}"


def table_lines(analysis: Analysis) -> Iterator[str]:
    """Return the table of tail statistics of report 002, its columns named after the metrics found."""
    names = [name for run in analysis.runs for name in run.statistics]
    label = (rows.LABEL_COST.metric(names) or "train/ot_cost/action_lbl").removeprefix("train/")
    score = "eval_l1" if rows.EVAL.metric(names) or not rows.EVAL_LOSS.metric(names) else "eval_loss"
    yield (
        f"| run_id | {escape_markdown(label)} last_mean | last_std | slope_last | jitter | ot_loss last_mean "
        f"| {score} last_mean |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for run in analysis.runs:
        cost = tail(run, rows.LABEL_COST)
        ot = tail(run, rows.OT_LOSS)
        held_out = tail(run, rows.EVAL if score == "eval_l1" else rows.EVAL_LOSS)
        values = [
            *((cost.last_mean, cost.last_std, cost.slope_last, cost.jitter) if cost else (None,) * 4),
            ot.last_mean if ot else None,
            held_out.last_mean if held_out else None,
        ]
        cells = " | ".join(figure(value, missing="-") for value in values)
        yield f"| {escape_markdown(run.id)} | {cells} |"


def tail(run: RunReport, row: rows.Row) -> Tail | None:
    """Return the tail statistics of a row's metric, or None."""
    found = run.statistics.get(row.metric(run.statistics) or "")
    return None if found is None else found.tail


def explanation_lines(lang: Lang) -> Iterator[str]:
    """Return what the table's columns mean."""
    for key in ("explain mean", "explain slope", "explain jitter"):
        yield f"- {word(key, lang)}"


def summary_lines(run: RunReport) -> Iterator[str]:
    """Return the data summary of report 000: spread of the label cost, drift of the evaluation."""
    for metric, found in run.shared.items():
        yield f"- {escape_markdown(metric)}: {_drift(found) if metric.startswith('eval/') else _spread(found)}"


def _spread(found: Stability) -> str:
    return (
        f"n={found.rows}, last={figure(found.last)}, mean={figure(found.mean)}, std={figure(found.std)}, "
        f"cv={figure(found.cv, digits=3)}, med_abs_rel_change={figure(found.med_abs_rel_change)}"
    )


def _drift(found: Stability) -> str:
    return (
        f"n={found.rows}, last={figure(found.last)}, min={figure(found.min)}, "
        f"delta(last-min)={figure(found.delta_last_min)}, slope_recent={figure(found.slope_recent)}"
    )


def comparison_lines(comparisons: Sequence[Comparison], lang: Lang) -> Iterator[str]:
    """Return comparisons on one metric in report 002's form: score, last and best value of each run."""
    first = comparisons[0]
    pairs = [pair for found in comparisons for pair in found.pairs]
    count = max((pair.evaluations for pair in pairs), default=0)
    if lang == "zh":
        direction = "全程最大" if first.direction == "max" else "全程最小"
        score = f"相同步数下最后 {count} 次评估均值"
    else:
        direction = "max over run" if first.direction == "max" else "min over run"
        score = f"mean of the last {count} at equal step"
    metric = escape_markdown(first.metric)
    yield f"- {metric} ({score}):"
    yield from _by_run(pairs, lang, lambda pair: pair.score)
    yield f"- {metric} ({word('last', lang)}):"
    yield from _by_run(pairs, lang, lambda pair: pair.last)
    yield f"- {word('best', lang)} ({direction}):"
    for run in dict.fromkeys(pair.run for pair in pairs):
        yield f"  - {_best([pair for pair in pairs if pair.run == run], first.direction, lang)}"


def _by_run(
    pairs: Sequence[PairComparison], lang: Lang, read: Callable[[PairComparison], Difference | None]
) -> Iterator[str]:
    for run in dict.fromkeys(pair.run for pair in pairs):
        found = [(pair, item) for pair in pairs if pair.run == run and (item := read(pair)) is not None]
        if not found:
            yield f"  - {escape_markdown(run)}: -"
            continue
        baselines = ", ".join(
            f"{word('vs', lang)} {word('baseline', lang)} {escape_markdown(pair.baseline)} {padded(item.baseline)} "
            f"({signed(item.percent)})"
            for pair, item in found
        )
        yield f"  - {escape_markdown(run)}: {padded(found[0][1].ours)} {baselines}"


def _best(pairs: Sequence[PairComparison], direction: Direction, lang: Lang) -> str:
    """Return a run's best beside the baselines' best values; their last ones, which report 002 takes, are named too."""
    name, best = escape_markdown(pairs[0].run), word("best", lang)
    found = [(pair, item) for pair in pairs if (item := pair.best or pair.best_to_last) is not None]
    if not found:
        return f"{name} {best} -"
    ours, step = found[0][1].ours, found[0][1].step
    texts = (_relation(pair, direction, lang) for pair, _ in found)
    if lang == "zh":
        return f"{name} 最优 {padded(ours)}（{'，'.join(texts)}），第 {step} 步"
    return f"{name} best {padded(ours)} ({', '.join(texts)}) at step ~{step}"


def _relation(pair: PairComparison, direction: Direction, lang: Lang) -> str:
    """Return how a best value lies to the baseline's best; in the seed's words where that is the last one as well."""
    name, last = escape_markdown(pair.baseline), pair.best_to_last
    item = pair.best or last
    assert item is not None
    one_value = pair.best is None or last is None or last.baseline == item.baseline
    if item.ours == item.baseline:
        relation = f"与 {name} 相同" if lang == "zh" else f"the same as {name}"
        return relation if one_value else f"{relation}{_last(last, lang)}"
    better = item.ours > item.baseline if direction == "max" else item.ours < item.baseline
    if lang == "zh":
        than = name if one_value else f"{name} 的最优 {padded(item.baseline)}"
        relation = f"{'优于' if better else '差于'} {than} {signed(item.percent)}"
    else:
        than = name if one_value else f"{name}'s best {padded(item.baseline)}"
        relation = f"{'better' if better else 'worse'} than {than} by {signed(item.percent)}"
    return relation if one_value else f"{relation}{_last(last, lang)}"


def _last(against: Difference | None, lang: Lang) -> str:
    """Return our best against the baseline's last value, with that value, as an aside."""
    if against is None:
        return ""
    value, change = padded(against.baseline), signed(against.percent)
    return f"；其末值 {value}：{change}" if lang == "zh" else f"; its last {value}: {change}"


def postmortem_run_lines(run: RunReport, *, metric: str | None, baseline: bool, lang: Lang) -> Iterator[str]:
    """Return a run's three lines of report 002's post-mortem: scores, optimiser, transport."""
    config = run.config
    cost, score = tail(run, rows.LABEL_COST), level(run, metric or "")
    name = (metric or "eval").removeprefix("eval/offline_eval/").removeprefix("sim/")
    shown = "eval_l1" if name == "avg_l1" else escape_markdown(name)
    prefix = f"{word('baseline', lang)} " if baseline else ""
    yield (
        f"- {prefix}{escape_markdown(run.id)} · {shown}={figure(score)}, "
        f"ot_action_lbl={figure(cost.last_mean if cost else None)}, jitter={figure(cost.jitter if cost else None)}"
    )
    yield (
        f"  - optimizer: lr={_setting(config.lr)}, wd={_setting(config.weight_decay)}, "
        f"clip={_setting(config.grad_clip_norm)}, sched={_setting(config.scheduler)}"
    )
    yield (
        f"  - ot: lambda={_setting(config.lambda_ot)}, reg={_setting(config.reg)}, tau={_taus(config)}, "
        f"win={_setting(config.window_size)}, action_lbl_w={_setting(config.weight_label)}"
    )


def level(run: RunReport, metric: str) -> float | None:
    """Return the mean of a metric over its tail; the last value where the run came as a summary without curves."""
    found = run.statistics.get(metric)
    if found is None:
        return None
    return found.tail.last_mean if found.tail.points else found.endpoint.last


def difference_lines(found: PostMortem, lang: Lang) -> Iterator[str]:
    """Return the config differences, suspects first: key, both values, the factor, whether it could explain it."""
    for one in found.differences:
        text = escape_markdown(wording.difference(one, lang))
        yield f"- **{text}**" if one.could_explain else f"- {text}"


def note_lines(notes: Sequence[str], lang: Lang) -> Iterator[str]:
    """Return notes as a list."""
    yield from (f"- {escape_markdown(wording.note(note, lang))}" for note in notes)
