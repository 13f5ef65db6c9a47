import subprocess
import sys


def test_simulator_runs_without_torch_and_lerobot():
    code = (
        "import sys, numpy as np\n"
        "from otpilot.sim.rollout import rollout\n"
        "import otpilot.sim.record\n"
        "rollout(lambda seen: np.zeros((2, 3)), domain='source', region='full', episodes=2, seed=0, max_steps=2)\n"
        "assert not {'torch', 'lerobot'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_gymnasium_finds_the_environment_by_its_package():
    code = (
        "import gymnasium\n"
        "env = gymnasium.make('otpilot.sim:otpilot/Tabletop-v0', domain='target')\n"
        "assert env.reset(seed=0)[0]['agent_pos'].shape == (3,)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
