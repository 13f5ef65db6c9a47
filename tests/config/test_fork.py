"""What the LeRobot 0.4 fork took for granted is spelled out, and what differs is told."""

import pytest

from otpilot.config.compat import translate


def made(ot=None, **body):
    return translate({"eval_freq": 50, **body, **({"ot": ot} if ot is not None else {})})


def told(translation, words):
    return [note for note in translation.notes if words in note]


def term(**changes):
    body = {"ot": {"enable": True, "loss_config": {"tau_src": 1, "tau_tgt": 1, "features": [changes]}}}
    translation = translate({"eval_freq": 50, **body})
    return translation.config["ot"]["loss_config"]["features"][0], translation


def test_diffusion_keeps_the_defaults_it_was_written_for():
    policy = made(policy={"type": "diffusion", "horizon": 32}).config["policy"]
    assert policy["horizon"] == 32  # what the file says stays
    assert policy == {
        "type": "diffusion",
        "horizon": 32,
        "n_action_steps": 8,
        "crop_shape": [84, 84],
        "use_group_norm": True,
        "pretrained_backbone_weights": None,
        "use_separate_rgb_encoder_per_camera": False,
    }


def test_act_keeps_its_backbone_of_imagenet():
    translation = made(policy={"type": "act"})
    assert translation.config["policy"] == {"type": "act"}  # 0.6 has the same default as 0.4
    assert told(translation, "valid action steps")


def test_the_transport_is_what_the_fork_computed():
    ot = made({"enable": True, "loss_config": {"tau_src": 0.5, "tau_tgt": 0.5}}).config["ot"]
    assert (ot["rows"], ot["stats"], ot["bc_src_weight"], ot["lambda_ot"]) == ("separate", "target", 0.0, 1.0)
    loss = ot["loss_config"]
    assert (loss["objective"], loss["cost"], loss["reg"]) == ("plan_cost", "l2_squared", 0.01)
    assert (loss["cost_normalization"], loss["embed_normalization"]) == ("none", "none")


def test_a_transport_was_off_unless_switched_on_and_needed_a_loss_config():
    assert made({}).config["ot"]["enable"] is False
    translation = made({"enable": True})
    assert translation.config["ot"]["method"] == "none"
    assert told(translation, "added no transport")


@pytest.mark.parametrize(
    ("given", "pair"),
    [
        ({"tau_src": 2.0}, (2.0, 2.0)),
        ({"tau_src": None, "tau_tgt": 3.0}, (3.0, 3.0)),
        ({}, (None, None)),
        ({"tau_src": 1.0, "tau_tgt": 2.0}, (1.0, 2.0)),
    ],
)
def test_one_tau_served_both_sides(given, pair):
    loss = made({"loss_config": given}).config["ot"]["loss_config"]
    assert (loss["tau_src"], loss["tau_tgt"]) == pair


def test_weights_of_a_term_were_one_unless_given():
    weights, translation = term(src_key="action")
    assert (weights["weight_embed"], weights["weight_label"]) == (0.0, 1.0)
    assert told(translation, "weight_label = 1.0, as the fork took for granted")
    weights, _ = term(src_key="observation.state", use_learned_embed=True, weight_label=0.0)
    assert (weights["weight_embed"], weights["weight_label"]) == (1.0, 0.0)


def test_weight_embed_without_an_embedding_had_no_effect():
    weights, translation = term(src_key="action", weight_embed=0.3, weight_label=0.1)
    assert weights["weight_embed"] == 0.0
    assert told(translation, "had no effect without use_learned_embed")


def test_term_weight_is_honoured_and_told():
    weights, translation = term(src_key="action", weight_label=0.1, term_weight=2.0)
    assert weights["term_weight"] == 2.0
    assert told(translation, "dropped it")
    assert not told(term(src_key="action", weight_label=0.1, term_weight=1.0)[1], "dropped it")


def test_all_cameras_where_the_fork_took_the_first():
    _, translation = term(src_key="observation.images", use_learned_embed=True, weight_label=0.0)
    assert told(translation, "every camera")


def test_slices_as_mappings():
    weights, _ = term(src_key="action", weight_label=0.1, dim_slice={"start": None, "stop": 7})
    assert weights["dim_slice"] == [0, 7]


def test_other_words_for_none():
    ot = made({"topk_src_episodes": -1, "window_size": None, "loss_config": {}}).config["ot"]
    assert (ot["topk_src_episodes"], ot["window_size"]) == (None, 0)
