"""How the phrases of findings are written: per tag a name and sentences, the first whose numbers exist is used.

Fields in braces are evidence (`{fall}`), the same as a percentage (`{fall_pct}`), limits (`{L_plateau_fall}`), and
`{metric}`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Phrase:
    """What a tag is called, and its sentences in order of preference."""

    name: str
    sentences: tuple[str, ...]


EVALUATION = {
    "en": {
        "improving": "The evaluation still improves, so the mass alone does not say that the run is bad.",
        "stalled": "The evaluation has stalled.",
        "worsening": "The evaluation worsens too.",
        "unknown": "There is no evaluation to set against it.",
    },
    "zh": {
        "improving": "但离线/闭环评估仍在变好，仅凭 π 质量不能断定该实验不好。",
        "stalled": "同时评估已停滞。",
        "worsening": "同时评估变差。",
        "unknown": "没有可对照的评估。",
    },
}
