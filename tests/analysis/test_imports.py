"""The analysis stays light: a command that reads runs answers at once."""

import subprocess
import sys


def test_neither_torch_nor_lerobot_is_imported():
    code = (
        "import sys, otpilot.analysis.result, otpilot.analysis.wording; "
        "print([m for m in ('torch', 'lerobot', 'pandas', 'wandb', 'scipy.stats') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
