"""How the training process uses CPU and memory: measured, see docs/log.md (2026-11-21, allocator and fused AdamW)."""

import ctypes
import sys

import torch
from torch.optim import Adam, AdamW, Optimizer

# glibc's mallopt parameters (malloc.h)
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_KEEP_BYTES = 2**30


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory instead of returning it after every step; return whether it listened.

    Gradients and activations are a few MB each, above glibc's default threshold, so that each step maps and unmaps
    them and the kernel zeroes the pages again. Does nothing where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return all(
        mallopt(name, size) == 1
        for name, size in ((_M_MMAP_THRESHOLD, _KEEP_BYTES), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, 2**26))
    )


def set_threads(threads: int | None) -> None:
    """Use this many CPU threads for torch; None leaves its choice."""
    if threads:
        torch.set_num_threads(threads)


def fuse(optimizer: Optimizer) -> bool:
    """Let Adam or AdamW update all parameters in one fused kernel, on CPU or CUDA; return whether it does.

    torch picks the fused kernel only when asked; on a CPU its default loop over tensors takes several times as long.
    """
    if type(optimizer) not in (Adam, AdamW):
        return False
    for group in optimizer.param_groups:
        if any(p.device.type not in ("cpu", "cuda") or not p.is_floating_point() for p in group["params"]):
            return False
    for group in optimizer.param_groups:
        group["fused"], group["foreach"] = True, False
    return True
