"""What a config of the LeRobot 0.4 fork with transport meant, spelled out in today's keys. Plain dicts; no lerobot."""

from typing import Any

from otpilot.config.rewriting import MISSING, Rewriting
from otpilot.errors import ConfigError

KEPT = "written for the LeRobot 0.4 fork, so its values are kept"

FORK_OT_KEYS = frozenset({
    "enable", "src_repo_id", "src_root", "src_episodes", "pair_info_path", "batch_ratio", "bc_src_weight",
    "normalize_bc_weights_by_ds_size", "lambda_ot", "obs_keys", "base_index_src", "base_index_tgt", "window_size",
    "no_window", "sharpness", "topk_src_episodes", "loss_config",
})  # fmt: skip
FORK_LOSS_KEYS = frozenset({"features", "reg", "tau_src", "tau_tgt", "heuristic"})
"""What a config of the fork could say; whoever says more writes for us."""

# What the fork computed, whatever its JSON said; ours for new configs are the defaults of LossConfig and OTConfig.
LOSS_VALUES = {
    "cost": "l2_squared",
    "cost_normalization": "none",
    "embed_normalization": "none",
    "objective": "plan_cost",
    "reg": 0.01,
}
OT_VALUES = {
    "enable": False,
    "rows": "separate",
    "stats": "target",
    "bc_src_weight": 0.0,
    "lambda_ot": 1.0,
    "view_share": 0.0,
}

# Policy defaults that LeRobot changed without a word between 0.4 and 0.6 (found by comparing both sources).
POLICY_VALUES: dict[str, dict[str, Any]] = {
    "diffusion": {
        "horizon": 16,
        "n_action_steps": 8,
        "crop_shape": [84, 84],
        "use_group_norm": True,
        "pretrained_backbone_weights": None,
        "use_separate_rgb_encoder_per_camera": False,
    },
    "vqbet": {"use_group_norm": True, "pretrained_backbone_weights": None},
}
EVALUATION_VALUES = {"batch_size": 50, "use_async_envs": False}


def translate_heuristic(rewriting: Rewriting) -> None:
    """Read `heuristic` as the prior that it was.

    Raises:
        ConfigError: If the file names another prior as well.
    """
    value = rewriting.take("ot.loss_config.heuristic")
    if value is MISSING:
        return
    heuristic = bool(value)
    prior = "diagonal" if heuristic else "product"
    given = rewriting.get("ot.loss_config.prior", prior)
    if given != prior:
        raise ConfigError(
            f"ot.loss_config: heuristic = {heuristic} means prior = {prior!r}, but prior is {given!r}; "
            "remove heuristic."
        )
    consequence = "; each pair is only matched with itself, no transport happens" if heuristic else ""
    rewriting.set("ot.loss_config.prior", prior)
    rewriting.note(f"ot.loss_config.heuristic = {heuristic} is read as prior = {prior!r}{consequence}.")


def translate_eval_freq(rewriting: Rewriting) -> None:
    """Read `eval_freq`, or a sketch's `eval.interval_steps`, as what it did.

    With an environment that was success in closed loop, without one the loss on held-out episodes.
    """
    for name in ("eval_freq", "eval.interval_steps"):
        frequency = rewriting.take(name)
        if frequency is MISSING:
            continue
        new = "env_eval_freq" if rewriting.get("env") is not None else "eval_steps"
        given = rewriting.get(new)
        if given is not None and given != frequency:
            rewriting.note(f"{name} = {frequency} is overruled by {new} = {given}.")
        else:
            rewriting.set(new, frequency)
        if new == "env_eval_freq":
            rewriting.note(f"{name} is read as env_eval_freq = {rewriting.get(new)}.")
            continue
        rewriting.body.setdefault("env_eval_freq", 0)
        if not rewriting.has("dataset.eval_split"):
            rewriting.set("dataset.eval_split", 0.1)
        rewriting.note(
            f"{name} is read as eval_steps = {rewriting.get(new)} on the last episodes "
            f"(dataset.eval_split = {rewriting.get('dataset.eval_split')})."
        )
    if rewriting.get("eval") == {}:
        rewriting.take("eval")


def spell_out_fork(rewriting: Rewriting) -> None:
    """Add what the fork and LeRobot 0.4 took for granted, to a config that was written for them."""
    rewriting.fill("ot", OT_VALUES, KEPT)
    if rewriting.section("ot.loss_config") is not None:
        _marginals(rewriting)
        rewriting.fill("ot.loss_config", LOSS_VALUES, KEPT)
        _terms(rewriting)
    else:
        rewriting.fill("ot", {"method": "none"}, "without loss_config the fork added no transport")
    _sampling(rewriting)
    kind = str(rewriting.get("policy.type"))
    rewriting.fill("policy", POLICY_VALUES.get(kind, {}), KEPT)
    if rewriting.get("env") is not None:
        rewriting.set("eval", rewriting.section("eval") or {})
        rewriting.fill("eval", EVALUATION_VALUES, KEPT)
    if kind == "act":
        rewriting.note(
            "policy: ACT's l1_loss is averaged over valid action steps since LeRobot 0.6, over padded ones too in 0.4, "
            "so it reads higher here near the ends of episodes."
        )


def _marginals(rewriting: Rewriting) -> None:
    """Fill in the strengths that the fork did: one given tau served both sides, none meant hard marginals."""
    section = rewriting.section("ot.loss_config")
    assert section is not None
    given = [section[name] for name in ("tau_src", "tau_tgt") if section.get(name) is not None]
    if len(given) == 2:
        return
    value = given[0] if given else None
    section.update({"tau_src": value, "tau_tgt": value})
    why = "one tau served both sides" if given else "without tau the marginals were meant to be hard"
    rewriting.note(f"ot.loss_config: tau_src = tau_tgt = {value}; in the fork, {why}.")


def _terms(rewriting: Rewriting) -> None:
    """Spell out the weights that the fork took for granted, and say where a term means something else here."""
    features = rewriting.get("ot.loss_config.features")
    terms = [term for term in features if isinstance(term, dict)] if isinstance(features, list) else []
    labels = False
    for number, term in enumerate(terms):
        where = f"ot.loss_config.features.{number}"
        embeds = bool(term.get("use_learned_embed", False))
        for name, value in {"weight_embed": 1.0 if embeds else 0.0, "weight_label": 1.0}.items():
            if name not in term:
                term[name] = value
                rewriting.note(f"{where}: {name} = {value}, as the fork took for granted.")
        if term["weight_embed"] and not embeds:
            rewriting.note(f"{where}: weight_embed = {term['weight_embed']} had no effect without use_learned_embed.")
            term["weight_embed"] = 0.0
        if isinstance(term.get("dim_slice"), dict):
            term["dim_slice"] = [term["dim_slice"].get("start") or 0, term["dim_slice"].get("stop")]
        if term.get("term_weight", 1) != 1:
            rewriting.note(
                f"{where}: term_weight = {term['term_weight']} is honoured; the fork's parser dropped it (always 1)."
            )
        if "observation.images" in {term.get("src_key"), term.get("tgt_key")}:
            rewriting.note(f"{where}: observation.images is every camera here; the fork compared only the first.")
        labels = labels or bool(term["weight_label"])
    if labels:
        rewriting.note(
            "ot.loss_config: labels are compared in normalised units here, in raw ones in the fork, so a weight_label "
            "may want another value (otpilot calibrate shows what each term costs)."
        )


def _sampling(rewriting: Rewriting) -> None:
    """Read the fork's other words for "none"."""
    for key, values, plain in (("topk_src_episodes", (-1, 0), None), ("window_size", (None, -1), 0)):
        value = rewriting.get(f"ot.{key}", MISSING)
        if value is not MISSING and value in values:
            rewriting.set(f"ot.{key}", plain, told=f"ot.{key} = {value} is read as {plain}.")
