"""Random draws that are the same whenever they are made, and leave those of training alone."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def fixed_draws(seed: int, device: torch.device) -> Iterator[None]:
    """Let torch draw on the CPU and on `device` as seeded by `seed`; afterwards its state is what it was."""
    on_cuda = device.type == "cuda"
    cpu = torch.get_rng_state()
    cuda = torch.cuda.get_rng_state(device) if on_cuda else None
    try:
        torch.default_generator.manual_seed(seed)
        if on_cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
    finally:
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, device)
