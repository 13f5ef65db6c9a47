"""The words of the HTML page in English and Chinese."""

from collections.abc import Mapping

from otpilot.report.analysis.words import Lang

WORDS: Mapping[str, tuple[str, str]] = {
    "title": ("Analysis of {count} runs", "{count} 个运行的分析"),
    "title of one": ("Analysis of one run", "1 个运行的分析"),
    "theme": ("Dark / light", "深色 / 浅色"),
    "step": ("step", "步数"),
    "time": ("time", "时间"),
    "align": ("over", "横轴"),
    "smoothing": ("Smoothing", "平滑"),
    "log": ("Log scale", "对数轴"),
    "robust": ("Ignore outliers", "忽略离群值"),
    "filter": ("Filter metrics", "筛选指标"),
    "unzoom": ("Show everything", "显示全部"),
    "all": ("all", "全选"),
    "none": ("none", "全不选"),
    "nothing to draw": ("No finite values to draw.", "没有可绘制的有限值。"),
    "no script": (
        "The curves need JavaScript; everything else on this page does not.",
        "曲线需要 JavaScript；本页其余内容不需要。",
    ),
    "gaps": ("Values that are NaN or infinite, shown as gaps: {count}.", "{count} 个值为 NaN 或无穷：显示为断点。"),
    "far": ("Values beyond ±{limit}, shown as gaps: {count}.", "{count} 个值超出 ±{limit}：显示为断点。"),
    "how to": (
        "Drag over a chart to zoom, double-click for everything; click a run to hide it, shift-click to see it alone. "
        "Smoothing is an exponential mean over logged points; the raw curve stays behind it.",
        "拖动缩放，双击还原；点击运行以隐藏，按住 Shift 点击仅看该运行。平滑为按记录点的指数均值，原始曲线以浅色保留。",
    ),
    "exact": ("Curves hold 7 digits.", "曲线保留 7 位有效数字。"),
    "coarse": (
        "To keep the page small, curves are stored in 16 bits: a value read off a curve may be {error} off. "
        "Tables are exact.",
        "为控制页面大小，曲线以 16 位存储，从曲线读出的值误差不超过 {error}；表格为精确值。",
    ),
    "thinned": (
        " Of longer curves the extremes of equal stretches are drawn, at most {points} points.",
        " 较长的曲线只绘制各等分段的极值，至多 {points} 个点。",
    ),
    "dropped": (
        " Further metrics without a chart here: {count}; see --json.",
        " 另有 {count} 个指标未绘图，见 --json。",
    ),
    "more tables": (
        "Further metrics without a table here: {count}; see --json.",
        "另有 {count} 个指标未列表，见 --json。",
    ),
    "same": ("Settings that are the same in all runs: {count}.", "{count} 项设置在所有运行中相同。"),
    "no difference": ("The recorded settings do not differ.", "记录的设置没有差异。"),
    "no configs": (
        "Configs were not recorded, so nothing can be said about them; give run folders or wandb:ENTITY/PROJECT.",
        "未记录配置，无从判断配置差异；请给出 run 文件夹或 wandb:ENTITY/PROJECT。",
    ),
    "no picture": ("The plan of {run} cannot be shown: {error}", "{run} 的传输计划无法显示：{error}"),
    "more plans": ("Further runs with a plan that is not shown: {count}.", "另有 {count} 个运行的传输计划未显示。"),
    "plan": (
        "Which source row (left) the last plan sends to which target row (top). Yellow: more mass than a uniform plan "
        "gives, dark blue: less, grey: the same.",
        "最后一个传输计划：源样本（左）到目标样本（上）。黄色：多于均匀计划；深蓝：更少；灰色：相同。",
    ),
    "plan of": ("Transport plan of {run}", "{run} 的传输计划"),
    "pairs of": ("Rows matched by {run}", "{run} 匹配的样本"),
    "pairs": (
        "Each source row beside the target row that receives most of its mass, and the share that it receives.",
        "每个源样本与获得其最多质量的目标样本，以及所占份额。",
    ),
}


def said(key: str, lang: Lang) -> str:
    """Return words of the page in a language."""
    en, zh = WORDS[key]
    return zh if lang == "zh" else en
