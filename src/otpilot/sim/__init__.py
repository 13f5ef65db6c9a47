"""A small two-domain tabletop simulator with a scripted expert: demo, tests and benchmarks run on it."""

from otpilot.sim.env import ENV_ID, register

__all__ = ["ENV_ID", "register"]

# gymnasium and lerobot find an environment by importing its package, so this one registration happens at import.
register()
