"""Random draws that are the same whenever they are made, and leave those of training alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def fixed_draws(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch draw on the CPU and on `device` as seeded by `seed`; afterwards its state is what it was."""
    on_cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_cuda else []):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed every GPU, and not set it back
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
