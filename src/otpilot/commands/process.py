"""What a command does before it imports LeRobot."""

import logging
import os


def prepare_process() -> None:
    """Set what must be set before torch is imported: waiting threads sleep, LeRobot's import chatter is quiet."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    # torchcodec without FFmpeg libraries prints some 80 lines; LeRobot then falls back to pyav by itself.
    logging.getLogger("lerobot.utils.import_utils").setLevel(logging.ERROR)
