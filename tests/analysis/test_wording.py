"""Wording: every finding can be said in both languages, with numbers, window and origin."""

import re

import numpy as np
import pytest

from otpilot.analysis.diagnosis import TAGS, diagnose
from otpilot.analysis.findings import Finding
from otpilot.analysis.phrases_zh import NOTES, ORIGINS_ZH
from otpilot.analysis.postmortem import postmortem
from otpilot.analysis.result import analyze
from otpilot.analysis.thresholds import Thresholds
from otpilot.analysis.verdict import Verdict, judge_floor, judge_pairs
from otpilot.analysis.wording import (
    PHRASES,
    change,
    describe,
    difference,
    mechanism,
    note,
    sentence,
    tag_name,
    verdict_basis,
    verdict_word,
)

from .build import changed, history
from .test_diagnosis import CASES, NAMED
from .test_postmortem import seed_run

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def test_every_tag_has_words_in_both_languages():
    for lang in ("en", "zh"):
        assert set(PHRASES[lang]) == set(TAGS)
        assert len({tag_name(tag, lang) for tag in TAGS}) == len(TAGS)


def test_every_limit_has_a_chinese_origin():
    assert set(ORIGINS_ZH) == set(vars(Thresholds()))


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("case", NAMED)
def test_a_finding_is_told_whole(case, lang):
    finding = case.found(case.raises)
    text = describe(finding, lang)
    assert not re.search(r"[{}]|None|nan", text)
    assert bool(CHINESE.search(text)) == (lang == "zh")
    assert re.search(r"\d", text)
    for limit in finding.thresholds:
        assert limit.name in text
        if lang == "en":
            assert limit.origin in text
    if finding.window is not None:
        assert f"{finding.window[1]:,}" in text or str(finding.window[1]) in text
    # A sentence of its own, not the fallback that lists evidence.
    assert not sentence(finding, lang).startswith(f"{tag_name(finding.tag, lang)}: ")


def test_every_sentence_can_be_reached():
    """A field that no rule writes would make its sentence dead."""
    written = {tag: {"metric"} for tag in TAGS}
    for case in CASES:
        finding = case.found(case.raises)
        written[case.tag] |= set(finding.evidence)
    extra = {"reason", "last", "first", "fall", "before", "level", "evaluations", "alarm_step", "rows", "last_finite"}
    extra |= {"fell", "fall_late", "fall_best"}
    for lang in ("en", "zh"):
        for tag, phrase in PHRASES[lang].items():
            for text in phrase.sentences:
                names = {re.sub(r"_(pct|signed|told)$", "", name) for name in re.findall(r"\{(\w+)\}", text)}
                unknown = {n for n in names if not n.startswith("L_")} - written[tag] - extra
                assert not unknown, (tag, unknown)
                limits = {n[2:] for n in names if n.startswith("L_")}
                assert limits <= set(vars(Thresholds())), (tag, limits)


def test_exact_sentences():
    finding = Finding(
        tag="mass_too_low",
        severity="warning",
        metric="train/ot_pi_sum",
        window=(1800, 2000),
        evidence={"level": 0.0003579, "evaluation": "improving"},
        thresholds=Thresholds().limits("mass_low"),
    )
    assert describe(finding, "zh") == (
        "train/ot_pi_sum 为 0.0003579，低于 0.001 且不升：reg/tau 偏小或 label 权重偏大。"
        "但离线/闭环评估仍在变好，不应仅凭 π 质量做调整。（第 1800–2000 步）"
        "［mass_low 0.001：种子报告 004：过低（<1e-3）且不升］"
    )
    assert describe(finding, "en") == (
        "train/ot_pi_sum is 0.0003579, under 0.001, and does not rise: reg and tau are too small for the cost, or the "
        "label weight is too large. The evaluation still improves, so the mass alone is no reason to act. "
        "(steps 1,800 to 2,000) [mass_low 0.001: seed report 004: below 1e-3 and not rising]"
    )


def test_a_loss_that_rises_is_not_said_to_fall():
    finding = next(f for f in diagnose(history({"train/loss": np.linspace(1, 2, 40)})) if f.tag == "loss_rising")
    assert "rises by 1" in sentence(finding, "en")
    assert "步上升 1" in sentence(finding, "zh")


def test_an_unknown_tag_and_odd_evidence_are_still_told():
    finding = Finding(tag="new_tag", severity="info", metric="<script>", evidence={"{x}": 1.5, "y": None})
    assert sentence(finding, "en") == "new tag: <script> {x} 1.5, y –"
    hostile = Finding(
        tag="plateau", severity="info", metric="{fall}", evidence={"fall": 0.01, "level": 1.0, "error": 0.1}
    )
    assert "{fall}" in sentence(hostile, "en")


def written_notes():
    """Notes of analyses that are made so that every note is written at least once."""
    loss = "eval/offline_eval/avg_l1"
    scored = {name: history({loss: [score] * 6}, id=name) for name, score in (("a", 0.40), ("b", 0.44))}
    other = changed(seed=1, dataset__eval_split=0.2)
    yield from postmortem(scored["a"], scored["b"]).notes
    yield from postmortem(scored["b"], scored["a"]).notes
    yield from postmortem(history(config=other), history(id="base")).notes
    own = changed(use_policy_training_preset=False, scheduler={"type": "diffuser", "name": "cosine"})
    yield from postmortem(history(), history(id="base", config=own)).notes
    ends = (("short", 0.39, 650), ("long", 0.34, 1250))
    short, long = (history((), id=i, summary={loss: {"last": x, "best": x, "best_step": s}}) for i, x, s in ends)
    yield from (*postmortem(short, long).notes, *analyze([short, long], baselines=["long"]).notes)
    odd = history({loss: [0.4, np.nan]}, id="odd")
    many = history({f"train/x{i}": [1.0] for i in range(99)}, id="many")
    success = history({"sim/success_mean": [0.4], loss: [0.4]}, id="success")
    seeds = [changed(seed=s, ot__lambda_ot=w) for w in (0.1, 0.2) for s in range(3)]
    groups = [history({loss: [0.4 - 0.001 * i] * 9}, id=f"g{i}", config=seeds[i]) for i in range(6)]
    groups[5] = history({loss: [0.4, *[np.nan] * 8]}, id="g5", config=seeds[5])
    groups[3:5] = [history({loss: [0.2 + 0.001 * i] * 9}, id=f"g{i}", config=seeds[i]) for i in (3, 4)]
    found = analyze(groups, baselines=["g0", "g1", "g2"])
    yield from (text for part in found.comparisons for text in part.notes)
    for runs in ([odd, scored["a"]], [many, many], [success, scored["a"]]):
        found = analyze(runs, baselines=[runs[1].id])
        yield from found.notes
        yield from (text for part in (*found.runs, *found.comparisons) for text in part.notes)


def test_every_note_that_the_analysis_writes_has_chinese_words():
    texts = set(written_notes())
    for text in texts:
        assert CHINESE.search(note(text, "zh")), text
        assert note(text, "en") == text
    for pattern, _ in NOTES:
        assert any(re.fullmatch(pattern, text) for text in texts), pattern
    assert note("7 of 9 runs hold no evaluation at all.", "zh") == "9 个 run 中有 7 个没有任何评估。"
    assert note("3 rows were torn.", "zh") == "3 rows were torn."


def test_a_limit_set_by_the_user_says_so():
    finding = next(
        f for f in diagnose(history({"train/loss": [1.0] * 30}), Thresholds(plateau_fall=0.1)) if f.tag == "plateau"
    )
    assert "用户设定（默认 0.02）" in describe(finding, "zh")
    assert "set by the user (default 0.02)" in describe(finding, "en")


VERDICTS = [
    judge_pairs([(0.8, 1.0), (0.81, 1.0), (0.82, 1.0)], scale="log", direction="min"),
    judge_pairs([(0.5, 0.4), (0.6, 0.5)], scale="difference", direction="max"),
    judge_floor([0.3], [0.4], scale="log", direction="min"),
    judge_floor([0.3], [0.4], scale="log", direction="min", noise=0.02),
    Verdict(word="not distinguishable", basis="no scores", scale="log", pairs=0),
    Verdict(word="not distinguishable", basis="diverged", scale="log", pairs=2, mean=-0.1, low=-0.2, high=-0.05),
]


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda v: v.basis)
def test_verdicts_say_what_they_rest_on(verdict, lang):
    text = verdict_word(verdict, lang) + verdict_basis(verdict, lang)
    assert bool(CHINESE.search(text)) == (lang == "zh")
    if verdict.basis == "t-interval":
        assert "-19.0% [" in text
        assert "3" in text


def test_one_seed_is_told_what_a_verdict_needs():
    for lang in ("en", "zh"):
        assert "--noise 0.12" in verdict_basis(judge_floor([0.9], [0.4], scale="log", direction="min"), lang)
        rates = judge_floor([0.3], [0.4], scale="difference", direction="max")
        assert "--noise 0.05" in verdict_basis(rates, lang)


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_post_mortem_is_told(lang):
    found = postmortem(seed_run("64fubjbc"), seed_run("4gb7zc4r"))
    texts = [mechanism(found, lang), change(found.test, lang), *(difference(d, lang) for d in found.differences)]
    assert all(bool(CHINESE.search(text)) == (lang == "zh") for text in texts)
    if lang == "en":
        assert texts[0].startswith(
            "Jitter did not explode (train/ot_cost/action_lbl: 0.3784 against 0.4556), so underfitting"
        )
        assert texts[1] == "Set optimizer.lr to 1e-05 (now 0.0003), and change nothing else."
        assert texts[2] == "optimizer.lr: 1e-05 → 0.0003 (x30), could explain it"
