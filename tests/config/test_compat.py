import pytest

from otpilot.config.compat import is_seed_era, translate
from otpilot.errors import ConfigError


def loss_of(**loss):
    return translate({"ot": {"loss_config": loss}}).config["ot"]["loss_config"]


@pytest.mark.parametrize("alias", ["epsilon", "sinkhorn_epsilon"])
def test_reg_by_its_other_names(alias):
    assert loss_of(**{alias: 0.07}) == {"reg": 0.07}


def test_solver_aliases():
    assert loss_of(sinkhorn_iters=160, stop_thresh=1e-3) == {"max_iterations": 160, "tolerance": 1e-3}


def test_heuristic_is_a_prior():
    assert loss_of(heuristic=True)["prior"] == "diagonal"
    assert loss_of(heuristic=False)["prior"] == "product"


def test_contradictions_are_refused():
    with pytest.raises(ConfigError, match="keep reg only"):
        loss_of(epsilon=0.1, reg=0.2)
    with pytest.raises(ConfigError, match="remove heuristic"):
        loss_of(heuristic=True, prior="product")


def test_todays_configs_come_back_equal():
    config = {"steps": 5, "ot": {"lambda_ot": 0.1, "loss_config": {"reg": 0.1, "prior": "mixed"}}}
    assert translate(config).config == config
    assert translate(config).notes == ()
    assert not is_seed_era(config)


def test_diffusion_keeps_the_defaults_it_was_written_for():
    policy = translate({"eval_freq": 50, "policy": {"type": "diffusion", "horizon": 32}}).config["policy"]
    assert policy["horizon"] == 32  # what the file says stays
    assert policy["n_action_steps"] == 8
    assert policy["crop_shape"] == [84, 84]


def test_eval_freq_with_an_environment_means_closed_loop():
    body = translate({"eval_freq": 50, "env": {"type": "pusht"}}).config
    assert body["env_eval_freq"] == 50
    assert "eval_steps" not in body


def test_the_input_is_not_touched():
    config = {"eval_freq": 50, "ot": {"loss_config": {"heuristic": True}}}
    translate(config)
    assert config == {"eval_freq": 50, "ot": {"loss_config": {"heuristic": True}}}


def test_wrong_shapes():
    with pytest.raises(ConfigError, match="ot is 3"):
        translate({"ot": 3})
