"""Findings, verdicts and post-mortems in words, English or Chinese, with numbers and the origin of the limits."""

import json
import re
import string
from collections.abc import Mapping
from typing import Literal

from otpilot.analysis.evidence_zh import EVIDENCE_ZH, VALUES_ZH
from otpilot.analysis.findings import Finding, Number, Threshold
from otpilot.analysis.notes_zh import NOTES
from otpilot.analysis.phrases import EVALUATION, Phrase
from otpilot.analysis.phrases_en import ENGLISH
from otpilot.analysis.phrases_zh import CHINESE, ORIGINS_ZH
from otpilot.analysis.postmortem import ConfigDifference, PostMortem
from otpilot.analysis.single_change import ABSENT, SingleChange
from otpilot.analysis.thresholds import Thresholds
from otpilot.analysis.verdict import RATE_NOISE, Verdict
from otpilot.runs.counting import counted

Lang = Literal["en", "zh"]

PHRASES: dict[Lang, dict[str, Phrase]] = {"en": ENGLISH, "zh": CHINESE}
MASS_TAGS = ("mass_too_low", "mass_too_high", "mass_collapsing", "off_diagonal", "transport_eating")
MEASURED_NOISE = {"log": "0.12", "difference": f"{RATE_NOISE:g}"}
"""Examples: one long configuration over three seeds (docs/pilot-statistics.md), and success over 100 episodes."""
WORDS_ZH = {"better": "更好", "worse": "更差", "not distinguishable": "无法区分"}


def tag_name(tag: str, lang: Lang) -> str:
    """Return what a tag is called."""
    phrase = PHRASES[lang].get(tag)
    return tag.replace("_", " ") if phrase is None else phrase.name


def describe(finding: Finding, lang: Lang) -> str:
    """Return a finding in words: its sentence, the window of steps, and the limits with their origin."""
    parts = [sentence(finding, lang)]
    if finding.window is not None:
        first, last = finding.window
        parts.append(f"(steps {first:,} to {last:,})" if lang == "en" else f"（第 {first}–{last} 步）")
    colon = ": " if lang == "en" else "："
    limits = [f"{limit.name} {short(limit.value)}{colon}{origin(limit, lang)}" for limit in finding.thresholds]
    if limits:
        parts.append(f"[{'; '.join(limits)}]" if lang == "en" else f"［{'；'.join(limits)}］")
    return (" " if lang == "en" else "").join(parts)


def sentence(finding: Finding, lang: Lang) -> str:
    """Return what a finding says with its numbers, without window and origins."""
    fields = _fields(finding, lang)
    phrase = PHRASES[lang].get(finding.tag)
    text = next((one.format_map(fields) for one in (phrase.sentences if phrase else ()) if _fits(one, fields)), "")
    if not text:
        shown = ", ".join(f"{name} {short(value)}" for name, value in finding.evidence.items())
        text = f"{tag_name(finding.tag, lang)}: {finding.metric or ''} {shown}".strip()
    parts = [text]
    state = finding.evidence.get("evaluation")
    if finding.tag in MASS_TAGS and state in EVALUATION[lang]:
        parts.append(EVALUATION[lang][str(state)])
    if finding.tag == "slow_start" and state == "improving":
        parts.append("The evaluation still improves." if lang == "en" else "但评估仍在变好。")
    if finding.evidence.get("rests_on"):
        parts.append("Judged by end points alone." if lang == "en" else "（仅据首末值判断）")
    if finding.evidence.get("outranked"):
        parts.append(
            "Closed-loop success, which outranks it, does not drift."
            if lang == "en"
            else "但闭环成功率优先，且未漂移。"
        )
    return (" " if lang == "en" else "").join(parts)


def origin(limit: Threshold, lang: Lang) -> str:
    """Return where a limit comes from."""
    default = Thresholds()
    known = limit.name in ORIGINS_ZH and limit.origin == default.origin(limit.name)
    if lang == "en" or (not known and not limit.origin.startswith("set by the user")):
        return limit.origin
    return ORIGINS_ZH[limit.name] if known else f"用户设定（默认 {getattr(default, limit.name, '–')}）"


def evidence(finding: Finding, lang: Lang) -> tuple[tuple[str, str], ...]:
    """Return the numbers of a finding as (name, value) in words; what is not known is left out."""
    known = [(name, value) for name, value in finding.evidence.items() if value is not None]
    if lang == "en":
        return tuple((name.replace("_", " "), short(value)) for name, value in known)
    return tuple(
        (EVIDENCE_ZH.get(name, name.replace("_", " ")), VALUES_ZH.get((name, str(value)), short(value)))
        for name, value in known
    )


def verdict_word(verdict: Verdict, lang: Lang) -> str:
    """Return better, worse or not distinguishable."""
    return verdict.word if lang == "en" else WORDS_ZH[verdict.word]


def verdict_basis(verdict: Verdict, lang: Lang) -> str:
    """Return what a verdict rests on, with its interval, or why nothing can be said."""
    interval = _interval(verdict)
    noise = "" if verdict.noise is None else short(verdict.noise)
    measured = MEASURED_NOISE[verdict.scale]
    english = {
        "t-interval": f"{interval} over {verdict.pairs} seeds paired (95 % t-interval).",
        "noise floor": f"{interval} against the noise floor of repeated runs (SD {noise}).",
        "no spread": f"{interval} in each of {verdict.pairs} seeds alike, which gives no estimate of the noise.",
        "no seeds": f"{interval}, one seed and no noise floor known: repeat the baseline, add seeds, or give the "
        f"standard deviation that equal runs were measured to have, such as --noise {measured}.",
        "no scores": "No finite evaluations at an equal step.",
        "diverged": f"{interval} by the seeds that are left, but others diverged: that is not better.",
    }
    chinese = {
        "t-interval": f"{interval}（{verdict.pairs} 个种子配对，95% t 区间）。",
        "noise floor": f"{interval}，对照重复 run 的噪声底（SD {noise}）。",
        "no spread": f"{interval}，{verdict.pairs} 个种子差值完全相同，无法估计噪声。",
        "no seeds": f"{interval}，只有一个种子且噪声底未知：请重复基线、增加种子，"
        f"或用 --noise 给出相同配置重复运行的实测标准差（如 --noise {measured}）。",
        "no scores": "相同步数处没有有限的评估值。",
        "diverged": f"仅剩余种子为{interval}，但其他种子已发散：不能算更好。",
    }
    return (english if lang == "en" else chinese)[verdict.basis]


def mechanism(found: PostMortem, lang: Lang) -> str:
    """Return how a post-mortem explains the regression: the evidence first, then the conclusion."""
    jitter = found.jitter
    if lang == "en":
        words = {True: "Jitter exploded", False: "Jitter did not explode", None: "Jitter could not be compared"}
        ends = {
            "optimiser mismatch": "so underfitting by the optimiser or its schedule is likely, not transport noise.",
            "transport noise": "so noise from the transport is likely.",
            "diverged": "and the run diverged.",
            "unclear": "and no difference of the optimiser is large enough; the suspects stand below.",
            "no difference": "and the configs do not differ: noise between runs, or a cause outside the config.",
            "unknown": (
                "and configs were not recorded, so nothing can be said about them; give run folders or "
                "wandb:ENTITY/PROJECT."
            ),
        }
        numbers = (
            "" if jitter.metric is None else f" ({jitter.metric}: {short(jitter.worse)} against {short(jitter.better)})"
        )
        return f"{words[jitter.exploded]}{numbers}, {ends[found.mechanism]}"
    words = {True: "抖动爆炸", False: "抖动未爆炸", None: "抖动无法比较"}
    ends = {
        "optimiser mismatch": "更可能是优化器/学习率调度不匹配导致欠拟合，而非 OT 噪声。",
        "transport noise": "更可能是 OT 噪声。",
        "diverged": "且该 run 已发散。",
        "unclear": "优化器差异不足以解释，可疑项见下。",
        "no difference": "配置没有差异：属 run 间噪声，或配置以外的原因。",
        "unknown": "且未记录配置，无从判断配置差异；请给出 run 文件夹或 wandb:ENTITY/PROJECT。",
    }
    numbers = "" if jitter.metric is None else f"（{jitter.metric}：{short(jitter.worse)} 对 {short(jitter.better)}）"
    return f"{words[jitter.exploded]}{numbers}，{ends[found.mechanism]}"


def difference(found: ConfigDifference, lang: Lang) -> str:
    """Return one config difference: better value to worse value, its factor, and whether it could explain anything."""
    factor = (
        "" if found.factor is None else f" (x{short(found.factor)})" if lang == "en" else f"（×{short(found.factor)}）"
    )
    if found.could_explain:
        judged = "could explain it" if lang == "en" else "可能解释"
    else:
        judged = "not enough to explain it" if lang == "en" else "不足以解释"
    comma = ", " if lang == "en" else "，"
    return f"{found.key}: {setting(found.better, lang)} → {setting(found.worse, lang)}{factor}{comma}{judged}"


def change(found: SingleChange, lang: Lang) -> str:
    """Return the one edit that tests the first suspect."""
    if lang == "en":
        return f"Set {found.key} to {setting(found.value)} (now {setting(found.instead_of)}), and change nothing else."
    return f"只改 {found.key}：{setting(found.instead_of)} → {setting(found.value)}，其余保持不变。"


def note(text: str, lang: Lang) -> str:
    """Return a note in a language; one that was not written by the analysis (by a reader, say) stays as it is."""
    if lang == "zh":
        for pattern, chinese in NOTES:
            match = re.fullmatch(pattern, text)
            if match:
                return match.expand(chinese)
    return text


def setting(value: object, lang: Lang = "en") -> str:
    """Return a setting as it is printed: numbers short, nothing as null, a section as JSON."""
    if value == ABSENT and lang == "zh":
        return "（未设置）"
    if isinstance(value, Mapping):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, bool) or value is None:
        return {None: "null", True: "true", False: "false"}[value]
    return short(value) if isinstance(value, int | float) else str(value)


def short(value: Number) -> str:
    """Return a number with four significant digits, whole numbers in full, a dash for nothing."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _fits(text: str, fields: dict[str, str]) -> bool:
    return all(name in fields for _, name, _, _ in string.Formatter().parse(text) if name)


def _fields(finding: Finding, lang: Lang) -> dict[str, str]:
    """Return everything that sentences may name, as texts; what is None is missing."""
    fields = {"metric": finding.metric or "–"}
    for name, value in finding.evidence.items():
        if value is None:
            continue
        fields[name] = short(value)
        if isinstance(value, int | float):
            fields[f"{name}_pct"] = f"{100 * value:.3g}%"
            fields[f"{name}_signed"] = f"{value if name == 'percent' else 100 * value:+.1f}%"
    fall = finding.evidence.get("fall")
    if isinstance(fall, float):
        words = ("falls by ", "rises by ") if lang == "en" else ("下降 ", "上升 ")
        fields["fall_told"] = f"{words[fall < 0]}{abs(100 * fall):.3g}%"
        fields["fell_told"] = f"{('fell by', 'rose by')[fall < 0]} {abs(100 * fall):.3g}%"
    for name, thing in (("rows", "row"), ("metrics", "such metric")):
        if isinstance(number := finding.evidence.get(name), int):
            fields[f"{name}_told"] = counted(number, thing)
    for limit in finding.thresholds:
        fields[f"L_{limit.name}"] = f"{limit.value:g}"
        fields[f"L_{limit.name}_pct"] = f"{100 * limit.value:g}%"
    return fields


def _interval(verdict: Verdict) -> str:
    if verdict.mean is None:
        return "–"

    def shown(value: float) -> str:
        return f"{100 * value:+.1f}%" if verdict.scale == "log" else f"{value:+.3f}"

    if verdict.low is None or verdict.high is None:
        return shown(verdict.mean)
    return f"{shown(verdict.mean)} [{shown(verdict.low)}, {shown(verdict.high)}]"
