"""Campaign results built by hand: an ordinary night, hostile names, and what can be missing."""

from dataclasses import replace

from otpilot.analysis.verdict import Verdict, judge_pairs
from otpilot.report.campaign.result import (
    CampaignResult,
    Comparison,
    Contest,
    DecisionLine,
    Edge,
    Incumbent,
    Node,
    Noise,
    RoundResult,
    TrialResult,
    Use,
    VariantResult,
)

SEEDS = (0, 1, 2)
FRESH = (70001, 70002, 70003)
GENERATED = 1_780_000_000.0
BASELINE = {0: 0.1, 1: 0.112, 2: 0.094}


def scores(factor, seeds=SEEDS):
    """Return scores by seed, a factor times the baseline's and a little noise."""
    noise = (1.003, 0.996, 1.001)
    return {seed: factor * own * level for seed, own, level in zip(seeds, noise, BASELINE.values(), strict=True)}


def compare(ours, other, mine, its, *, rate=False, **more):
    """Return a comparison with the verdict that the scores give."""
    common = sorted(mine.keys() & its.keys())
    pairs = [(mine[seed], its[seed]) for seed in common]
    scale = "difference" if rate else "log"
    if len(pairs) > 1:
        verdict = judge_pairs(pairs, scale=scale, direction="max" if rate else "min", noise=0.09)
    else:
        verdict = Verdict(word="not distinguishable", basis="no scores", scale=scale, pairs=len(pairs))
    more = {"steps": 2000, "reason": "it is as it is", **more}
    return Comparison(ours=ours, other=other, verdict=verdict, scores=mine, other_scores=its, **more)


def trials(arm, found, *, kind="variant", round=1, **more):
    """Return one trial per seed."""
    more = {"steps": 2000, "state": "finished", "seconds": 754.0, "why": "all steps done", **more}
    return tuple(
        TrialResult(
            name=f"{arm}_s{seed}", arm=arm, kind=kind, seed=seed, round=round, score=score,
            curve=((500, score * 1.5), (1000, score * 1.2), (2000, score)), **more,
        )
        for seed, score in found.items()
    )  # fmt: skip


def broken(arm, *, seeds=SEEDS, state="invalid", why="loss is NaN at step 640", round=1):
    """Return trials without a score."""
    return tuple(
        TrialResult(
            name=f"{arm}_s{seed}", arm=arm, kind="variant", seed=seed, steps=2000, state=state, round=round, why=why,
            last_step=640,
        )
        for seed in seeds
    )  # fmt: skip


def variant(name, parent, edits, found, *, other="baseline", candidate=False, **more):
    """Return a variant with its review."""
    made = trials(name, found) if found else broken(name)
    ends = {} if found else dict.fromkeys(SEEDS, "invalid")
    return VariantResult(
        name=name, parent=parent, edits=edits, reason="the plan is dead: its mass is 1e-9", rule="raise_reg",
        source="report 004", evidence={"mass": 1e-9, "objective": "plan_cost"}, expected="the mass rises",
        failed_if="train/ot_pi_sum below 0.01", remedy_failed=False if found else None, candidate=candidate,
        review=compare(name, other, found, BASELINE, ends=ends), trials=made, **more,
    )  # fmt: skip


def campaign(**more):
    """Return a night of two rounds: one variant accepted, one broken, one confirmed in vain."""
    good, fresh = scores(0.93), scores(0.93, FRESH)
    base = dict(zip(FRESH, BASELINE.values(), strict=True))
    confirmed = compare("w8_reg0.24_from-base", "baseline", fresh, base, fresh=True, cured=("transport_dead",))
    promoted = compare(
        "w8_reg0.24_from-base", "baseline", {k: v * 0.8 for k, v in fresh.items()}, base, fresh=True, steps=10_000
    )
    in_vain = compare("lambda0.2_from-x7k2", "w8_reg0.24_from-base", scores(1.001, FRESH), fresh, fresh=True)
    one = RoundResult(
        number=1, started=GENERATED - 9000, finished=GENERATED - 4000, incumbent_before="baseline",
        incumbent_after="w8_reg0.24_from-base", parents=(("baseline", "the incumbent; it has transport_dead"),),
        variants=(
            variant("w8_reg0.24_from-base", "baseline", ("ot.loss_config.reg *= 2.0",), good, candidate=True),
            variant("energy_from-base", "baseline", ("ot.loss_config.objective = energy",), {}),
        ),
        refused=("sweep_tau: known already",), advice=("run longer: steps *= 2. It still falls.",),
        contests=(
            Contest(kind="confirmation", compared=confirmed, accepted=True, ground="score", reason="It is better."),
            Contest(kind="promotion", compared=promoted, accepted=True, ground="score", reason="It stays better."),
        ),
        decisions=(DecisionLine(kind="accept", reason="It is better.", time=GENERATED - 5000),),
    )  # fmt: skip
    two = RoundResult(
        number=2, started=GENERATED - 4000, finished=GENERATED - 60, incumbent_before="w8_reg0.24_from-base",
        incumbent_after="w8_reg0.24_from-base",
        parents=(("w8_reg0.24_from-base", "the incumbent; nothing is found wrong with it"),),
        variants=(
            variant(
                "lambda0.2_from-x7k2", "w8_reg0.24_from-base", ("ot.lambda_ot = 0.2", "ot.warmup_steps = 500"),
                scores(0.92), other="w8_reg0.24_from-base", candidate=True,
            ),
        ),
        contests=(Contest(kind="confirmation", compared=in_vain, accepted=False, ground="none", reason="No."),),
    )  # fmt: skip
    zero = RoundResult(
        number=0, started=GENERATED - 12_000, finished=GENERATED - 9000, incumbent_before="baseline",
        incumbent_after="baseline",
    )  # fmt: skip
    every = (
        *trials("baseline", BASELINE, kind="baseline", round=0),
        *trials("baseline", base, kind="confirmation"),
        *one.variants[0].trials, *one.variants[1].trials, *trials("w8_reg0.24_from-base", fresh, kind="confirmation"),
        *trials("w8_reg0.24_from-base", promoted.scores, kind="promotion", steps=10_000), *two.variants[0].trials,
    )  # fmt: skip
    made = CampaignResult(
        name="overnight", question="What should change, so that the error falls beyond noise?", base="base.json",
        metric="eval/offline_eval/avg_l1", metric_reason="there is no environment", direction="min", is_rate=False,
        generated=GENERATED, seeds=SEEDS, steps=2000, proposer="rules",
        budget=(Use(what="hours", used=3.4, allowed=8.0), Use(what="trials", used=27), Use(what="GPU-hours", used=0.0)),
        phase="over", over="In 2 rounds in a row nothing was accepted.",
        noise=Noise(scale="log", deviation=0.09, scores=BASELINE, resolvable=0.2, confirm_seeds=3),
        incumbents=(
            Incumbent(name="baseline", round=0, ground="baseline", reason="It begins.", score=0.102),
            Incumbent(name="w8_reg0.24_from-base", round=1, ground="score", reason="It is better.", score=0.0949),
        ),
        rounds=(zero, one, two),
        nodes=(
            Node(name="baseline", standing="former", round=0, score=0.102, problems=("transport_dead",)),
            Node(name="w8_reg0.24_from-base", standing="incumbent", round=1, score=0.0949),
            Node(name="energy_from-base", standing="broken", round=1, why="seed 0: invalid (loss is NaN at step 640)"),
            Node(name="lambda0.2_from-x7k2", standing="not confirmed", round=2, score=0.0939),
        ),
        edges=(
            Edge(parent="baseline", child="w8_reg0.24_from-base", edits=("ot.loss_config.reg *= 2.0",), rule="a"),
            Edge(parent="baseline", child="energy_from-base", edits=("ot.loss_config.objective = energy",)),
            Edge(
                parent="w8_reg0.24_from-base", child="lambda0.2_from-x7k2",
                edits=("ot.lambda_ot = 0.2", "ot.warmup_steps = 500"),
            ),
        ),
        trials=every, final=confirmed, next_steps=("Train it to the end.", "Measure success."), folder="night",
    )  # fmt: skip
    return replace(made, **more)


def unmeasured():
    """Return a campaign that has just begun: nothing is known yet."""
    zero = RoundResult(
        number=0, started=GENERATED, finished=None, incumbent_before="baseline", incumbent_after="baseline"
    )
    waiting = tuple(
        TrialResult(
            name=f"baseline_s{seed}", arm="baseline", kind="baseline", seed=seed, steps=2000, state=state,
            why=f"it is {state}",
        )
        for seed, state in zip(SEEDS, ("running", "queued", "queued"), strict=True)
    )  # fmt: skip
    return campaign(
        over="", phase="round 0, baseline repeats: 0 of 3 trials are over", incumbents=(), rounds=(zero,),
        trials=waiting,
        nodes=(Node(name="baseline", standing="baseline", round=0, why="its trials have not begun"),), edges=(),
        noise=Noise(scale="log", deviation=None, why="The baseline is not yet measured."), final=None,
        final_why="The baseline is not yet measured.", next_steps=(),
    )  # fmt: skip


def rates():
    """Return a campaign ranked by success rates, with differences that are equal on all seeds."""
    base, ours = {0: 0.5, 1: 0.55, 2: 0.6}, {0: 0.6, 1: 0.65, 2: 0.7}
    found = compare("w8", "baseline", ours, base, rate=True)
    spread = compare("w9", "baseline", {0: 0.52, 1: 0.5, 2: 0.71}, base, rate=True, fresh=True)
    variants = tuple(
        VariantResult(
            name=one.ours, parent="baseline", edits=("ot.lambda_ot = 0.2",), reason="why not", review=one,
            trials=trials(one.ours, one.scores),
        )
        for one in (found, spread)
    )  # fmt: skip
    one = RoundResult(
        number=1, started=GENERATED, finished=None, incumbent_before="baseline", incumbent_after="baseline",
        variants=variants,
    )  # fmt: skip
    zero = RoundResult(
        number=0, started=GENERATED, finished=GENERATED, incumbent_before="baseline", incumbent_after="baseline"
    )
    return campaign(
        metric="sim/success_mean", direction="max", is_rate=True, rounds=(zero, one), final=None,
        final_why="The baseline is still the incumbent.",
        noise=Noise(scale="difference", deviation=0.05, scores=base, resolvable=0.1, confirm_seeds=3),
        incumbents=(Incumbent(name="baseline", round=0, ground="baseline", reason="It begins.", score=0.55),),
        nodes=(
            Node(name="baseline", standing="incumbent", round=0, score=0.55),
            Node(name="w8", standing="running", round=1, score=0.65),
            Node(name="w9", standing="running", round=1, score=0.58),
        ),
        edges=tuple(Edge(parent="baseline", child=name, edits=("ot.lambda_ot = 0.2",)) for name in ("w8", "w9")),
        trials=(*trials("baseline", base, kind="baseline", round=0), *variants[0].trials, *variants[1].trials),
    )  # fmt: skip


def renamed(result, text):
    """Return the result with a hostile text in every name, reason and edit."""

    def change(value):
        if isinstance(value, str):
            known = {"", "log", "difference", "min", "max", "hours", "trials", "GPU-hours", "confirmation", "promotion"}
            words = known | {
                "baseline",
                "score",
                "health",
                "none",
                "better",
                "worse",
                "not distinguishable",
                "t-interval",
            }
            words |= {"no scores", "no spread", "finished", "invalid", "incumbent", "former", "broken", "not confirmed"}
            words |= {"rules", "running", "queued", "variant"}
            return value if value in words else f"{value}{text}"
        if isinstance(value, tuple):
            return tuple(change(one) for one in value)
        if isinstance(value, dict):
            return {change(key): change(one) for key, one in value.items()}
        if hasattr(value, "__dataclass_fields__"):
            return replace(value, **{name: change(getattr(value, name)) for name in value.__dataclass_fields__})
        return value

    return change(result)
