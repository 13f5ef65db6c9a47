"""The fixed words of reports in English and Chinese; findings get theirs from analysis/wording.py."""

from collections.abc import Mapping
from typing import Literal

Lang = Literal["en", "zh"]

# Where the reports have a word for it, it is theirs.
WORDS: Mapping[str, tuple[str, str]] = {
    "report": ("Report", "实验阶段性报告"),
    "update": ("Report Update", "实验记录更新"),
    "generated": ("Generated", "生成时间"),
    "runs": ("Runs", "运行"),
    "run": ("run", "运行"),
    "state": ("state", "状态"),
    "steps": ("steps", "步数"),
    "rows": ("rows", "行数"),
    "source": ("source", "来源"),
    "config": ("Config", "配置"),
    "metrics": ("Metrics", "结果"),
    "link": ("Link", "链接"),
    "note": ("Note", "备注"),
    "notes": ("Notes", "备注"),
    "first": ("first", "首"),
    "last": ("last", "末"),
    "best": ("best", "最优"),
    "table": ("Metrics Summary (key curves)", "指标汇总（关键曲线）"),
    "interpretation": ("Interpretation", "说明"),
    "summary": ("Data Summary", "数据摘要"),
    "diagnosis": ("Diagnosis", "诊断与结论"),
    "nothing found": ("nothing conspicuous", "未见异常"),
    "comparison": ("Baseline Comparison", "基线对比"),
    "postmortem": ("Postmortem: Regression Root Causes", "复盘：性能回退原因"),
    "postmortem without configs": ("Postmortem", "复盘"),
    "differences": ("Key Differences Observed", "关键配置差异"),
    "recommendations": ("Recommendations", "建议"),
    "curves": ("Curves", "曲线"),
    "more curves": ("More curves", "更多曲线"),
    "pictures": ("Plans and pairs", "传输计划与配对"),
    "statistics": ("Statistics", "统计"),
    "config differences": ("Config differences", "配置差异"),
    "baseline": ("baseline", "基线"),
    "vs": ("vs", "对比"),
    "evidence": ("evidence", "依据"),
    "window": ("steps {} to {}", "第 {} 至 {} 步"),
    "threshold": ("limit", "阈值"),
    "origin": ("origin", "来源"),
    "tag": ("tag", "标签"),
    "metric": ("metric", "指标"),
    "severity": ("severity", "级别"),
    "problem": ("problem", "问题"),
    "warning": ("warning", "警告"),
    "info": ("info", "提示"),
    "verdict": ("verdict", "结论"),
    "better": ("better", "更好"),
    "worse": ("worse", "更差"),
    "not distinguishable": ("not distinguishable", "无法区分"),
    "seed": ("seed", "种子"),
    "score": ("score", "得分"),
    "factor": ("factor", "倍数"),
    "setting": ("setting", "设置"),
    "events": ("Alarms of the runs themselves", "运行自身的告警"),
    "success": ("closed-loop success", "闭环成功率"),
    "loss": ("validation loss only", "仅验证损失"),
    "could explain": ("could explain it", "可能的原因"),
    "no config": ("config not recorded", "未记录配置"),
    "running": ("running", "运行中"),
    "finished": ("finished", "已完成"),
    "stopped_early": ("stopped early", "提前停止"),
    "diverged": ("diverged", "发散"),
    "crashed": ("crashed", "崩溃"),
    "killed": ("killed", "被终止"),
    "unknown": ("unknown", "未知"),
    "last values": ("last value", "末值"),
    "explain endpoint": (
        "first, last, best: finite values only, best is the minimum (success: the maximum); pct = 100 Δ / first.",
        "首、末、最优仅取有限值；最优取最小值（成功率取最大值）；百分比 = 100 Δ / 首。",
    ),
    "explain mean": (
        "last_mean/last_std: mean and standard deviation over the tail (10 % of the points, at most 100);",
        "last_mean/last_std: 用尾段窗口（<=100，或 10%）的均值/方差衡量稳定性与收敛水平；",
    ),
    "explain slope": (
        "slope_last: slope over the tail per logged point; negative is falling;",
        "slope_last: 尾段趋势斜率，负值向下收敛；",
    ),
    "explain jitter": (
        "jitter: standard deviation of the first difference over |median| of the tail; larger is noisier;",
        "jitter: 一阶差分（按序列中位数缩放）的标准差，越大表示抖动越强；",
    ),
}


def word(key: str, lang: Lang) -> str:
    """Return a fixed word or sentence in a language."""
    en, zh = WORDS[key]
    return zh if lang == "zh" else en


def says(label: str, text: str, lang: Lang) -> str:
    """Return "label: text" with the language's colon."""
    return f"{label}：{text}" if lang == "zh" else f"{label}: {text}"
