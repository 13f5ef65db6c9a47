"""How fast this machine trains, measured in a second, so that the demo can say how long it takes."""

import time

import torch
from torch import nn
from torchvision.models import resnet18

ROWS, PIXELS = 16, 64
BEYOND_BACKBONE = 1.3  # a whole step over forward and backward of its backbone; measured


def measure_step_s() -> float:
    """Return the seconds of one training step of the demo's policy on one core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        backbone = nn.Sequential(*list(resnet18(weights=None).children())[:-2])
        images = torch.zeros(ROWS, 3, PIXELS, PIXELS)
        times = []
        for _ in range(4):
            began = time.perf_counter()
            backbone(images).square().mean().backward()
            times.append(time.perf_counter() - began)
    finally:
        torch.set_num_threads(before)
    return min(times) * BEYOND_BACKBONE
