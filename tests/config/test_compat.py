import pytest
from hypothesis import given
from hypothesis import strategies as st

from otpilot.config.compat import LOSS_ALIASES, OTHER_WORDS, is_seed_era, make_way, translate
from otpilot.config.ot import OTConfig
from otpilot.config.plain import plain
from otpilot.errors import ConfigError


def loss_of(**loss):
    return translate({"ot": {"loss_config": loss}}, seed_era=False).config["ot"]["loss_config"]


@pytest.mark.parametrize(("alias", "name"), LOSS_ALIASES.items())
def test_other_names_of_the_loss_settings(alias, name):
    assert loss_of(**{alias: 0.07}) == {name: 0.07}


def test_heuristic_is_a_prior():
    assert loss_of(heuristic=True)["prior"] == "diagonal"
    assert loss_of(heuristic=False)["prior"] == "product"


def test_contradictions_are_refused():
    with pytest.raises(ConfigError, match=r"keep ot\.loss_config\.reg only"):
        loss_of(epsilon=0.1, reg=0.2)
    with pytest.raises(ConfigError, match="remove heuristic"):
        loss_of(heuristic=True, prior="product")
    assert loss_of(epsilon=0.1, reg=0.1) == {"reg": 0.1}


def test_a_config_of_the_fork_is_known_by_its_obs_keys_as_well():
    """One that leaves out eval_freq and heuristic was read as today's: another loss, other rows, other pictures."""
    fork = {"ot": {"obs_keys": ["action"], "lambda_ot": 0.1, "loss_config": {"features": [], "reg": 0.02}}}
    made = translate(fork)
    assert is_seed_era(fork)
    assert made.config["ot"]["rows"] == "separate"
    assert made.config["ot"]["loss_config"]["objective"] == "plan_cost"
    assert not is_seed_era(made.config)  # and so it comes back equal
    assert translate(made.config).config == made.config


@pytest.mark.parametrize("ours", [{"rows": "shared"}, {"obs_keys": []}, {"loss_config": {"prior": "product"}}])
def test_whoever_says_more_than_the_fork_could_writes_for_us(ours):
    assert not is_seed_era({"ot": {"obs_keys": ["action"], "lambda_ot": 0.1, **ours}})


def test_what_training_writes_is_never_of_the_fork():
    assert not is_seed_era({"ot": plain(OTConfig(obs_keys=("action",)))})


def test_todays_configs_come_back_equal():
    config = {"steps": 5, "ot": {"lambda_ot": 0.1, "loss_config": {"reg": 0.1, "prior": "mixed"}}}
    assert translate(config).config == config
    assert translate(config).notes == ()
    assert not is_seed_era(config)


numbers = st.floats(0.01, 10.0)
terms = st.fixed_dictionaries({"src_key": st.sampled_from(["action", "observation.images"]), "weight_label": numbers})
todays = st.fixed_dictionaries(
    {"policy": st.fixed_dictionaries({"type": st.sampled_from(["act", "diffusion"])}, optional={"dropout": numbers})},
    optional={
        "steps": st.integers(1, 100),
        "eval_steps": st.integers(0, 100),
        "warmup_ratio": st.none() | st.floats(0.0, 1.0),
        "ema_decay": st.none() | st.floats(0.5, 0.9),
        "use_policy_training_preset": st.just(True),
        "optimizer": st.none() | st.fixed_dictionaries({"type": st.just("adamw")}, optional={"lr": numbers}),
        "scheduler": st.none()
        | st.fixed_dictionaries(
            {"type": st.just("diffuser"), "name": st.just("cosine"), "num_warmup_steps": st.none()}
        ),
        "discrete_actions": st.fixed_dictionaries({"discrete_dims": st.just([7]), "focal_gamma": numbers}),
        "ot": st.fixed_dictionaries(
            {},
            optional={
                "enable": st.booleans(),
                "lambda_ot": st.just("auto") | numbers,
                "weight_warmup_ratio": st.none() | st.floats(0.0, 1.0),
                "topk_src_episodes": st.none() | st.integers(1, 5),
                "loss_config": st.fixed_dictionaries(
                    {}, optional={"reg": numbers, "tau_src": st.none() | numbers, "features": st.lists(terms)}
                ),
            },
        ),
    },
)


@given(todays)
def test_whatever_is_in_todays_form_comes_back_equal(config):
    assert translate(config).config == config
    assert translate(config).notes == ()


@given(todays, st.booleans(), st.sampled_from([True, False, None]))
def test_translating_twice_changes_nothing_more(config, old, heuristic):
    if old:
        config = {**config, "eval_freq": 50}
    if heuristic is not None:
        ot = config.get("ot", {})
        config = {**config, "ot": {**ot, "loss_config": {**ot.get("loss_config", {}), "heuristic": heuristic}}}
    once = translate(config).config
    assert translate(once).config == once
    assert translate(once).notes == ()


def test_no_schedule_without_the_preset_is_a_constant_rate():
    config = {"use_policy_training_preset": False, "optimizer": {"type": "adamw", "lr": 1e-4}, "scheduler": None}
    made = translate(config)
    assert made.config["scheduler"] == {"type": "constant_with_warmup", "num_warmup_steps": 0}
    assert any("constant learning rate" in note for note in made.notes)
    assert translate({**config, "use_policy_training_preset": True}).config["scheduler"] is None


def test_eval_freq_with_an_environment_means_closed_loop():
    body = translate({"eval_freq": 50, "env": {"type": "pusht"}}).config
    assert body["env_eval_freq"] == 50
    assert "eval_steps" not in body
    assert body["eval"] == {"batch_size": 50, "use_async_envs": False}


def test_eval_freq_without_one_means_the_held_out_loss():
    body = translate({"eval_freq": 50, "dataset": {"repo_id": "a"}}).config
    assert (body["eval_steps"], body["env_eval_freq"], body["dataset"]["eval_split"]) == (50, 0, 0.1)


def test_eval_freq_beside_eval_steps_is_told():
    made = translate({"eval_freq": 50, "eval_steps": 10, "dataset": {"repo_id": "a"}})
    assert made.config["eval_steps"] == 10
    assert any("overruled by eval_steps = 10" in note for note in made.notes)


def test_the_input_is_not_touched():
    config = {"eval_freq": 50, "ot": {"loss_config": {"heuristic": True, "features": [{"src_key": "action"}]}}}
    translate(config)
    assert config == {"eval_freq": 50, "ot": {"loss_config": {"heuristic": True, "features": [{"src_key": "action"}]}}}


@pytest.mark.parametrize("body", [{"ot": 3}, {"ot": {"loss_config": []}}, {"policy": "act"}, {"optimizer": 1e-4}])
def test_wrong_shapes(body):
    with pytest.raises(ConfigError, match="must be a section"):
        translate(body)


@pytest.mark.parametrize("key", [*OTHER_WORDS, *OTHER_WORDS.values()])
def test_an_override_replaces_every_other_word_for_the_same_thing(key):
    """What a file says in one spelling never contradicts an override in another."""
    meant = OTHER_WORDS.get(key, key)
    for other in [meant, *(word for word, name in OTHER_WORDS.items() if name == meant)]:
        *parents, last = other.split(".")
        body = place = {}
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = "what the file says"
        make_way(body, key)
        assert place == ({last: "what the file says"} if other == key else {})
