"""Wording: every finding can be said in both languages, with numbers, window and origin."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from otpilot.analysis.diagnosis import TAGS, diagnose
from otpilot.analysis.evidence_zh import EVIDENCE_ZH, VALUES_ZH
from otpilot.analysis.findings import Finding
from otpilot.analysis.notes_zh import NOTES
from otpilot.analysis.phrases_zh import ORIGINS_ZH
from otpilot.analysis.postmortem import postmortem
from otpilot.analysis.result import analyze
from otpilot.analysis.thresholds import Thresholds
from otpilot.analysis.verdict import Verdict, judge_floor, judge_pairs
from otpilot.analysis.wording import (
    PHRASES,
    change,
    describe,
    difference,
    evidence,
    mechanism,
    note,
    sentence,
    tag_name,
    verdict_basis,
    verdict_word,
)
from otpilot.runs import sources
from otpilot.runs.counting import counted
from otpilot.runs.sources.summary_json import SummaryFile

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
        "但离线/闭环评估仍在变好，仅凭 π 质量不能断定该实验不好。（第 1800–2000 步）"
        "［mass_low 0.001：报告 004：过低（<1e-3）且不升］"
    )
    assert describe(finding, "en") == (
        "train/ot_pi_sum is 0.0003579, under 0.001, and does not rise: reg and tau are too small for the cost, or the "
        "label weight is too large. The evaluation still improves, so the mass alone does not say that the run is bad. "
        "(steps 1,800 to 2,000) [mass_low 0.001: report 004: below 1e-3 and not rising]"
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


SOURCES = Path(sources.__file__).parent


def reader_notes():
    """Every note and problem that a reader's code can write, with numbers in the place of what it fills in."""
    for broken in (Path("nowhere.json"), Path(__file__)):
        source = SummaryFile(path=broken)
        assert not list(source.runs())
        yield from source.problems
    for path in sorted(SOURCES.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for text in (text for node in ast.walk(tree) for text in texts_of(node)):
            for number in (1, 3):
                told = filled(text, number, tree)
                if re.search("[a-z]{3}", told):  # else it is an error's own words
                    yield told


def texts_of(node):
    """What a statement adds to notes or problems, as the syntax of its text."""
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "append"
    assigned = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("note", "notes")
    if called and ast.unparse(node.func.value).endswith(("notes", "problems")):
        written = node.args[0]
    elif assigned or (isinstance(node, ast.keyword) and node.arg == "notes"):
        written = node.value
    elif isinstance(node, ast.Raise) and "W&B could not be asked" in ast.unparse(node):
        written = node.exc.args[0]
    else:
        return
    outer = [one for one in ast.walk(written) if isinstance(one, ast.JoinedStr | ast.Constant)]
    inner = {id(part) for one in outer for part in ast.walk(one) if part is not one}
    inner |= {id(part) for one in ast.walk(written) if isinstance(one, ast.IfExp) for part in ast.walk(one.test)}
    yield from (one for one in outer if id(one) not in inner and " " in ast.unparse(one))


def filled(text, number, tree):
    """The text that syntax makes, with `number` for every value that is not text itself."""
    if isinstance(text, ast.Constant):
        return str(text.value)
    if isinstance(text, ast.JoinedStr):
        return "".join(filled(part, number, tree) for part in text.values)
    if isinstance(text, ast.FormattedValue):
        return filled(text.value, number, tree)
    if isinstance(text, ast.Call) and ast.unparse(text.func) == "counted":
        return counted(number, text.args[1].value)
    if isinstance(text, ast.Call) and ast.unparse(text.func) == "agree":
        return filled(text.args[1 if number == 1 else 2], number, tree)
    if isinstance(text, ast.Name) and (found := assigned_before(text, tree)) is not None:
        return filled(found, number, tree)
    return str(number)


def assigned_before(name, tree):
    """The last text that was assigned to a name above it."""
    found = None
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or not 0 < name.lineno - node.lineno < 8:
            continue
        target, value = node.targets[0], node.value
        pairs = zip(target.elts, value.elts, strict=False) if isinstance(value, ast.Tuple) else [(target, value)]
        for one, what in pairs:
            if ast.unparse(one) == name.id and isinstance(what, ast.JoinedStr | ast.Call):
                found = what
    return found


def test_every_note_that_the_analysis_writes_has_chinese_words():
    texts = {*written_notes(), *reader_notes()}
    for text in texts:
        assert CHINESE.search(note(text, "zh")), text
        assert note(text, "en") == text
    for pattern, _ in NOTES:
        assert any(re.fullmatch(pattern, text) for text in texts), pattern
    assert note("7 of 9 runs hold no evaluation at all.", "zh") == "9 个 run 中有 7 个没有任何评估。"
    assert note("1 of 1 run holds no evaluation at all.", "zh") == "1 个 run 中有 1 个没有任何评估。"
    assert note("3 rows were torn.", "zh") == "3 rows were torn."


def test_numbers_of_things_agree_in_english():
    one = next(f for f in diagnose(history({"train/made_up": [1.0] * 30})) if f.tag == "stale_metric")
    assert "; 1 such metric: train/made_up." in sentence(one, "en")
    short = next(f for f in diagnose(history({"train/loss": [1.0]})) if f.tag == "too_short")
    assert sentence(short, "en").startswith("Too short to say: 1 row up to")
    assert analyze([history({"train/loss": [1.0]})]).notes == ("1 of 1 run holds no evaluation at all.",)


def test_evidence_is_told_in_chinese():
    """Names of settings and metrics stay; every other name of evidence, and every word, has a Chinese one."""
    summary = {
        "train/l1_loss": {"first": 0.52, "last": 0.16, "best": 0.16},
        "train/ot_pi_sum": {"first": 0.17, "last": 3.6e-4, "best": 1e-5},
    }
    cases = [finding for case in CASES if (finding := case.found(case.raises)) is not None]
    cases += diagnose(history(config={}, summary=summary))
    kept = {"reg", "tau_src", "tau_tgt", "weight_label", "weight_embed", "objective", "scheduler", "lr"}
    for finding in cases:
        assert set(finding.evidence) <= set(EVIDENCE_ZH)
        for name, value in finding.evidence.items():
            assert name in kept or CHINESE.search(EVIDENCE_ZH[name]), name
            is_word = isinstance(value, str) and name not in {*kept, "names", "changed", "baseline", "reason"}
            assert not is_word or (name, value) in VALUES_ZH, (name, value)
    ends = next(finding for finding in cases if finding.evidence.get("rests_on"))
    assert ("判断所据", "首末值") in evidence(ends, "zh")
    assert ("rests on", "end points") in evidence(ends, "en")


def test_what_a_config_does_not_say_is_told_in_chinese():
    found = postmortem(history(config=changed(grad_accum_steps=4)), history(id="base"))
    assert difference(found.differences[0], "zh").startswith("grad_accum_steps: （未设置） → 4")
    assert difference(found.differences[0], "en").startswith("grad_accum_steps: (not set) → 4")


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
