"""A backbone's weights that cannot be downloaded."""

from urllib.error import URLError

import pytest
import torch

from otpilot.errors import ConfigError
from otpilot.training.session import train


def test_missing_weights_say_what_to_set(load, monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)
    config = load(**{"policy.pretrained_backbone_weights": "ResNet18_Weights.IMAGENET1K_V1"})
    with pytest.raises(ConfigError, match=r"no route to host.*or set the key to null") as caught:
        train(config)
    assert str(torch.hub.get_dir()) in str(caught.value)
