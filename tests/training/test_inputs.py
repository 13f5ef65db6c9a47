import numpy as np
import pytest
import torch

from otpilot.training.inputs import InputPipeline


def scale(factor):
    def preprocess(rows):
        return {key: value * factor if key == "state" else value for key, value in rows.items()} | {"done": False}

    return preprocess


ROWS = {"image": torch.arange(4, dtype=torch.uint8).reshape(4, 1), "state": torch.arange(4.0), "task": list("abcd")}


def test_images_are_scaled_on_the_device_and_rows_keep_their_order():
    pipeline = InputPipeline(torch.device("cpu"), scale(10.0), scale(100.0))
    batch = pipeline(ROWS, np.array([True, False, True, False]))
    assert batch["state"].tolist() == [0.0, 10.0, 200.0, 30.0]
    assert batch["task"] == list("abcd")
    torch.testing.assert_close(batch["image"][:, 0], torch.arange(4.0) / 255)
    assert batch["done"] is False


@pytest.mark.parametrize(("is_source", "factor"), [(None, 10.0), (np.zeros(4, bool), 10.0), (np.ones(4, bool), 100.0)])
def test_batches_of_one_domain(is_source, factor):
    pipeline = InputPipeline(torch.device("cpu"), scale(10.0), scale(100.0))
    assert pipeline(ROWS, is_source)["state"].tolist() == [factor * x for x in range(4)]


def test_one_set_of_statistics_serves_all():
    pipeline = InputPipeline(torch.device("cpu"), scale(10.0))
    assert pipeline(ROWS, np.array([True, False, True, False]))["state"].tolist() == [0.0, 10.0, 20.0, 30.0]
