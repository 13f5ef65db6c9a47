"""`otpilot train`, once Meta-World's two domains are known: python -m benchmarks.transfer.metaworld_train."""

import sys

import benchmarks.transfer.metaworld_config  # noqa: F401 - its import registers the env type
from benchmarks.transfer.metaworld_look import draw_without_screen
from otpilot.cli import main

if __name__ == "__main__":
    draw_without_screen()
    sys.argv.insert(1, "train")
    main()
