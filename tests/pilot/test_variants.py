"""Variants are named, checked against what is known and written with their lineage; parents are chosen."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from otpilot.analysis.findings import Finding
from otpilot.config.compat import translate
from otpilot.config.edits import Change, Edit, apply, config_hash, value_at
from otpilot.errors import ConfigError
from otpilot.pilot.naming import ID_LENGTH, LONGEST, parent_name, short_id, variant_name
from otpilot.pilot.parents import Parent, choose_parents
from otpilot.pilot.proposal import Failure, Group, Proposal
from otpilot.pilot.rules import judge
from otpilot.pilot.variants import TrialKey, derive, join, lineage, make_variants, read_lineage, write_variant
from tests.pilot.rules.cases import act, edited, tag

FAILURE = Failure(metric="train/ot_pi_sum", relation="below", threshold=0.01)


def proposal(path: str, value: Any, group: Group = "ot", op: Any = "set", rule: str = "r") -> Proposal:
    edit = Edit(path=path, op=op, value=value)
    return Proposal(
        edits=(edit,), reason="why", expected="what", failure=FAILURE, group=group, rule=rule, evidence={"level": 3e-4}
    )


REG = proposal("ot.loss_config.reg", 0.24, rule="raise_reg")
TAU = proposal("ot.loss_config.tau_src", 1.0, rule="raise_tau")
WINDOW = proposal("ot.window_size", 8, rule="window")
BATCH = proposal("batch_size", 16, "bc", rule="larger_batch")
EVAL = proposal("eval_steps", 2000, "run", rule="evaluate_less_often")


def parent(**config: Any) -> Parent:
    return Parent(id="x7k2", config=edited(act(), **config))


def test_name_says_what_changed_and_from_whom() -> None:
    both = Proposal(edits=(*WINDOW.edits, *REG.edits), reason="w", expected="e", failure=FAILURE, group="ot")
    variant = derive(parent(), both, seed=1)
    assert variant.name == "w8_reg0.24_from-x7k2"
    assert variant.config["job_name"] == variant.name
    assert variant.config["seed"] == 1
    assert value_at(variant.config, "ot.loss_config.reg") == 0.24
    assert [c.path for c in variant.changes] == ["ot.window_size", "ot.loss_config.reg"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ([("ot.loss_config.tau_src", 1.0), ("ot.loss_config.tau_tgt", 1.0)], "tau1_from-x"),
        ([("ot.lambda_ot", "auto")], "lambda-auto_from-x"),
        ([("ot.no_window", True)], "nowindow_from-x"),
        ([("ot.loss_config.features[action/lbl].weight_label", 0.0005)], "lbl0.0005_from-x"),
        ([("optimizer", {"type": "adamw", "lr": 3e-4})], "opt-0.0003_from-x"),
        ([("early_stopping", {"monitor": "eval/x"})], "earlystop_from-x"),
        ([("dataset.x/..", "../../etc")], "etc_from-x"),
        ([("ema_decay", None)], "ema-none_from-x"),
        ([("policy.optimizer_lr", 1.62e-05)], "lr1.62e-5_from-x"),
        ([("eval_steps", 20_000)], "eval20000_from-x"),
        ([("ot.loss_config.reg", 2.5e10)], "reg2.5e10_from-x"),
        ([], "same_from-x"),
    ],
)
def test_tokens(changes: list[tuple[str, Any]], name: str) -> None:
    made = variant_name([Change(path=path, old=0, new=new) for path, new in changes], "x")
    assert made == name
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", made)


SEARCHED = (
    ("ot.lambda_ot", 0.369), ("ot.loss_config.reg", 1.77), ("ot.loss_config.tau_src", 0.14), ("ot.sharpness", 0.447),
    ("policy.optimizer_lr", 1.62e-05), ("batch_size", 16),
)  # fmt: skip


@pytest.mark.parametrize("count", range(1, len(SEARCHED) + 1))
def test_long_names_leave_whole_changes_out(count: int) -> None:
    made = variant_name([Change(path=path, old=0, new=new) for path, new in SEARCHED[:count]], "baseline")
    head, _, parent = made.partition("_from-")
    assert parent == "baseline"
    assert len(head) <= LONGEST + 1 + ID_LENGTH
    whole = ["lambda0.369", "reg1.77", "tau0.14", "sharp0.447", "lr1.62e-5", "bs16"][:count]
    tokens = head.split("_")
    assert tokens == whole if count <= 4 else (tokens[:-1] == whole[:4] and re.fullmatch("[a-z2-7]{4}", tokens[-1]))


def test_long_names_stay_apart_and_keep_their_number() -> None:
    def name(value: int) -> str:
        return variant_name([Change(path=f"ot.{'k' * i}", old=0, new=value) for i in range(50, 60)], "x")

    assert len(name(1)) <= LONGEST + 1 + ID_LENGTH + len("_from-x")
    assert name(1) != name(2)
    assert re.fullmatch("k+12345678_[a-z2-7]{4}_from-x", name(12_345_678))


@pytest.mark.parametrize(
    ("parent", "called"),
    [
        ("base_s0", "base_s0"),
        ("x7k2", "x7k2"),
        ("act-aloha.v2_s1000", "act-aloha.v2_s1000"),
        ("grid/base s0", "grid-base-s0-[a-z2-7]{4}"),
        ("act_aloha_transfer_cube_2026", "act_aloha_transfer-[a-z2-7]{4}"),
        ("a" * 60, "[a-z2-7]{4}"),
        ("reg0.24_from-base_s0", "[a-z2-7]{4}"),
        ("../..", "[a-z2-7]{4}"),
    ],
)
def test_parents_go_by_their_names(parent: str, called: str) -> None:
    assert re.fullmatch(called, parent_name(parent))
    assert len(parent_name(parent)) <= 24


def test_short_ids() -> None:
    assert short_id("p80qgmx9") == "p80qgmx9"
    assert re.fullmatch("[a-z2-7]{4}", short_id("runs/2026-11-21/a run"))
    assert short_id("a/b") != short_id("a/c")


def test_a_variant_does_not_take_over_the_parents_identity() -> None:
    config = edited(act(), output_dir="/data/x", resume=True, wandb={"enable": True, "run_id": "abc"}, steps=20_000)
    variant = derive(Parent(id="p1", config=config), REG, seed=7, budget=2000)
    assert "output_dir" not in variant.config
    assert "resume" not in variant.config
    assert variant.config["wandb"] == {"enable": True}
    assert variant.config["steps"] == 2000
    assert variant.config["schedule_horizon"] == 20_000, "a short trial is the beginning of the long run"
    assert "eval_freq" not in variant.config, "written in today's form"
    assert variant.key == TrialKey(config_hash(variant.config), 7, 2000)


def test_each_group_comes_first_once_then_by_urgency() -> None:
    batch = make_variants(parent(), [REG, TAU, WINDOW, BATCH], seeds=[1])
    assert [v.proposal.rule for v in batch.variants] == ["raise_reg", "larger_batch", "raise_tau"]
    only = make_variants(parent(), [REG, TAU, WINDOW, BATCH], seeds=[1], only="ot", limit=2)
    assert [v.proposal.rule for v in only.variants] == ["raise_reg", "raise_tau"]
    assert [v.proposal.rule for v in make_variants(parent(), [REG, BATCH], only="bc").variants] == ["larger_batch"]


def test_ot_variants_leave_cloning_alone_and_the_other_way_round() -> None:
    findings = [tag("mass_too_low", level=1e-4), tag("plateau", "warning"), tag("jitter", "warning")]
    run = Parent(id="x7k2", config=act(), findings=tuple(findings))
    proposals = judge(findings, run.config, run.context).proposals
    for group in ("ot", "bc"):
        batch = make_variants(run, proposals, limit=100, only=group)
        assert batch.variants
        for variant in batch.variants:
            assert all(c.path.startswith("ot.") == (group == "ot") for c in variant.changes)


def test_duplicates_are_refused_and_the_next_takes_their_place() -> None:
    first = make_variants(parent(), [REG, TAU], seeds=[1], budget=2000, limit=1)
    known = {v.key for v in first.variants}
    again = make_variants(parent(), [REG, TAU], seeds=[1], budget=2000, limit=1, known=known)
    assert [v.proposal.rule for v in again.variants] == ["raise_tau"]
    assert [(r.rule, "was there already" in r.reason) for r in again.refused] == [("raise_reg", True)]
    # another seed or budget is another trial; an undecided budget is not
    assert make_variants(parent(), [REG], seeds=[2], budget=2000, known=known).variants
    assert make_variants(parent(), [REG], seeds=[1], budget=4000, known=known).variants
    hash_ = first.variants[0].key.config_hash
    assert not make_variants(parent(), [REG], seeds=[1], budget=2000, known={TrialKey(hash_, 1)}).variants


def test_the_same_config_in_other_words_is_a_duplicate() -> None:
    other = proposal("ot.loss_config.reg", 0.24000000000000001, rule="other")
    batch = make_variants(parent(), [REG, other], seeds=[1])
    assert len(batch.variants) == 1
    same = make_variants(parent(), [proposal("ot.loss_config.reg", 0.1)], seeds=[1])
    assert "same as its parent" in same.refused[0].reason
    assert not make_variants(parent(), [proposal("ot.loss_config.reg", 0.1)], seeds=[1], budget=500).variants


def test_refused_edits_are_told() -> None:
    batch = make_variants(parent(), [proposal("ot.lambda_ot", -1.0), REG], seeds=[1, 2])
    assert [v.key.seed for v in batch.variants] == [1, 2]
    assert len(batch.refused) == 1
    assert "0.0 to 10.0" in batch.refused[0].reason


def test_advice_is_carried_by_every_variant() -> None:
    batch = make_variants(parent(eval_freq=50), [REG, EVAL], seeds=[1])
    assert batch.advice == (EVAL,)
    assert batch.variants[0].config["eval_steps"] == 2000
    assert batch.variants[0].carried == EVAL.edits
    assert batch.variants[0].key.config_hash == make_variants(parent(eval_freq=50), [REG]).variants[0].key.config_hash


def test_seed_of_the_parent_is_the_default() -> None:
    assert make_variants(parent(seed=42), [REG]).variants[0].key.seed == 42
    assert make_variants(parent(), [REG]).variants[0].key.seed == 1000


def test_names_of_different_configs_differ() -> None:
    close = proposal("ot.loss_config.reg", 0.240001, rule="close")
    batch = make_variants(parent(), [REG, close], seeds=[1])
    names = [v.name for v in batch.variants]
    assert len(set(names)) == 2
    assert names[1].startswith("reg0.24_from-x7k2_")


def test_written_with_lineage(tmp_path: Path) -> None:
    batch = make_variants(parent(), [REG], seeds=[1, 2])
    paths = [write_variant(v, tmp_path) for v in batch.variants]
    assert [p.name for p in paths] == ["reg0.24_from-x7k2.json", "reg0.24_from-x7k2_s2.json"]
    assert config_hash(json.loads(paths[0].read_text())) == batch.variants[0].key.config_hash
    told = read_lineage(paths[0])
    assert told is not None
    assert told["parent"] == "x7k2"
    assert told["rule"] == "raise_reg"
    assert told["reason"] == "why"
    assert told["evidence"] == {"level": 3e-4}
    assert told["edits"] == list(REG.edits)
    assert told["failure"] == FAILURE
    base = translate(parent().config).config
    assert config_hash(apply(base, told["edits"])[0]) == told["config_hash"], "the lineage makes the config again"
    assert write_variant(batch.variants[0], tmp_path) == paths[0], "writing again changes nothing"
    paths[0].write_text("{}")
    paths[1].write_text("{}")
    with pytest.raises(ConfigError, match="holds something else"):
        write_variant(batch.variants[1], tmp_path)


def test_damaged_and_missing_lineage(tmp_path: Path) -> None:
    assert read_lineage(tmp_path / "a.json") is None
    (tmp_path / "a.lineage.json").write_text('{"edits": [{"path": 1')
    with pytest.raises(ConfigError, match="damaged"):
        read_lineage(tmp_path / "a.json")


def test_lineage_is_plain_json() -> None:
    variant = make_variants(parent(), [REG]).variants[0]
    assert json.loads(json.dumps(lineage(variant))) == lineage(variant)


def test_joining() -> None:
    one, two = make_variants(parent(), [REG]), make_variants(parent(), [TAU, EVAL])
    both = join([one, two])
    assert [v.proposal.rule for v in both.variants] == ["raise_reg", "raise_tau"]
    assert both.advice == (EVAL,)
    assert join([two, two]).advice == (EVAL,), "said once"


def candidate(name: str, score: float | None = None, *tags: Finding, **rest: Any) -> Parent:
    return Parent(id=name, config=act(), findings=tags, score=score, **rest)


def test_parents_by_score_and_by_problems() -> None:
    warned, dead = tag("plateau", "warning"), tag("transport_dead")
    runs = [
        candidate("a", 0.5, warned),
        candidate("b", 0.3),
        candidate("c", 0.4, *[warned] * 9),
        candidate("d", None, dead),
        candidate("broken", 0.01, tag("diverged"), state="diverged"),
    ]
    chosen = choose_parents(runs, limit=3)
    assert [c.parent.id for c in chosen] == ["b", "d", "c"], "a diverged run is nobody's best"
    assert "rank 1 of 3" in chosen[0].reason
    assert chosen[1].reason == "tells most: transport_dead"
    assert [c.parent.id for c in choose_parents(runs, how=["best"], limit=9)] == ["b", "c", "a"]
    assert [c.parent.id for c in choose_parents(runs, how=["problem"], limit=1)] == ["d"]
    successes = [candidate("a", 0.2, direction="max"), candidate("b", 0.9, direction="max")]
    assert choose_parents(successes)[0].parent.id == "b"
    assert choose_parents([]) == ()
    assert choose_parents([candidate("slow", None, tag("data_loading_bottleneck", "warning"))]) == ()


def test_scores_of_both_directions_are_not_mixed() -> None:
    with pytest.raises(ConfigError, match="cannot be compared"):
        choose_parents([candidate("a", 0.2), candidate("b", 0.2, direction="max")])
    with pytest.raises(ConfigError, match="'worst'"):
        choose_parents([], how=["worst"])  # type: ignore[list-item]
