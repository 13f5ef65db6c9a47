"""Every proposer keeps one contract; each does what its method is."""

import math
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otpilot.config.bounds import bound_of
from otpilot.config.canonical import same_effect
from otpilot.config.compat import translate
from otpilot.config.edits import apply, config_hash, policy_type, value_at
from otpilot.config.ot import OTConfig
from otpilot.config.plain import build_section
from otpilot.errors import ConfigError
from otpilot.pilot.parents import Parent
from otpilot.pilot.proposers import PROPOSERS, Observation, Request, observe, propose
from otpilot.pilot.proposers.space import dimensions
from otpilot.pilot.variants import TrialKey, write_variant
from tests.pilot.rules.cases import Config, act, diffusion, edited, explicit, hard, ours, tag, with_ot

LOW = tag("mass_too_low", level=3e-4)
PLATEAU = tag("plateau", "warning")


def parent(config: Config | None = None, name: str = "p1") -> Parent:
    return Parent(id=name, config=config or act(), findings=(LOW, PLATEAU))


@pytest.fixture(params=PROPOSERS)
def proposer(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# The contract


def test_limits_hold(proposer: str) -> None:
    parents = (parent(), parent(ours(), "p2"))
    for limit in (1, 2, 3, 5):
        batch = propose(Request(parents=parents, limit=limit, budget=2000), proposer)
        assert len(batch.variants) == limit
    assert len(propose(Request(parents=(parent(),), limit=10, per_parent=2), proposer).variants) == 2


def test_seeds_do_not_count_against_the_limit(proposer: str) -> None:
    batch = propose(Request(parents=(parent(),), limit=2, seeds=(1, 2, 3)), proposer)
    assert len(batch.variants) == 6
    assert sorted({v.key.seed for v in batch.variants}) == [1, 2, 3]


def test_nothing_twice(proposer: str) -> None:
    known: set[TrialKey] = set()
    for _ in range(4):
        batch = propose(Request(parents=(parent(),), budget=2000, known=frozenset(known)), proposer)
        keys = {v.key for v in batch.variants}
        assert len(keys) == len(batch.variants)
        assert not keys & known
        known |= keys


def test_the_same_request_gives_the_same_variants(proposer: str) -> None:
    request = Request(parents=(parent(),), budget=2000, sampler_seed=3)
    assert propose(request, proposer).variants == propose(request, proposer).variants


def test_variants_are_trials_of_their_own_and_legal(proposer: str, tmp_path: Path) -> None:
    starts = (act(), diffusion(), ours(), hard(), explicit(diffusion()), with_ot(act(), topk_src_episodes=10))
    for number, start in enumerate(starts):
        batch = propose(Request(parents=(parent(start, f"p{number}"),), budget=2000), proposer)
        assert batch.variants
        for variant in batch.variants:
            build_section(OTConfig, variant.config["ot"], "ot")
            assert variant.key.config_hash == config_hash(variant.config)
            assert variant.config["steps"] == 2000
            assert variant.proposal.reason
            assert variant.proposal.rule
            assert write_variant(variant, tmp_path).is_file()


@pytest.mark.parametrize("only", ["ot", "bc"])
def test_one_group_only(proposer: str, only: Any) -> None:
    batch = propose(Request(parents=(parent(),), only=only), proposer)
    assert batch.variants
    for variant in batch.variants:
        assert all(change.path.startswith("ot.") == (only == "ot") for change in variant.changes)


def test_no_parent_no_variant(proposer: str) -> None:
    assert propose(Request(parents=()), proposer).variants == ()


def test_without_transport_only_cloning_is_touched(proposer: str) -> None:
    batch = propose(Request(parents=(parent(with_ot(act(), enable=False)),), limit=2), proposer)
    assert batch.variants
    assert all(not change.path.startswith("ot.") for v in batch.variants for change in v.changes)


# Rules


def test_rules_go_on_where_they_were() -> None:
    """The second round takes the next value of a rule that was tried, not the same one."""
    first = propose(Request(parents=(parent(),), only="ot", budget=2000, per_parent=99, limit=99))
    known = frozenset(v.key for v in first.variants)
    second = propose(Request(parents=(parent(),), only="ot", budget=2000, per_parent=99, limit=99, known=known))
    tau = {
        value_at(v.config, "ot.loss_config.tau_src")
        for v in (*first.variants, *second.variants)
        if v.proposal.rule == "raise_tau"
    }
    assert tau == {1.0, 2.0}


def test_rules_say_when_there_is_nothing() -> None:
    quiet = Parent(id="p1", config=act())
    batch = propose(Request(parents=(quiet,)))
    assert batch.variants == ()
    assert batch.notes == ("Nothing new is proposed for p1.",)


# Search space


@pytest.mark.parametrize("start", [act(), diffusion(), ours(), hard(), explicit(act()), with_ot(act(), no_window=True)])
def test_space_lies_within_the_limits(start: Config) -> None:
    config = translate(start).config
    found = dimensions(config)
    assert found
    for dimension in found:
        for path in dimension.paths:
            bound = bound_of(re.sub(r"\[.*?\]", "[*]", path), policy_type(config))
            assert bound is not None, path
            assert bound.low <= dimension.low <= dimension.high <= bound.high, path
        assert dimension.at(0.0) == pytest.approx(dimension.low)
        assert dimension.at(1.0) == pytest.approx(dimension.high)
        assert dimension.low < dimension.at(0.5) < dimension.high
        if dimension.log and dimension.kind == "float":
            assert dimension.at(0.5) == pytest.approx(math.sqrt(dimension.low * dimension.high), rel=0.01)


def test_space_follows_the_config() -> None:
    def names(config: Config) -> set[str]:
        return {dimension.name for dimension in dimensions(translate(config).config)}

    assert "ot.lambda_ot" in names(act())
    assert "ot.target_grad_share" in names(ours())
    assert "ot.loss_config.tau_src" not in names(hard())
    assert "ot.window_size" not in names(with_ot(act(), no_window=True))
    assert "optimizer.lr" in names(explicit(act()))
    assert "policy.dropout" not in names(diffusion())
    assert names(edited(act(), ot=None)) == {"policy.optimizer_lr", "batch_size", "policy.dropout"}


def test_a_label_is_varied_by_what_counts() -> None:
    def names(config: Config) -> set[str]:
        found = {dimension.name for dimension in dimensions(translate(config).config)}
        return {name.partition("features")[2] for name in found if "features" in name}

    alone = ours()
    alone["ot"]["loss_config"]["features"] = alone["ot"]["loss_config"]["features"][1:]
    both = ours()
    both["ot"]["loss_config"]["features"][1] |= {"use_learned_embed": True, "weight_embed": 1.0, "src_key": "fused"}
    assert names(act()) == {"[action_lbl].weight_label"}, "costs of the fork are not normalised"
    assert names(ours()) == {"[action_lbl].term_weight"}
    assert names(both) == {"[action_lbl].weight_label"}
    assert names(alone) == set()


def test_no_knob_of_the_space_is_without_effect() -> None:
    config = translate(ours()).config
    for dimension in dimensions(config):
        low, high = (apply(config, dimension.edits(value))[0] for value in (dimension.low, dimension.high))
        assert not same_effect(low, high), dimension.name


def test_random_depends_on_its_seed() -> None:
    one, two = (propose(Request(parents=(parent(),), sampler_seed=s), "random") for s in (0, 1))
    assert [v.key for v in one.variants] != [v.key for v in two.variants]
    assert all(len(v.proposal.knobs) == 1 for v in one.variants)


def test_grid_ends() -> None:
    everything = propose(Request(parents=(parent(),), limit=1000, per_parent=1000), "grid")
    knobs = len(dimensions(translate(act()).config))
    assert 4 * knobs <= len(everything.variants) <= 5 * knobs
    known = frozenset(v.key for v in everything.variants)
    rest = propose(Request(parents=(parent(),), known=known), "grid")
    assert rest.variants == ()
    assert rest.notes == ("Nothing new is proposed for p1.",)


# What learns from scores


@pytest.mark.parametrize("proposer", ["optuna", "bayes"])
def test_what_learns_finds_the_best_reg(proposer: str) -> None:
    """Scores are best at reg = 0.3 (a log parabola): after 30 observations both ask near it, random does not."""

    def score(config: Any) -> float:
        return math.log(value_at(config, "ot.loss_config.reg") / 0.3) ** 2

    seen: list[Observation] = []
    known: set[TrialKey] = set()
    for _ in range(15):
        request = Request(parents=(parent(),), limit=2, observations=tuple(seen), known=frozenset(known), only="ot")
        for variant in propose(request, proposer).variants:
            seen.append(Observation(config=variant.config, score=score(variant.config)))
            known.add(variant.key)
    early = sorted(o.score for o in seen[:10])[5]
    late = sorted(o.score for o in seen[-10:])[5]
    assert late < early / 2


def observed(count: int, **outside: Any) -> tuple[Observation, ...]:
    """Return observations that are the better, the nearer reg is to 0.3."""
    found = []
    for number in range(count):
        reg = 0.02 * (150 ** (number / max(1, count - 1)))
        config = act(reg=reg, **outside)
        found.append(Observation(config=config, score=0.1 + math.log(reg / 0.3) ** 2))
    return tuple(found)


def test_bayes_says_what_it_expects_and_what_matters() -> None:
    first, *_ = propose(Request(parents=(parent(),), observations=observed(12)), "bayes").variants
    assert "by 12 scores, which depend most on reg" in first.proposal.reason
    assert re.fullmatch(r"A score of \S+, \S+ to \S+ \(one standard deviation\).", first.proposal.expected)
    low = float(first.proposal.expected.split(", ")[1].split()[0])
    assert 0 < low < 1


def test_what_turns_knobs_of_both_kinds_says_so() -> None:
    both, *_ = propose(Request(parents=(parent(),)), "bayes").variants
    assert both.proposal.touched == "ot and bc"
    one, *_ = propose(Request(parents=(parent(),), only="ot"), "bayes").variants
    assert one.proposal.touched == "ot"


def test_bayes_begins_with_points_that_are_spread() -> None:
    batch = propose(Request(parents=(parent(),), observations=observed(2), per_parent=3), "bayes")
    assert all("first points" in v.proposal.reason for v in batch.variants)


def test_bayes_works_upwards_as_well() -> None:
    up = tuple(Observation(config=o.config, score=2.0 - o.score, direction="max") for o in observed(12))
    down = observed(12)
    best = Parent(id="p1", config=act(reg=0.3))
    higher = Parent(id="p1", config=act(reg=0.3), direction="max")
    for who, seen in ((best, down), (higher, up)):
        regs = [
            value_at(v.config, "ot.loss_config.reg")
            for v in propose(Request(parents=(who,), observations=seen, only="ot"), "bayes").variants
        ]
        assert all(0.1 < reg < 1.0 for reg in regs)


def test_a_setting_beyond_the_space_is_kept_where_it_does_well() -> None:
    """A rate far above the space's, with which all observations were made, is not simply taken away."""
    config = edited(act(), policy={**act()["policy"], "optimizer_lr": 3e-4})
    parents = (Parent(id="p1", config=config),)
    seen = tuple(
        Observation(config=edited(dict(o.config), policy=config["policy"]), score=o.score) for o in observed(12)
    )
    rates = [
        value_at(v.config, "policy.optimizer_lr")
        for v in propose(Request(parents=parents, observations=seen), "bayes").variants
    ]
    assert 3e-4 in rates


def test_what_broke_counts_as_the_worst() -> None:
    good = [Parent(id=f"p{n}", config=o.config, score=o.score) for n, o in enumerate(observed(4))]
    broken = Parent(id="broken", config=act(reg=2.0), score=0.01, state="diverged")
    seen = observe([*good, broken])
    assert [(o.score, o.failed) for o in seen] == [
        *((p.score, False) for p in good),
        (max(p.score or 0.0 for p in good), True),
    ]
    upwards = observe([replace(p, direction="max") for p in (*good, broken)])
    assert upwards[-1].score == min(p.score or 0.0 for p in good)
    assert observe([broken]) == ()


def test_a_mix_has_remedies_first_and_no_sweep() -> None:
    batch = propose(Request(parents=(parent(),), observations=observed(12)), "mixed")
    rules = [v.proposal.rule for v in batch.variants]
    assert "bayes" in rules
    assert [rule for rule in rules if rule != "bayes"] == [
        v.proposal.rule for v in propose(Request(parents=(parent(),), per_parent=2), "rules").variants
    ]
    calm = Parent(id="p1", config=ours(), findings=(tag("converging", "info"),))
    assert any("sweep" in v.proposal.rule for v in propose(Request(parents=(calm,)), "rules").variants)
    assert {v.proposal.rule for v in propose(Request(parents=(calm,)), "mixed").variants} == {"bayes"}


def test_optuna_counts_only_what_lies_in_the_space() -> None:
    inside = edited(act(), batch_size=8)
    outside = act(reg=100.0)
    observations = (Observation(config=inside, score=1.0), Observation(config=outside, score=2.0))
    batch = propose(Request(parents=(parent(),), observations=observations), "optuna")
    assert "from 1 observations" in batch.variants[0].proposal.reason


def test_optuna_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"pip install 'otpilot\[optuna\]'"):
        propose(Request(parents=(parent(),)), "optuna")
    assert propose(Request(parents=(parent(),)), "rules").variants


# Errors


def test_unknown_proposer_and_bad_numbers() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'rules'"):
        propose(Request(parents=()), "rule")
    with pytest.raises(ConfigError, match="limit = 0"):
        Request(parents=(), limit=0)
    with pytest.raises(ConfigError, match="cannot be mixed"):
        Request(
            parents=(),
            observations=(
                Observation(config={}, score=1.0),
                Observation(config={}, score=1.0, direction="max"),
            ),
        )
