"""`otpilot train`, once Meta-World's two domains are known: python -m benchmarks.transfer.metaworld_train."""

import os
import sys

os.environ.setdefault("MUJOCO_GL", "egl")  # draws without a screen; osmesa works, too
os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa draws on the CPU: threads only hinder 64 x 64 pixels

import benchmarks.transfer.metaworld_config  # noqa: F401 - its import registers the env type
from otpilot.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
