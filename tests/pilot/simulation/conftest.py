"""The simulation is the benchmark's own: what writes the figures of docs/pilot-statistics.md is what is tested."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "decisions.py"


@pytest.fixture(scope="session")
def simulation():
    spec = importlib.util.spec_from_file_location("benchmark_decisions", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
